"""The schema of emulab's own kinds: Cluster, LoadBalancer, Client, Zone.

Unlike in Kubernetes' kinds, an unknown field is an error here: each of these fields shapes the data plane,
and a misspelt `sourceRanges` would silently let everyone in.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from emulab.kinds import clusters
from emulab.kinds.clusters import Cluster
from emulab.kinds.schema_pods import port_or_name
from emulab.kinds.underlay import DEFAULT_VPC, PUBLIC_NETWORKS, SMALLEST_VPC, underlay_of
from emulab.model.checks import (
    Check,
    Problems,
    boolean,
    cidr,
    count,
    dns_1035_label,
    dns_label,
    dns_zone,
    either,
    exactly_one,
    integer,
    ip,
    label_map,
    mapping,
    one_of,
    pattern,
    sequence,
    show,
    string,
    unique,
    wrong,
)
from emulab.model.checks import port as port_number
from emulab.model.families import IPV4

MODES: Mapping[str, Mapping[str, bool]] = {
    "network.mode": {"vxlan": True, "routed": True},
    "proxy.mode": {"nftables": True, "iptables": True, "ipvs": True, "userspace": True},
}
"""Field → its values, and whether this version builds them."""

SCHEDULERS = ("rr", "wrr", "lc", "wlc", "sh", "dh", "lblc", "sed", "nq")
"""How IPVS picks a server (ipvsadm(8))."""

MAX_NODES = 2000
"""Every node has a route and, in an overlay, two more entries for each other one: four million of each then."""

NETWORKS = ("vpc", "internet")

_NODE_PREFIX = {4: 24, 6: 64}  # of each node's share of podCIDR
_SERVICE_PREFIX = {4: 27, 6: 123}  # the tenth address of serviceCIDR is that of kube-dns
_LARGEST_UNDERLAY = 8
_PODS, _SERVICES = (",".join(map(str, c)) for c in (Cluster().pod_cidrs, Cluster().service_cidrs))

_spec_network = one_of(*NETWORKS)


def _mode(field: str) -> Check:
    values = MODES[field]
    known = one_of(*values)
    built = ", ".join(value for value, implemented in values.items() if implemented)

    def check(value: Any) -> Problems:
        problems = known(value)
        if problems or values[value]:
            return problems
        return wrong(f"{show(value)} is not built yet: this version builds {built} only")

    return check


# Cluster


def _cidrs(prefixes: Mapping[int, int]) -> Check:
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


def _networks(value: str | None) -> list[IPv4Network | IPv6Network]:
    return [ip_network(part.strip(), strict=False) for part in value.split(",")] if value else []


def _overlap(one: IPv4Network | IPv6Network, other: IPv4Network | IPv6Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def _pods_and_services_apart(spec: dict[str, Any]) -> Problems:
    pods = _networks(spec.get("podCIDR", _PODS))
    services = _networks(spec.get("serviceCIDR", _SERVICES))
    for pod in pods:
        for service in services:
            if _overlap(pod, service):
                field = "podCIDR" if "podCIDR" in spec else "serviceCIDR"
                return wrong(f"the pods' {pod} and the services' {service} overlap", field)
    return ()


def _family_in_common(spec: dict[str, Any]) -> Problems:
    if clusters.families(
        _networks(spec.get("podCIDR", _PODS)), _networks(spec.get("serviceCIDR", _SERVICES))
    ):
        return ()
    known = ", ".join(family.name for family in clusters.PLANNED)
    what = f"there is no family of addresses that podCIDR and serviceCIDR both have and labs know ({known})"
    return wrong(what, "podCIDR" if "podCIDR" in spec else "serviceCIDR")


def _apart_from_outside(spec: dict[str, Any]) -> Problems:
    vpc = _vpc(spec)
    outside = (vpc, *PUBLIC_NETWORKS)
    for field in ("podCIDR", "serviceCIDR"):
        for net in _networks(spec.get(field)):
            if any(_overlap(net, other) for other in outside):
                return wrong(
                    f"{net} overlaps with a network outside the cluster ({vpc} and the public ones)", field
                )
    if "underlay" not in (spec.get("network") or {}):
        return ()
    given = {
        "the pods'": spec.get("podCIDR", _PODS),
        "the services'": spec.get("serviceCIDR", _SERVICES),
    }
    others = [(f"{whose} {net}", net) for whose, cidr in given.items() for net in _networks(cidr)]
    others += [(f"the public {net}", net) for net in PUBLIC_NETWORKS]
    for text, net in others:
        if _overlap(vpc, net):
            return wrong(f"{vpc} overlaps with {text}", "network", "underlay")
    return ()


def _vpc(spec: dict[str, Any]) -> IPv4Network | IPv6Network:
    given = (spec.get("network") or {}).get("underlay")
    return _networks(given)[0] if given else DEFAULT_VPC


def _underlay(value: Any) -> Problems:
    if cidr(value):
        return cidr(value)
    net = ip_network(value, strict=False)
    if net.version != 4:
        return wrong(f"{net} is not a network of IPv4")
    if not _LARGEST_UNDERLAY <= net.prefixlen <= SMALLEST_VPC:
        return wrong(f"{net} must be a /{SMALLEST_VPC} or larger, and a /{_LARGEST_UNDERLAY} at most")
    return ()


def _nodes_fit(spec: dict[str, Any]) -> Problems:
    nodes = spec.get("nodes", 2)
    number = nodes if isinstance(nodes, int) else len(nodes)
    vpc = _vpc(spec)
    if number > (room := underlay_of(IPV4, vpc).room_for_nodes):
        what = f"{vpc} has room for {room} nodes, not for {number}; network.underlay takes a larger one"
        return wrong(what, "nodes")
    for pod in _networks(spec.get("podCIDR", _PODS)):
        room = 1 << (_NODE_PREFIX[pod.version] - pod.prefixlen)
        if number > room:
            return wrong(f"{pod} has room for {room} nodes, not for {number}", "podCIDR")
    return ()


def _node_list(value: Any) -> Problems:
    problems = _nodes(value)
    if not problems and len(value) > MAX_NODES:
        return wrong(f"{len(value)} nodes are too many: {MAX_NODES} at most")
    return problems


def _ipvs_alone(proxy: dict[str, Any]) -> Problems:
    """What only one mode heeds is a mistake in another."""
    for field in ("scheduler", "strictARP"):
        if field in proxy and proxy.get("mode") != "ipvs":
            return wrong("goes with mode: ipvs alone", field)
    return ()


_nodes = sequence(
    mapping({"name": dns_label, "labels": label_map, "zone": string}, required=("name",), closed=True),
    rules=(unique("name"),),
    least=1,
)

cluster_spec = mapping(
    {
        "nodes": either(list, _node_list, integer(1, MAX_NODES, "a number of nodes")),
        "podCIDR": _cidrs(_NODE_PREFIX),
        "serviceCIDR": _cidrs(_SERVICE_PREFIX),
        "clusterDomain": dns_zone,
        "network": mapping(
            {
                "mode": _mode("network.mode"),
                "mtu": integer(576, 9216, "an MTU"),
                "underlay": _underlay,
            },
            closed=True,
        ),
        "proxy": mapping(
            {"mode": _mode("proxy.mode"), "scheduler": one_of(*SCHEDULERS), "strictARP": boolean},
            rules=(_ipvs_alone,),
            closed=True,
        ),
        "ingress": mapping({"replicas": count, "upstream": one_of("service", "endpoints")}, closed=True),
    },
    rules=(_family_in_common, _apart_from_outside, _pods_and_services_apart, _nodes_fit),
    closed=True,
)

# LoadBalancer and Client


def _distinct(values: list[Any]) -> Problems:
    return [
        problem
        for index, value in enumerate(values)
        if value in values[:index]
        for problem in wrong(f"{show(value)} is given twice", index)
    ]


_service_target = mapping(
    {"namespace": dns_label, "name": dns_1035_label, "port": port_or_name},
    required=("name", "port"),
    closed=True,
)
load_balancer_spec = mapping(
    {
        "network": _spec_network,
        "address": ip,
        "ports": sequence(port_number, rules=(_distinct,), least=1),
        "target": mapping(
            {
                "ingress": lambda value: (
                    boolean(value) or (() if value else wrong("must be true, or left out"))
                ),
                "service": _service_target,
            },
            rules=(exactly_one("ingress", "service"),),
            closed=True,
        ),
        "sourceRanges": sequence(cidr),
    },
    closed=True,
)

client_spec = mapping({"network": _spec_network}, closed=True)

# Zone

_NAME = r"[A-Za-z0-9_]([-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?"
_domain = rf"(?:{_NAME}(?:\.{_NAME})*\.?|\.)"
_domain_name = pattern(_domain, "a DNS name", 254)
_record_name = pattern(rf"@|(?:\*\.)?{_NAME}(?:\.{_NAME})*|\*", "@, * or a name relative to the zone", 253)
_number = r"(?:[0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"


def _address(version: int) -> Check:
    def check(value: Any) -> Problems:
        if ip(value) or ip_address(value).version != version:
            return wrong(f"{show(value)} is not an IPv{version} address")
        return ()

    return check


RECORD_VALUES: Mapping[str, Check] = {
    "A": _address(4),
    "AAAA": _address(6),
    "CNAME": _domain_name,
    "NS": _domain_name,
    "PTR": _domain_name,
    "TXT": pattern(r"(?s:.*)", "a text of at most 4096 characters", 4096),
    "MX": pattern(rf"{_number} +{_domain}", 'a mail exchange such as "10 mail.example.com"', 300),
    "SRV": pattern(
        rf"{_number} +{_number} +{_number} +{_domain}",
        'a service location "PRIORITY WEIGHT PORT TARGET" such as "0 5 5060 sip.example.com"',
        300,
    ),
}
"""Record type → the check of its value in presentation format (RFC 1035 section 5, RFC 2782)."""


def _value_fits(record: dict[str, Any]) -> Problems:
    return [(("value", *path), why) for path, why in RECORD_VALUES[record["type"]](record["value"])]


def _aliases_stand_alone(records: list[Any]) -> Problems:
    """RFC 1034 section 3.6.2: where there is a CNAME, there is nothing else; the apex always has an SOA."""
    found: list[Any] = []
    for index, record in enumerate(records):
        name = record.get("name", "@")
        if record["type"] != "CNAME":
            continue
        if name == "@":
            found += wrong("the zone's own name cannot be a CNAME", index, "type")
        elif any(
            i != index and other.get("name", "@").lower() == name.lower() for i, other in enumerate(records)
        ):
            found += wrong(f"{show(name)} has other records, so it cannot be a CNAME", index, "name")
    return found


_record = mapping(
    {
        "name": _record_name,
        "type": one_of(*RECORD_VALUES),
        "value": string,
        "ttl": integer(0, (1 << 31) - 1, "a number of seconds"),
    },
    required=("type", "value"),
    rules=(_value_fits,),
    closed=True,
)
zone_spec = mapping(
    {
        "visibility": one_of("public", "private"),
        "records": sequence(_record, rules=(_aliases_stand_alone,)),
    },
    closed=True,
)
