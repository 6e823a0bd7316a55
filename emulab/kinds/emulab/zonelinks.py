"""What a Cluster says of the ways between its zones: `network.links`, for nodes that are far from each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from emulab.model.checks import Check, Problems, mapping, pattern, sequence, show, wrong

_PREFIX = "zone/"
_zone = pattern(r"zone/[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", "a zone, such as zone/zone-a", 68)


class ZoneLink(NamedTuple):
    """The way between two zones, which is the same there and back. Times are nanoseconds, each way."""

    one: str
    other: str
    delay: int
    jitter: int
    rate: int  # bits a second that a node may send there; 0: as many as there are
    loss: float = 0  # the share of packets, of 1, each way


def _checked(what: str) -> Check:
    """A time, a rate or a share, as options of faults are written."""

    def check(value: Any) -> Problems:
        try:
            _number(what, value)
        except ValueError as error:
            return wrong(f"{show(value)} is {error}")
        return ()

    return check


def _number(what: str, value: Any) -> float:
    """Nanoseconds, bits a second, or a percentage. Raises ValueError."""
    from emulab.kinds.faults import options  # here: few Clusters have links

    read = {"time": options.time_or_none, "rate": options.rate, "share": options.percent}[what]
    return float(read(value))


def _two(link: dict[str, Any]) -> Problems:
    if link["from"] == link["to"]:
        return wrong(f"{link['to']} is where the link comes from: nodes of one zone are close", "to")
    return ()


def _does_something(link: dict[str, Any]) -> Problems:
    delay, jitter = (_number("time", link.get(field, "0")) for field in ("delay", "jitter"))
    if jitter and not delay:
        return wrong(
            "is how much longer or shorter delay may be, and there is none: say delay, too", "jitter"
        )
    if delay or "rate" in link or "loss" in link:
        return ()
    return wrong("changes nothing without delay, rate or loss: say one of them")


def _each_pair_once(links: list[Any]) -> Problems:
    pairs = [frozenset((link["from"], link["to"])) for link in links]
    for index, pair in enumerate(pairs):
        if pair in pairs[:index]:
            return wrong("is a link between two zones that have one already", index)
    return ()


zone_links = sequence(
    mapping(
        {
            "from": _zone,
            "to": _zone,
            "delay": _checked("time"),
            "jitter": _checked("time"),
            "rate": _checked("rate"),
            "loss": _checked("share"),
        },
        required=("from", "to"),
        rules=(_two, _does_something),
        closed=True,
    ),
    rules=(_each_pair_once,),
)


def of_nodes(links: Iterable[Mapping[str, Any]], zones: Iterable[str]) -> Problems:
    """Whether links are between zones that nodes are in."""
    there = dict.fromkeys(zone for zone in zones if zone)
    for index, link in enumerate(links):
        for field in ("from", "to"):
            if link[field].removeprefix(_PREFIX) not in there:
                known = ", ".join(f"{_PREFIX}{zone}" for zone in there) or "none at all"
                what = f"no node is in {link[field]}; there is {known}"
                return wrong(what, "network", "links", index, field)
    return ()


def links_of(network: Mapping[str, Any]) -> tuple[ZoneLink, ...]:
    """The links that a Cluster's `network` says."""
    return tuple(
        ZoneLink(
            link["from"].removeprefix(_PREFIX),
            link["to"].removeprefix(_PREFIX),
            int(_number("time", link.get("delay", "0"))),
            int(_number("time", link.get("jitter", "0"))),
            int(_number("rate", link["rate"])) if "rate" in link else 0,
            _number("share", link["loss"]) / 100 if "loss" in link else 0,
        )
        for link in network.get("links") or ()
    )
