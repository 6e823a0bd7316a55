"""What name servers tell of Corefiles that they don't go by, written in Events of their Pods."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from emulab.kinds.registry import POD
from emulab.lab.supervisor.surroundings import Surroundings
from emulab.model.collection import WARNING, Tell

_COMPONENT = "coredns"
_UNREAD = "goes on by the Corefile with which it began, which has no reload, until it is restarted"


def heard(around: Surroundings, server: str, record: Mapping[str, Any]) -> None:
    """A server goes on by another Corefile than the one that is written: it couldn't start with it, or doesn't look."""
    if record["event"] != "corefile":
        return
    namespace, _, name = server.partition("/")[0].partition(".")
    pod = around.store.get(POD.key(namespace, name))
    if pod is not None:
        refused = record["refused"]
        reason = "ReloadFailed" if refused else "NotReloaded"
        told = f"goes on by the last Corefile that was right: {refused}" if refused else _UNREAD
        around.events.tell([Tell(pod, WARNING, reason, told, _COMPONENT)], time.time())
