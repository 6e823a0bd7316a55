"""Rules between objects: what each may say alone, but not together. Every finding is an error.

The lab calls this on the objects that it has and those that are to come, so that an `apply` is refused whole
before anything changes; the loader calls it on one set of files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from emulab.kinds.core.servicefamilies import REQUIRE
from emulab.kinds.core.serviceview import Service
from emulab.kinds.emulab.balancerplaces import balancing_of, replica_place, replicas_of
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.emulab.loadbalancerview import LoadBalancer
from emulab.kinds.emulab.resolver import REDEFINED
from emulab.kinds.kind import PLACE, Kind
from emulab.kinds.networking.ingressview import PUBLIC_LOAD_BALANCER
from emulab.kinds.registry import CLIENT, CLUSTER, KINDS, LOAD_BALANCER, NODE, SERVICE
from emulab.model.addresses import IPAddress, IPNetwork
from emulab.model.findings import Finding
from emulab.model.keys import GroupKind, Key
from emulab.model.objects import Object
from emulab.model.paths import FieldPath

PLACES: dict[str, Kind | None] = {
    "client": CLIENT,
    PUBLIC_LOAD_BALANCER: LOAD_BALANCER,
    "dns": None,
    **REDEFINED,
    "router": None,
    "fabric": None,  # no place, but a namespace of the lab (emulab.plan.draft)
}
"""The places that every lab has → the kind whose objects may redefine them."""

_SERVICE_OF_API = SERVICE.key("default", "kubernetes")
_SERVICE_OF_DNS = SERVICE.key("kube-system", "kube-dns")


def conflicts(objects: Iterable[Object], cluster: Cluster | None = None) -> list[Finding]:
    """What makes these objects impossible together.

    `cluster` is the lab's, for objects that come without a Cluster of their own; by default the default one.
    """
    given = list(objects)
    by_kind: dict[GroupKind, list[Object]] = {}
    for o in given:
        by_kind.setdefault(o.type, []).append(o)
    clusters = by_kind.get(CLUSTER, [])
    world = Cluster.of(clusters[0]) if clusters else cluster or Cluster()
    services = [(o, Service.of(o)) for o in by_kind.get(SERVICE, ())]
    balancers = [(o, LoadBalancer.of(o)) for o in by_kind.get(LOAD_BALANCER, ())]
    return [
        *_duplicates(given),
        *_one_cluster(clusters),
        *_families(services, world),
        *_cluster_ips(services, world),
        *_node_ports(services),
        *_addresses(balancers, world),
        *_places(by_kind, world),
    ]


def _duplicates(objects: Sequence[Object]) -> Iterator[Finding]:
    """Two that say the same are one, given twice."""
    first: dict[Key, Object] = {}
    for o in objects:
        other = first.setdefault(o.key, o)
        if other is not o and other.raw != o.raw:
            yield Finding(o, (), f"is already given at {other.position}")


def _one_cluster(clusters: Sequence[Object]) -> Iterator[Finding]:
    for o in clusters[1:]:
        if o.key != clusters[0].key:
            yield Finding(o, (), f"a lab has one Cluster, which is at {clusters[0].position}")


def _families(services: Sequence[tuple[Object, Service]], cluster: Cluster) -> Iterator[Finding]:
    """Only Services that the cluster does nothing for may have a family that it hasn't (KEP-563, the API server)."""
    there = {family.name for family in cluster.families}
    for o, service in services:
        if service.type == "ExternalName" or (service.headless and service.selector is None):
            continue
        for index, family in enumerate(o.spec.get("ipFamilies") or ()):
            if family not in there:
                yield Finding(o, ("spec", "ipFamilies", index), f"{family} is not configured on this cluster")
        if o.spec.get("ipFamilyPolicy") == REQUIRE and len(there) < 2:
            what = "this cluster is not configured for dual-stack services"
            yield Finding(o, ("spec", "ipFamilyPolicy"), what)


def _cluster_ips(services: Sequence[tuple[Object, Service]], cluster: Cluster) -> Iterator[Finding]:
    owner: dict[IPAddress, Object] = {}
    reserved = {
        net.network_address + number: key
        for net in cluster.service_cidrs
        for number, key in ((1, _SERVICE_OF_API), (10, _SERVICE_OF_DNS))
    }
    for o, service in services:
        many = bool(o.spec.get("clusterIPs"))
        for index, address in enumerate(service.cluster_ips):
            path: FieldPath = ("spec", "clusterIPs", index) if many else ("spec", "clusterIP")
            other = owner.setdefault(address, o)
            if not _inside(address, cluster.service_cidrs):
                cidrs = ",".join(map(str, cluster.service_cidrs))
                yield Finding(o, path, f"{address} is not an address in serviceCIDR {cidrs}")
            elif address in reserved and reserved[address] != o.key:
                yield Finding(o, path, f"{address} is reserved for {reserved[address]}")
            elif other is not o and other.key != o.key:
                yield Finding(o, path, f"{address} is already that of {other.key} at {other.position}")


def _inside(address: IPAddress, networks: Sequence[IPNetwork]) -> bool:
    """Whether a network has the address, its first and last ones, which no Service gets, left out."""
    return any(
        address in net and address not in (net.network_address, net.broadcast_address) for net in networks
    )


def _node_ports(services: Sequence[tuple[Object, Service]]) -> Iterator[Finding]:
    """The API server allocates node ports by number, whatever their protocols."""
    owner: dict[int, Object] = {}
    for o, service in services:
        asked: list[tuple[int, FieldPath]] = [
            (port.node_port, ("spec", "ports", index, "nodePort")) for index, port in enumerate(service.ports)
        ]
        asked.append((service.health_check_node_port, ("spec", "healthCheckNodePort")))
        mine: dict[int, FieldPath] = {}
        for number, path in asked:
            if not number:
                continue
            other = owner.setdefault(number, o)
            if other.key != o.key:
                yield Finding(o, path, f"{number} is already that of {other.key} at {other.position}")
            elif "healthCheckNodePort" in path and number in mine:
                yield Finding(o, path, f"{number} is already a node port of this Service")
            mine[number] = path


def _addresses(balancers: Sequence[tuple[Object, LoadBalancer]], cluster: Cluster) -> Iterator[Finding]:
    owner: dict[IPAddress, Object | None] = {}
    if not any(o.name == PUBLIC_LOAD_BALANCER for o, _ in balancers):
        owner |= dict.fromkeys(underlay.public_lb for underlay in cluster.underlays)
    for o, balancer in balancers:
        if balancer.address is None:
            continue
        path = ("spec", "address")
        if problem := _out_of_place(balancer.address, balancer.network, cluster):
            yield Finding(o, path, f"{balancer.address} is {problem}")
            continue
        other = owner.setdefault(balancer.address, o)
        if other is None:
            yield Finding(o, path, f"{balancer.address} is already that of {PUBLIC_LOAD_BALANCER}")
        elif other.key != o.key:
            yield Finding(o, path, f"{balancer.address} is already that of {other.key} at {other.position}")


def _out_of_place(address: IPAddress, name: str, cluster: Cluster) -> str:
    """Why a balancer in the network of this name can't have an address; "" where it can."""
    networks = [underlay.balancers(name) for underlay in cluster.underlays]
    network = next((net for net in networks if address in net), None)
    if network is None:
        return f"not in {' or '.join(map(str, networks))}, the addresses of network {name}"
    if address in (network.network_address, network.broadcast_address):
        return f"not an address of a host in {network}"
    return next((u.fixed[address] for u in cluster.underlays if address in u.fixed), "")


def _places(by_kind: dict[GroupKind, list[Object]], cluster: Cluster) -> Iterator[Finding]:
    """Balancers, clients and nodes are namespaces of one lab, so they share their names."""
    owner: dict[str, str] = {node.name: "a node" for node in cluster.nodes}
    for o in by_kind.get(CLUSTER, ()):
        for index, node in enumerate(Cluster.of(o).nodes):
            if node.name in PLACES:
                path = ("spec", "nodes", index, "name")
                yield Finding(o, path, f'"{node.name}" is the name of another place of the lab')
    for kind in (kind for kind in KINDS.of(PLACE) if kind != NODE):
        for o in by_kind.get(kind, ()):
            if PLACES.get(o.name, kind) != kind:
                other = "another place of the lab"
            else:
                other = owner.setdefault(o.name, kind.kind)
            if other != kind.kind:
                yield Finding(o, ("metadata", "name"), f'"{o.name}" is already the name of {other}')
    taken = {**PLACES, **owner}
    for o in by_kind.get(LOAD_BALANCER, ()):
        second = replica_place(o.name, 2)
        if replicas_of(balancing_of(o), cluster) > 1 and second in taken:
            yield Finding(
                o, ("spec", "replicas"), f'its second node would be "{second}", which is another place'
            )
