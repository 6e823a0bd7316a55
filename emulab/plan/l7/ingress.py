"""The ingress controller's configuration: rules, upstreams and certificates from Ingress objects."""

from __future__ import annotations

from dataclasses import replace

from emulab.kinds.core.secret import tls_pair
from emulab.kinds.core.serviceview import Service
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.networking.ingressclasses import IngressClasses
from emulab.kinds.networking.ingressview import Backend, Ingress
from emulab.kinds.registry import INGRESS, INGRESS_CLASS, SECRET, SERVICE
from emulab.model.addresses import socket_name
from emulab.model.objects import Object
from emulab.plan.endpoints import views
from emulab.plan.kept import PlanSource
from emulab.plan.l7.annotations import policy
from emulab.plan.proxy.intents import backends, usable
from emulab.plan.state import Place, PlannedServer
from emulab.servers.l7.config import Certificate, L7Config, Match, RequestRoute, Upstream, WeightedUpstream


def ingress_config(source: PlanSource, cluster: Cluster) -> L7Config:
    """The configuration of every ingress pod, without its listeners."""
    builder = _Builder(source, cluster)
    classes = IngressClasses.among(source.members(INGRESS_CLASS).values(), cluster)
    # The oldest Ingress wins where two say the same (ingress-nginx sorts by creation), so order is kept.
    for o in source.members(INGRESS).values():
        ingress = Ingress.of(o)
        if classes.serves(ingress.class_name):
            builder.add(ingress)
    return L7Config(
        listen=(),
        routes=tuple(builder.routes),
        default_upstream=builder.default,
        upstreams=builder.upstreams,
        certificates=tuple(builder.certificates.values()),
    )


def ingress_server(name: str, place: Place, config: L7Config) -> PlannedServer:
    """The server in one of the ingress controller's pods, which resolves names as its pod does."""
    plain, tls = (tuple(f"tcp/{address}/{port}" for address in place.addresses) for port in (80, 443))
    config = replace(
        config, listen=(*plain, *tls), tls_listen=tls, resolv_conf=place.resolv_conf, hosts=place.hosts
    )
    return PlannedServer(
        name, "ingress", place.namespace, config, dict.fromkeys([*plain, *tls], place.namespace)
    )


class _Builder:
    def __init__(self, source: PlanSource, cluster: Cluster) -> None:
        self._source = source
        self._cluster = cluster
        self.routes: list[RequestRoute] = []
        self.upstreams: dict[str, Upstream] = {}
        self.certificates: dict[str, Certificate] = {}
        self.default: str | None = None

    def add(self, ingress: Ingress) -> None:
        origin = f"Ingress {ingress.namespace}/{ingress.name}"
        secured = {host for tls in ingress.tls for host in tls.hosts}
        wished = policy(ingress.annotations)
        plain = replace(wished, ssl_redirect=False)

        def route(host: str, path: str, path_type: str, upstream: str) -> None:
            match = Match(host, path, path_type)
            how = wished if host in secured else plain
            self.routes.append(RequestRoute(match, (WeightedUpstream(upstream),), origin, policy=how))

        for rule in ingress.rules:
            for path in rule.paths:
                route(rule.host, path.path, path.path_type, self._upstream(ingress.namespace, path.backend))
        if ingress.default_backend:
            upstream = self._upstream(ingress.namespace, ingress.default_backend)
            if ingress.rules:  # its hosts' other paths go there
                for host in dict.fromkeys(r.host for r in ingress.rules):
                    route(host, "/", "Prefix", upstream)
            elif self.default is None:
                self.default = upstream
        for tls in ingress.tls:
            self._certificate(
                ingress, tls.secret, tls.hosts or tuple(r.host for r in ingress.rules if r.host)
            )

    def _certificate(self, ingress: Ingress, secret: str, hosts: tuple[str, ...]) -> None:
        o = self._source.get(SECRET.key(ingress.namespace, secret))
        pair = tls_pair(o) if o else None
        if pair is None:
            return
        key = f"{ingress.namespace}/{secret}"
        known = self.certificates.get(key, Certificate((), pair.certificate, pair.key))
        self.certificates[key] = replace(known, hosts=tuple(dict.fromkeys((*known.hosts, *hosts))))

    def _upstream(self, namespace: str, backend: Backend) -> str:
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
            return [f"{service.external_name}:{port.port}"]
        slices = views(self._source.slices((service.namespace, service.name)))
        targets = usable(backends(slices, port))
        if not targets:
            return []
        if self._cluster.ingress_upstream == "service" and not service.headless:
            return [socket_name(service.cluster_ips[0], port.port)] if service.cluster_ips else []
        return [socket_name(*t.target) for t in targets]
