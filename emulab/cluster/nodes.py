"""The Node objects that a Cluster's `nodes` become."""

from __future__ import annotations

from ipaddress import ip_network

from emulab.cluster import allocation as at
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.registry import NODE, POD
from emulab.model.addresses import IPAddress, IPNetwork
from emulab.model.collection import Change, Delete, Objects, Put, PutStatus
from emulab.model.objects import Object

MAX_PODS = 110  # the kubelet's default of maxPods, whatever room for addresses a node has


def node_objects(cluster: Cluster, objects: Objects) -> list[Change]:
    """Node objects that are missing or no longer asked for. Raises UserError."""
    there = {o.name: o for o in objects.kind(NODE)}
    new = [n.name for n in cluster.nodes if n.name not in there]
    if not new and len(there) == len(cluster.nodes):
        return []
    addresses = at.node_addresses(new, cluster, at.underlay_taken(objects, cluster))
    wanted = {n.name for n in cluster.nodes}
    # Those of nodes that go are free: their pods go with them.
    taken = {ip_network(c) for n, o in there.items() if n in wanted for c in o.spec["podCIDRs"]}
    changes: list[Change] = []
    for index, spec in enumerate(cluster.nodes):
        if spec.name not in there:
            labels = {
                "kubernetes.io/hostname": spec.name,
                "kubernetes.io/os": "linux",
                **({"topology.kubernetes.io/zone": spec.zone} if spec.zone else {}),
                **spec.labels,
            }
            ranges = at.pod_range(cluster, index, taken)
            taken.update(ranges)
            node = _node_object(spec.name, labels, ranges, addresses[spec.name])
            changes += [Put(node), PutStatus(node.key, node.status)]
    gone = {name for name in there if name not in wanted}
    changes += [Delete(there[name].key) for name in gone]
    # Pods of a node that is gone are deleted, as Kubernetes' pod garbage collector does.
    changes += [Delete(p.key) for p in objects.kind(POD) if gone and p.spec.get("nodeName") in gone]
    return changes


def _node_object(
    name: str, labels: dict[str, str], ranges: tuple[IPNetwork, ...], addresses: tuple[IPAddress, ...]
) -> Object:
    cidrs = [str(r) for r in ranges]
    pods = str(min(MAX_PODS, ranges[0].num_addresses - 3))
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
                "allocatable": {"pods": pods},
                "capacity": {"pods": pods},
                "nodeInfo": {"kubeletVersion": "emulab", "kubeProxyVersion": "emulab"},
                "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            },
        }
    )
