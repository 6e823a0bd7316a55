"""kube-proxy's nftables rules in the flat form: maps for the addresses, a few chains for all Services.

A packet's way (the names of the hooks are the kernel's):

    prerouting / output (dstnat)   services: service-ips or service-nodeports says which chain:
                                   cluster-N, external-N or nodeport-N, N being the number of endpoints
    that chain                     marks what must be masqueraded, then picks one of N by `numgen random`
                                   and translates by the map endpoints-N (or nodeport-endpoints-N)
    postrouting (srcnat)           masquerades what is marked, and hairpins: a pod that reached itself

A Service without endpoints isn't in these maps but in no-endpoint-…, which filter chains before the
translation look up and refuse. kube-proxy's own tables make a chain for each Service; this form behaves
the same and loads in a tenth of the time. The rules are the same on every node.
"""

from __future__ import annotations

from emulab.model.clusters import Cluster
from emulab.model.collection import Objects
from emulab.plan.endpoints import ServiceRoute, service_routes
from emulab.plan.state import Collection, Ruleset

TABLE = "kube-proxy"
MARK = "0x4000"  # kube-proxy's --iptables-masquerade-bit 14
_SERVICE = "ip daddr . meta l4proto . th dport"
_PORT = "meta l4proto . th dport"
_CHOICE = "numgen random mod {n}"
# Only the types matter here, and `th dport` has the same one; but when libnftables 1.0.6 reads a map with it
# back from the kernel, to check a rule that is added later, it takes the two for rivals and refuses the rule.
_TARGET = "ip daddr . tcp dport"

Chains = dict[str, tuple[str, ...]]
Elements = dict[str, str]


def proxy_rules(objects: Objects, cluster: Cluster) -> Ruleset:
    """The table `ip kube-proxy` of a node for the Services and EndpointSlices among `objects`."""
    maps = _Maps()
    for route in service_routes(objects):
        maps.add(route)
    chains = _base_chains(cluster)
    for n in sorted(maps.cluster):
        chains |= _choice_chains(
            n, cluster, "cluster" in maps.cluster[n][1], "external" in maps.cluster[n][1]
        )
    for n in sorted(maps.nodeport):
        target = _pick(_PORT, n, "nodeport-endpoints")
        chains[f"nodeport-{n}"] = ("", f"meta mark set meta mark or {MARK}", target)
    return Ruleset("ip", TABLE, chains, maps.collections())


class _Maps:
    """The elements of all maps, and for each number of endpoints the elements and uses of its map."""

    def __init__(self) -> None:
        self.service_ips: Elements = {}
        self.service_nodeports: Elements = {}
        self.no_endpoint_ips: Elements = {}
        self.no_endpoint_nodeports: Elements = {}
        self.cluster_ips: Elements = {}
        self.hairpin: Elements = {}
        self.cluster: dict[int, tuple[Elements, set[str]]] = {}
        self.nodeport: dict[int, Elements] = {}

    def add(self, route: ServiceRoute) -> None:
        protocol, port = route.port.protocol.lower(), route.port.port
        targets = [t for t in route.targets if t.address.version == 4]
        n = len(targets)
        for use, addresses in (("cluster", route.cluster_ips), ("external", route.external_ips)):
            for address in addresses:
                if address.version != 4:
                    continue
                key = f"{address} . {protocol} . {port}"
                if use == "cluster":
                    self.cluster_ips[str(address)] = ""
                if not n:
                    self.no_endpoint_ips[key] = "goto refuse"
                    continue
                self.service_ips[key] = f"goto {use}-{n}"
                elements, uses = self.cluster.setdefault(n, ({}, set()))
                uses.add(use)
                for i, t in enumerate(targets):
                    elements[_numbered(key, i, n)] = f"{t.address} . {t.port}"
        if route.node_port:
            key = f"{protocol} . {route.node_port}"
            if not n:
                self.no_endpoint_nodeports[key] = "goto refuse"
            else:
                self.service_nodeports[key] = f"goto nodeport-{n}"
                elements = self.nodeport.setdefault(n, {})
                for i, t in enumerate(targets):
                    elements[_numbered(key, i, n)] = f"{t.address} . {t.port}"
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
        for n, (elements, _) in sorted(self.cluster.items()):
            found[f"endpoints-{n}"] = _endpoint_map(_SERVICE, n, elements)
        for n, elements in sorted(self.nodeport.items()):
            found[f"nodeport-endpoints-{n}"] = _endpoint_map(_PORT, n, elements)
        return found


def _numbered(key: str, index: int, n: int) -> str:
    return f"{key} . {index}" if n > 1 else key


def _endpoint_map(key: str, n: int, elements: Elements) -> Collection:
    choice = f" . {_CHOICE.format(n=n)}" if n > 1 else ""
    return Collection("map", f"typeof {key}{choice} : {_TARGET} ;", elements)


def _pick(key: str, n: int, name: str) -> str:
    choice = f" . {_CHOICE.format(n=n)}" if n > 1 else ""  # mod 1 is not a number to choose by
    return f"dnat ip to {key}{choice} map @{name}-{n}"


def _choice_chains(n: int, cluster: Cluster, internal: bool, external: bool) -> Chains:
    """The chains of Services with n endpoints.

    Masqueraded is what reaches a cluster IP from outside the pod network, and everything that came by an
    external address, whose answer must come back through this node (kube-proxy with --cluster-cidr).
    """
    chains: Chains = {}
    pick = _pick(_SERVICE, n, "endpoints")
    if internal:
        outside = f"ip saddr != {_pods(cluster)} meta mark set meta mark or {MARK}"
        chains[f"cluster-{n}"] = ("", outside, pick)
    if external:
        chains[f"external-{n}"] = ("", f"meta mark set meta mark or {MARK}", pick)
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
