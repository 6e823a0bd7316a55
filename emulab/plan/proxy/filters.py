"""nftables rules that the modes share: traffic that nobody serves, and loadBalancerSourceRanges. Pure.

    prerouting / output         firewall-check: what a balancer's address doesn't take from this source is dropped
    input / forward / output    no-endpoint-check: what nobody serves is refused, or dropped by a Local policy

The checks of new connections come right before their destination is translated, those of what the node itself sends
right after: its traffic to a Local Service's external address finds an endpoint elsewhere, as in iptables mode.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import collapse_addresses, ip_network

from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.addresses import IPNetwork
from emulab.model.families import Family
from emulab.plan.proxy.intents import Intent
from emulab.plan.proxy.meanings import drops, rejects, shuts_out
from emulab.plan.state import Collection

TABLE = "kube-proxy"
PORT = "meta l4proto . th dport"

ChainTexts = dict[str, tuple[str, ...]]
Elements = dict[str, str]


class RuleWords:
    """What is said differently in rules of another family and of another cluster."""

    def __init__(self, cluster: Cluster, family: Family) -> None:
        self.family = family
        self.ip = family.nft
        self.source, self.destination = f"{self.ip} saddr", f"{self.ip} daddr"
        self.pods = as_set(cluster.pods_of(family))
        """The pods' networks as an anonymous set."""
        self.service = f"{self.destination} . {PORT}"
        self.client = f"{self.service} . {self.source}"
        self.local_destination = (
            f"fib daddr type local {self.destination} != {_plain(family.loopback_network)}"
        )
        """Node ports are open on the node's addresses, but not on loopback (--nodeport-addresses in this mode)."""


def as_set(networks: Iterable[IPNetwork]) -> str:
    """Networks as an anonymous set."""
    return "{ " + ", ".join(map(str, networks)) + " }"


def _plain(network: IPNetwork) -> str:
    """A network as nft lists it: without the length where it is one address."""
    return str(network[0]) if network.num_addresses == 1 else str(network)


class FilterCollections:
    """The sets and maps that the checks look into, under construction."""

    def __init__(self, words: RuleWords) -> None:
        self._words = words
        self._services: Elements = {}
        self._node_ports: Elements = {}
        self._firewalled: Elements = {}
        self._allowed: Elements = {}

    def add(self, intent: Intent) -> None:
        """Adds the checks of one Service port."""
        service = f"{intent.protocol} . {intent.port.port}"
        if intent.internal_verdict:
            keys = [f"{a} . {service}" for a in intent.cluster_ips]
            self._services.update(dict.fromkeys(keys, _verdict(intent.internal_verdict)))
        if intent.external_verdict:
            keys = [f"{a} . {service}" for a in intent.outside_ips]
            self._services.update(dict.fromkeys(keys, _verdict(intent.external_verdict)))
            if intent.node_port:
                self._node_ports[f"{intent.protocol} . {intent.node_port}"] = _verdict(
                    intent.external_verdict
                )
        for address in intent.balancer_ips:
            if intent.source_ranges:
                self._firewall(intent, f"{address} . {service}")

    def _firewall(self, intent: Intent, key: str) -> None:
        self._firewalled[key] = ""
        for network in intent.source_ranges:
            self._allowed[f"{key} . {network}"] = ""

    def collections(self) -> dict[str, Collection]:
        """The sets and maps by name, with their elements."""
        service = self._words.service
        interval = f"typeof {self._words.client} ; flags interval ;"
        return {
            "no-endpoint-services": Collection("map", f"typeof {service} : verdict ;", self._services),
            "no-endpoint-nodeports": Collection("map", f"typeof {PORT} : verdict ;", self._node_ports),
            "firewalled": Collection("set", f"typeof {service} ;", self._firewalled),
            "firewall-allowed": Collection("set", interval, merged(self._allowed)),
        }


def filter_chains(words: RuleWords, after: Sequence[str] = ()) -> ChainTexts:
    """The chains of the checks; `after` are a mode's own rules for what is forwarded or sent, behind these."""
    # kube-proxy's priorities: checks right before the destination is translated, or right after.
    early, late = "priority -110 ; policy accept ;", "priority -90 ; policy accept ;"
    check, firewall = "ct state new jump no-endpoint-check", "ct state new jump firewall-check"
    return {
        "refuse": ("", rejects("meta l4proto tcp reject with tcp reset"), rejects("reject")),
        "firewall-check": (
            "",
            shuts_out(f"{words.service} @firewalled {words.client} != @firewall-allowed drop"),
        ),
        "no-endpoint-check": (
            "",
            drops(f"{words.service} vmap @no-endpoint-services"),
            drops(f"{words.local_destination} {PORT} vmap @no-endpoint-nodeports"),
        ),
        "filter-prerouting": (f"{{ type filter hook prerouting {early} }}", firewall),
        "filter-input": (f"{{ type filter hook input {early} }}", check),
        "filter-forward": (f"{{ type filter hook forward {early} }}", check, *after),
        "filter-output": (f"{{ type filter hook output {early} }}", firewall),
        "filter-output-after-dnat": (f"{{ type filter hook output {late} }}", check, *after),
    }


def _verdict(word: str) -> str:
    """The verdict for traffic that nobody serves."""
    return "goto refuse" if word == "reject" else word


def merged(allowed: Elements) -> Elements:
    """Elements without ranges that lie inside others of the same key: an interval set refuses what overlaps."""
    ranges: dict[str, list[str]] = {}
    for element in allowed:
        key, _, network = element.rpartition(" . ")
        ranges.setdefault(key, []).append(network)
    return {
        f"{key} . {network}": ""
        for key, networks in ranges.items()
        for network in collapse_addresses(ip_network(n) for n in networks)  # type: ignore[type-var]
    }
