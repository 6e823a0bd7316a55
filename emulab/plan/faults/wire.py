"""Frames that the fabric loses: rules of the bridges that are the wire, where no place sees them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.faults.effects import BOTH, DNS, FROM, ICMP, OVERLAY, TO, LostOnWire
from emulab.plan.cni import mode_of
from emulab.plan.draft import FABRIC
from emulab.plan.links import Item, Segmentation, Veth
from emulab.plan.state import Ruleset, World

TABLE = "faults"
KEY = (FABRIC, f"bridge {TABLE}")
_CHAIN = "{ type filter hook forward priority 0 ; policy accept ; }"
_OF = 1_000_000


def lost(
    world: World, effects: Sequence[LostOnWire], cluster: Cluster, ports: Mapping[str, str]
) -> tuple[Ruleset, list[Item]]:
    """The rules of the wire, and the links that have to send what a real wire would carry.

    `ports`: by the link of a cable, who is the bridge's port in its stead.
    """
    cables = _cables(world)
    rules = tuple(rule for effect in effects for rule in _rules(effect, cables, cluster, ports))
    sized = any(effect.longer_than for effect in effects)
    ends = {(c.peer_namespace, c.peer) for own in cables.values() for c in own} if sized else set()
    return Ruleset("bridge", TABLE, {"forward": (_CHAIN, *rules)}), [
        Segmentation(*end) for end in sorted(ends)
    ]


def _cables(world: World) -> Mapping[str, Sequence[Veth]]:
    """The links between the fabric and each namespace."""
    found: dict[str, list[Veth]] = {}
    for item in world.network.items:
        if isinstance(item, Veth) and item.namespace == FABRIC:
            found.setdefault(item.peer_namespace, []).append(item)
    return found


def _rules(
    effect: LostOnWire, cables: Mapping[str, Sequence[Veth]], cluster: Cluster, ports: Mapping[str, str]
) -> Iterator[str]:
    words = [
        *([f"meta length > {effect.longer_than}"] if effect.longer_than else ()),
        *([f"numgen random mod {_OF} < {round(effect.share * _OF)}"] if effect.share < 1 else ()),
        "counter drop",
    ]
    ways = {TO: ("oifname",), FROM: ("iifname",), BOTH: ("oifname", "iifname")}[effect.direction]
    for cable in sorted(cables.get(effect.place, ()), key=lambda c: c.name):
        for way in ways:
            for what in whats(effect.what, cluster):
                port = ports.get(cable.name, cable.name)
                yield " ".join([f'{way} "{port}"', *([what] if what else ()), *words])


def whats(what: str, cluster: Cluster) -> Iterable[str]:
    """How rules say what a packet is; none where there is no such packet in this cluster."""
    if what == OVERLAY:
        return mode_of(cluster).packets()
    if what == ICMP:
        return ["meta l4proto { icmp, ipv6-icmp }"]
    if what == DNS:
        return ["meta l4proto { tcp, udp } th dport 53"]
    return [""]
