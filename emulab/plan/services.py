"""kube-proxy's nftables rules in the flat form: maps for the addresses, a few chains for all Services.

A packet's way (the names of the hooks are the kernel's):

    prerouting / output (dstnat)   services: service-ips or service-nodeports says which chain:
                                   cluster-P-N, external-P-N or nodeport-P-N for protocol P and N endpoints
    that chain                     marks what must be masqueraded, then picks one of N by `numgen random`
                                   and translates by the map endpoints-P-N (or nodeport-endpoints-P-N)
    postrouting (srcnat)           masquerades what is marked, and hairpins: a pod that reached itself

A Service without endpoints isn't in these maps but in no-endpoint-…, which filter chains before the
translation look up and refuse. kube-proxy's own tables make a chain for each Service; this form behaves
the same and loads in a tenth of the time. The rules are the same on every node.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from emulab.model.clusters import Cluster
from emulab.model.collection import Objects
from emulab.plan.endpoints import ServiceRoute, Target, service_routes
from emulab.plan.state import Collection, Ruleset

TABLE = "kube-proxy"
MARK = "0x4000"  # kube-proxy's --iptables-masquerade-bit 14
_SERVICE = "ip daddr . meta l4proto . th dport"
_PORT = "meta l4proto . th dport"

Chains = dict[str, tuple[str, ...]]
Elements = dict[str, str]


def proxy_rules(objects: Objects, cluster: Cluster) -> Ruleset:
    """The table `ip kube-proxy` of a node for the Services and EndpointSlices among `objects`."""
    maps = _Maps()
    for route in service_routes(objects):
        maps.add(route)
    chains = _base_chains(cluster)
    for group in sorted(maps.cluster):
        chains |= _choice_chains(group, cluster, maps.cluster[group][1])
    for group in sorted(maps.nodeport):
        pick = _pick(f"{group.protocol} dport", group, "nodeport-endpoints")
        chains[f"nodeport-{group}"] = ("", f"meta mark set meta mark or {MARK}", pick)
    return Ruleset("ip", TABLE, chains, maps.collections())


class _Group(NamedTuple):
    """What a chain and a map are for: Service ports of one protocol with the same number of endpoints.

    One protocol, because libnftables 1.0.6 can't read a map back from the kernel whose data is an address and
    a port of any protocol (`th dport`), and so refuses every rule that is added to such a map later.
    """

    protocol: str
    size: int

    def __str__(self) -> str:
        return f"{self.protocol}-{self.size}"


class _Maps:
    """The elements of all maps, and for each number of endpoints the elements and uses of its map."""

    def __init__(self) -> None:
        self.service_ips: Elements = {}
        self.service_nodeports: Elements = {}
        self.no_endpoint_ips: Elements = {}
        self.no_endpoint_nodeports: Elements = {}
        self.cluster_ips: Elements = {}
        self.hairpin: Elements = {}
        self.cluster: dict[_Group, tuple[Elements, set[str]]] = {}
        self.nodeport: dict[_Group, Elements] = {}

    def add(self, route: ServiceRoute) -> None:
        protocol, port = route.port.protocol.lower(), route.port.port
        targets = [t for t in route.targets if t.address.version == 4]
        group = _Group(protocol, len(targets))
        for use, addresses in (("cluster", route.cluster_ips), ("external", route.external_ips)):
            for address in addresses:
                if address.version != 4:
                    continue
                key = f"{address} . {protocol} . {port}"
                if use == "cluster":
                    self.cluster_ips[str(address)] = ""
                if not targets:
                    self.no_endpoint_ips[key] = "goto refuse"
                    continue
                self.service_ips[key] = f"goto {use}-{group}"
                elements, uses = self.cluster.setdefault(group, ({}, set()))
                uses.add(use)
                elements |= _numbered(f"{address} . {port}", targets)
        if route.node_port:
            key = f"{protocol} . {route.node_port}"
            if not targets:
                self.no_endpoint_nodeports[key] = "goto refuse"
            else:
                self.service_nodeports[key] = f"goto nodeport-{group}"
                self.nodeport.setdefault(group, {}).update(_numbered(str(route.node_port), targets))
        for t in targets:
            self.hairpin[f"{t.address} . {t.address}"] = ""

    def collections(self) -> dict[str, Collection]:
        found = {
            "service-ips": Collection("map", f"typeof {_SERVICE} : verdict ;", self.service_ips),
            "service-nodeports": Collection("map", f"typeof {_PORT} : verdict ;", self.service_nodeports),
            "no-endpoint-services": Collection("map", f"typeof {_SERVICE} : verdict ;", self.no_endpoint_ips),
            "no-endpoint-nodeports": Collection(
                "map", f"typeof {_PORT} : verdict ;", self.no_endpoint_nodeports
            ),
            "cluster-ips": Collection("set", "typeof ip daddr ;", self.cluster_ips),
            "hairpin-connections": Collection("set", "typeof ip saddr . ip daddr ;", self.hairpin),
        }
        for group, (elements, _) in sorted(self.cluster.items()):
            found[f"endpoints-{group}"] = _endpoint_map(f"ip daddr . {group.protocol} dport", group, elements)
        for group, elements in sorted(self.nodeport.items()):
            found[f"nodeport-endpoints-{group}"] = _endpoint_map(f"{group.protocol} dport", group, elements)
        return found


def _numbered(key: str, targets: Sequence[Target]) -> Elements:
    """The elements for one Service port; the choice among several is the last part of their keys."""
    if len(targets) == 1:
        return {key: f"{targets[0].address} . {targets[0].port}"}
    return {f"{key} . {i}": f"{t.address} . {t.port}" for i, t in enumerate(targets)}


def _choice(group: _Group) -> str:
    return f" . numgen random mod {group.size}" if group.size > 1 else ""  # there is no choice by mod 1


def _endpoint_map(key: str, group: _Group, elements: Elements) -> Collection:
    target = f"ip daddr . {group.protocol} dport"
    return Collection("map", f"typeof {key}{_choice(group)} : {target} ;", elements)


def _pick(key: str, group: _Group, name: str) -> str:
    return f"dnat ip to {key}{_choice(group)} map @{name}-{group}"


def _choice_chains(group: _Group, cluster: Cluster, uses: set[str]) -> Chains:
    """The chains of a group.

    Masqueraded is what reaches a cluster IP from outside the pod network, and everything that came by an
    external address, whose answer must come back through this node (kube-proxy with --cluster-cidr).
    """
    chains: Chains = {}
    pick = _pick(f"ip daddr . {group.protocol} dport", group, "endpoints")
    if "cluster" in uses:
        outside = f"ip saddr != {_pods(cluster)} meta mark set meta mark or {MARK}"
        chains[f"cluster-{group}"] = ("", outside, pick)
    if "external" in uses:
        chains[f"external-{group}"] = ("", f"meta mark set meta mark or {MARK}", pick)
    return chains


def _pods(cluster: Cluster) -> str:
    return "{ " + ", ".join(str(c) for c in cluster.pod_cidrs if c.version == 4) + " }"


def _base_chains(cluster: Cluster) -> Chains:
    services = ", ".join(str(c) for c in cluster.service_cidrs if c.version == 4)
    # kube-proxy's priority for these checks: before the destination is translated.
    early = "priority -110 ; policy accept ;"
    check = "ct state new jump no-endpoint-check"
    invalid = "ct state new jump cluster-ips-check"
    return {
        "refuse": ("", "meta l4proto tcp reject with tcp reset", "reject"),
        "no-endpoint-check": (
            "",
            f"{_SERVICE} vmap @no-endpoint-services",
            f"{_LOCAL} {_PORT} vmap @no-endpoint-nodeports",
        ),
        "cluster-ips-check": (
            "",
            "ip daddr @cluster-ips goto refuse",
            f"ip daddr {{ {services} }} drop",
        ),
        "services": (
            "",
            f"{_SERVICE} vmap @service-ips",
            f"{_LOCAL} {_PORT} vmap @service-nodeports",
        ),
        "filter-input": (f"{{ type filter hook input {early} }}", check),
        "filter-forward": (f"{{ type filter hook forward {early} }}", check, invalid),
        "filter-output": (f"{{ type filter hook output {early} }}", check),
        "filter-output-after-dnat": ("{ type filter hook output priority -90 ; policy accept ; }", invalid),
        "nat-prerouting": ("{ type nat hook prerouting priority -100 ; policy accept ; }", "jump services"),
        "nat-output": ("{ type nat hook output priority -100 ; policy accept ; }", "jump services"),
        "nat-postrouting": (
            "{ type nat hook postrouting priority 100 ; policy accept ; }",
            f"meta mark & {MARK} != {MARK} ip saddr . ip daddr != @hairpin-connections return",
            "meta mark set meta mark & 0xffffbfff",
            "masquerade fully-random",
        ),
    }


# A node port is open on the node's addresses, but not on loopback (kube-proxy's --nodeport-addresses in this mode).
_LOCAL = "fib daddr type local ip daddr != 127.0.0.0/8"
