"""Which of a balancer's nodes is active, in its object's status and in Events. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emulab.cluster.balancerevents import COMPONENT, Status
from emulab.model.collection import NORMAL, WARNING, Tell
from emulab.model.objects import Object

ACTIVE = "active"
_REASONS = {
    ACTIVE: (NORMAL, "NodeActive"),
    "standby": (NORMAL, "NodeStandby"),
    "fault": (WARNING, "NodeFault"),
}
_UNKNOWN = (WARNING, "NodeUnknown")


def node_names(o: Object) -> Sequence[str]:
    """The places of a balancer's nodes; none of one that is at one place."""
    return [str(one["name"]) for one in o.status.get("replicas") or ()]


def is_active(o: Object, place: str) -> bool:
    """Whether what a balancer tells at a place counts: it has one place, or is active there."""
    nodes = o.status.get("replicas") or ()
    return not nodes or any(one["name"] == place and one.get("state") == ACTIVE for one in nodes)


def with_state(status: Status, place: str, state: str) -> Status:
    """The status after the news of a node."""
    nodes = [{**one, "state": state} if one["name"] == place else one for one in status.get("replicas") or ()]
    return {**status, "replicas": nodes}


def with_frontends(status: Status, frontends: Mapping[str, Any]) -> Status:
    """The status with what a node that has become active thinks of the backends: it has looked at them all along."""
    rest = {name: value for name, value in status.items() if name != "unhealthyBackends"}
    lacking = []
    for key, frontend in frontends.items():
        for name, target in frontend["targets"].items():
            if not target["healthy"]:
                host = f"[{target['address']}]" if ":" in target["address"] else target["address"]
                lacks = {"name": name, "check": (target.get("check") or {}).get("word", "")}
                lacking.append({"frontend": key, "address": f"{host}:{target['port']}", **lacks})
    return {**rest, "unhealthyBackends": lacking} if lacking else rest


def state_event(o: Object, place: str, state: str, why: str) -> Tell:
    """What is told of a node's new state."""
    type_, reason = _REASONS.get(state, _UNKNOWN)
    return Tell(o, type_, reason, f"{place} is {state}: {why}", COMPONENT)
