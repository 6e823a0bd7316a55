"""The Cluster, of which a lab has one at most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from emulab.kinds import cells
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.checks import whole
from emulab.kinds.definition import Definition
from emulab.kinds.emulab.balancing import BALANCER_ENGINES
from emulab.kinds.emulab.conntrack import conntrack, duration
from emulab.kinds.emulab.nodecapacity import capacity
from emulab.kinds.emulab.plugins import chain, first_of, no_chain, plugin_name
from emulab.kinds.emulab.podnetworks import (
    NETWORK_MODES,
    around,
    carries,
    its_own_mode,
    mode_of,
)
from emulab.kinds.emulab.proxymodes import PROXY_MODES, programs_at_own_links, proxy_mode_of
from emulab.kinds.emulab.zonelinks import of_nodes, zone_links
from emulab.kinds.images import DNS_ENGINES, ENGINES
from emulab.kinds.registry import CLUSTER
from emulab.model.checks import (
    Check,
    Problems,
    boolean,
    cidr,
    count,
    dns_label,
    dns_subdomain,
    dns_zone,
    either,
    integer,
    label_map,
    mapping,
    one_of,
    sequence,
    show,
    string,
    unique,
    wrong,
)

if TYPE_CHECKING:
    from emulab.model.addresses import IPNetwork
    from emulab.model.objects import Object

# What it may say

MODES: Mapping[str, tuple[str, ...]] = {
    "network.mode": NETWORK_MODES,
    "proxy.mode": PROXY_MODES,
}
"""By field. What each of them is, `plan` has a table of: `plan.cni` and `plan.proxy.modes`."""

SCHEDULERS = ("rr", "wrr", "lc", "wlc", "sh", "dh", "lblc", "sed", "nq")
"""How IPVS picks a server (ipvsadm(8))."""

MAX_NODES = 2000
"""Every node has a route and, in an overlay, two more entries for each other one: four million of each then."""

_NODE_PREFIX = {4: 24, 6: 64}  # of each node's share of podCIDR

_SERVICE_PREFIX = {4: 27, 6: 123}  # the tenth address of serviceCIDR is that of kube-dns
_LARGEST_UNDERLAY, _SMALLEST_UNDERLAY = 8, 24
"""Prefix lengths. The places that every lab has need the first 256 addresses."""
_VPC = "10.0.0.0/24"
"""What `Cluster()` has; the view of a Cluster isn't loaded for a default."""


def _cidrs_of(prefixes: Mapping[int, int]) -> Check:
    """A CIDR, or one of each family with a comma between; none smaller than its family's prefix."""

    def check(value: Any) -> Problems:
        parts = value.split(",") if type(value) is str else [value]
        for part in parts:
            if cidr(part):
                return cidr(part)
        networks = _networks(value)
        for net in networks:
            if net.prefixlen > prefixes[net.version]:
                return wrong(f"{net} is too small: it must be a /{prefixes[net.version]} or larger")
        if len(networks) != len({net.version for net in networks}):
            return wrong(f"{show(value)} may hold one CIDR of each IP family")
        return ()

    return check


def _networks(value: str | None) -> list[IPNetwork]:
    return [ip_network(part.strip(), strict=False) for part in value.split(",")] if value else []


def _overlap(one: IPNetwork, other: IPNetwork) -> bool:
    return one.version == other.version and one.overlaps(other)


def _ranges(spec: dict[str, Any]) -> tuple[tuple[IPNetwork, ...], tuple[IPNetwork, ...]]:
    """The networks of pods and of Services, given or by default."""
    from emulab.kinds.emulab.clusterview import cidrs_of  # here: who lists Clusters needs no view of them

    return cidrs_of(spec)


def _pods_and_services_apart(spec: dict[str, Any]) -> Problems:
    pods, services = _ranges(spec)
    for pod in pods:
        for service in services:
            if _overlap(pod, service):
                field = "podCIDR" if "podCIDR" in spec else "serviceCIDR"
                return wrong(f"the pods' {pod} and the services' {service} overlap", field)
    return ()


def _same_families(spec: dict[str, Any]) -> Problems:
    """Pods and Services have the lab's families, the primary one first, as `kubeadm` wants it of both networks."""
    asked = (spec.get("network") or {}).get("families")
    pods, services = (_in_words(net.version for net in nets) for nets in _ranges(spec))
    if asked:
        wanted = _in_words(int(name[-1]) for name in asked)
        for field, found in (("podCIDR", pods), ("serviceCIDR", services)):
            if found != wanted:
                return wrong(f"{spec[field]} is of {found}, and network.families says {wanted}", field)
    if pods == services:
        return ()
    field, other = ("podCIDR", "serviceCIDR") if "podCIDR" in spec else ("serviceCIDR", "podCIDR")
    what = f"pods would have {pods}, and Services {services}: "
    what += "give podCIDR and serviceCIDR the same families in one order"
    return wrong(what if other in spec else f"{what}, or say network.families", field)


def _in_words(versions: Iterable[int]) -> str:
    return " and ".join(f"IPv{version}" for version in versions)


def _carried(spec: dict[str, Any]) -> Problems:
    """The mode of the network carries all families."""
    mode = mode_of(spec.get("network") or {})
    if all(carries(mode, net.version) for net in _ranges(spec)[0]):
        return ()
    return wrong(f"{mode} carries IPv4 alone, and pods have IPv6, too", "network", "mode")


_WORDS = {"vxlan": "VXLAN"}
_IPV6_MTU = 1280  # RFC 8200 section 5: a link that carries less can't have IPv6


def _wide_enough(spec: dict[str, Any]) -> Problems:
    """Links of pods and of nodes carry what IPv6 needs."""
    network = spec.get("network") or {}
    if 6 not in (net.version for net in _ranges(spec)[0]) or "mtu" not in network:
        return ()
    mode = mode_of(network)
    if not carries(mode, 6):
        return ()  # said already
    taken = around(mode, 6)
    if network["mtu"] - taken >= _IPV6_MTU:
        return ()
    what = f"IPv6 needs links of {_IPV6_MTU} bytes (RFC 8200)"
    if taken:
        what += f", and {_WORDS[mode]} takes {taken}: {_IPV6_MTU + taken} at least"
    return wrong(f"{network['mtu']} is too small: {what}", "network", "mtu")


def _apart_from_outside(spec: dict[str, Any]) -> Problems:
    from emulab.kinds.underlay import PUBLIC_NETWORKS, VPC6  # here: as above

    pods, services = _ranges(spec)
    vpc = _vpc(spec)
    for field in ("podCIDR", "serviceCIDR"):
        for net in _networks(spec.get(field)):
            nodes = vpc if net.version == 4 else VPC6
            if any(_overlap(net, other) for other in (nodes, *PUBLIC_NETWORKS)):
                return wrong(
                    f"{net} overlaps with a network outside the cluster ({nodes} and the public ones)", field
                )
    if "underlay" not in (spec.get("network") or {}):
        return ()
    if 4 not in (net.version for net in pods):
        return wrong("is the nodes' network of IPv4, which the lab hasn't", "network", "underlay")
    given = (("the pods'", pods), ("the services'", services))
    others = [(f"{whose} {net}", net) for whose, nets in given for net in nets]
    others += [(f"the public {net}", net) for net in PUBLIC_NETWORKS]
    for text, net in others:
        if _overlap(vpc, net):
            return wrong(f"{vpc} overlaps with {text}", "network", "underlay")
    return ()


def _vpc(spec: dict[str, Any]) -> IPNetwork:
    given = (spec.get("network") or {}).get("underlay")
    return _networks(given or _VPC)[0]


_NOBODYS = {
    "0.0.0.0/8": "addresses of this very host (RFC 791)",
    "127.0.0.0/8": "the loopback addresses",
    "169.254.0.0/16": "the link-local addresses, where pods have their gateway",
    "224.0.0.0/4": "the multicast addresses",
    "240.0.0.0/4": "addresses that are reserved (RFC 1112)",
}
"""What no underlay can be of."""


def _underlay(value: Any) -> Problems:
    if cidr(value):
        return cidr(value)
    net = ip_network(value, strict=False)
    if net.version != 4:
        return wrong(f"{net} is not a network of IPv4")
    if not _LARGEST_UNDERLAY <= net.prefixlen <= _SMALLEST_UNDERLAY:
        return wrong(f"{net} must be a /{_SMALLEST_UNDERLAY} or larger, and a /{_LARGEST_UNDERLAY} at most")
    for special, what in _NOBODYS.items():
        if net.overlaps(ip_network(special)):
            return wrong(f"{net} overlaps with {special}, {what}")
    return ()


def _nodes_fit(spec: dict[str, Any]) -> Problems:
    from emulab.kinds.underlay import underlay_of  # here: as above
    from emulab.model.families import IPV4

    nodes, pods = spec.get("nodes", 2), _ranges(spec)[0]
    number = nodes if isinstance(nodes, int) else len(nodes)
    vpc = _vpc(spec)
    if 4 in (net.version for net in pods) and number > (room := underlay_of(IPV4, vpc).room_for_nodes):
        what = f"{vpc} has room for {room} nodes, not for {number}; network.underlay takes a larger one"
        return wrong(what, "nodes")
    for pod in pods:
        room = 1 << (_NODE_PREFIX[pod.version] - pod.prefixlen)
        if number > room:
            return wrong(f"{pod} has room for {room} nodes, not for {number}", "podCIDR")
    return ()


def _links_between_zones(spec: dict[str, Any]) -> Problems:
    from emulab.kinds.emulab.clusterview import nodes_of, zones_of  # here: as above

    links = (spec.get("network") or {}).get("links")
    return of_nodes(links, zones_of(nodes_of(spec)).values()) if links else ()


def _node_list(value: Any) -> Problems:
    return _nodes(value) or _node_count(len(value))


def _node_number(value: Any) -> Problems:
    return _node_count(value) if type(value) is int else _some_number(value)


def _node_count(number: int) -> Problems:
    if number < 1:
        return wrong(f"{number} nodes are too few: a lab has one at least")
    return wrong(f"{number} nodes are too many: {MAX_NODES} at most") if number > MAX_NODES else ()


def _ipvs_alone(proxy: dict[str, Any]) -> Problems:
    """What only one mode heeds is a mistake in another."""
    for field in ("scheduler", "strictARP"):
        if field in proxy and proxy.get("mode") != "ipvs":
            return wrong("goes with mode: ipvs alone", field)
    return ()


def _host_path(value: Any) -> Problems:
    """A folder of the host: absolute, without a step back, and not all of it."""
    if string(value):
        return string(value)
    steps = value.strip("/").split("/")
    if not value.startswith("/") or not steps[0] or any(step in ("", ".", "..") for step in steps):
        return wrong(f"{show(value)} is not the absolute path of a folder, such as /srv/data")
    return ()


def _each_once(names: list[Any]) -> Problems:
    return wrong(f"{names[0]} is there twice", 1) if len(names) > len(set(names)) else ()


def _class_name(value: Any) -> Problems:
    return () if value == "*" else dns_subdomain(value)


_nodes = sequence(
    mapping(
        {"name": dns_label, "labels": label_map, "zone": string, "capacity": capacity},
        required=("name",),
        closed=True,
    ),
    rules=(unique("name"),),
)
_some_number = integer(1, MAX_NODES, "a number of nodes")

cluster_spec = mapping(
    {
        "nodes": either(list, _node_list, _node_number),
        "podCIDR": _cidrs_of(_NODE_PREFIX),
        "serviceCIDR": _cidrs_of(_SERVICE_PREFIX),
        "clusterDomain": dns_zone,
        "network": mapping(
            {
                "mode": one_of(*MODES["network.mode"]),
                "families": sequence(one_of("IPv4", "IPv6"), rules=(_each_once,), least=1),
                "mtu": integer(576, 9216, "an MTU"),
                "underlay": _underlay,
                "isolated": boolean,
                "plugin": plugin_name,
                "cni": chain,
                "links": zone_links,
            },
            rules=(its_own_mode, no_chain),
            closed=True,
        ),
        "proxy": mapping(
            {
                "mode": one_of(*MODES["proxy.mode"]),
                "scheduler": one_of(*SCHEDULERS),
                "strictARP": boolean,
                "conntrack": conntrack,
            },
            rules=(_ipvs_alone,),
            closed=True,
        ),
        "containers": mapping({"program": one_of("auto", "required", "standin")}, closed=True),
        "pods": mapping(
            {
                "hostPaths": sequence(
                    mapping({"path": _host_path, "readOnly": boolean}, required=("path",), closed=True),
                    rules=(unique("path"),),
                ),
                "missingImages": one_of("standin", "fail"),
                "userNamespaces": boolean,
                "runtime": one_of("builtin", "crun", "runc"),
            },
            closed=True,
        ),
        "balancers": mapping({"engine": one_of(*BALANCER_ENGINES)}, closed=True),
        "dns": mapping({"nodeLocalCache": boolean, "engine": one_of(*DNS_ENGINES)}, closed=True),
        "nodeLifecycle": mapping(
            {
                "nodeMonitorGracePeriod": duration,
                "defaultTolerationSeconds": integer(0, 1 << 31, "a number of seconds"),
            },
            closed=True,
        ),
        "ingress": mapping(
            {
                "replicas": count,
                "upstream": one_of("service", "endpoints"),
                "engine": one_of(*ENGINES),
                "workers": integer(1, 64),
                "classes": sequence(_class_name),
            },
            closed=True,
        ),
    },
    rules=(
        _same_families,
        _apart_from_outside,
        _pods_and_services_apart,
        _nodes_fit,
        _carried,
        _wide_enough,
        _links_between_zones,
        programs_at_own_links,
    ),
    closed=True,
)


def _merge(old: Object, new: Object, spec: dict[str, Any]) -> Mapping[str, Any]:
    from emulab.kinds.emulab.clusterview import (  # here: who lists Clusters needs no view of them
        Cluster,
        check_cluster,
    )

    check_cluster(Cluster.of(old), new)
    return spec


def _cells(o: Raw, now: float) -> Cells:
    spec = cells.spec(o)
    nodes = spec.get("nodes", 2)
    count = nodes if isinstance(nodes, int) else len(nodes)
    asked = spec.get("network") or {}
    network = ",".join(filter(None, (first_of(asked) or asked.get("plugin"), mode_of(asked))))
    return [cells.name(o), str(count), network, proxy_mode_of(spec), cells.age(o, now)], []


DEFINITION = Definition(
    check=whole(CLUSTER, dns_subdomain, cluster_spec, optional_spec=True),
    merge=_merge,
    columns=Columns(("NAME", "NODES", "NETWORK", "PROXY", "AGE"), (), _cells),
)
