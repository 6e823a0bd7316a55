"""Typed views of Ingress, IngressClass and of the Secrets that carry certificates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from emulab.model.objects import Object


@dataclass(frozen=True, slots=True)
class Backend:
    service: str
    port: int | str  # number or name of the Service's port


@dataclass(frozen=True, slots=True)
class IngressPath:
    path: str
    path_type: str  # Exact | Prefix | ImplementationSpecific
    backend: Backend


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
    class_name: str
    default_backend: Backend | None
    rules: tuple[IngressRule, ...]
    tls: tuple[IngressTLS, ...]
    load_balancer: str  # annotation emulab.dev/load-balancer, or "public-lb"
    annotations: Mapping[str, str]

    @staticmethod
    def of(o: Object) -> Ingress:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class TLSPair:
    """A certificate chain and its key, PEM."""

    certificate: str
    key: str


def tls_pair(secret: Object) -> TLSPair | None:
    """The pair in a `kubernetes.io/tls` Secret (`data` base64, or `stringData`); None where it has none."""
    raise NotImplementedError
