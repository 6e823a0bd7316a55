"""Who gets which address. Given once and kept: an address is written into the object that has it.

Pods take the next free address of their node's range, Services one hashed from their name, so that what
else is in a lab changes nothing for them. The same manifests give the same addresses.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from emulab.errors import UserError
from emulab.kinds.core.serviceschema import NODE_PORTS, needs_health_check, needs_node_ports
from emulab.kinds.core.serviceview import ingress_ips, is_internal
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.emulab.loadbalancerview import LoadBalancer
from emulab.kinds.kind import ADDRESSED
from emulab.kinds.registry import CLIENT, KINDS, LOAD_BALANCER, NODE, POD, SERVICE
from emulab.kinds.underlay import (
    DNS_ADDRESS,
    INTERNET,
    NAT_ADDRESS,
    PUBLIC_LB_VIP,
    PUBLIC_LB_VPC,
    PUBLIC_VIPS,
    RESOLVER_INTERNET,
    RESOLVER_VPC,
    ROUTER_INTERNET,
    ROUTER_VPC,
    VPC,
    underlay_address,
)
from emulab.model.addresses import IPAddress, IPNetwork, spread
from emulab.model.collection import WARNING, Change, Objects, Put, PutStatus, Tell
from emulab.model.keys import Key
from emulab.model.objects import Object

_FIRST_NODE, _FIRST_BALANCER, _FIRST_VPC_CLIENT, _FIRST_CLIENT, _FIRST_VIP = 11, 150, 200, 2, 20

FIXED = {
    ROUTER_INTERNET,
    ROUTER_VPC,
    NAT_ADDRESS,
    RESOLVER_INTERNET,
    RESOLVER_VPC,
    DNS_ADDRESS,
    PUBLIC_LB_VPC,
}
_NO_SANDBOX = "FailedCreatePodSandBox"
LAST_POD = "emulab.dev/last-pod-address"


def _first_free(network: IPNetwork, start: int, used: set[IPAddress], who: str) -> IPAddress:
    for index in range(start, network.num_addresses - 1):
        if network[index] not in used:
            return network[index]
    raise UserError(f"{who}: no address is left in {network}")


def pod_range(cluster: Cluster, index: int, taken: Collection[IPNetwork] = ()) -> tuple[IPNetwork, ...]:
    """The pod networks (one for each of the cluster's pod CIDRs) of the node with this index (from 0).

    Where another node has that one already (`taken`), the first free one. Raises UserError when there is none.
    """
    ranges = []
    for cidr in cluster.pod_cidrs:
        prefix = 24 if cidr.version == 4 else 64
        count = 1 << max(prefix - cidr.prefixlen, 0)
        slot = index + 1 if count > len(cluster.nodes) else index  # node1 has 10.244.1.0/24 where that fits
        size = cidr.max_prefixlen - prefix
        base, length = int(cidr.network_address), max(prefix, cidr.prefixlen)
        slots = (slot, *range(min(count, len(taken) + 1)))
        found = [
            net for s in slots if s < count and (net := ip_network((base + (s << size), length))) not in taken
        ]
        if not found:
            raise UserError(
                f"Cluster/{cluster.name} spec.podCIDR: {cidr} has no /{prefix} for each of"
                f" {len(cluster.nodes)} nodes; take a larger one"
            )
        ranges.append(found[0])
    return tuple(ranges)


def allocate(objects: Objects, cluster: Cluster) -> list[Change]:
    """The addresses that are missing, written into the objects that lack them. Raises UserError."""
    return [
        *_clients(objects),
        *_balancers(objects),
        *_services(objects, cluster),
        *_pods(objects),
    ]


def node_addresses(nodes: Iterable[str], taken: Iterable[IPAddress]) -> dict[str, IPAddress]:
    """Underlay addresses for nodes, in order, around those that are taken. Raises UserError."""
    used = {*FIXED, *taken}
    given: dict[str, IPAddress] = {}
    for name in nodes:
        address = _first_free(VPC, _FIRST_NODE, used, f"node {name}")
        used.add(address)
        given[name] = address
    return given


def underlay_taken(objects: Objects) -> set[IPAddress]:
    """Every underlay address that somebody has or asks for."""
    used: set[IPAddress] = set(FIXED)
    for kind in KINDS.of(ADDRESSED):
        used.update(a for o in objects.kind(kind) if (a := underlay_address(o)))
    for o in objects.kind(LOAD_BALANCER):
        asked = LoadBalancer.of(o).address
        if asked is not None:
            used.add(asked)
    return used


def _clients(objects: Objects) -> list[Change]:
    if not objects.facts(CLIENT, _unplaced):
        return []
    used = underlay_taken(objects)
    changes: list[Change] = []
    for o in objects.kind(CLIENT):
        if underlay_address(o) is None:
            network, start = (
                (VPC, _FIRST_VPC_CLIENT) if o.spec.get("network") == "vpc" else (INTERNET, _FIRST_CLIENT)
            )
            address = _first_free(network, start, used, str(o.key))
            used.add(address)
            changes.append(PutStatus(o.key, {**o.status, "address": str(address)}))
    return changes


def _vips(objects: Objects) -> set[IPAddress]:
    used: set[IPAddress] = {NAT_ADDRESS, PUBLIC_LB_VIP}
    for o in objects.kind(LOAD_BALANCER):
        asked = LoadBalancer.of(o).address
        if asked is not None:
            used.add(asked)
    for o in (*objects.kind(LOAD_BALANCER), *objects.kind(SERVICE)):
        used.update(ip_address(v) for v in (o.status.get("vip"), *ingress_ips(o)) if v)
    return used


def _balancers(objects: Objects) -> list[Change]:
    """Underlay addresses and virtual ones of the balancers outside, and of Services of type LoadBalancer."""
    if not (objects.facts(LOAD_BALANCER, _unplaced) or objects.facts(SERVICE, _unbalanced)):
        return []
    used, vips = underlay_taken(objects), _vips(objects)
    changes: list[Change] = []
    for o in objects.kind(LOAD_BALANCER):
        if underlay_address(o) is not None:
            continue
        balancer = LoadBalancer.of(o)
        if balancer.network == "vpc":
            address = balancer.address or _first_free(VPC, _FIRST_BALANCER, used, str(o.key))
            vip = address
        else:
            public = o.name == "public-lb" and PUBLIC_LB_VPC not in {
                underlay_address(b) for b in objects.kind(LOAD_BALANCER)
            }
            address = PUBLIC_LB_VPC if public else _first_free(VPC, _FIRST_BALANCER, used, str(o.key))
            fallback = (
                PUBLIC_LB_VIP
                if o.name == "public-lb"
                else _first_free(PUBLIC_VIPS, _FIRST_VIP, vips, str(o.key))
            )
            vip = balancer.address or fallback
        used.add(address)
        vips.add(vip)
        changes.append(PutStatus(o.key, {**o.status, "address": str(address), "vip": str(vip)}))
    services = objects.kind(SERVICE)
    wanted = {ip_address(o.spec["loadBalancerIP"]) for o in services if o.spec.get("loadBalancerIP")}
    for o in services:
        if _unbalanced(o):
            address = _first_free(VPC, _FIRST_BALANCER, used, str(o.key))
            asked_text = o.spec.get("loadBalancerIP")
            asked = ip_address(asked_text) if asked_text else None
            if asked is not None and asked not in vips:
                vip = asked
            else:
                vip = _first_free(PUBLIC_VIPS, _FIRST_VIP, vips | wanted, str(o.key))
            used.add(address)
            vips.add(vip)
            status = {
                **o.status,
                "address": str(address),
                "loadBalancer": {"ingress": [{"ip": str(vip), "ipMode": "VIP"}]},
            }
            changes.append(PutStatus(o.key, status))
    return changes


def _unplaced(o: Object) -> Object | None:
    """A Client or LoadBalancer that has no address yet."""
    return o if underlay_address(o) is None else None


def _unbalanced(o: Object) -> Object | None:
    """A Service that waits for a balancer."""
    waits = o.spec.get("type") == "LoadBalancer" and not o.status.get("address") and not is_internal(o)
    return o if waits else None


def _incomplete(o: Object) -> Object | None:
    """A Service that lacks an address or a port which it is to be given."""
    spec = o.spec
    if spec.get("type", "ClusterIP") == "ExternalName":
        return None
    lacks = (
        not (spec.get("clusterIP") and spec.get("clusterIPs"))
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
        if not spec.get("clusterIP"):
            spec["clusterIP"] = _cluster_ip(o.key, cluster, used)
        if not spec.get("clusterIPs"):
            spec["clusterIPs"] = [spec["clusterIP"]]
        if needs_node_ports(spec):
            spec["ports"] = _with_node_ports(o.key, spec.get("ports") or (), node_ports)
        if needs_health_check(spec) and not spec.get("healthCheckNodePort"):
            spec["healthCheckNodePort"] = _node_port(o.key, "health check", node_ports)
        if spec != o.spec:
            changes.append(Put(o.replace(spec=spec)))
    return changes


def _cluster_ip(key: Key, cluster: Cluster, used: set[str]) -> str:
    network = cluster.service_cidrs[0]
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


def _with_node_ports(key: Key, ports: Iterable[Mapping[str, Any]], used: set[Any]) -> list[dict[str, Any]]:
    given = []
    for port in ports:
        if not port.get("nodePort"):
            number = _node_port(key, f"{port.get('protocol', 'TCP')}/{port['port']}", used)
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


def _pods(objects: Objects) -> list[Change]:
    """Addresses for scheduled pods: the next one after the last given, as the host-local IPAM plugin does.

    A pod that finds none stays without; its status says so.
    """
    nodes = {o.name: o for o in objects.kind(NODE)}
    waiting: dict[str, list[Object]] = {}
    for pod in objects.facts(POD, _waiting).values():
        if pod.spec["nodeName"] in nodes:
            waiting.setdefault(pod.spec["nodeName"], []).append(pod)
    taken: dict[str, set[str]] = {}
    for pod in objects.kind(POD) if waiting else ():
        if pod.spec.get("nodeName") in waiting:
            taken.setdefault(pod.spec["nodeName"], set()).update(
                e["ip"] for e in pod.status.get("podIPs") or ()
            )
    changes: list[Change] = []
    for name, pods in waiting.items():
        node = nodes[name]
        networks = [ip_network(c) for c in node.spec.get("podCIDRs") or ()]
        used = taken.get(name, set())
        last = node.annotations.get(LAST_POD, "")
        for pod in pods:
            own = [] if pod.spec.get("hostNetwork") else networks
            found = [a for network in own if (a := _next_address(network, last, used))]
            if pod.spec.get("hostNetwork"):
                found = [str(node.status["address"])]
            elif len(found) < len(networks) or not found:
                changes += _without_address(pod, name)
                continue
            ips = [{"ip": a} for a in found]
            if own:
                last = ips[0]["ip"]
            used.update(e["ip"] for e in ips)
            host = node.status.get("address", "")
            status = {
                **({} if pod.status.get("reason") == _NO_SANDBOX else pod.status),
                "podIP": ips[0]["ip"],
                "podIPs": ips,
                "hostIP": host,
                "hostIPs": [{"ip": host}],
            }
            changes.append(PutStatus(pod.key, status))
        if last != node.annotations.get(LAST_POD, ""):
            metadata = {**node.metadata, "annotations": {**node.annotations, LAST_POD: last}}
            changes.append(Put(node.replace(metadata=metadata)))
    return changes


def _waiting(pod: Object) -> Object | None:
    """A Pod that has a node and no address yet."""
    over = pod.metadata.get("deletionTimestamp") or pod.status.get("phase") in ("Succeeded", "Failed")
    return pod if pod.spec.get("nodeName") and not pod.status.get("podIPs") and not over else None


def _next_address(network: IPNetwork, last: str, used: set[str]) -> str | None:
    size = (
        min(network.num_addresses, 1 << 16) - 3
    )  # without the network's own, the gateway's and the broadcast one
    start = (
        int(ip_address(last)) - int(network.network_address) - 1
        if last and ip_address(last) in network
        else 0
    )
    for step in range(size):
        address = str(network[2 + (start + step) % size])
        if address not in used:
            return address
    return None


def _without_address(pod: Object, node: str) -> list[Change]:
    message = f"failed to set up pod network: no address is left in the pod range of {node}"
    if pod.status.get("message") == message:
        return []
    return [
        PutStatus(pod.key, {**pod.status, "reason": _NO_SANDBOX, "message": message}),
        Tell(pod, WARNING, _NO_SANDBOX, message, "kubelet", node),
    ]
