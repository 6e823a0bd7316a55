"""The Cluster, of which a lab has one at most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from emulab.kinds import cells
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.checks import whole
from emulab.kinds.definition import Definition
from emulab.kinds.emulab.balancing import BALANCER_ENGINES
from emulab.kinds.emulab.clusternetworks import (
    NETWORK_RULES,
    POD_PREFIX,
    SERVICE_PREFIX,
    cidrs,
    nodes_networks,
)
from emulab.kinds.emulab.conntrack import conntrack, duration
from emulab.kinds.emulab.nodecapacity import capacity
from emulab.kinds.emulab.plugins import chain, first_of, no_chain, plugin_name
from emulab.kinds.emulab.podnetworks import (
    NETWORK_MODES,
    its_own_mode,
    mode_of,
)
from emulab.kinds.emulab.proxymodes import (
    PROXY_MODES,
    its_own_network,
    programs_at_own_links,
    proxy_mode_of,
)
from emulab.kinds.emulab.zonelinks import of_nodes, zone_links
from emulab.kinds.images import DNS_ENGINES, ENGINES
from emulab.kinds.registry import CLUSTER
from emulab.model.checks import (
    Problems,
    boolean,
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


def _links_between_zones(spec: dict[str, Any]) -> Problems:
    from emulab.kinds.emulab.clusterview import nodes_of, zones_of  # here: lists need no view

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
        "podCIDR": cidrs(POD_PREFIX),
        "serviceCIDR": cidrs(SERVICE_PREFIX),
        "clusterDomain": dns_zone,
        "network": mapping(
            {
                "mode": one_of(*MODES["network.mode"]),
                "families": sequence(one_of("IPv4", "IPv6"), rules=(_each_once,), least=1),
                "mtu": integer(576, 9216, "an MTU"),
                "underlay": nodes_networks,
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
    rules=(*NETWORK_RULES, _links_between_zones, programs_at_own_links, its_own_network),
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
