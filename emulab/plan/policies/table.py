"""The table of a node that has pods which are isolated."""

from __future__ import annotations

from collections.abc import Collection as Some
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from emulab.kinds.networking.policyview import DIRECTIONS, EGRESS, INGRESS
from emulab.model.families import IPV6, Family
from emulab.plan.policies.compiled import PORT, PolicyChain
from emulab.plan.state import Collection, Ruleset

TABLE = "network-policies"
_HOOK = "{{ type filter hook {} priority 0 ; policy accept ; }}"
_KNOWN = "ct state established,related accept"
_FIELD = {INGRESS: "daddr", EGRESS: "saddr"}
_SERVICES = "services"
_NEIGHBOURS = "icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept"
"""How a pod finds its node at all, which connection tracking doesn't look at. ARP isn't IP's matter."""


class IsolatedPod(NamedTuple):
    """A pod of a node, with what it is isolated by."""

    node: str
    addresses: tuple[str, ...]
    chains: Mapping[str, PolicyChain]
    """By direction."""


def set_collection(name: str, elements: Some[str], family: Family) -> Collection:
    """One of the sets that rules ask."""
    ports = f" . {PORT}" if name.startswith("ports-") else ""
    field = "daddr" if ports else "saddr"
    declaration = f"typeof {family.nft} {field}{ports} ;"
    return Collection("set", declaration, dict.fromkeys(sorted(elements), ""))


def node_table(
    pods: Sequence[IsolatedPod],
    sets: Mapping[str, Collection],
    family: Family,
    services: Sequence[str] | None,
) -> Ruleset:
    """The table of a node with these pods. `services`: where IPVS is what they are served by."""
    ip = family.nft
    judge = {direction: f"{ip} {_FIELD[direction]} vmap @{direction}" for direction in DIRECTIONS}
    both = (_KNOWN, f"{ip} saddr . {ip} daddr @self accept", judge[EGRESS], judge[INGRESS])
    used = {chain.name: chain for pod in pods for chain in pod.chains.values()}
    chains = {name: used[name].rules for name in sorted(used)}
    collections = {
        direction: Collection("map", f"typeof {ip} {_FIELD[direction]} : verdict ;", _leads(pods, direction))
        for direction in DIRECTIONS
    }
    own = sorted({address for pod in pods for address in pod.addresses})
    collections["self"] = Collection(
        "set", f"typeof {ip} saddr . {ip} daddr ;", {f"{a} . {a}": "" for a in own}
    )
    asked = frozenset[str]().union(*(chain.sets for chain in used.values()))
    collections |= {name: sets[name] for name in sorted(asked)}
    passing: tuple[str, ...] = (_NEIGHBOURS,) if family is IPV6 else ()
    if services is not None:  # IPVS has yet to find an endpoint, and sends it on by way of `output`
        collections[_SERVICES] = Collection("set", f"typeof {ip} daddr ;", dict.fromkeys(services, ""))
        passing += (f"{ip} daddr @{_SERVICES} accept",)
    chains |= {
        "forward": (_HOOK.format("forward"), *both),
        "input": (_HOOK.format("input"), _KNOWN, *passing, judge[EGRESS]),
        "output": (_HOOK.format("output"), "fib saddr type local accept", *both),
    }
    return Ruleset(ip, TABLE, chains, collections)


def _leads(pods: Sequence[IsolatedPod], direction: str) -> Mapping[str, str]:
    return {
        address: f"jump {pod.chains[direction].name}"
        for pod in pods
        if direction in pod.chains
        for address in pod.addresses
    }
