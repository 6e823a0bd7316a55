"""What a node drops of what its pods send or of what comes to it, before anything is translated or after. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.faults.effects import DNS, HAIRPIN, NEW, OLD, SECOND, FewPorts, Filtered
from emulab.model.families import Family, family_of, of_family
from emulab.plan.state import Collection, Place, Rules, Ruleset

TABLE = "faults"
_PODS = "pods"
_FIRST_PORT = 50000
_OURS = "0x20000000"  # of a connection's mark: it began while old ones were lost

_CHAINS = {
    "before-tracking": "{ type filter hook prerouting priority -310 ; policy accept ; }",
    "prerouting": "{ type filter hook prerouting priority -150 ; policy accept ; }",  # before kube-proxy's DNAT
    "forward": "{ type filter hook forward priority 0 ; policy accept ; }",
    "postrouting": "{ type nat hook postrouting priority 90 ; policy accept ; }",  # before kube-proxy's masquerading
}


class _Part(NamedTuple):
    """Rules of one chain, and what they look into."""

    chain: str
    rules: tuple[str, ...]
    collections: Mapping[str, Collection] = {}


class _Around(NamedTuple):
    """What a node's rules of a family are made from."""

    family: Family
    own: tuple[str, ...]  # the addresses of its pods, wherever in the cluster's ranges they are
    all_pods: tuple[str, ...]  # the ranges of the cluster

    @property
    def from_pods(self) -> str:
        """How a rule asks whether a pod of the node has sent it."""
        return f"{self.family.nft} saddr @{_PODS}"

    @property
    def pods(self) -> Mapping[str, Collection]:
        """What rules look into that ask so."""
        return {_PODS: Collection("set", f"typeof {self.family.nft} saddr ;", dict.fromkeys(self.own, ""))}


def _questions(effect: Filtered, around: _Around) -> _Part:
    rule = f"{around.from_pods} meta l4proto {{ tcp, udp }} th dport 53 counter drop"
    return _Part("prerouting", (rule,), around.pods)


def _beyond(effect: Filtered, around: _Around) -> _Part:
    """The kernel's own limit holds for the machine as a whole, so a rule counts the connections that it has."""
    rule = f"ct state new ct count over {effect.beyond} counter drop"
    return _Part("prerouting", (rule,))


def _second(effect: Filtered, around: _Around) -> _Part:
    """Of packets from one socket that come within 20 ms, all but the first."""
    key = f"{around.family.nft} saddr . udp sport"
    known = Collection("set", f"typeof {key} ; size 65535 ; flags dynamic,timeout ; timeout 20ms ;", {})
    asked = f"{around.from_pods} udp dport 53"
    rules = (
        f"{asked} {key} @asked counter drop",
        f"{asked} add @asked {{ {key} }}",
    )
    return _Part("before-tracking", rules, {"asked": known, **around.pods})


def _hairpins(effect: Filtered, around: _Around) -> _Part:
    key = f"{around.family.nft} saddr . {around.family.nft} daddr"
    pods = Collection("set", f"typeof {key} ;", {f"{a} . {a}": "" for a in around.own})
    return _Part("forward", (f"{key} @hairpins counter drop",), {"hairpins": pods})


def _old(effect: Filtered, around: _Around) -> _Part:
    new = f"ct state new ct mark set ct mark or {_OURS}"
    lost = f"meta l4proto tcp ct state established,related ct mark & {_OURS} != {_OURS} counter drop"
    return _Part("prerouting", (new, lost))


_WHAT: Mapping[str, Callable[[Filtered, _Around], _Part]] = {
    DNS: _questions,
    NEW: _beyond,
    SECOND: _second,
    HAIRPIN: _hairpins,
    OLD: _old,
}


def _few_ports(effect: FewPorts, around: _Around) -> _Part:
    outside = f'oifname "eth0" {around.family.nft} daddr != {{ {", ".join(around.all_pods)} }}'
    last = _FIRST_PORT + effect.ports - 1
    rule = f"{around.from_pods} {outside} meta l4proto {{ tcp, udp }} masquerade to :{_FIRST_PORT}-{last}"
    return _Part("postrouting", (rule,), around.pods)


def filtered(
    effects: Sequence[Filtered | FewPorts],
    nodes: Iterable[str],
    cluster: Cluster,
    places: Mapping[str, Place],
) -> Iterator[tuple[tuple[str, str], Rules]]:
    """Tables of nftables, of each family one, by namespace."""
    for name in sorted({effect.node for effect in effects}.intersection(nodes)):
        for family in cluster.families:
            around = _around(name, family, cluster, places)
            parts = [
                _few_ports(e, around) if isinstance(e, FewPorts) else _WHAT[e.what](e, around)
                for e in effects
                if e.node == name
            ]
            chains = {
                chain: (head, *(rule for part in parts if part.chain == chain for rule in part.rules))
                for chain, head in _CHAINS.items()
                if any(part.chain == chain for part in parts)
            }
            looked_into = {n: c for part in parts for n, c in part.collections.items()}
            table = Ruleset(family.nft, TABLE, chains, looked_into)
            yield (name, f"{family.nft} {TABLE}"), table


def _around(node: str, family: Family, cluster: Cluster, places: Mapping[str, Place]) -> _Around:
    pods = (place for place in places.values() if place.node == node and place.namespace != node)
    own = tuple(str(a) for place in pods for a in place.addresses if family_of(a) is family)
    ranges = tuple(str(c) for c in of_family(cluster.pod_cidrs, family))
    return _Around(family, own, ranges)
