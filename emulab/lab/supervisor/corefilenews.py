"""What name servers tell of Corefiles that they don't go by, written in Events of their Pods."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from emulab.kinds.registry import POD
from emulab.lab.supervisor.surroundings import Surroundings
from emulab.model.collection import WARNING, Tell

_COMPONENT = "coredns"


def heard(around: Surroundings, server: str, record: Mapping[str, Any]) -> None:
    """A server has been given a Corefile with which it couldn't start."""
    if record["event"] != "corefile":
        return
    namespace, _, name = server.partition("/")[0].partition(".")
    pod = around.store.get(POD.key(namespace, name))
    if pod is not None:
        told = f"goes on by the last Corefile that was right, or the stock one: {record['refused']}"
        around.events.tell([Tell(pod, WARNING, "ReloadFailed", told, _COMPONENT)], time.time())
