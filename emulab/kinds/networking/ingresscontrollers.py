"""The ingress controllers of a lab: the workloads and Pods whose image is ingress-nginx', whoever brought them.

What a controller serves and where it is reached follows from its template, so it is known before a Pod of it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple, Protocol, TypeVar

from emulab.dataclass import dataclass
from emulab.kinds.core.expansion import expand
from emulab.kinds.core.podspec import Container, PodSpec, asked_program
from emulab.kinds.core.serviceview import Service
from emulab.kinds.images import INGRESS, server_of
from emulab.kinds.installed import CONTROLLER
from emulab.kinds.kind import WORKLOAD
from emulab.kinds.networking.controllerflags import ControllerFlags, controller_flags, is_controllers
from emulab.kinds.registry import KINDS, NODE, POD, SERVICE
from emulab.model.keys import GroupKind, Key
from emulab.model.members import Members
from emulab.model.objects import NOWHERE, Object
from emulab.model.selectors import matches_labels

T = TypeVar("T")


class ObjectSource(Protocol):
    """Where objects are looked up."""

    def get(self, key: Key) -> Object | None: ...

    def members(self, kind: GroupKind) -> Members: ...

    def facts(self, kind: GroupKind, ask: Callable[[Object], T | None]) -> Mapping[Key, T]: ...


@dataclass(frozen=True, slots=True)
class IngressController:
    """One controller: a workload with its flags, and what leads to its Pods."""

    kind: str
    namespace: str
    name: str
    labels: Mapping[str, str]  # of its Pods
    flags: ControllerFlags
    ports: Mapping[str, int]  # of its container, by name
    on_nodes: Mapping[int, int]  # ports of its nodes that lead to those of its Pods, by the latter
    validates: bool = False  # whether the API server asks it for a word on each Ingress that comes

    @property
    def full_name(self) -> str:
        """`KIND/NAMESPACE/NAME`."""
        return f"{self.kind}/{self.namespace}/{self.name}"

    @property
    def is_the_labs_own(self) -> bool:
        """Whether it serves what the controller serves that every lab has, and so takes its place."""
        return self.flags.controller_class == CONTROLLER

    def node_port(self, port: int) -> int:
        """The port of its nodes that leads to its 80 or 443; 0 where none does."""
        own = {80: self.flags.http_port, 443: self.flags.https_port}.get(port, 0)
        return self.on_nodes.get(own, 0)


def controllers(source: ObjectSource) -> list[IngressController]:
    """All of them, those first that serve the class that every lab has."""
    kinds = (*KINDS.of(WORKLOAD), POD)
    found = chain.from_iterable(source.facts(kind, controller_of).values() for kind in kinds)
    return sorted(found, key=lambda one: not one.is_the_labs_own)


def controller_of(o: Object) -> IngressController | None:
    """The controller that a workload, or a Pod of nobody's, is."""
    if o.metadata.get("ownerReferences"):
        return None
    template = o.raw if o.type == POD else o.spec["template"]
    given = next(filter(is_controller, template["spec"].get("containers") or ()), None)
    if given is None:
        return None
    container, shared = Container.of(given), bool(template["spec"].get("hostNetwork"))
    flags = controller_flags(container.words, _variables(container, {"metadata.namespace": o.namespace}))
    return IngressController(
        kind=o.kind,
        namespace=o.namespace,
        name=o.name,
        labels=(template.get("metadata") or {}).get("labels") or {},
        flags=flags,
        ports={p.name: p.port for p in container.ports if p.name},
        on_nodes=_host_ports(given)
        if not shared
        else {port: port for port in (flags.http_port, flags.https_port)},
        validates=bool(flags.webhook) or o.position == NOWHERE,  # as the usual installations have it
    )


def is_controller(container: Mapping[str, Any]) -> bool:
    """Whether a container is a controller: by its image, unless it asks for another program."""
    if server_of(container.get("image") or "") != INGRESS:
        return False
    return is_controllers(asked_program(container))


def flags_of(pod: Object, spec: PodSpec, container: Container) -> ControllerFlags:
    """What a Pod's container is told."""
    fields = {
        "metadata.name": pod.name,
        "metadata.namespace": pod.namespace,
        "spec.nodeName": spec.node_name,
        "status.podIP": str(pod.status.get("podIP") or ""),
        "status.hostIP": str(pod.status.get("hostIP") or ""),
    }
    return controller_flags(container.words, _variables(container, fields))


def _variables(container: Container, fields: Mapping[str, str]) -> Mapping[str, str]:
    """The variables of `env` that flags may name, as far as they are known without other objects."""
    known: dict[str, str] = {}
    for entry in container.env:
        path = str(((entry.get("valueFrom") or {}).get("fieldRef") or {}).get("fieldPath"))
        if path in fields:
            known[entry["name"]] = fields[path]
        elif not entry.get("valueFrom"):
            known[entry["name"]] = expand(str(entry.get("value") or ""), known)
    return known


def _host_ports(container: Mapping[str, Any]) -> Mapping[int, int]:
    return {p["containerPort"]: p["hostPort"] for p in container.get("ports") or () if p.get("hostPort")}


# What leads to a controller


def front_service(source: ObjectSource, controller: IngressController) -> Object | None:
    """The Service by which clients get to a controller: the one that it publishes, or else one that has node ports and
    leads to where its Pods take HTTP; a balanced one before others."""
    namespace, _, name = controller.flags.publish_service.partition("/")
    published = source.get(SERVICE.key(namespace, name)) if name else None
    if published is not None:
        return published
    found = [o for o in source.facts(SERVICE, _has_node_ports).values() if _leads_to(o, controller)]
    return min(found, key=lambda o: o.spec.get("type") != "LoadBalancer", default=None)


def _has_node_ports(o: Object) -> Object | None:
    return o if o.spec.get("type") in ("LoadBalancer", "NodePort") and o.spec.get("selector") else None


def _leads_to(o: Object, controller: IngressController) -> bool:
    service, flags = Service.of(o), controller.flags
    if o.namespace != controller.namespace or not matches_labels(service.selector or {}, controller.labels):
        return False
    targets = {controller.ports.get(str(p.target_port), p.target_port) for p in service.ports}
    return not targets.isdisjoint((flags.http_port, flags.https_port))


def the_labs_ingress(source: ObjectSource) -> tuple[IngressController | None, Object | None]:
    """The controller that the world's balancers send to, and the Service in front of it."""
    controller = next(iter(controllers(source)), None)
    return controller, front_service(source, controller) if controller is not None else None


class _Placed(NamedTuple):
    namespace: str
    labels: Mapping[str, str]
    node: str
    ready: bool


def node_addresses(source: ObjectSource, controller: IngressController, ready: bool) -> Iterator[str]:
    """The addresses of the nodes on which a controller's Pods are, or are ready."""
    pods = [
        pod
        for pod in source.facts(POD, _placed).values()
        if pod.namespace == controller.namespace and matches_labels(controller.labels, pod.labels)
    ]
    for name in sorted({pod.node for pod in pods if pod.ready or not ready}):
        node = source.get(NODE.key("", name))
        for entry in (node.status.get("addresses") or ()) if node is not None else ():
            if entry["type"] == "InternalIP":
                yield entry["address"]


def _placed(pod: Object) -> _Placed | None:
    spec = pod.spec
    if not spec.get("nodeName") or not any(map(is_controller, spec.get("containers") or ())):
        return None
    conditions = pod.status.get("conditions") or ()
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return _Placed(pod.namespace, pod.labels, str(spec["nodeName"]), ready)
