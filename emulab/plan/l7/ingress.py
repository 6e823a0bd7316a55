"""The ingress controller's configuration: rules, upstreams and certificates from Ingress objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from emulab.kinds.core.certificates import leaf_certificate
from emulab.kinds.core.secret import TLSPair
from emulab.kinds.core.serviceview import Service
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.images import INGRESS as INGRESS_SERVER
from emulab.kinds.kind import Kind
from emulab.kinds.networking.controllerflags import ControllerFlags
from emulab.kinds.networking.ingressclasses import IngressClasses
from emulab.kinds.networking.ingressview import Backend, Ingress, oldest_first
from emulab.kinds.networking.servernames import (
    HostCertificate,
    certificates_of,
    dated_problems,
    is_secured,
    server_names,
)
from emulab.kinds.registry import CONFIG_MAP, INGRESS, SECRET, SERVICE
from emulab.model.objects import Object
from emulab.plan.endpoints import views
from emulab.plan.kept import PlanSource
from emulab.plan.l7.annotations import policy
from emulab.plan.l7.configmap import settings
from emulab.plan.l7.streams import StreamPorts, stream_ports, stream_server
from emulab.plan.l7.upstreams import backend_name, external_server, service_servers
from emulab.plan.pods import listens_everywhere
from emulab.plan.state import Place, PlannedServer
from emulab.servers.l7.config import (
    ANY_HOST,
    Certificate,
    L7Config,
    Match,
    Notice,
    RequestRoute,
    Upstream,
    WeightedUpstream,
)

_DEFAULT_PAIR = TLSPair("", "")
"""Stands for the default certificate, which the flags name or the proxy makes itself."""


def ingress_config(source: PlanSource, cluster: Cluster, flags: ControllerFlags) -> L7Config:
    """The configuration of every ingress pod with these flags, without its listeners."""
    builder = _Builder(source, cluster, flags)
    classes = IngressClasses.among(source, cluster)
    there = map(Ingress.of, source.members(INGRESS).values())
    builder.serve(oldest_first(one for one in there if classes.takes(flags, one)))
    builder.serve_all_others()
    return L7Config(
        listen=(),
        routes=tuple(builder.routes),
        default_upstream=builder.default,
        upstreams=builder.upstreams,
        certificates=builder.certificates(),
        options=builder.options,
        policy=replace(builder.policy, ssl_redirect=False),
        notices=tuple(builder.notices),
    )


def ingress_server(name: str, place: Place, config: L7Config, flags: ControllerFlags) -> PlannedServer:
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
    listen = (*plain, *tls, *health, *webhook)
    config = replace(
        config,
        listen=listen,
        tls_listen=(*tls, *webhook),
        pages=pages,
        resolv_conf=place.resolv_conf,
        hosts=place.hosts,
    )
    sockets, everywhere = dict.fromkeys(listen, place.namespace), listens_everywhere(place, listen)
    return PlannedServer(name, INGRESS_SERVER, place.namespace, config, sockets, everywhere)


class IngressPlan(NamedTuple):
    """What all pods with the same flags do: serve Ingresses, and lead to Services past them."""

    config: L7Config
    ports: StreamPorts


def ingress_plan(source: PlanSource, cluster: Cluster, flags: ControllerFlags) -> IngressPlan:
    """What every ingress pod with these flags does."""
    return IngressPlan(ingress_config(source, cluster, flags), stream_ports(source, flags))


def ingress_servers(
    name: str, place: Place, plan: IngressPlan, flags: ControllerFlags
) -> list[PlannedServer]:
    """The servers in one of the ingress controller's pods."""
    own = [ingress_server(name, place, plan.config, flags)]
    return [*own, stream_server(name, place, plan.ports)] if plan.ports else own


class _Builder:
    def __init__(self, source: PlanSource, cluster: Cluster, flags: ControllerFlags) -> None:
        self._source = source
        self._cluster = cluster
        self._flags = flags
        self.routes: list[RequestRoute] = []
        self.upstreams: dict[str, Upstream] = {}
        self._hosts: dict[TLSPair, list[str]] = {}  # of each certificate
        self.notices: list[Notice] = []
        self.default: str | None = None
        config_map = self._named(CONFIG_MAP, flags.config_map)
        data = (config_map.raw.get("data") or {}) if config_map is not None else {}
        self.policy, self.options = settings({key: str(value) for key, value in data.items()})

    def _named(self, kind: Kind, text: str) -> Object | None:
        """The object that a flag names `NAMESPACE/NAME`."""
        namespace, _, name = text.partition("/")
        return self._source.get(kind.key(namespace, name)) if name else None

    def serve(self, ingresses: Sequence[Ingress]) -> None:
        """Has routes for the hosts of these Ingresses, the oldest first."""
        prefix = self._flags.annotations_prefix + "/"
        policies = {
            one.full_name: policy(one.annotations, defaults=self.policy, prefix=prefix) for one in ingresses
        }
        names = server_names(ingresses, self._secret)
        for name in names.values():
            secured = is_secured(names, name.host)

            def route(
                by: Ingress, path: str, kind: str, to: Backend, host: str = name.host, secured: bool = secured
            ) -> None:
                wished = policies[by.full_name]
                how = replace(wished, ssl_redirect=wished.ssl_redirect and secured)
                upstream = WeightedUpstream(self._upstream(by.namespace, to))
                origin = f"Ingress {by.full_name}"
                self.routes.append(RequestRoute(Match(host, path, kind), (upstream,), origin, policy=how))

            for by, path in name.paths:
                route(by, path.path, path.path_type, path.backend)
            if name.first.default_backend is not None and not name.has_root:
                route(name.first, "/", "Prefix", name.first.default_backend)
        for one in ingresses:
            if one.default_backend is not None and not one.rules and self.default is None:
                self.default = self._upstream(one.namespace, one.default_backend)
        for certificate in certificates_of(names):
            self._certify(certificate)

    def serve_all_others(self) -> None:
        """What is served for hosts that no Ingress has: by the flags, where no Ingress says it."""
        backend = self._named(SERVICE, self._flags.default_backend)
        if self.default is None and backend is not None and (ports := Service.of(backend).ports):
            upstream = self._upstream(backend.namespace, Backend(backend.name, ports[0].port))
            if self.upstreams[upstream].servers:  # without any, the controller's own 404 is the default
                self.default = upstream
            elif not any(upstream == one.upstream for route in self.routes for one in route.backends):
                del self.upstreams[upstream]
        named = self._flags.default_certificate
        secret = self._named(SECRET, named)
        leaf = (
            leaf_certificate(secret) if secret is not None else f"local SSL certificate {named} was not found"
        )
        if not isinstance(leaf, str):
            self._hosts.setdefault(leaf.pair, []).append(ANY_HOST)
        elif named:
            said = "Error loading custom default certificate, falling back to generated default:"
            self.notices.append(Notice(f"{said} {leaf}"))

    def _certify(self, certificate: HostCertificate) -> None:
        if certificate.problem is not None:
            self.notices.append(Notice(certificate.problem.message))
        leaf = certificate.leaf
        for problem, since, until in dated_problems(certificate.host, leaf) if leaf is not None else ():
            self.notices.append(Notice(problem.message, since, until))
        pair = leaf.pair if leaf is not None else _DEFAULT_PAIR
        self._hosts.setdefault(pair, []).append(certificate.host)

    def certificates(self) -> tuple[Certificate, ...]:
        """Those of all hosts, each chain once."""
        return tuple(Certificate(tuple(hosts), *pair) for pair, hosts in self._hosts.items())

    def _secret(self, namespace: str, name: str) -> Object | None:
        return self._source.get(SECRET.key(namespace, name))

    def _upstream(self, namespace: str, backend: Backend) -> str:
        name = backend_name(namespace, backend)
        if name not in self.upstreams:
            o = self._source.get(SERVICE.key(namespace, backend.service))
            self.upstreams[name] = Upstream(tuple(self._servers(Service.of(o), backend)) if o else ())
        return name

    def _servers(self, service: Service, backend: Backend) -> list[str]:
        """Whom to ask for a backend; nobody where none is ready (503)."""
        if service.type == "ExternalName":
            server = external_server(service, backend.port) if self._flags.external_names else None
            return [server] if server is not None else []
        slices = views(self._source.slices((service.namespace, service.name)))
        return service_servers(service, backend.port, slices, self._cluster.ingress_upstream == "service")
