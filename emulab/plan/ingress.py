"""The ingress controller's configuration: rules, upstreams and certificates from Ingress objects."""

from __future__ import annotations

from typing import Any

from emulab.kinds.clusters import Cluster
from emulab.kinds.ingresses import Backend, Ingress, tls_pair
from emulab.kinds.installed import CONTROLLER, INGRESS_CLASS
from emulab.kinds.services import Service
from emulab.model.collection import Objects
from emulab.model.families import socket_name
from emulab.model.objects import Key, Object
from emulab.plan.endpoints import Slices
from emulab.plan.proxy.intents import backends, usable
from emulab.plan.state import Place, Server

SSL_REDIRECT = "nginx.ingress.kubernetes.io/ssl-redirect"


def ingress_config(objects: Objects, slices: Slices, cluster: Cluster) -> dict[str, Any]:
    """The configuration of every ingress pod, without its listeners."""
    builder = _Builder(objects, slices, cluster)
    found = [o.name for o in objects.kind("IngressClass") if o.spec.get("controller") == CONTROLLER]
    classes = {"", INGRESS_CLASS, *found}
    # The oldest Ingress wins where two say the same (ingress-nginx sorts by creation), so order is kept.
    for o in objects.kind("Ingress"):
        ingress = Ingress.of(o)
        if ingress.class_name in classes:
            builder.add(ingress)
    return {
        "rules": builder.rules,
        "default_upstream": builder.default,
        "upstreams": builder.upstreams,
        "certificates": list(builder.certificates.values()),
        "options": {},
    }


def ingress_server(name: str, place: Place, config: dict[str, Any]) -> Server:
    """The server in one of the ingress controller's pods, which resolves names as its pod does."""
    plain, tls = ([f"tcp/{address}/{port}" for address in place.addresses] for port in (80, 443))
    own = {
        "listen": [*plain, *tls],
        "tls_listen": tls,
        "resolv_conf": place.resolv_conf,
        "hosts": place.hosts,
    }
    sockets = dict.fromkeys([*plain, *tls], place.namespace)
    return Server(name, "ingress", place.namespace, {**own, **config}, sockets)


class _Builder:
    def __init__(self, objects: Objects, slices: Slices, cluster: Cluster) -> None:
        self._objects = objects
        self._cluster = cluster
        self._slices = slices
        self.rules: list[dict[str, Any]] = []
        self.upstreams: dict[str, dict[str, Any]] = {}
        self.certificates: dict[str, dict[str, Any]] = {}
        self.default: str | None = None

    def add(self, ingress: Ingress) -> None:
        origin = f"Ingress {ingress.namespace}/{ingress.name}"
        secured = {host for tls in ingress.tls for host in tls.hosts}
        redirect = ingress.annotations.get(SSL_REDIRECT, "true") != "false"
        for rule in ingress.rules:
            for path in rule.paths:
                self.rules.append(
                    {
                        "host": rule.host,
                        "path": path.path,
                        "path_type": path.path_type,
                        "upstream": self._upstream(ingress.namespace, path.backend),
                        "origin": origin,
                        "ssl_redirect": redirect and rule.host in secured,
                    }
                )
        if ingress.default_backend:
            upstream = self._upstream(ingress.namespace, ingress.default_backend)
            if ingress.rules:  # its hosts' other paths go there
                for host in dict.fromkeys(r.host for r in ingress.rules):
                    self.rules.append(
                        {"host": host, "path": "/", "path_type": "Prefix", "upstream": upstream, "origin": origin,
                         "ssl_redirect": redirect and host in secured}
                    )  # fmt: skip
            elif self.default is None:
                self.default = upstream
        for tls in ingress.tls:
            self._certificate(
                ingress, tls.secret, tls.hosts or tuple(r.host for r in ingress.rules if r.host)
            )

    def _certificate(self, ingress: Ingress, secret: str, hosts: tuple[str, ...]) -> None:
        o = self._objects.get(Key("Secret", ingress.namespace, secret))
        pair = tls_pair(o) if o else None
        if pair is None:
            return
        key = f"{ingress.namespace}/{secret}"
        known = self.certificates.setdefault(
            key, {"hosts": [], "certificate": pair.certificate, "key": pair.key}
        )
        known["hosts"] += [h for h in hosts if h not in known["hosts"]]

    def _upstream(self, namespace: str, backend: Backend) -> str:
        name = f"{namespace}/{backend.service}/{backend.port}"
        if name not in self.upstreams:
            o = self._objects.get(Key("Service", namespace, backend.service))
            servers = self._servers(o, backend) if o else []
            self.upstreams[name] = {"servers": servers, "balance": "roundrobin"}
        return name

    def _servers(self, o: Object, backend: Backend) -> list[str]:
        """`HOST:PORT` of the Service's cluster IP or of each endpoint; none when no endpoint is ready (503)."""
        service = Service.of(o)
        port = next((p for p in service.ports if backend.port in (p.port, p.name)), None)
        if port is None:
            return []
        if service.type == "ExternalName":
            return [f"{service.external_name}:{port.port}"]
        targets = usable(backends(self._slices.of(service.namespace, service.name), port))
        if not targets:
            return []
        if self._cluster.ingress_upstream == "service" and not service.headless:
            return [socket_name(service.cluster_ips[0], port.port)] if service.cluster_ips else []
        return [socket_name(*t.target) for t in targets]
