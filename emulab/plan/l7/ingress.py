"""The ingress controller's configuration: rules, upstreams and certificates from Ingress objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from emulab.kinds.core.secret import tls_pair
from emulab.kinds.core.serviceview import Service
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.images import ENGINES
from emulab.kinds.kind import Kind
from emulab.kinds.networking.controllerflags import ControllerFlags
from emulab.kinds.networking.ingressclasses import IngressClasses
from emulab.kinds.networking.ingressview import Backend, Ingress
from emulab.kinds.registry import CONFIG_MAP, INGRESS, SECRET, SERVICE
from emulab.model.addresses import socket_name
from emulab.model.objects import Object
from emulab.plan.endpoints import views
from emulab.plan.kept import PlanSource
from emulab.plan.l7.annotations import follow
from emulab.plan.l7.annotations.table import RouteDraft
from emulab.plan.l7.configmap import defaults, settings
from emulab.plan.l7.streams import StreamPorts, stream_ports, stream_server
from emulab.plan.l7.verifications import HostVerifications
from emulab.plan.pods import listens_everywhere
from emulab.plan.proxy.intents import backends, usable
from emulab.plan.state import Place, PlannedServer
from emulab.servers.l7.config import (
    ANY_HOST,
    Certificate,
    L7Config,
    Match,
    MeasuredAs,
    RequestRoute,
    Upstream,
    WeightedUpstream,
)


def ingress_config(source: PlanSource, cluster: Cluster, flags: ControllerFlags) -> L7Config:
    """The configuration of every ingress pod with these flags, without its listeners."""
    builder = _Builder(source, cluster, flags)
    classes = IngressClasses.among(source, cluster)
    # The oldest Ingress wins where two say the same (ingress-nginx sorts by creation), so order is kept.
    for o in source.members(INGRESS).values():
        ingress = Ingress.of(o)
        if classes.takes(flags, ingress):
            builder.add(ingress)
    builder.add_defaults()
    return L7Config(
        listen=(),
        routes=tuple(builder.routes),
        default_upstream=builder.default,
        upstreams=builder.upstreams,
        certificates=tuple(builder.certificates.values()),
        verifications=builder.verifications.told(),
        options=builder.options,
        policy=replace(builder.policy, ssl_redirect=False),
    )


def ingress_server(
    name: str, place: Place, config: L7Config, flags: ControllerFlags, engine: str = "builtin"
) -> PlannedServer:
    """The server in one of the ingress controller's pods, which resolves names as its pod does.

    Beside HTTP it has the page of the controller's health, and, where it is to validate Ingresses, a port for whoever
    asks it to: it is never asked here, as what a lab has was validated when it came.
    """
    plain, tls, health, webhook = (
        tuple(f"tcp/{address}/{port}" for address in place.addresses if port)
        for port in (flags.http_port, flags.https_port, flags.healthz_port, flags.webhook_port)
    )
    pages: dict[str, Mapping[str, str]] = {key: {flags.health_path: "ok"} for key in health}
    pages |= {key: {} for key in webhook}
    namespace, _, pod = place.name.partition(".")
    listen = (*plain, *tls, *health, *webhook)
    config = replace(
        config,
        listen=listen,
        tls_listen=(*tls, *webhook),
        pages=pages,
        metrics_at=health,
        measured=_measured(flags, namespace, pod) if flags.metrics else None,
        resolv_conf=place.resolv_conf,
        hosts=place.hosts,
    )
    sockets, everywhere = dict.fromkeys(listen, place.namespace), listens_everywhere(place, listen)
    return PlannedServer(name, ENGINES[engine], place.namespace, config, sockets, everywhere)


def _measured(flags: ControllerFlags, namespace: str, pod: str) -> MeasuredAs:
    labels = {
        "controller_class": flags.controller_class,
        "controller_namespace": namespace,
        "controller_pod": pod,
    }
    return MeasuredAs(
        labels,
        per_host=flags.metrics_per_host,
        per_undefined_host=flags.metrics_per_undefined_host,
        status_classes=flags.status_classes,
        time_bounds=flags.time_buckets,
        length_bounds=flags.length_buckets,
        size_bounds=flags.size_buckets,
        excluded=flags.excluded_metrics,
    )


class IngressPlan(NamedTuple):
    """What all pods with the same flags do: serve Ingresses, and lead to Services past them."""

    config: L7Config
    ports: StreamPorts
    engine: str


def ingress_plan(source: PlanSource, cluster: Cluster, flags: ControllerFlags) -> IngressPlan:
    """What every ingress pod with these flags does."""
    return IngressPlan(
        ingress_config(source, cluster, flags), stream_ports(source, flags), cluster.ingress_engine
    )


def ingress_servers(
    name: str, place: Place, plan: IngressPlan, flags: ControllerFlags
) -> list[PlannedServer]:
    """The servers in one of the ingress controller's pods."""
    own = [ingress_server(name, place, plan.config, flags, plan.engine)]
    return [*own, stream_server(name, place, plan.ports)] if plan.ports else own


class _Builder:
    def __init__(self, source: PlanSource, cluster: Cluster, flags: ControllerFlags) -> None:
        self._source = source
        self._cluster = cluster
        self._flags = flags
        self.routes: list[RequestRoute] = []
        self.upstreams: dict[str, Upstream] = {}
        self.certificates: dict[str, Certificate] = {}
        self.default: str | None = None
        config_map = self.named(CONFIG_MAP, flags.config_map)
        data = (config_map.raw.get("data") or {}) if config_map is not None else {}
        texts = {key: str(value) for key, value in data.items()}
        self.policy, self.options = settings(texts)
        self.defaults = defaults(texts)
        self.verifications = HostVerifications()

    def named(self, kind: Kind, text: str, namespace: str = "") -> Object | None:
        """See `Beside`. Flags name objects `NAMESPACE/NAME`."""
        before, slash, name = text.rpartition("/")
        namespace = before if slash else namespace
        return self._source.get(kind.key(namespace, name)) if namespace and name else None

    def add_defaults(self) -> None:
        """What is served for hosts that no Ingress has: by the flags, where no Ingress says it."""
        backend = self.named(SERVICE, self._flags.default_backend)
        if self.default is None and backend is not None and (ports := Service.of(backend).ports):
            upstream = self.upstream(backend.namespace, Backend(backend.name, ports[0].port))
            if self.upstreams[upstream].servers:  # without any, the controller's own 404 is the default
                self.default = upstream
            elif not any(upstream == one.upstream for route in self.routes for one in route.backends):
                del self.upstreams[upstream]
        secret = self.named(SECRET, self._flags.default_certificate)
        if secret is not None:
            self._certificate(secret.namespace, secret.name, (ANY_HOST,))

    def add(self, ingress: Ingress) -> None:
        secured = {host for tls in ingress.tls for host in tls.hosts}
        prefix = self._flags.annotations_prefix + "/"
        self.verifications.add(ingress, prefix, self)

        def route(host: str, path: str, path_type: str, upstream: str) -> None:
            match, backends = Match(host, path, path_type), (WeightedUpstream(upstream),)
            draft = RouteDraft(ingress, match, backends, self.policy, self)
            follow(draft, prefix)
            if host not in secured:
                draft.policy = replace(draft.policy, ssl_redirect=False)
            self.routes.append(draft.route())

        for rule in ingress.rules:
            for path in rule.paths:
                route(rule.host, path.path, path.path_type, self.upstream(ingress.namespace, path.backend))
        if ingress.default_backend:
            upstream = self.upstream(ingress.namespace, ingress.default_backend)
            if ingress.rules:  # its hosts' other paths go there
                for host in dict.fromkeys(r.host for r in ingress.rules):
                    route(host, "/", "Prefix", upstream)
            elif self.default is None:
                self.default = upstream
        for tls in ingress.tls:
            hosts = tls.hosts or tuple(r.host for r in ingress.rules if r.host)
            self._certificate(ingress.namespace, tls.secret, hosts)

    def _certificate(self, namespace: str, secret: str, hosts: tuple[str, ...]) -> None:
        o = self._source.get(SECRET.key(namespace, secret))
        pair = tls_pair(o) if o else None
        if pair is None:
            return
        key = f"{namespace}/{secret}"
        known = self.certificates.get(key, Certificate((), pair.certificate, pair.key))
        self.certificates[key] = replace(known, hosts=tuple(dict.fromkeys((*known.hosts, *hosts))))

    def upstream(self, namespace: str, backend: Backend) -> str:
        """See `Beside`."""
        name = f"{namespace}/{backend.service}/{backend.port}"
        if name not in self.upstreams:
            o = self._source.get(SERVICE.key(namespace, backend.service))
            self.upstreams[name] = Upstream(tuple(self._servers(o, backend)) if o else ())
        return name

    def _servers(self, o: Object, backend: Backend) -> list[str]:
        """`HOST:PORT` of the Service's cluster IP or of each endpoint; none when no endpoint is ready (503)."""
        service = Service.of(o)
        port = next((p for p in service.ports if backend.port in (p.port, p.name)), None)
        if port is None:
            return []
        if service.type == "ExternalName":
            return [f"{service.external_name}:{port.port}"] if self._flags.external_names else []
        slices = views(self._source.slices((service.namespace, service.name)))
        targets = usable(backends(slices, port))
        if not targets:
            return []
        if self._cluster.ingress_upstream == "service" and not service.headless:
            return [socket_name(service.cluster_ips[0], port.port)] if service.cluster_ips else []
        return [socket_name(*t.target) for t in targets]
