"""What of Pods, Namespaces and Nodes counts for policies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from emulab.kinds.networking.policyview import PodLabels
from emulab.kinds.registry import CLUSTER_NETWORK_POLICY, NETWORK_POLICY
from emulab.kinds.underlay import underlay_addresses
from emulab.model.addresses import IPAddress
from emulab.model.objects import Object
from emulab.plan.kept import PlanSource
from emulab.plan.pods import has_network, pod_addresses

NAME_LABEL = "kubernetes.io/metadata.name"
"""What every Namespace has (KEP-2161)."""


class PolicyPod(NamedTuple):
    """A pod with a network of its own. One that has its node's isn't told from the node, as Kubernetes has it."""

    namespace: str
    name: str
    node: str
    labels: PodLabels
    addresses: tuple[IPAddress, ...]
    ports: tuple[tuple[str, str, int], ...]
    """Names of ports, with protocol and number."""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    def port(self, protocol: str, name: str) -> int | None:
        """The number of a port that has a name."""
        return next((number for n, p, number in self.ports if (n, p) == (name, protocol)), None)


def named_ports(pod: Object) -> tuple[tuple[str, str, int], ...]:
    """The names of a Pod's ports, with protocol and number."""
    spec = pod.spec
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    return tuple(
        (port["name"], (port.get("protocol") or "TCP").lower(), port["containerPort"])
        for container in containers
        for port in container.get("ports") or ()
        if port.get("name")
    )


def policy_pod(pod: Object) -> PolicyPod | None:
    """What counts of a Pod; None where nothing does."""
    spec = pod.spec
    if spec.get("hostNetwork") or not has_network(pod):
        return None
    labels = pod.metadata.get("labels") or {}
    return PolicyPod(pod.namespace, pod.name, spec["nodeName"], labels, pod_addresses(pod), named_ports(pod))


class PolicyNode(NamedTuple):
    """A node, which ClusterNetworkPolicies may mean as one that is sent to."""

    labels: PodLabels
    addresses: tuple[IPAddress, ...]


def policy_node(o: Object) -> PolicyNode:
    """What counts of a Node."""
    return PolicyNode(o.metadata.get("labels") or {}, tuple(underlay_addresses(o)))


def namespace_labels(o: Object) -> PodLabels:
    """The labels of a Namespace."""
    return {**(o.metadata.get("labels") or {}), NAME_LABEL: o.name}


class PolicyScene(NamedTuple):
    """All that NetworkPolicies are about."""

    pods: tuple[PolicyPod, ...]
    namespaces: Mapping[str, PodLabels]
    nodes: Mapping[str, PolicyNode] = {}

    @classmethod
    def among(
        cls, pods: Iterable[Object], namespaces: Iterable[Object], nodes: Iterable[Object] = ()
    ) -> PolicyScene:
        """What is among objects."""
        found = (policy_pod(pod) for pod in pods)
        labels = {o.name: namespace_labels(o) for o in namespaces}
        there = tuple(pod for pod in found if pod is not None)
        return cls(there, labels, {o.name: policy_node(o) for o in nodes})

    def labels_of(self, namespace: str) -> PodLabels:
        """Those of a Namespace, which needn't be there as an object."""
        return self.namespaces.get(namespace) or {NAME_LABEL: namespace}


def is_any(source: PlanSource) -> bool:
    """Whether there is a policy at all."""
    return bool(source.members(NETWORK_POLICY) or source.members(CLUSTER_NETWORK_POLICY))
