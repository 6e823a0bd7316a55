"""What speakers of BGP tell of their sessions, written where everybody sees it: in Events of their Nodes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from emulab.kinds.registry import NODE
from emulab.kinds.underlay import underlay_addresses
from emulab.lab.supervisor.surroundings import Surroundings
from emulab.model.collection import NORMAL, WARNING, Tell
from emulab.model.objects import Object
from emulab.plan.cni.speakers import BGP, ROUTER

_SPEAKER = "bird"


def heard(around: Surroundings, server: str, record: Mapping[str, Any]) -> None:
    """A speaker has waited in vain, for sessions or for their routes, has ended, or a session of its has."""
    if server == f"{ROUTER}{BGP}":
        _of_router(around, record)
        return
    node = around.store.get(NODE.key("", server.removesuffix(BGP))) if server.endswith(BGP) else None
    if node is None:
        return
    match record["event"]:
        case "bgp" if "session" in record:
            _session(around, node, "bird", record["session"], record["up"])
            return
        case "bgp":
            told = "BGPSessionDown" if record["down"] else "BGPRoutesMissing", str(record["text"])
        case "ended":
            told = "BGPSpeakerEnded", f"bird has ended with status {record['status']}, and is started again"
        case _:
            return
    around.events.tell([Tell(node, WARNING, *told, _SPEAKER, node.name)], time.time())


def _of_router(around: Surroundings, record: Mapping[str, Any]) -> None:
    """The router's end of a session, which is told at the node that has the other one."""
    address = record.get("session", "")
    for node in around.store.objects().kind(NODE) if address else ():
        if address in map(str, underlay_addresses(node)):
            _session(around, node, "the router", address, record["up"])


def _session(around: Surroundings, node: Object, who: str, address: str, up: bool) -> None:
    """A session that was up is over, or is up again."""
    if up:
        told = NORMAL, "BGPSessionUp", f"{who} has its session with {address} again"
    else:
        told = WARNING, "BGPSessionDown", f"{who} has lost its session with {address}"
    around.events.tell([Tell(node, *told, _SPEAKER, node.name)], time.time())
