"""What warnings ask of all the objects that there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from emulab.model.checks import show
from emulab.model.keys import GroupKind, Key
from emulab.model.paths import FieldPath

if TYPE_CHECKING:
    from emulab.kinds.core.podspec import PodImage
    from emulab.kinds.core.serviceview import Service
    from emulab.kinds.emulab.clusterview import Cluster
    from emulab.kinds.kind import Kind
    from emulab.kinds.networking.ingressclasses import IngressClasses
    from emulab.kinds.networking.ingressview import Ingress
    from emulab.model.addresses import IPAddress, IPNetwork
    from emulab.model.objects import Object

IngressPlace = tuple[str, str, str, str]
"""A controller, a host, a path and its type."""

TOO_LONG = "a label of a DNS name has at most 63 letters"


class Pods(NamedTuple):
    """A Pod, or the Pods of a workload, which is who asked for them."""

    owner: Object
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    spec: Mapping[str, Any]


class Lookup(Protocol):
    """What there is, looked up as it is asked for: a few objects among thousands cost little."""

    def has(self, key: Key) -> bool: ...

    def service(self, namespace: str, name: str) -> Service | None: ...

    def get(self, key: Key) -> Object | None: ...

    def selected(self, namespace: str, selector: Mapping[str, str]) -> Sequence[Pods]:
        """What of that namespace a selector finds: Pods that users ask for, and templates of workloads."""

    def kind(self, kind: GroupKind, namespace: str | None = None) -> Sequence[Object]:
        """All objects of a kind, of one Namespace when given."""

    def missing_programs(self, annotations: Mapping[str, str], spec: Mapping[str, Any]) -> Mapping[str, str]:
        """The names of containers for which a stand-in answers, and the program that there isn't."""

    @property
    def cluster(self) -> Cluster: ...

    def allows_host_path(self, path: str) -> bool:
        """Whether the Cluster lets Pods see this path of the host."""

    def maker(self, namespace: str, kind: Kind, name: str) -> str:
        """Who would make a ConfigMap or Secret of that name in a cluster, and doesn't here; "" where nobody would."""

    def images(self, annotations: Mapping[str, str], spec: Mapping[str, Any]) -> Mapping[str, PodImage]:
        """The containers that run an image, by name."""

    @property
    def volume_classes(self) -> frozenset[str]:
        """The StorageClasses that PersistentVolumes say they are of, be there such classes or not."""

    @property
    def nodes(self) -> frozenset[str]: ...

    @property
    def own_networks(self) -> tuple[IPNetwork, ...]:
        """Those of nodes, pods and Services, of which no balancer has an address."""

    @property
    def ingress_classes(self) -> IngressClasses: ...

    @property
    def ingress_paths(self) -> Mapping[IngressPlace, Ingress]:
        """Who is heard of each place: the first Ingress that has it, of those that its controller serves."""

    def asked_by(self, address: IPAddress) -> Object | None:
        """The first LoadBalancer Service, or LoadBalancer, that asks for a balancer with this address."""

    @property
    def claims(self) -> Mapping[tuple[IPAddress, str, int], Object]:
        """Who has an external address, protocol and port: the first Service that claims it."""


def leads_nowhere(
    world: Lookup, namespace: str, name: str, port: int | str, paths: tuple[FieldPath, FieldPath]
) -> Iterator[tuple[FieldPath, str]]:
    """Whether a Service or its port isn't there; `paths` are those of the name and of the port."""
    service = world.service(namespace, name)
    if service is None:
        yield paths[0], f"there is no Service {namespace}/{name}"
    elif service.type != "ExternalName" and all(port not in (p.port, p.name) for p in service.ports):
        yield paths[1], f"Service {namespace}/{name} has no port {show(port)}"
