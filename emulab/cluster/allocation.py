"""Who gets which address. Given once and kept: an address is written into the object that has it.

Pods take the next free address of their node's range, Services one hashed from their name, so that what
else is in a lab changes nothing for them. The same manifests give the same addresses.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

from emulab.cluster.balanceraddresses import balancer_addresses
from emulab.cluster.balancerreplicas import replica_changes
from emulab.cluster.freeaddresses import first_free, service_families, underlay_taken, unplaced
from emulab.cluster.podblocks import PodBlocks
from emulab.errors import UserError
from emulab.kinds.core.hostnames import unfit_hostname
from emulab.kinds.core.podspec import PodSpec
from emulab.kinds.core.servicefamilies import families_for, policy_of
from emulab.kinds.core.serviceschema import NODE_PORTS, needs_health_check, needs_node_ports
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.emulab.podnetworks import (
    BLOCKS,
    NODE_LENGTHS,
    block_of,
    blocks_in,
    has_blocks,
    least_length,
    range_in,
)
from emulab.kinds.emulab.resolver import OWN_RESOLVER
from emulab.kinds.registry import CLIENT, NODE, POD, RESOLVER, SERVICE
from emulab.kinds.underlay import (
    underlay_addresses,
    with_addresses,
)
from emulab.model.addresses import IPAddress, IPNetwork, spread
from emulab.model.collection import WARNING, Change, Objects, Put, PutStatus, Tell
from emulab.model.families import Family
from emulab.model.keys import Key
from emulab.model.objects import Object

_MOST = 1 << 16  # addresses of a network that are given out of
_NO_SANDBOX = "FailedCreatePodSandBox"
LAST_POD = "emulab.dev/last-pod-address"
"""Of a Node: the address of each family that it gave last."""


def pod_range(
    cluster: Cluster, index: int, taken: Collection[IPNetwork] = (), used: Collection[IPAddress] = ()
) -> tuple[IPNetwork, ...]:
    """The pod networks (one for each of the cluster's pod CIDRs) of the node with this index (from 0).

    Where another node has that one already (`taken`), the first free one; in networks that give addresses in blocks, a
    block where there is none for each node. There the first address is the node's own, so no pod may have it (`used`).
    Raises UserError when there is none.
    """
    ranges = []
    for cidr in cluster.pod_cidrs:
        prefix = NODE_LENGTHS[cidr.version]
        least = least_length(cluster.network_plugin, cidr.version)
        if prefix < least and 1 << max(prefix - cidr.prefixlen, 0) < len(cluster.nodes):
            ranges.append(_block(cluster, cidr, taken, used))
            continue
        count = 1 << max(prefix - cidr.prefixlen, 0)
        slot = index + 1 if count > len(cluster.nodes) else index  # node1 has 10.244.1.0/24 where that fits
        size = cidr.max_prefixlen - prefix
        base, length = int(cidr.network_address), max(prefix, cidr.prefixlen)
        slots = (slot, *range(min(count, len(taken) + 1)))
        networks = (ip_network((base + (s << size), length)) for s in slots if s < count)
        found = next((n for n in networks if n not in taken and not _is_begun(cluster, n, taken, used)), None)
        if found is None:
            raise UserError(
                f"Cluster/{cluster.name} spec.podCIDR: {cidr} has no /{prefix} for each of"
                f" {len(cluster.nodes)} nodes; take a larger one"
            )
        ranges.append(found)
    return tuple(ranges)


def _is_begun(
    cluster: Cluster, network: IPNetwork, taken: Collection[IPNetwork], used: Collection[IPAddress]
) -> bool:
    """Whether somebody has the first block of a network, or its first address."""
    plugin, first = cluster.network_plugin, network.network_address
    return has_blocks(plugin) and (first in used or block_of(plugin, first) in taken)


def _block(
    cluster: Cluster, cidr: IPNetwork, taken: Collection[IPNetwork], used: Collection[IPAddress]
) -> IPNetwork:
    """The first block that nobody has, and of which no pod has the first address."""
    blocks = blocks_in(cluster.network_plugin, cidr)
    found = next((b for b in blocks if b not in taken and b.network_address not in used), None)
    if found is None:
        raise UserError(f"Cluster/{cluster.name} spec.podCIDR: {cidr} has no block left for another node")
    return found


def allocate(objects: Objects, cluster: Cluster) -> list[Change]:
    """The addresses that are missing, written into the objects that lack them. Raises UserError."""
    return [
        *_clients(objects, cluster),
        *balancer_addresses(objects, cluster),
        *replica_changes(objects, cluster),
        *_services(objects, cluster),
        *_pods(objects, cluster),
    ]


def node_addresses(
    nodes: Sequence[str], cluster: Cluster, taken: Iterable[IPAddress]
) -> dict[str, tuple[IPAddress, ...]]:
    """Underlay addresses of each family for nodes, in order, around those that are taken. Raises UserError."""
    used = set(taken)
    given: dict[str, tuple[IPAddress, ...]] = dict.fromkeys(nodes, ())
    for underlay in cluster.underlays:
        start = underlay.first_node
        for name in nodes:
            address = first_free(underlay.vpc, start, used, f"node {name}")
            start = int(address) - int(underlay.vpc.network_address) + 1
            given[name] += (address,)
    return given


def _clients(objects: Objects, cluster: Cluster) -> list[Change]:
    """Those of clients and resolvers; the lab's own resolver is where it always is."""
    missing = [o for kind in (CLIENT, RESOLVER) for o in objects.facts(kind, unplaced).values()]
    if not missing:
        return []
    used = underlay_taken(objects, cluster)
    changes: list[Change] = []
    for o in missing:
        given: list[IPAddress] = []
        for u in cluster.underlays:
            if o.type == RESOLVER and o.name == OWN_RESOLVER:
                given.append(u.resolver_internet)
                continue
            inside = o.spec.get("network") == "vpc"
            network, start = (u.vpc, u.first_vpc_client) if inside else (u.internet, u.first_client)
            given.append(first_free(network, start, used, str(o.key)))
        used.update(given)
        changes.append(PutStatus(o.key, {**o.status, **with_addresses(given)}))
    return changes


def _incomplete(o: Object) -> Object | None:
    """A Service that lacks an address or a port which it is to be given."""
    spec = o.spec
    if spec.get("type", "ClusterIP") == "ExternalName":
        return None
    names, many = spec.get("ipFamilies"), spec.get("clusterIPs")
    lacks = (
        not (spec.get("clusterIP") and many and names and spec.get("ipFamilyPolicy"))
        or (len(many) < len(names) and many[0] != "None")
        or (needs_node_ports(spec) and not all(p.get("nodePort") for p in spec.get("ports") or ()))
        or (needs_health_check(spec) and not spec.get("healthCheckNodePort"))
    )
    return o if lacks else None


def _services(objects: Objects, cluster: Cluster) -> list[Change]:
    lacking = objects.facts(SERVICE, _incomplete)
    if not lacking:
        return []
    services = objects.kind(SERVICE)
    used = {str(ip) for o in services for ip in (o.spec.get("clusterIPs") or [o.spec.get("clusterIP")]) if ip}
    node_ports = {p.get("nodePort") for o in services for p in o.spec.get("ports") or ()} - {None}
    node_ports |= {o.spec.get("healthCheckNodePort") for o in services}
    changes: list[Change] = []
    for o in lacking.values():
        spec = dict(o.spec)
        spec["ipFamilyPolicy"] = policy_of(spec)
        spec["ipFamilies"] = families_for(spec, [family.name for family in cluster.families])
        given = list(spec.get("clusterIPs") or filter(None, [spec.get("clusterIP")]))
        if given[:1] != ["None"]:
            lacking_families = service_families(spec, cluster)[len(given) :]
            given += [_cluster_ip(o.key, cluster, family, used) for family in lacking_families]
        spec["clusterIP"], spec["clusterIPs"] = given[0], given
        if needs_node_ports(spec):
            spec["ports"] = _with_node_ports(o, node_ports)
        if needs_health_check(spec) and not spec.get("healthCheckNodePort"):
            spec["healthCheckNodePort"] = _node_port(o.key, "health check", node_ports)
        if spec != o.spec:
            changes.append(Put(o.replace(spec=spec)))
    return changes


def _cluster_ip(key: Key, cluster: Cluster, family: Family, used: set[str]) -> str:
    network = next(iter(cluster.services_of(family)), cluster.service_cidrs[0])
    # The lowest 16th (at most 256) is left for addresses that are asked for by number, as Kubernetes does (KEP-3070).
    low = min(max(16, network.num_addresses // 16), 256) if network.num_addresses > 64 else 1
    size = network.num_addresses - low - 1
    first = spread(f"{key.namespace}/{key.name}", size)
    for step in range(size):
        address = str(network[low + (first + step) % size])
        if address not in used:
            used.add(address)
            return address
    raise UserError(f"{key}: no cluster IP is left in {network}")


def _with_node_ports(o: Object, used: set[Any]) -> list[dict[str, Any]]:
    """The ports of a Service, each with a node port.

    When a Service is made, ports of one number share theirs (`initNodePorts` in pkg/registry/core/service/storage);
    ports that come later get each its own.
    """
    ports: Sequence[Mapping[str, Any]] = o.spec.get("ports") or ()
    shared: dict[int, int] = {}
    made = o.metadata.get("generation", 1) == 1
    for port in ports if made else ():
        if port.get("nodePort"):
            shared.setdefault(port["port"], port["nodePort"])
    given = []
    for port in ports:
        if not port.get("nodePort"):
            number = shared.get(port["port"])
            if number is None:
                number = _node_port(o.key, f"{port.get('protocol', 'TCP')}/{port['port']}", used)
            if made:
                shared[port["port"]] = number
            port = {**port, "nodePort": number}
        given.append(dict(port))
    return given


def _node_port(key: Key, what: str, used: set[Any]) -> int:
    size = len(NODE_PORTS)
    first = spread(f"{key.namespace}/{key.name}/{what}", size)
    free = (NODE_PORTS[(first + step) % size] for step in range(size))
    number = next((n for n in free if n not in used), None)
    if number is None:
        raise UserError(f"{key}: no node port is left in {NODE_PORTS.start}-{NODE_PORTS.stop - 1}")
    used.add(number)
    return number


def _pods(objects: Objects, cluster: Cluster) -> list[Change]:
    """Addresses for scheduled pods: the next one after the last given, as the host-local IPAM plugin does.

    A pod that finds none stays without; its status says so. Those whose network plug-ins make get theirs from these.
    """
    nodes = {o.name: o for o in objects.kind(NODE)}
    waiting: dict[str, list[Object]] = {}
    for pod in objects.facts(POD, _waiting).values():
        if pod.spec["nodeName"] in nodes and (pod.spec.get("hostNetwork") or not cluster.chain):
            waiting.setdefault(pod.spec["nodeName"], []).append(pod)
    blocks = (
        PodBlocks(cluster.network_plugin, cluster.pod_cidrs, nodes)
        if waiting and _gives_blocks(cluster)
        else None
    )
    taken: dict[str, set[str]] = {}
    for pod in objects.kind(POD) if waiting else ():
        if blocks is not None or pod.spec.get("nodeName") in waiting:
            node_name = "" if blocks is not None else pod.spec["nodeName"]
            taken.setdefault(node_name, set()).update(e["ip"] for e in pod.status.get("podIPs") or ())
    changes: list[Change] = []
    for name, pods in waiting.items():
        node = nodes[name]
        networks = [ip_network(c) for c in node.spec.get("podCIDRs") or ()]
        hosts = [str(a) for a in underlay_addresses(node)]
        used = taken.setdefault(name if blocks is None else "", set())
        last = node.annotations.get(LAST_POD, "").split(",")
        for pod in pods:
            own = [] if pod.spec.get("hostNetwork") else networks
            parts = [
                blocks.parts(name, net.version) if blocks is not None else iter([range_in(net)])
                for net in own
            ]
            found = [a for one in parts if (a := _next_address(one, last, used))]
            if pod.spec.get("hostNetwork"):
                found = hosts
            elif len(found) < len(networks) or not found:
                where = "any block" if blocks is not None else f"the pod range of {name}"
                lack = f"failed to set up pod network: no address is left in {where}"
                changes += _without_sandbox(pod, name, lack)
                continue
            if unfit := unfit_hostname(pod, PodSpec.of(pod.spec), cluster):
                changes += _without_sandbox(pod, name, unfit)
                continue
            if own:
                last = found
            used.update(found)
            changes.append(PutStatus(pod.key, _addressed(pod, found, hosts)))
        told = {LAST_POD: ",".join(last), **({BLOCKS: blocks.taken(name)} if blocks is not None else {})}
        changes += _noted(node, told)
    return changes


def _addressed(pod: Object, addresses: Sequence[str], hosts: Sequence[str]) -> dict[str, Any]:
    """The status of a Pod that has addresses, on a node with those of `hosts`."""
    return {
        **({} if pod.status.get("reason") == _NO_SANDBOX else pod.status),
        "podIP": addresses[0],
        "podIPs": [{"ip": address} for address in addresses],
        "hostIP": hosts[0] if hosts else "",
        "hostIPs": [{"ip": host} for host in hosts] or [{"ip": ""}],
    }


def _noted(node: Object, told: Mapping[str, str]) -> list[Change]:
    """Has a Node's annotations say how far its addresses are given."""
    if all(text == node.annotations.get(key, "") for key, text in told.items()):
        return []
    noted = {key: text for key, text in told.items() if text}
    return [Put(node.replace(metadata={**node.metadata, "annotations": {**node.annotations, **noted}}))]


def _waiting(pod: Object) -> Object | None:
    """A Pod that has a node and no address yet."""
    over = pod.metadata.get("deletionTimestamp") or pod.status.get("phase") in ("Succeeded", "Failed")
    return pod if pod.spec.get("nodeName") and not pod.status.get("podIPs") and not over else None


def _gives_blocks(cluster: Cluster) -> bool:
    return has_blocks(cluster.network_plugin) and not cluster.chain


def _next_address(
    parts: Iterable[tuple[IPNetwork, int, int]], last: Sequence[str], used: set[str]
) -> str | None:
    """`last`: the last one given of each family."""
    lately = [ip_address(a) for a in last if a]
    for part, low, size in parts:
        given = next((a for a in lately if a in part), None)
        start = int(given) - int(part.network_address) + 1 - low if given is not None else 0
        for step in range(size):
            address = str(part[low + (start + step) % size])
            if address not in used:
                return address
    return None


def _without_sandbox(pod: Object, node: str, message: str) -> list[Change]:
    if pod.status.get("message") == message:
        return []
    return [
        PutStatus(pod.key, {**pod.status, "reason": _NO_SANDBOX, "message": message}),
        Tell(pod, WARNING, _NO_SANDBOX, message, "kubelet", node),
    ]
