"""What speakers of BGP tell of their sessions, written where everybody sees it: in Events of their Nodes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from emulab.kinds.registry import NODE
from emulab.lab.supervisor.surroundings import Surroundings
from emulab.model.collection import WARNING, Tell
from emulab.plan.cni.speakers import BGP

_SPEAKER = "bird"


def heard(around: Surroundings, server: str, record: Mapping[str, Any]) -> None:
    """A speaker has waited in vain, for sessions or for their routes, or has ended."""
    node = around.store.get(NODE.key("", server.removesuffix(BGP))) if server.endswith(BGP) else None
    if node is None:
        return
    match record["event"]:
        case "bgp":
            told = "BGPSessionDown" if record["down"] else "BGPRoutesMissing", str(record["text"])
        case "ended":
            told = "BGPSpeakerEnded", f"bird has ended with status {record['status']}, and is started again"
        case _:
            return
    around.events.tell([Tell(node, WARNING, *told, _SPEAKER, node.name)], time.time())
