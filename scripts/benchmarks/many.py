"""Many Services with EndpointSlices written by hand, as plain YAML. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address
from typing import NamedTuple

PORT = 80
TARGET = 8080
FIRST_ADDRESS = IPv4Address(
    "10.98.0.1"
)  # in the default service CIDR, far from where addresses are given out
FIRST_ENDPOINT = IPv4Address("10.200.0.1")


class Many(NamedTuple):
    """One of many Services: its name, cluster IP and the addresses of its endpoints, all on port 8080."""

    name: str
    address: str
    endpoints: tuple[str, ...]


def many(count: int, size: int, pods: Sequence[str] = ()) -> list[Many]:
    """So many Services of `size` endpoints each.

    Endpoints are the given pods in turn, so that neighbours differ and whoever is asked answers; without pods, each
    endpoint has an address of its own, where nobody is.
    """

    def endpoints(number: int) -> tuple[str, ...]:
        if pods:
            return tuple(pods[(number + i) % len(pods)] for i in range(size))
        return tuple(str(FIRST_ENDPOINT + number * size + i) for i in range(size))

    return [Many(f"many{n}", str(FIRST_ADDRESS + n), endpoints(n)) for n in range(count)]


def text(services: Iterable[Many]) -> str:
    """Their manifests."""
    return "---\n".join(part for s in services for part in (_service(s), slice_text(s)))


def _service(service: Many) -> str:
    return (
        f"apiVersion: v1\nkind: Service\nmetadata: {{name: {service.name}}}\nspec:\n"
        f"  clusterIP: {service.address}\n  ports: [{{port: {PORT}, targetPort: {TARGET}}}]\n"
    )


def slice_text(service: Many) -> str:
    """The manifest of its EndpointSlice."""
    endpoints = "".join(
        f"- {{addresses: [{address}], conditions: {{ready: true}}}}\n" for address in service.endpoints
    )
    return (
        f"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {service.name}-0\n"
        f"  labels: {{kubernetes.io/service-name: {service.name}}}\naddressType: IPv4\n"
        f"ports: [{{port: {TARGET}, protocol: TCP}}]\nendpoints:\n{endpoints}"
    )


def cluster_text(nodes: int, mode: str) -> str:
    """A Cluster's manifest."""
    return (
        "apiVersion: emulab.dev/v1\nkind: Cluster\nmetadata: {name: bench}\n"
        f"spec: {{nodes: {nodes}, proxy: {{mode: {mode}}}}}\n"
    )


def pod_text(name: str, node: str, command: str = "") -> str:
    """A pod's manifest; without a command (JSON), it is a stand-in on port 8080."""
    runs = f", command: {command}" if command else ""
    return (
        f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  nodeName: {node}\n"
        f"  containers: [{{name: web, image: 'bench/web:1', ports: [{{containerPort: {TARGET}}}]{runs}}}]\n"
    )


def deployment_text(name: str, replicas: int) -> str:
    """The manifests of a Deployment of stand-ins, and of a Service of its pods."""
    return (
        f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  replicas: {replicas}\n"
        f"  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n"
        "    spec:\n      terminationGracePeriodSeconds: 1\n"
        f"      containers: [{{name: web, image: 'bench/web:1', ports: [{{containerPort: {TARGET}}}]}}]\n---\n"
        f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n"
        f"spec: {{selector: {{app: {name}}}, ports: [{{port: {PORT}, targetPort: {TARGET}}}]}}\n"
    )
