"""The table of a node that has pods which policies are about."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Collection as Some
from typing import NamedTuple

from emulab.kinds.networking.policyview import DIRECTIONS, EGRESS, INGRESS
from emulab.model.families import IPV6, Family
from emulab.plan.policies.compiled import PORT, PolicyChain
from emulab.plan.state import Collection, Ruleset

TABLE = "network-policies"
_HOOK = "{{ type filter hook {} priority {} ; policy accept ; }}"
_BEHIND_IPVS = 110
"""Where IPVS, whose hook in `input` has priority 99, has found an endpoint, and lets what is for the node go on."""
_KNOWN = "ct state established,related accept"
_FIELD = {INGRESS: "daddr", EGRESS: "saddr"}
_SERVICES, _NODE_PORTS = "services", "node-ports"
_NEIGHBOURS = (
    "icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255 accept"
)
"""How a pod finds its node, and by a bridge the node's other pods, at all. Connection tracking doesn't look at it; what
was routed here has a lower hop limit (RFC 4861, 7.1). ARP isn't IP's matter."""

_HAIRPIN = "hairpin"
_ITSELF = {INGRESS: "itself-ingress", EGRESS: "itself-egress"}


class JudgedPod(NamedTuple):
    """A pod of a node, with what it is judged by."""

    node: str
    addresses: tuple[str, ...]
    chains: Mapping[str, PolicyChain]
    """By direction."""
    of_itself: Mapping[str, PolicyChain] = {}
    """By direction, what judges the pod when it meets itself by a Service: ClusterNetworkPolicies do."""


class NodeServices(NamedTuple):
    """What a node itself has of Services, where its proxy goes on with them after `input`: it is let through there."""

    addresses: tuple[str, ...] = ()
    """Of IPVS: `ADDRESS . PROTOCOL . PORT`."""
    node_ports: tuple[str, ...] = ()
    """Of IPVS: `PROTOCOL . PORT`, at each of the node's addresses."""
    portals: bool = False
    """Of userspace mode, to which the packets have been led by DNAT."""
    own: bool = False
    """Of ebpf mode, where what the node itself sends to Services comes by the loopback and is forwarded."""


def set_collection(name: str, elements: Some[str], family: Family) -> Collection:
    """One of the sets that rules ask."""
    ports = f" . {PORT}" if name.startswith("ports-") else ""
    field = "daddr" if ports else "saddr"
    declaration = f"typeof {family.nft} {field}{ports} ;"
    return Collection("set", declaration, dict.fromkeys(sorted(elements), ""))


def node_table(
    pods: Sequence[JudgedPod],
    sets: Mapping[str, Collection],
    family: Family,
    services: NodeServices,
) -> Ruleset:
    """The table of a node with these pods."""
    ip = family.nft
    judge = {direction: f"{ip} {_FIELD[direction]} vmap @{direction}" for direction in DIRECTIONS}
    hairpins = any(pod.of_itself for pod in pods)
    itself = f"goto {_HAIRPIN}" if hairpins else "accept"
    neighbours = (_NEIGHBOURS,) if family is IPV6 else ()
    both = (_KNOWN, *neighbours, f"{ip} saddr . {ip} daddr @self {itself}", judge[EGRESS], judge[INGRESS])
    judging = (one for pod in pods for which in (pod.chains, pod.of_itself) for one in which.values())
    used = {chain.name: chain for first in judging for chain in first.all}
    chains = {name: used[name].rules for name in sorted(used)}
    leads = {direction: _leads(pods, lambda pod: pod.chains, direction) for direction in DIRECTIONS}
    if hairpins:
        leads |= {_ITSELF[one]: _leads(pods, lambda pod: pod.of_itself, one) for one in DIRECTIONS}
        asked_then = (f"{ip} {_FIELD[one]} vmap @{_ITSELF[one]}" for one in (EGRESS, INGRESS))
        chains[_HAIRPIN] = ("", *asked_then, "accept")
    collections = {
        name: Collection("map", f"typeof {ip} {_FIELD[name.removeprefix('itself-')]} : verdict ;", elements)
        for name, elements in leads.items()
    }
    own = sorted({address for pod in pods for address in pod.addresses})
    collections["self"] = Collection(
        "set", f"typeof {ip} saddr . {ip} daddr ;", {f"{a} . {a}": "" for a in own}
    )
    asked = frozenset[str]().union(*(chain.sets for chain in used.values()))
    collections |= {name: sets[name] for name in sorted(asked)}
    passing: tuple[str, ...] = neighbours
    if services.addresses:  # IPVS has yet to find an endpoint, and sends it on by way of `output`
        elements = dict.fromkeys(services.addresses, "")
        collections[_SERVICES] = Collection("set", f"typeof {ip} daddr . {PORT} ;", elements)
        passing += (f"{ip} daddr . {PORT} @{_SERVICES} accept",)
    if services.node_ports:
        elements = dict.fromkeys(services.node_ports, "")
        collections[_NODE_PORTS] = Collection("set", f"typeof {PORT} ;", elements)
        passing += (f"fib daddr type local {PORT} @{_NODE_PORTS} accept",)
    if services.portals:  # the node's proxy connects to an endpoint by itself
        passing += ("ct status dnat accept",)
    from_node = ('iifname "lo" accept',) if services.own else ()
    chains |= {
        "forward": (_HOOK.format("forward", 0), *from_node, *both),
        "input": (_HOOK.format("input", 0), _KNOWN, *passing, judge[EGRESS]),
        "output": (_HOOK.format("output", 0), "fib saddr type local accept", *both),
    }
    if services.addresses or services.node_ports:
        hook, asked_for = _HOOK.format("input", _BEHIND_IPVS), _asked_for(services, ip)
        chains["input-behind-ipvs"] = (hook, _KNOWN, *(f"{asked} {judge[EGRESS]}" for asked in asked_for))
    return Ruleset(ip, TABLE, chains, collections)


def _asked_for(services: NodeServices, ip: str) -> Iterator[str]:
    """What `input` let pass for IPVS, as it was before that translated it: the rest has been judged there."""
    protocols, port = "meta l4proto { tcp, udp, sctp }", "meta l4proto . ct original proto-dst"
    if services.addresses:
        yield f"{protocols} ct original {ip} daddr . {port} @{_SERVICES}"
    if services.node_ports:
        yield f"{protocols} {port} @{_NODE_PORTS}"


def _leads(
    pods: Sequence[JudgedPod], which: Callable[[JudgedPod], Mapping[str, PolicyChain]], direction: str
) -> Mapping[str, str]:
    return {
        address: f"jump {which(pod)[direction].name}"
        for pod in pods
        if direction in which(pod)
        for address in pod.addresses
    }
