"""What a node has for its Pods."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from emulab.kinds.registry import NODE
from emulab.model.keys import Key
from emulab.model.objects import Object


def allocatable(get: Callable[[Key], Object | None], node: str) -> Mapping[str, Any]:
    """What the Node says, and what the machine has where it says nothing."""
    o = get(NODE.key("", node))
    return {**_machine(), **(o.status.get("allocatable") or {} if o is not None else {})}


@cache
def _machine() -> Mapping[str, str]:
    page = os.sysconf("SC_PAGE_SIZE")
    disk = os.statvfs("/")
    return {
        "cpu": str(os.cpu_count() or 1),
        "memory": str(os.sysconf("SC_PHYS_PAGES") * page),
        "ephemeral-storage": str(disk.f_blocks * disk.f_frsize),
    }
