"""The typed view of Ingresses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from emulab.dataclass import dataclass
from emulab.model.objects import Object

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
"""How Ingresses named their class before `spec.ingressClassName`; still read, as controllers do."""

LOAD_BALANCER_ANNOTATION = "emulab.dev/load-balancer"

PUBLIC_LOAD_BALANCER = "public-lb"
"""The balancer that an Ingress without the annotation is published on."""


@dataclass(frozen=True, slots=True)
class Backend:
    service: str  # "" where the backend is a resource: ingress-nginx has no place for such a path
    port: int | str  # number or name of the Service's port

    @staticmethod
    def of(backend: Mapping[str, Any]) -> Backend:
        service = backend.get("service") or {}
        port = service.get("port") or {}
        return Backend(service.get("name") or "", port.get("number") or port.get("name") or 0)


@dataclass(frozen=True, slots=True)
class IngressPath:
    path: str
    path_type: str  # Exact | Prefix | ImplementationSpecific
    backend: Backend

    @property
    def taken_as(self) -> str:
        """The type as which ingress-nginx takes it, to which `ImplementationSpecific` is `Prefix`
        (`SetDefaultNGINXPathType` of internal/k8s)."""
        return "Prefix" if self.path_type == "ImplementationSpecific" else self.path_type

    @property
    def takes_all(self) -> bool:
        """Whether it takes all of its host that no other path does."""
        return self.path == "/" and self.path_type != "Exact"


@dataclass(frozen=True, slots=True)
class IngressRule:
    host: str  # "" for any host; may start with "*."
    paths: tuple[IngressPath, ...]


@dataclass(frozen=True, slots=True)
class IngressTLS:
    hosts: tuple[str, ...]
    secret: str


@dataclass(frozen=True, slots=True)
class Ingress:
    namespace: str
    name: str
    class_name: str  # "" where it names none
    class_is_annotated: bool  # it is named by the annotation alone
    default_backend: Backend | None  # None, too, where it is a resource
    rules: tuple[IngressRule, ...]
    tls: tuple[IngressTLS, ...]
    load_balancer: str  # annotation emulab.dev/load-balancer, or "public-lb"
    annotations: Mapping[str, str]
    created: str = ""  # when, in RFC 3339

    @property
    def full_name(self) -> str:
        """`NAMESPACE/NAME`."""
        return f"{self.namespace}/{self.name}"

    @staticmethod
    def of(o: Object) -> Ingress:
        """What an Ingress says. It is asked for by many, whenever one of thousands changes, and is read but once."""
        return o.view(Ingress._read)

    @staticmethod
    def _read(o: Object) -> Ingress:
        spec, default = o.spec, o.spec.get("defaultBackend")
        return Ingress(
            namespace=o.namespace,
            name=o.name,
            class_name=spec.get("ingressClassName") or o.annotations.get(CLASS_ANNOTATION, ""),
            class_is_annotated=not spec.get("ingressClassName") and CLASS_ANNOTATION in o.annotations,
            default_backend=Backend.of(default) if default and default.get("service") else None,
            rules=tuple(
                IngressRule(
                    rule.get("host") or "",
                    tuple(
                        IngressPath(p.get("path") or "/", p["pathType"], Backend.of(p["backend"]))
                        for p in (rule.get("http") or {}).get("paths") or ()
                    ),
                )
                for rule in spec.get("rules") or ()
            ),
            tls=tuple(
                IngressTLS(tuple(tls.get("hosts") or ()), tls.get("secretName") or "")
                for tls in spec.get("tls") or ()
            ),
            load_balancer=o.annotations.get(LOAD_BALANCER_ANNOTATION) or PUBLIC_LOAD_BALANCER,
            annotations=o.annotations,
            created=str(o.metadata.get("creationTimestamp") or ""),
        )


def oldest_first(ingresses: Iterable[Ingress]) -> list[Ingress]:
    """In the order in which they win where they say the same: of those of one second the last by name comes first
    (`sortIngressSlice` of ingress-nginx' internal/ingress/controller/store)."""
    by_name = sorted(ingresses, key=lambda one: one.full_name, reverse=True)
    return sorted(by_name, key=lambda one: one.created)
