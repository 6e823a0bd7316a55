"""What the cluster's DNS is told: Services, their endpoints, and the namespaces that there are.

Which names follow from them, the server knows (`emulab.servers.dns.kubernetes`). Readiness of an endpoint changes
what a name leads to, Pods by themselves change nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Generic, TypeVar

from emulab.kinds.core.coredns import CoreDnsFlags
from emulab.kinds.core.podspec import Container, PodSpec
from emulab.kinds.core.serviceview import Service
from emulab.kinds.discovery.endpointsliceview import EndpointSlice
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.registry import ENDPOINT_SLICE, NAMESPACE, POD, SERVICE
from emulab.model.addresses import socket_name
from emulab.model.members import Members, Version, changed_keys
from emulab.model.objects import Object
from emulab.plan.coredns.caching import bounds
from emulab.plan.coredns.corefile import Corefile, Texts, read, texts_of
from emulab.plan.coredns.drafting import Requirements
from emulab.plan.coredns.lastgood import STOCK_ONE, FollowedCorefile
from emulab.plan.dns import listeners
from emulab.plan.kept import PlanSource
from emulab.plan.state import Place, PlannedServer
from emulab.servers.dns.config import (
    DnsConfig,
    Kubernetes,
    NamedEndpoint,
    NamedPort,
    PodNames,
    ServiceNames,
    SliceNames,
)

T = TypeVar("T")

_PAGES = {"9153": "metrics", "8080": "health", "8181": "ready"}
"""Where CoreDNS has its pages by the stock Corefile; another one has those that it asks for."""
_PORT = 53


class ClusterDns:
    """Plans the configuration of the cluster DNS that goes by one Corefile, one after the other, without listeners."""

    def __init__(
        self, cluster: Cluster, flags: CoreDnsFlags | None = None, followed: FollowedCorefile = STOCK_ONE
    ) -> None:
        self._cluster, self._flags, self._followed = cluster, flags or CoreDnsFlags(), followed
        texts = followed.texts
        self._corefile = corefile_of(cluster, self._flags, texts) if texts is not None else None
        asked = self._corefile or Corefile()
        labels, namespaces, endpoints = asked.chosen
        self._services, self._pods = _Told(_chosen(_service, labels)), _Told(_chosen(_pod, labels))
        slices = _chosen(_slice_with_pods if asked.pod_names else _slice, labels)
        self._slices = _Told(slices if endpoints else _nothing)
        self._exposed = _named_by(namespaces) if namespaces else None
        self._known: Kubernetes | None = None
        self._made: DnsConfig | None = None

    def __call__(self, source: PlanSource) -> DnsConfig:
        """The configuration for these objects: the very same where nothing of it changed."""
        if not self._followed.begins:
            self._made = self._made or DnsConfig(listen=(), refused=self._followed.refused, begins=False)
            return self._made
        corefile = self._corefile
        told = Kubernetes(
            domain=self._cluster.cluster_domain.rstrip(".") + ".",
            namespaces=tuple(source.facts(NAMESPACE, _name).values()),
            services=self._services.follow(source.members(SERVICE)),
            slices=self._slices.follow(source.members(ENDPOINT_SLICE)),
            verified=self._pods.follow(source.members(POD)) if corefile and corefile.verified else None,
            exposed=tuple(source.facts(NAMESPACE, self._exposed).values()) if self._exposed else None,
            points_everywhere=self._exposed is not None,
        )
        known = self._known
        same = known is not None and told.services is known.services and told.slices is known.slices
        same &= known is not None and told.verified is known.verified and told.namespaces == known.namespaces
        same &= known is not None and told.exposed == known.exposed
        if self._made is None or not same:
            self._known, self._made = told, self._configured(told)
        return self._made

    def _configured(self, told: Kubernetes) -> DnsConfig:
        if self._corefile:
            made = _by_corefile(told, self._corefile)
        else:
            made = DnsConfig(
                listen=(str(_PORT),),
                kubernetes=told,
                forward=(_resolver(self._cluster),),
                recursion=True,
                cache=bounds(30, 30),  # `cache 30` of the stock Corefile
                pages=_PAGES,
            )
        return replace(made, refused=self._followed.refused, unread=self._followed.unread)


def texts(source: PlanSource, cluster: Cluster, flags: CoreDnsFlags) -> Texts | None:
    """What a server reads; None where there is nothing of one's own."""
    return texts_of(source.get, flags, cluster.cluster_domain.rstrip("."))


def corefile_of(cluster: Cluster, flags: CoreDnsFlags, texts: Texts) -> Corefile:
    """What these texts ask for."""
    return read(texts, _resolver(cluster), 0 if not flags.own else flags.port, flags.port, flags.env)


def _resolver(cluster: Cluster) -> str:
    """The server that the pods' resolv.conf names."""
    return socket_name(cluster.underlays[0].resolver_vpc, 53)


def told(pod: Object, _spec: PodSpec, container: Container) -> CoreDnsFlags:
    """What a Pod's container is told."""
    given = next(c for c in pod.spec["containers"] if c["name"] == container.name)
    return CoreDnsFlags.of(pod.namespace, pod.spec, given)


def _by_corefile(told: Kubernetes, corefile: Corefile) -> DnsConfig:
    """The configuration that a user's Corefile asks for."""
    named = any(block.cluster for block in corefile.blocks)
    return DnsConfig(
        # The port alone, as long as it isn't known where.
        listen=(f"{corefile.port}",) if corefile.blocks else (),
        kubernetes=replace(told, **corefile.cluster) if named else None,
        blocks=corefile.blocks,
        recursion=any(block.forward for block in corefile.blocks),
        cache=corefile.limits,
        pages=corefile.pages,
        lameduck=corefile.lameduck,
    )


class _Told(Generic[T]):
    """A mapping that the server is told, in versions: there may be 10,000 in it of which one changes."""

    def __init__(self, ask: Callable[[Object], tuple[str, T] | None]) -> None:
        """`ask`: what is told of an object, and by which key."""
        self._ask = ask
        self._members: Members = {}
        self._made = Version[str, T]()

    def follow(self, members: Members) -> Version[str, T]:
        """The version that has what is told of these objects."""
        changes: dict[str, T | None] = {}
        for key in changed_keys(self._members, members):
            was, told = self._told(self._members.get(key)), self._told(members.get(key))
            if was is not None and (told is None or told[0] != was[0]):
                changes.setdefault(was[0], None)
            if told is not None and told[1] != self._made.get(told[0]):
                changes[told[0]] = told[1]
        self._members = members
        if changes:
            self._made = self._made.next()
        for name, value in changes.items():
            if value is None:
                self._made.remove(name)
            else:
                self._made.write(name, value)
        return self._made

    def _told(self, o: Object | None) -> tuple[str, T] | None:
        return None if o is None else self._ask(o)


def _name(namespace: Object) -> str:
    return namespace.name


def _named_by(labels: Requirements) -> Callable[[Object], str | None]:
    """The name of a Namespace that has these labels."""
    return lambda namespace: namespace.name if _has(namespace, labels) else None


def _chosen(
    ask: Callable[[Object], tuple[str, T] | None], labels: Requirements
) -> Callable[[Object], tuple[str, T] | None]:
    """What is told of an object that has these labels."""
    return (lambda o: ask(o) if _has(o, labels) else None) if labels else ask


def _has(o: Object, labels: Requirements) -> bool:
    return all(one.holds(o.labels) for one in labels)


def _nothing(_: Object) -> tuple[str, SliceNames] | None:
    return None


def _service(o: Object) -> tuple[str, ServiceNames]:
    service = Service.of(o)
    external = service.type == "ExternalName"
    told = ServiceNames(
        namespace=service.namespace,
        name=service.name,
        headless=service.headless,
        tolerant=service.publish_not_ready_addresses,
        alias=service.external_name.rstrip(".") + "." if external else "",
        addresses=() if external else tuple(map(str, service.cluster_ips)),
        ports=tuple(NamedPort(p.name, p.protocol, p.port) for p in service.ports),
    )
    return f"{o.namespace}/{o.name}", told


def _slice_with_pods(o: Object) -> tuple[str, SliceNames] | None:
    """With the names of Pods as hostnames of endpoints that have none."""
    return _slice(o, with_pods=True)


def _slice(o: Object, *, with_pods: bool = False) -> tuple[str, SliceNames] | None:
    view = EndpointSlice.of(o)
    endpoints = tuple(
        NamedEndpoint(e.hostname or (e.target_pod if with_pods else ""), a, e.ready)
        for e in view.endpoints
        for a in e.addresses
    )
    if not (view.service and endpoints) or view.address_type == "FQDN":
        return None
    ports = tuple(NamedPort(p.name, p.protocol, p.port) for p in view.ports)
    return f"{o.namespace}/{view.service}/{o.name}", SliceNames(endpoints, ports)


def _pod(o: Object) -> tuple[str, PodNames] | None:
    """Those that run and stay (CoreDNS forgets a Pod that is being deleted, and watches no ended ones)."""
    if o.metadata.get("deletionTimestamp") or o.status.get("phase") in ("Succeeded", "Failed"):
        return None
    addresses = tuple(entry["ip"] for entry in o.status.get("podIPs") or ())
    return (f"{o.namespace}/{o.name}", PodNames(o.namespace, addresses)) if addresses else None


def cluster_dns_server(name: str, place: Place, config: DnsConfig) -> PlannedServer:
    """The server in one of the cluster DNS's pods."""
    namespace = place.namespace
    own = tuple(key for port in config.listen for key in listeners(place.addresses, int(port)))
    pages = (f"tcp/{address}/{port}" for address in place.addresses for port in config.pages)
    listen = (*own, *pages)
    told = replace(config, listen=listen)
    return PlannedServer(
        *(name, "dns", namespace, told, dict.fromkeys(listen, namespace)), fails=not config.begins
    )
