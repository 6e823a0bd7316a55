"""Warnings: names that lead nowhere, and things that are accepted but have no effect.

None of it is an error, because objects may arrive in any order, as in Kubernetes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from itertools import chain
from typing import Any

from emulab.dataclass import dataclass
from emulab.kinds.clusters import Cluster, LoadBalancer
from emulab.kinds.ingresses import LOAD_BALANCER_ANNOTATION, PUBLIC_LOAD_BALANCER, Ingress
from emulab.kinds.services import Service, is_proxied
from emulab.kinds.workloads import PodSpec
from emulab.model.addresses import IPAddress, parse_address
from emulab.model.checks import fits_dns, show
from emulab.model.collection import Objects
from emulab.model.findings import Finding
from emulab.model.objects import Key, Object
from emulab.model.selectors import matches_labels
from emulab.model.yaml_nodes import Path

_TOO_LONG = "a label of a DNS name has at most 63 letters"

WORKLOADS = ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet")


def warnings(objects: Iterable[Object], among: Objects | None = None) -> list[str]:
    """What looks wrong in these objects taken together, one line each: `FILE:LINE: Kind/name path: what`.

    `among`: all there is beside them, where that is more than they themselves.
    """
    given = list(objects)
    world = _World(Objects(given) if among is None else among)
    return [finding.line() for o in given if o.kind in _CHECKS for finding in _CHECKS[o.kind](o, world)]


@dataclass(frozen=True, slots=True)
class _Pods:
    """A Pod, or the pods of a workload."""

    namespace: str
    labels: Mapping[str, str]
    spec: Mapping[str, Any]


class _World:
    """What there is. It is looked up as it is asked for, so that a few objects among thousands cost little."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def service(self, namespace: str, name: str) -> Service | None:
        o = self._objects.get(Key("Service", namespace, name))
        return Service.of(o) if o else None

    def has(self, kind: str, namespace: str, name: str) -> bool:
        return self._objects.get(Key(kind, namespace, name)) is not None

    @cached_property
    def nodes(self) -> frozenset[str]:
        clusters = self._objects.kind("Cluster")
        cluster = Cluster.of(clusters[-1]) if clusters else Cluster()
        return frozenset(node.name for node in cluster.nodes)

    @cached_property
    def _pods(self) -> Mapping[tuple[str, str, str], list[_Pods]]:
        """What users ask for by each of its labels, so that thousands of Services find their pods at once."""
        found: dict[tuple[str, str, str], list[_Pods]] = {}
        for o in chain.from_iterable(map(self._objects.kind, ("Pod", *WORKLOADS))):
            if o.metadata.get("ownerReferences"):
                continue  # a controller made it of one that is here too
            template = o.raw if o.kind == "Pod" else o.spec["template"]
            labels = (template.get("metadata") or {}).get("labels") or {}
            pods = _Pods(o.namespace, labels, template["spec"])
            for key, value in labels.items():
                found.setdefault((o.namespace, key, value), []).append(pods)
        return found

    @cached_property
    def claims(self) -> Mapping[tuple[IPAddress, str, int], Object]:
        """Who has an external address and port: the first Service that claims it (`emulab.plan.proxy.intents`)."""
        found: dict[tuple[IPAddress, str, int], Object] = {}
        for o in filter(is_proxied, self._objects.kind("Service")):
            for address in o.spec.get("externalIPs") or ():
                for port in Service.of(o).ports:
                    found.setdefault((parse_address(address), port.protocol, port.port), o)
        return found

    def selected(self, namespace: str, selector: Mapping[str, str]) -> list[_Pods]:
        candidates = [self._pods.get((namespace, key, value), []) for key, value in selector.items()]
        return [pods for pods in min(candidates, key=len) if matches_labels(selector, pods.labels)]


def _service(o: Object, world: _World) -> Iterator[Finding]:
    yield from _claims(o, world)
    yield from _selection(o, world)
    for index, port in enumerate(o.spec.get("ports") or ()):
        if not fits_dns(f"_{port.get('name', '')}"):
            yield Finding(o, ("spec", "ports", index, "name"), f"has no SRV record: {_TOO_LONG}")


def _claims(o: Object, world: _World) -> Iterator[Finding]:
    if not is_proxied(o):
        return
    for index, address in enumerate(o.spec.get("externalIPs") or ()):
        for port in Service.of(o).ports:
            owner = world.claims[parse_address(address), port.protocol, port.port]
            if owner.key != o.key:
                what = f"port {port.port}/{port.protocol} of {address} is {owner.kind} {owner.namespace}/{owner.name}'s"
                yield Finding(o, ("spec", "externalIPs", index), what)


def _selection(o: Object, world: _World) -> Iterator[Finding]:
    if not o.spec.get("selector"):
        return
    service = Service.of(o)
    if service.selector is None or service.type == "ExternalName":
        return
    pods = world.selected(o.namespace, service.selector)
    if not pods:
        yield Finding(o, ("spec", "selector"), "matches no Pod and no workload's template")
        return
    named = {
        (port.name, port.protocol)
        for selected in pods
        for container in PodSpec.of(selected.spec).lasting
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
    service = world.service(namespace, name)
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
    for index, rule in enumerate(ingress.rules):
        if not fits_dns(rule.host):
            yield Finding(o, ("spec", "rules", index, "host"), f"has no DNS record: {_TOO_LONG}")
    for index, tls in enumerate(ingress.tls):
        if tls.secret and not world.has("Secret", o.namespace, tls.secret):
            yield Finding(
                o, ("spec", "tls", index, "secretName"), f"there is no Secret {o.namespace}/{tls.secret}"
            )
    balancer = ingress.load_balancer
    if balancer != PUBLIC_LOAD_BALANCER and not world.has("LoadBalancer", "", balancer):
        unknown = f"there is no LoadBalancer {balancer}"
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
