"""The typed view of how a balancer balances, and where Services and Ingresses say so."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

from emulab.dataclass import dataclass, field
from emulab.kinds.emulab.balancing import BALANCING, health_check, modes_agree
from emulab.model.checks import Check, Problems
from emulab.model.yaml_scalars import plain

PREFIX = "balancer.emulab.dev/"
"""Of annotations of Services, one for each field of a LoadBalancer's spec: balancer.emulab.dev/algorithm: leastconn."""
IP_MODE = f"{PREFIX}ip-mode"
CLASSES: Mapping[str, Mapping[str, Any]] = {
    "emulab.dev/proxy": {"mode": "proxy"},
    "emulab.dev/nat": {"mode": "nat"},
    "service.k8s.aws/nlb": {"mode": "nat"},
    "networking.gke.io/l4-regional-external": {"mode": "nat"},
}
"""What `loadBalancerClass` may be, with the fields that a balancer of the class has of its own accord."""

_ALB = "alb.ingress.kubernetes.io/"
_NLB = "service.beta.kubernetes.io/aws-load-balancer-"
_HEALTH = {
    f"{_ALB}healthcheck-protocol": "protocol",
    f"{_ALB}healthcheck-path": "path",
    f"{_ALB}healthcheck-port": "port",
    f"{_ALB}success-codes": "codes",
    f"{_ALB}healthcheck-interval-seconds": "interval",
    f"{_ALB}healthcheck-timeout-seconds": "timeout",
    f"{_ALB}healthy-threshold-count": "rise",
    f"{_ALB}unhealthy-threshold-count": "fall",
    f"{_NLB}healthcheck-protocol": "protocol",
    f"{_NLB}healthcheck-path": "path",
    f"{_NLB}healthcheck-port": "port",
    f"{_NLB}healthcheck-success-codes": "codes",
    f"{_NLB}healthcheck-interval": "interval",
    f"{_NLB}healthcheck-timeout": "timeout",
    f"{_NLB}healthcheck-healthy-threshold": "rise",
    f"{_NLB}healthcheck-unhealthy-threshold": "fall",
}
"""Annotations of AWS' controllers, with the fields of `healthCheck` that they say."""
_MAPPINGS = ("healthCheck", "limits", "weights")
_PROXY_PROTOCOLS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    f"{_NLB}proxy-protocol": ("v2", ("*",)),
    "service.beta.kubernetes.io/do-loadbalancer-enable-proxy-protocol": ("v1", ("true",)),
    "service.beta.kubernetes.io/scw-loadbalancer-proxy-protocol-v1": ("v1", ("true", "*")),
    "service.beta.kubernetes.io/scw-loadbalancer-proxy-protocol-v2": ("v2", ("true", "*")),
    "load-balancer.hetzner.cloud/uses-proxyprotocol": ("v1", ("true",)),
    "loadbalancer.openstack.org/proxy-protocol": ("v1", ("true",)),
}
"""Annotations of clouds that have their balancers send a PROXY header: its version, and by which values."""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """What of the checks is asked for; what isn't is None, or ""."""

    protocol: str = ""  # TCP | HTTP | HTTPS
    path: str = ""
    host: str = ""
    port: int | None = None
    codes: str = ""
    interval: float | None = None
    timeout: float | None = None
    rise: int | None = None
    fall: int | None = None

    @staticmethod
    def of(spec: Mapping[str, Any]) -> HealthCheck:
        codes = spec.get("codes")
        return HealthCheck(**{**spec, "codes": "" if codes is None else str(codes)})

    def overridden(self, spec: Mapping[str, Any]) -> HealthCheck:
        """With what is said elsewhere in the place of its own."""
        if not spec:
            return self
        return replace(self, **{f: v for f, v in asdict(HealthCheck.of(spec)).items() if v not in (None, "")})


@dataclass(frozen=True, slots=True)
class Balancing:
    """How a balancer balances."""

    mode: str = "proxy"  # proxy | nat
    preserve_client_ip: bool = False
    algorithm: str = "roundrobin"
    weights: Mapping[str, int] = field(default_factory=dict)  # of targets by name
    stickiness: int = 0  # seconds
    health: HealthCheck = HealthCheck()
    fail_open: bool = False
    draining: int | None = None  # seconds
    deny: str = "reject"  # reject | drop
    proxy_protocol: int = 0  # version, 0 for none
    connections: int = 0
    connections_per_source: int = 0
    rate: int = 0
    idle_timeout: int | None = None  # seconds
    workers: int = 1  # processes

    @staticmethod
    def of(spec: Mapping[str, Any]) -> Balancing:
        limits = spec.get("limits") or {}
        mode = spec.get("mode") or "proxy"
        preserve = spec.get("preserveClientIP")
        return Balancing(
            mode=mode,
            preserve_client_ip=mode == "nat" and preserve is not False,
            algorithm=spec.get("algorithm") or "roundrobin",
            weights=spec.get("weights") or {},
            stickiness=spec.get("stickiness") or 0,
            health=HealthCheck.of(spec.get("healthCheck") or {}),
            fail_open=bool(spec.get("failOpen")),
            draining=spec.get("draining"),
            deny=spec.get("deny") or "reject",
            proxy_protocol={"v1": 1, "v2": 2}.get(spec.get("proxyProtocol") or "", 0),
            connections=limits.get("connections") or 0,
            connections_per_source=limits.get("connectionsPerSource") or 0,
            rate=limits.get("rate") or 0,
            idle_timeout=spec.get("idleTimeout"),
            workers=spec.get("workers") or 1,
        )


def annotated(annotations: Mapping[str, str]) -> dict[str, Any]:
    """The fields that a Service's annotations say; what is wrong there says nothing (`annotation_problems`)."""
    spec: dict[str, Any] = {}
    for name, text in annotations.items():
        path, value = _said(name, text)
        if path and not _wrong(path, value):
            _put(spec, path, value)
    if spec.get("healthCheck") and health_check(spec["healthCheck"]):
        del spec["healthCheck"]
    return spec if not modes_agree(spec) else {**spec, "mode": "proxy", "preserveClientIP": None}


def health_annotated(annotations: Mapping[str, str]) -> dict[str, Any]:
    """What an Ingress' annotations say of the checks of its balancer."""
    said = {name: text for name, text in annotations.items() if name.startswith(_ALB)}
    found: dict[str, Any] = annotated(said).get("healthCheck") or {}
    return found


def annotation_problems(annotations: Mapping[str, str], own: bool = True) -> Iterator[tuple[str, str]]:
    """Annotations of which something is wrong, and what; of an Ingress, those of balancers alone aren't its `own`."""
    spec: dict[str, Any] = {}
    for name, text in annotations.items():
        if not own and not name.startswith(_ALB):
            continue
        if name == IP_MODE and text not in ("VIP", "Proxy"):
            yield name, f'"{text}" is not one of VIP, Proxy'
        path, value = _said(name, text)
        if path and (problems := _wrong(path, value)):
            yield name, "; ".join(message for _, message in problems)
        elif path:
            _put(spec, path, value)
        elif own and name.startswith(PREFIX) and name != IP_MODE:
            yield name, f"is no field of a balancer; these are {', '.join(sorted(BALANCING))}"
    for where, message in modes_agree(spec):
        yield f"{PREFIX}{where[0]}", message


def _said(name: str, text: str) -> tuple[tuple[str, ...], Any]:
    """The field that an annotation says, and its value; no path for another annotation."""
    if (own := _HEALTH.get(name)) is not None:
        if own == "port" and text == "traffic-port":
            return (), None
        upper = text.upper() if own == "protocol" else text
        return ("healthCheck", own), upper if own in ("protocol", "path", "codes") else _plain(text)
    if name in _PROXY_PROTOCOLS:
        version, values = _PROXY_PROTOCOLS[name]
        return (("proxyProtocol",), version) if text.lower() in values else ((), None)
    field_name = name.removeprefix(PREFIX)
    if field_name != name and field_name in BALANCING:
        return (field_name,), _plain(text, field_name in _MAPPINGS)
    return (), None


def _plain(text: str, of_many: bool = False) -> Any:
    """A value as YAML has an unquoted one; of several, node1=2,node2=1, or JSON."""
    if not of_many:
        return plain(text.strip())
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except ValueError:
            return text
    pairs = [part.partition("=") for part in text.split(",")]
    return {name.strip(): plain(value.strip()) for name, _, value in pairs}


def _wrong(path: tuple[str, ...], value: Any) -> Problems:
    check: Check = BALANCING[path[0]]
    return check({path[1]: value} if path[1:] else value)


def _put(spec: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    if path[1:]:
        spec.setdefault(path[0], {})[path[1]] = value
    else:
        spec[path[0]] = {**spec.get(path[0], {}), **value} if isinstance(value, dict) else value
