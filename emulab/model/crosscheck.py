"""Warnings: names that lead nowhere, and things that are accepted but have no effect.

None of it is an error, because objects may arrive in any order, as in Kubernetes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from emulab.model.checks import show
from emulab.model.clusters import Cluster, LoadBalancer
from emulab.model.findings import Finding
from emulab.model.ingresses import LOAD_BALANCER_ANNOTATION, PUBLIC_LOAD_BALANCER, Ingress
from emulab.model.objects import Object
from emulab.model.selectors import matches_labels
from emulab.model.services import Service
from emulab.model.workloads import PodSpec
from emulab.model.yaml_nodes import Path

WORKLOADS = frozenset({"Deployment", "ReplicaSet", "StatefulSet", "DaemonSet"})


def warnings(objects: Iterable[Object]) -> list[str]:
    """What looks wrong in these objects taken together, one line each: `FILE:LINE: Kind/name path: what`."""
    given = list(objects)
    world = _World.of(given)
    return [finding.line() for o in given if o.kind in _CHECKS for finding in _CHECKS[o.kind](o, world)]


@dataclass(frozen=True, slots=True)
class _Pods:
    """A Pod, or the pods of a workload."""

    namespace: str
    labels: Mapping[str, str]
    spec: Mapping[str, Any]


@dataclass(slots=True)
class _World:
    """What the objects name, indexed so that thousands of Services find their pods at once."""

    services: dict[tuple[str, str], Service] = field(default_factory=dict)
    secrets: set[tuple[str, str]] = field(default_factory=set)
    balancers: set[str] = field(default_factory=lambda: {PUBLIC_LOAD_BALANCER})
    nodes: set[str] = field(default_factory=set)
    pods: dict[tuple[str, str, str], list[_Pods]] = field(default_factory=dict)  # by namespace, key, value

    @staticmethod
    def of(objects: Iterable[Object]) -> _World:
        world, cluster = _World(), Cluster()
        for o in objects:
            if o.kind == "Service":
                world.services[o.namespace, o.name] = Service.of(o)
            elif o.kind == "Secret":
                world.secrets.add((o.namespace, o.name))
            elif o.kind == "LoadBalancer":
                world.balancers.add(o.name)
            elif o.kind == "Cluster":
                cluster = Cluster.of(o)
            elif o.kind == "Node":
                world.nodes.add(o.name)
            elif o.kind == "Pod":
                world.add(_Pods(o.namespace, o.labels, o.spec))
            elif o.kind in WORKLOADS:
                template = o.spec["template"]
                labels = (template.get("metadata") or {}).get("labels") or {}
                world.add(_Pods(o.namespace, labels, template["spec"]))
        world.nodes.update(node.name for node in cluster.nodes)
        return world

    def add(self, pods: _Pods) -> None:
        for key, value in pods.labels.items():
            self.pods.setdefault((pods.namespace, key, value), []).append(pods)

    def selected(self, namespace: str, selector: Mapping[str, str]) -> list[_Pods]:
        candidates = [self.pods.get((namespace, key, value), []) for key, value in selector.items()]
        return [pods for pods in min(candidates, key=len) if matches_labels(selector, pods.labels)]


def _service(o: Object, world: _World) -> Iterator[Finding]:
    service = world.services[o.namespace, o.name]
    if service.selector is None or service.type == "ExternalName":
        return
    pods = world.selected(o.namespace, service.selector)
    if not pods:
        yield Finding(o, ("spec", "selector"), "matches no Pod and no workload's template")
        return
    named = {
        (port.name, port.protocol)
        for selected in pods
        for container in PodSpec.of(selected.spec).containers
        for port in container.ports
    }
    for index, port in enumerate(service.ports):
        if isinstance(port.target_port, str) and (port.target_port, port.protocol) not in named:
            missing = f"no selected container has a {port.protocol} port named {show(port.target_port)}"
            yield Finding(o, ("spec", "ports", index, "targetPort"), missing)


def _leads_nowhere(
    world: _World, namespace: str, name: str, port: int | str, paths: tuple[Path, Path]
) -> Iterator[tuple[Path, str]]:
    """Whether a Service or its port isn't there; `paths` are those of the name and of the port."""
    service = world.services.get((namespace, name))
    if service is None:
        yield paths[0], f"there is no Service {namespace}/{name}"
    elif service.type != "ExternalName" and all(port not in (p.port, p.name) for p in service.ports):
        yield paths[1], f"Service {namespace}/{name} has no port {show(port)}"


def _ingress(o: Object, world: _World) -> Iterator[Finding]:
    ingress = Ingress.of(o)
    backends: list[tuple[Path, Any]] = [
        (("spec", "rules", i, "http", "paths", j, "backend", "service"), path.backend)
        for i, rule in enumerate(ingress.rules)
        for j, path in enumerate(rule.paths)
    ]
    if ingress.default_backend:
        backends.append((("spec", "defaultBackend", "service"), ingress.default_backend))
    for path, backend in backends:
        paths = ((*path, "name"), (*path, "port"))
        for where, why in _leads_nowhere(world, o.namespace, backend.service, backend.port, paths):
            yield Finding(o, where, why)
    for index, tls in enumerate(ingress.tls):
        if tls.secret and (o.namespace, tls.secret) not in world.secrets:
            yield Finding(
                o, ("spec", "tls", index, "secretName"), f"there is no Secret {o.namespace}/{tls.secret}"
            )
    if ingress.load_balancer not in world.balancers:
        unknown = f"there is no LoadBalancer {ingress.load_balancer}"
        yield Finding(o, ("metadata", "annotations", LOAD_BALANCER_ANNOTATION), unknown)


def _load_balancer(o: Object, world: _World) -> Iterator[Finding]:
    target = LoadBalancer.of(o).target
    if target.ingress:
        return
    base = ("spec", "target", "service")
    paths = ((*base, "name"), (*base, "port"))
    for where, why in _leads_nowhere(world, target.namespace, target.service, target.port, paths):
        yield Finding(o, where, why)


def _network_policy(o: Object, _world: _World) -> Iterator[Finding]:
    yield Finding(o, (), "is accepted but not enforced yet: all traffic passes")


def _pods(o: Object, world: _World) -> Iterator[Finding]:
    base: Path = ("spec",) if o.kind == "Pod" else ("spec", "template", "spec")
    spec = o.spec if o.kind == "Pod" else o.spec["template"]["spec"]
    node = spec.get("nodeName")
    if node and node not in world.nodes:
        yield Finding(o, (*base, "nodeName"), f"there is no node {node}")
    for index, container in enumerate(spec["containers"]):
        for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
            if "grpc" in (container.get(probe) or ()):
                path = (*base, "containers", index, probe, "grpc")
                yield Finding(o, path, "is run as a TCP connection to its port")


_CHECKS: Mapping[str, Callable[[Object, _World], Iterator[Finding]]] = {
    "Service": _service,
    "Ingress": _ingress,
    "LoadBalancer": _load_balancer,
    "NetworkPolicy": _network_policy,
    "Pod": _pods,
    **dict.fromkeys(WORKLOADS, _pods),
}
