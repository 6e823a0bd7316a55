"""What a Cluster may say of its networks: those of pods, of Services and of nodes, alone and beside each other.

Each is one CIDR, or one of each family with a comma between. What isn't said is by default; the views that know it are
loaded where it is asked for, as who lists Clusters needs none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from emulab.kinds.emulab.podnetworks import around, carries, least_length, mode_of, plugin_of
from emulab.model.checks import Check, Problems, cidr, show, wrong

if TYPE_CHECKING:
    from emulab.model.addresses import IPNetwork

POD_PREFIX = {4: 32, 6: 128}  # of podCIDR; how large a node's share of it is depends on the plug-in
SERVICE_PREFIX = {4: 27, 6: 123}  # the tenth address of serviceCIDR is that of kube-dns

_LARGEST_UNDERLAY, _SMALLEST_UNDERLAY = {4: 8, 6: 32}, {4: 24, 6: 120}
"""Prefix lengths. The places that every lab has need the first 256 addresses."""

_NOBODYS: Mapping[int, Mapping[str, str]] = {
    4: {
        "0.0.0.0/8": "addresses of this very host (RFC 791)",
        "127.0.0.0/8": "the loopback addresses",
        "169.254.0.0/16": "the link-local addresses, where pods have their gateway",
        "224.0.0.0/4": "the multicast addresses",
        "240.0.0.0/4": "addresses that are reserved (RFC 1112)",
    },
    6: {
        "::/8": "addresses that are reserved, loopback among them (RFC 4291)",
        "fe80::/10": "the link-local addresses, where pods have their gateway",
        "fec0::/10": "addresses that are reserved (RFC 3879)",
        "ff00::/8": "the multicast addresses",
    },
}
"""What no network can be of, by the version of IP."""


# Alone


def cidrs(prefixes: Mapping[int, int]) -> Check:
    """A CIDR, or one of each family; none smaller than its family's prefix."""

    def check(value: Any) -> Problems:
        if problems := _each_family_once(value):
            return problems
        for net in _networks(value):
            if net.prefixlen > prefixes[net.version]:
                return wrong(f"{net} is too small: it must be a /{prefixes[net.version]} or larger")
        return _somebodys(value)

    return check


def nodes_networks(value: Any) -> Problems:
    """The nodes' network, or that of each family."""
    if problems := _each_family_once(value):
        return problems
    for net in _networks(value):
        largest, smallest = _LARGEST_UNDERLAY[net.version], _SMALLEST_UNDERLAY[net.version]
        if not largest <= net.prefixlen <= smallest:
            return wrong(f"{net} must be a /{smallest} or larger, and a /{largest} at most")
    return _somebodys(value)


def _somebodys(value: str) -> Problems:
    """All of the addresses may be those of somebody."""
    for net in _networks(value):
        for special, what in _NOBODYS[net.version].items():
            if net.overlaps(ip_network(special)):
                return wrong(f"{net} overlaps with {special}, {what}")
    return ()


def _each_family_once(value: Any) -> Problems:
    for part in value.split(",") if type(value) is str else [value]:
        if problems := cidr(part):
            return problems
    versions = [net.version for net in _networks(value)]
    if len(versions) != len(set(versions)):
        return wrong(f"{show(value)} may hold one CIDR of each IP family")
    return ()


# Beside each other


def _networks(value: str | None) -> list[IPNetwork]:
    return [ip_network(part.strip(), strict=False) for part in value.split(",")] if value else []


def _overlap(one: IPNetwork, other: IPNetwork) -> bool:
    return one.version == other.version and one.overlaps(other)


def _ranges(spec: dict[str, Any]) -> tuple[tuple[IPNetwork, ...], tuple[IPNetwork, ...]]:
    """The networks of pods and of Services, given or by default."""
    from emulab.kinds.emulab.clusterview import cidrs_of

    return cidrs_of(spec)


def _vpcs(spec: dict[str, Any]) -> tuple[IPNetwork, ...]:
    """The nodes' networks, given or by default, of the families that pods have."""
    from emulab.kinds.emulab.clusterview import vpcs_of

    return vpcs_of(spec)


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


_WORDS = {"vxlan": "VXLAN", "wireguard": "WireGuard"}
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
    from emulab.kinds.underlay import PUBLIC_NETWORKS

    pods, services = _ranges(spec)
    vpcs, given = _vpcs(spec), _networks((spec.get("network") or {}).get("underlay"))
    for field in ("podCIDR", "serviceCIDR"):
        for net in _networks(spec.get(field)):
            nodes = [vpc for vpc in vpcs if vpc.version == net.version]
            if any(_overlap(net, other) for other in (*nodes, *PUBLIC_NETWORKS)):
                outside = " and ".join([*map(str, nodes), "the public ones"])
                return wrong(f"{net} overlaps with a network outside the cluster ({outside})", field)
    has = [net.version for net in pods]
    for vpc in given:
        if vpc.version not in has:
            what = f"{vpc} is of IPv{vpc.version}, which the lab hasn't: its nodes have {_in_words(has)}"
            return wrong(what, "network", "underlay")
    inside = (("the pods'", pods), ("the services'", services))
    others = [(f"{whose} {net}", net) for whose, nets in inside for net in nets]
    others += [(f"the public {net}", net) for net in PUBLIC_NETWORKS]
    for vpc in given:
        for text, net in others:
            if _overlap(vpc, net):
                return wrong(f"{vpc} overlaps with {text}", "network", "underlay")
    return ()


def _apart_from_caches(spec: dict[str, Any]) -> Problems:
    """Nobody else has the address of the nodes' DNS caches."""
    if not (spec.get("dns") or {}).get("nodeLocalCache"):
        return ()
    from ipaddress import ip_address

    from emulab.kinds.installed import NODE_CACHE_ADDRESSES
    from emulab.model.families import family_of

    pods, services = _ranges(spec)
    cache = ip_address(NODE_CACHE_ADDRESSES[family_of(pods[0])])
    given = ((("podCIDR",), pods), (("serviceCIDR",), services), (("network", "underlay"), _vpcs(spec)))
    for path, networks in given:
        for net in networks:
            if cache in net:
                return wrong(f"{net} has {cache} in it, where DNS caches of nodes answer", *path)
    return ()


def _nodes_fit(spec: dict[str, Any]) -> Problems:
    from emulab.kinds.underlay import underlay_of
    from emulab.model.families import family_of

    nodes = spec.get("nodes", 2)
    number = nodes if isinstance(nodes, int) else len(nodes)
    for vpc in _vpcs(spec):
        if number > (room := underlay_of(family_of(vpc), vpc).room_for_nodes):
            what = f"{vpc} has room for {room} nodes, not for {number}; network.underlay takes a larger one"
            return wrong(what, "nodes")
    plugin = plugin_of(spec.get("network") or {})
    for pod in _ranges(spec)[0]:
        least = least_length(plugin, pod.version)
        if pod.prefixlen > least:
            return wrong(f"{pod} is too small: it must be a /{least} or larger", "podCIDR")
        room = 1 << (least - pod.prefixlen)
        if number > room:
            return wrong(f"{pod} has room for {room} nodes, not for {number}", "podCIDR")
    return ()


NETWORK_RULES = (
    _same_families,
    _apart_from_outside,
    _pods_and_services_apart,
    _apart_from_caches,
    _nodes_fit,
    _carried,
    _wide_enough,
)
"""What the parts of a Cluster's `spec` can't say together of networks, in this order."""
