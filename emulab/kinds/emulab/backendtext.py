"""What `describe` says of a balancer's backends, by what the balancer itself says of them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from emulab.kinds.cells import NONE, Raw, socket_name
from emulab.kinds.emulab.balancing import OWN_ENGINE
from emulab.kinds.fields import Fields, LinesBelow, aligned

STATUS = "ServerStatus"
"""The kind of what stands beside a LoadBalancer that is described: the counters of its server."""


TRACKED = "tracked"
"""A field of a target's counters: the connections to it that the balancer's kernel tracks."""


def with_tracked(
    counters: Mapping[str, Any], ways: Iterable[tuple[str, str, int, str, int]]
) -> Mapping[str, Any]:
    """Counters with the connections that are tracked: of each its protocol, the address and port that it came to, and
    those of who answers."""
    number = Counter(ways)

    def told(key: str, frontend: Mapping[str, Any]) -> Mapping[str, Any]:
        protocol, address, port = key.split("/")
        targets = {
            name: {**target, TRACKED: number[protocol, address, int(port), target["address"], target["port"]]}
            for name, target in frontend["targets"].items()
        }
        return {**frontend, "targets": targets}

    frontends = counters.get("frontends") or {}
    return {**counters, "frontends": {key: told(key, one) for key, one in frontends.items()}}


def counted(beside: Sequence[Raw]) -> Mapping[str, Any]:
    """The balancer's counters by frontend; none where it isn't up."""
    found = (one.get("frontends") or {} for one in beside if one.get("kind") == STATUS)
    return next(found, {})


def engine(beside: Sequence[Raw]) -> str:
    """What serves: a real program tells its name."""
    return next((str(one["engine"]) for one in beside if one.get("engine")), OWN_ENGINE)


def nodes(replicas: Sequence[Mapping[str, Any]]) -> Fields:
    """The nodes between which the address moves, and who has it."""
    rows = [[one["name"], ", ".join(one["addresses"]), str(one.get("state") or "begins")] for one in replicas]
    return [("Nodes", LinesBelow("", aligned(["Node", "Address", "State"], rows)))] if rows else []


def backends(frontends: Mapping[str, Any], forwards: bool) -> Fields:
    """A table of all backends, and what went through each frontend. Of what the kernel forwards nothing is counted but
    the connections that it tracks."""
    rows = [row for key, frontend in frontends.items() for row in _rows(key, frontend, forwards)]
    if not rows:
        return [("Backends", NONE)]
    titles = ["Frontend", "Backend", "Address", "Weight", "State", "Last check", "Open", "Total", "Errors"]
    fields: Fields = [("Backends", LinesBelow("", aligned(titles, rows)))]
    if not forwards:
        fields.append(("Connections", [_sum(key, one) for key, one in frontends.items()]))
    elif any(TRACKED in target for one in frontends.values() for target in one["targets"].values()):
        fields.append(("Connections", [f"{key}: {_tracked(one)} tracked" for key, one in frontends.items()]))
    return fields


def _rows(key: str, frontend: Mapping[str, Any], forwards: bool) -> Iterator[list[str]]:
    for name, target in frontend["targets"].items():
        state = "healthy" if target["healthy"] else "unhealthy"
        counts = [str(target[field]) for field in ("open", "total", "errors")]
        if forwards:
            counts = [str(target.get(TRACKED, "-")), "-", "-"]
        address = socket_name(target["address"], target["port"])
        state = state if target["weight"] else f"{state}, drained"
        yield [key, name, address, str(target["weight"]), state, _check(target.get("check")), *counts]


def _tracked(frontend: Mapping[str, Any]) -> int:
    return sum(target.get(TRACKED, 0) for target in frontend["targets"].values())


def _check(check: Mapping[str, Any] | None) -> str:
    if check is None:
        return NONE
    detail = f": {check['detail']}" if check["detail"] else ""
    return f"{check['word']}{detail} in {check['seconds'] * 1000:.1f}ms"


def _sum(key: str, frontend: Mapping[str, Any]) -> str:
    return (
        f"{key}: {frontend['open']} open, {frontend['total']} in all, {frontend['dropped']} refused,"
        f" {frontend['bytes_in']} bytes in, {frontend['bytes_out']} bytes out"
    )
