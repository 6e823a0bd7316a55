"""kube-proxy's nftables mode in the flat form: maps for addresses and endpoints, a few chains for all Services.

A packet's way (the names of the hooks are the kernel's):

    prerouting / output            firewall-check: loadBalancerSourceRanges
    prerouting / output (dstnat)   services, nodeports: a set for each chain below says what goes there
    that chain                     marks what must be masqueraded, then picks one of N endpoints by `numgen random`
                                   and translates by a map, `endpoints-P-N` for protocol P
    input / forward / output       no-endpoint-check: what nobody serves is refused, or dropped by a Local policy;
                                   cluster-ips-check: ports of cluster IPs that no Service has are refused
    postrouting (srcnat)           masquerades what is marked, and hairpins: a pod that reached itself

The chains, P being the protocol, N and M numbers of endpoints:

    cluster-P-N     traffic to cluster IPs
    external-P-N    traffic to external addresses, policy Cluster
    local-P-N-M     the same, policy Local: N endpoints of this node; pods and the node itself have all M
    nodeport-…      likewise for node ports, whose maps have no address in their keys

The set with a chain's name holds what goes to that chain. A verdict map could hold all of them and would be one
look-up instead of one a size, but the kernel checks every element of such a map for loops whenever one changes
(nft_table_validate, 1.5 ms at 10,000): here a change costs the same whatever the number of Services.

kube-proxy's own tables have a chain for each Service and endpoint. This form behaves the same and loads in a tenth of
the time; Services with session affinity alone have chains of their own here (`affinity`), as they need a set of
clients for each endpoint. The checks are in `filters`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from functools import cache
from typing import NamedTuple

from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.families import Family
from emulab.plan.draft import Draft
from emulab.plan.proxy import affinity, filters
from emulab.plan.proxy.filters import PORT, TABLE, ChainTexts, Elements, RuleWords, as_set
from emulab.plan.proxy.intents import Intent, ProxiedEndpoint
from emulab.plan.proxy.meanings import knows_no_service, masquerades, translates
from emulab.plan.proxy.modes.mode import Mode, Site
from emulab.plan.proxy.tables import Part, Table
from emulab.plan.state import Collection, Ruleset

MARK = "0x4000"  # kube-proxy's --iptables-masquerade-bit 14
SET_MARK = f"meta mark set meta mark or {MARK}"
COUNTED = frozenset({"cluster-ips", "hairpin-connections"})
"""Sets whose elements several Service ports may need; what is elsewhere is one's own."""
ENTRANCES = {"services": 1, "nodeports": 1}
"""Chains that lead to others, and behind how many of their rules those of the Service ports stand."""


class TableSum:
    """The table `kube-proxy` of a family."""

    def __init__(self, cluster: Cluster, family: Family) -> None:
        self._words = RuleWords(cluster, family)
        chains, collections = _base_chains(cluster, self._words), _base_collections(self._words)
        self._table = Table(family.nft, TABLE, chains, collections, COUNTED, ENTRANCES)

    def exchange(self, gone: Sequence[Intent], come: Sequence[Intent]) -> bool:
        """See `Sum.exchange`."""
        return self._table.exchange([self._part(one) for one in gone], [self._part(one) for one in come])

    def copy(self) -> TableSum:
        """See `Sum.copy`."""
        other = copy(self)
        other._table = self._table.copy()
        return other

    def ruleset(self) -> Ruleset:
        """The table as it is now."""
        return self._table.ruleset()

    def _part(self, intent: Intent) -> Part:
        """What one Service port needs."""
        return _Part(self._words).of(intent)


def rules(intents: Iterable[Intent], cluster: Cluster, family: Family) -> Ruleset:
    """The table `kube-proxy` of a family on a node with these intents."""
    made = TableSum(cluster, family)
    made.exchange((), list(intents))
    return made.ruleset()


def masquerade_chain(*others: str) -> tuple[str, ...]:
    """The chain that masquerades what is marked, and hairpins. `others`: rules by which all else leaves it."""
    return (
        "{ type nat hook postrouting priority 100 ; policy accept ; }",
        *others,
        "meta mark set meta mark & 0xffffbfff",
        masquerades("masquerade fully-random"),
    )


class EndpointGroup(NamedTuple):
    """What a map is for: endpoints of one protocol, picked from by the same number.

    One protocol, because libnftables 1.0.6 can't read a map back from the kernel whose data is an address and
    a port of any protocol (`th dport`), and so refuses every rule that is added to such a map later.
    """

    protocol: str
    size: int

    def __str__(self) -> str:
        return f"{self.protocol}-{self.size}"


class _Part:
    """One Service port's part of a table under construction."""

    def __init__(self, words: RuleWords) -> None:
        self._words = words
        self._chains: ChainTexts = {}
        self._elements: dict[str, Elements] = {}
        self._declared: dict[str, Collection] = {}
        self._entries: dict[str, set[str]] = {}

    def of(self, intent: Intent) -> Part:
        """All that a Service port has in the table."""
        if intent.internal_verdict or intent.external_verdict or intent.source_ranges:
            checks = filters.FilterCollections(self._words)
            checks.add(intent)
            self._elements |= {n: dict(c.elements) for n, c in checks.collections().items() if c.elements}
        if intent.affinity and intent.reachable:
            chains, sets = affinity.affinity_chains(intent, self._words)
            self._chains |= chains
            self._declared |= sets
        for address in (backend.address for backend in intent.reachable):
            text = str(address)
            self._put("hairpin-connections", f"{text} . {text}", "")
        for address in intent.cluster_ips:
            self._put("cluster-ips", str(address), "")
            self._internal(intent, str(address))
        for address in intent.outside_ips:
            self._external(intent, str(address))
        if intent.node_port:
            self._external(intent, "")
        return Part(self._chains, self._elements, self._declared, self._entries)

    def _put(self, collection: str, key: str, value: str) -> None:
        self._elements.setdefault(collection, {})[key] = value

    def _internal(self, intent: Intent, address: str) -> None:
        if not intent.internal:
            return
        if intent.affinity:
            self._enter_own(intent, address, affinity.entry("cluster", intent))
            return
        group = self._endpoints(
            "endpoints", f"{address} . {intent.port.port}", intent.protocol, intent.internal
        )
        self._enter(intent, address, f"cluster-{group}")
        outside = f"{self._words.source} != {self._words.pods} {SET_MARK}"
        self._chains[f"cluster-{group}"] = ("", outside, self._pick("endpoints", group))

    def _enter(self, intent: Intent, address: str, chain: str) -> None:
        """Leads traffic to an address, or with "" to a node port, to a chain that other traffic goes to, too."""
        protocol = intent.protocol
        destination = self._words.destination
        if address:
            entrance, key = "services", f"{destination} . {protocol} dport"
            element = f"{address} . {intent.port.port}"
        else:
            entrance, key, element = "nodeports", f"{protocol} dport", str(intent.node_port)
        self._declared[chain] = Collection("set", f"typeof {key} ;", {})
        self._put(chain, element, "")
        self._entries.setdefault(entrance, set()).add(f"{key} @{chain} goto {chain}")

    def _enter_own(self, intent: Intent, address: str, chain: str) -> None:
        """Leads traffic to an address, or with "" to a node port, to a chain that no other traffic has."""
        if address:
            self._put(
                "affinity-services", f"{address} . {intent.protocol} . {intent.port.port}", f"goto {chain}"
            )
        else:
            self._put("affinity-nodeports", f"{intent.protocol} . {intent.node_port}", f"goto {chain}")

    def _external(self, intent: Intent, address: str) -> None:
        """An external address, or with address "" a node port."""
        if not intent.external and not (intent.external_local and intent.cluster):
            return
        if intent.affinity:
            self._enter_own(
                intent, address, affinity.entry("local" if intent.external_local else "external", intent)
            )
        elif intent.external_local:
            self._enter(intent, address, self._local(intent, address))
        else:
            self._enter(intent, address, self._everywhere(intent, address))

    def _everywhere(self, intent: Intent, address: str) -> str:
        """The chain for external traffic that may go to any endpoint, maybe on another node."""
        use, prefix, name = _names(intent, address)
        group = self._endpoints(f"{prefix}endpoints", name, intent.protocol, intent.external)
        chain = f"{use or 'external'}-{group}"
        self._chains[chain] = ("", SET_MARK, self._pick(f"{prefix}endpoints", group))
        return chain

    def _local(self, intent: Intent, address: str) -> str:
        """The chain for external traffic that stays on its node and keeps its source.

        What pods and the node itself send there is short-cut: it goes to any endpoint, as if it had gone out to the
        balancer and come in again.
        """
        use, prefix, name = _names(intent, address)
        shortcut = self._endpoints(f"{prefix}shortcut", name, intent.protocol, intent.cluster)
        lines: list[str] = []
        if intent.cluster:
            cut = f"{prefix}shortcut-{shortcut}"
            self._chains[cut] = ("", self._pick(f"{prefix}shortcut", shortcut))
            lines += [
                f"{self._words.source} {self._words.pods} goto {cut}",
                f"fib saddr type local {SET_MARK}",
                f"fib saddr type local goto {cut}",
            ]
        group = self._endpoints(f"{prefix}endpoints", name, intent.protocol, intent.local)
        if intent.local:
            lines.append(self._pick(f"{prefix}endpoints", group))
        chain = f"{f'{use}-' if use else ''}local-{group}-{shortcut.size}"
        self._chains[chain] = ("", *lines)
        return chain

    def _endpoints(
        self, kind: str, key: str, protocol: str, backends: Sequence[ProxiedEndpoint]
    ) -> EndpointGroup:
        """Puts endpoints into the map for as many; the choice among several is the last part of their keys."""
        group = EndpointGroup(protocol, len(backends))
        if not backends:
            return group
        name = f"{kind}-{group}"
        self._declared[name] = _map(name, group, self._words.ip)
        if len(backends) == 1:
            self._put(name, key, f"{backends[0].address} . {backends[0].port}")
        for i, b in enumerate(backends if len(backends) > 1 else ()):
            self._put(name, f"{key} . {i}", f"{b.address} . {b.port}")
        return group

    def _pick(self, kind: str, group: EndpointGroup) -> str:
        name, ip = f"{kind}-{group}", self._words.ip
        return translates(f"dnat {ip} to {_map_key(name, group, ip)}{_choice(group)} map @{name}")


@cache
def _map(name: str, group: EndpointGroup, ip: str) -> Collection:
    """The declaration of a map of endpoints."""
    target = f"{ip} daddr . {group.protocol} dport"
    return Collection("map", f"typeof {_map_key(name, group, ip)}{_choice(group)} : {target} ;", {})


def _base_collections(words: RuleWords) -> dict[str, Collection]:
    """The maps and sets that are there whatever the Services."""
    found = filters.FilterCollections(words).collections()
    for name, key in (("affinity-services", words.service), ("affinity-nodeports", PORT)):
        found[name] = Collection("map", f"typeof {key} : verdict ;", {})
    found["cluster-ips"] = Collection("set", f"typeof {words.destination} ;", {})
    found["hairpin-connections"] = Collection("set", f"typeof {words.source} . {words.destination} ;", {})
    return found


def _names(intent: Intent, address: str) -> tuple[str, str, str]:
    """How chains and maps for an address, or with "" for a node port, are called, and the key in the maps."""
    if address:
        return "", "", f"{address} . {intent.port.port}"
    return "nodeport", "nodeport-", str(intent.node_port)


def _choice(group: EndpointGroup) -> str:
    return f" . numgen random mod {group.size}" if group.size > 1 else ""  # there is no choice by mod 1


def _map_key(name: str, group: EndpointGroup, ip: str) -> str:
    address = "" if name.startswith("nodeport-") else f"{ip} daddr . "
    return f"{address}{group.protocol} dport"


def _base_chains(cluster: Cluster, words: RuleWords) -> ChainTexts:
    unmarked = f"meta mark & {MARK} != {MARK}"
    return {
        **filters.filter_chains(words, ["ct state new jump cluster-ips-check"]),
        "cluster-ips-check": (
            "",
            f"{words.destination} @cluster-ips goto refuse",
            knows_no_service(f"{words.destination} {as_set(cluster.services_of(words.family))} drop"),
        ),
        "services": (
            "",
            f"{words.service} vmap @affinity-services",
            f"{words.local_destination} goto nodeports",
        ),
        "nodeports": ("", f"{PORT} vmap @affinity-nodeports"),
        # Twice: a change may come between two look-ups of one packet, which then finds its Service in neither set.
        "nat-prerouting": (
            "{ type nat hook prerouting priority -100 ; policy accept ; }",
            *["jump services"] * 2,
        ),
        "nat-output": ("{ type nat hook output priority -100 ; policy accept ; }", *["jump services"] * 2),
        # A node that asks one of its own programs, and no Service, is no hairpin.
        "nat-postrouting": masquerade_chain(
            f"{unmarked} ct status ! dnat return",
            f"{unmarked} {words.source} . {words.destination} != @hairpin-connections return",
        ),
    }


def _plan(draft: Draft, site: Site, _: Cluster, sums: Mapping[Family, TableSum]) -> None:
    for made in sums.values():
        draft.rules(site.name, made.ruleset())


MODE = Mode(
    name="nftables",
    sum=TableSum,
    plan=_plan,
    shows="nft list table {ip} kube-proxy",
    needs=("nftables",),
    differences=frozenset({"ports that no Service has", "addresses that no Service has"}),
)
