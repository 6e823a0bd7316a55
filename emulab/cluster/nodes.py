"""The Node objects that a Cluster's `nodes` become."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from emulab.cluster import allocation as at
from emulab.cluster.freeaddresses import underlay_taken
from emulab.kinds.core.capacity import capacity
from emulab.kinds.emulab.clusterview import ZONE, Cluster, NodeSpec
from emulab.kinds.emulab.podnetworks import blocks_of_node, has_blocks
from emulab.kinds.registry import NODE, POD
from emulab.model.addresses import IPAddress, IPNetwork
from emulab.model.collection import Change, Delete, Objects, Put, PutStatus
from emulab.model.objects import Object

REGION = "topology.kubernetes.io/region"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
"""Machines as the kernel names them, and as Go does (GOARCH)."""


def node_objects(cluster: Cluster, objects: Objects) -> list[Change]:
    """Node objects that are missing or no longer asked for. Raises UserError."""
    there = {o.name: o for o in objects.kind(NODE)}
    new = [n.name for n in cluster.nodes if n.name not in there]
    changed: list[Change] = [
        PutStatus(o.key, status)
        for n in cluster.nodes
        for o, status in _resized(n, there.get(n.name), cluster)
    ]
    zones = cluster.zones
    changed += [Put(o) for n in cluster.nodes for o in _labelled(n, zones, there.get(n.name))]
    if not new and len(there) == len(cluster.nodes):
        return changed
    addresses = at.node_addresses(new, cluster, underlay_taken(objects, cluster))
    wanted = {n.name for n in cluster.nodes}
    # Those of nodes that go are free: their pods go with them.
    kept = [o for n, o in there.items() if n in wanted]
    taken = {ip_network(c) for o in kept for c in o.spec["podCIDRs"]}
    if has_blocks(cluster.network_plugin):
        taken.update(block for o in kept for block in blocks_of_node(cluster.blocks, o))
    used = _addresses_of_pods(objects, wanted) if new else set()
    changes: list[Change] = [*changed]
    for index, spec in enumerate(cluster.nodes):
        if spec.name not in there:
            labels = {**_own_labels(spec.name), REGION: "region-1", **_zone(spec, zones), **spec.labels}
            ranges = at.pod_range(cluster, index, taken, used)
            taken.update(ranges)
            node = _node_object(
                spec, labels, ranges, addresses[spec.name], _room_for_pods(cluster, ranges[0])
            )
            changes += [Put(node), PutStatus(node.key, node.status)]
    gone = {name for name in there if name not in wanted}
    changes += [Delete(there[name].key) for name in gone]
    # Pods of a node that is gone are deleted, as Kubernetes' pod garbage collector does.
    changes += [Delete(p.key) for p in objects.kind(POD) if gone and p.spec.get("nodeName") in gone]
    return changes


def _addresses_of_pods(objects: Objects, nodes: Collection[str]) -> set[IPAddress]:
    pods = [p for p in objects.kind(POD) if p.spec.get("nodeName") in nodes and not p.spec.get("hostNetwork")]
    return {ip_address(e["ip"]) for p in pods for e in p.status.get("podIPs") or ()}


def _own_labels(name: str) -> dict[str, str]:
    """What a kubelet says of its node (kubelet_node_status.go, `initialNode`)."""
    machine = os.uname().machine
    arch = _ARCHITECTURES.get(machine, machine)
    return {
        "beta.kubernetes.io/arch": arch,
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": arch,
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
    }


def _resized(
    spec: NodeSpec, node: Object | None, cluster: Cluster
) -> Iterator[tuple[Object, Mapping[str, Any]]]:
    """A node that is there, and its status, where the Cluster gives it more or less than it has."""
    if node is None:
        return
    room = capacity(spec.capacity, _room_for_pods(cluster, ip_network(node.spec["podCIDRs"][0])))
    if node.status.get("capacity") != room:
        yield node, {**node.status, "allocatable": room, "capacity": room}


def _zone(spec: NodeSpec, zones: Mapping[str, str]) -> dict[str, str]:
    """What a cloud says of a node's zone."""
    zone = zones[spec.name]
    return {ZONE: zone} if zone else {}


def _labelled(spec: NodeSpec, zones: Mapping[str, str], node: Object | None) -> Iterator[Object]:
    """A node that is there, where the Cluster labels it otherwise; what kubelet and cloud say of it stays."""
    if node is None:
        return
    theirs = (*_own_labels(spec.name), REGION)
    kept = {name: node.labels[name] for name in theirs if name in node.labels}
    labels = {**kept, **_zone(spec, zones), **spec.labels}
    if labels != dict(node.labels):
        yield node.replace(metadata={**node.metadata, "labels": labels})


def _room_for_pods(cluster: Cluster, pods: IPNetwork) -> int:
    """How many Pods can have an address: of blocks all that there are, of a range all but the network's own, the node's
    and the last."""
    if has_blocks(cluster.network_plugin):
        return cluster.pod_cidrs[0].num_addresses
    return pods.num_addresses - 3


def _node_object(
    spec: NodeSpec,
    labels: dict[str, str],
    ranges: tuple[IPNetwork, ...],
    addresses: tuple[IPAddress, ...],
    most: int,
) -> Object:
    name, cidrs = spec.name, [str(r) for r in ranges]
    room = capacity(spec.capacity, most)
    return Object(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels},
            "spec": {"podCIDR": cidrs[0], "podCIDRs": cidrs},
            "status": {
                "address": str(addresses[0]),
                "addresses": [
                    *({"type": "InternalIP", "address": str(address)} for address in addresses),
                    {"type": "Hostname", "address": name},
                ],
                "allocatable": room,
                "capacity": room,
                "nodeInfo": {"kubeletVersion": "emulab", "kubeProxyVersion": "emulab"},
                "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            },
        }
    )
