"""What a server is to be told when it is planned otherwise than before: all of it, or what differs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from emulab.model.members import changed_keys
from emulab.plan.proxy.modes.userspace import between
from emulab.plan.state import PlannedServer
from emulab.servers.configuration import json_bytes
from emulab.servers.kinds import TOLD_WHOLE
from emulab.servers.patches import patch_between
from emulab.servers.told import told_bytes


class News(NamedTuple):
    """What a server is to be told: its whole configuration, or what differs from `known` in that."""

    server: PlannedServer
    content: bytes
    known: PlannedServer | None = None


def news_between(
    changes: Iterable[tuple[PlannedServer | None, PlannedServer]], ahead: bool
) -> list[News | None]:
    """What is new to servers that were told the former; None: nothing. For a thread: there may be 10,000 of a thing."""
    return [_new(old, between(old, server) if ahead and old else server) for old, server in changes]


def _new(old: PlannedServer | None, server: PlannedServer) -> News | None:
    patched = server.kind not in TOLD_WHOLE or (old is not None and old.config == server.config)
    if old is not None and patched and replace(old, config=server.config) == server:
        patch = patch_between(old.config, server.config, changed_keys)
        if patch is not None:
            return News(server, json_bytes(patch), old) if patch else None
    return News(server, told_bytes(server.config))
