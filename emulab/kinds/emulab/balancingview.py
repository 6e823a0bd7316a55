"""The typed view of how a balancer balances, and where Services and Ingresses say so."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

from emulab.dataclass import dataclass, field
from emulab.kinds.emulab.balancing import BALANCING, health_check, modes_agree
from emulab.kinds.emulab.cloudannotations import (
    ALB,
    NLB,
    is_of_balancers,
    said,
    unfollowed,
    unheard_addresses,
)
from emulab.model.checks import Check, Problems
from emulab.model.yaml_scalars import plain

PREFIX = "balancer.emulab.dev/"
"""Of annotations of Services, one for each field of a LoadBalancer's spec: balancer.emulab.dev/algorithm: leastconn."""
IP_MODE = f"{PREFIX}ip-mode"
NLB_CLASS = "service.k8s.aws/nlb"
CLASSES: Mapping[str, Mapping[str, Any]] = {
    "emulab.dev/proxy": {"mode": "proxy"},
    "emulab.dev/nat": {"mode": "nat"},
    # Its controller takes no notice of sessionAffinity: a client is kept by the attributes of a target group.
    NLB_CLASS: {"mode": "nat", "stickiness": 0},
    "networking.gke.io/l4-regional-external": {"mode": "nat"},
}
"""What `loadBalancerClass` may be, with the fields that a balancer of the class has of its own accord."""

_MAPPINGS = ("healthCheck", "limits", "vrrp", "weights")


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


_INTERVALS = {2: 1.0, 3: 0.25}
"""Seconds between advertisements, by the version of VRRP: the older has whole ones. Who misses three takes over."""


@dataclass(frozen=True, slots=True)
class VrrpAsked:
    """How the nodes of a balancer agree on who has its address."""

    version: int = 3
    interval: float = 0.25  # seconds
    preempt: bool = True

    @staticmethod
    def of(spec: Mapping[str, Any]) -> VrrpAsked:
        version = spec.get("version") or 3
        interval = float(spec.get("interval") or _INTERVALS[version])
        return VrrpAsked(version, interval, spec.get("preempt") is not False)


@dataclass(frozen=True, slots=True)
class Balancing:
    """How a balancer balances."""

    mode: str = "proxy"  # proxy | nat
    replicas: int = 0  # nodes of which one has the address; 0: as the engine has it
    vrrp: VrrpAsked = VrrpAsked()
    engine: str = ""  # one of `BALANCER_ENGINES`; "": the Cluster's
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
            engine=spec.get("engine") or "",
            replicas=spec.get("replicas") or 0,
            vrrp=VrrpAsked.of(spec.get("vrrp") or {}),
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


def annotated(annotations: Mapping[str, str], by_http: bool = False) -> dict[str, Any]:
    """The fields that a Service's annotations say; what is wrong there says nothing (`annotation_problems`).

    `by_http`: whether its checks are by HTTP unless something else is said (`checked_by_http`)."""
    return _read(annotations, by_http=by_http)[0]


def health_annotated(annotations: Mapping[str, str]) -> dict[str, Any]:
    """What an Ingress' annotations say of the checks of its balancer."""
    said = {name: text for name, text in annotations.items() if name.startswith(ALB)}
    found: dict[str, Any] = annotated(said).get("healthCheck") or {}
    return found


def annotation_problems(
    annotations: Mapping[str, str], own: bool = True, by_http: bool = False
) -> Iterator[tuple[str, str]]:
    """Annotations of which something is wrong or isn't followed, and what; of an Ingress, those of balancers alone
    aren't its `own`. `by_http`: see `annotated`."""
    given = {name: text for name, text in annotations.items() if own or name.startswith(ALB)}
    yield from _read(given, healths_alone=not own, by_http=by_http)[1]
    if own:
        yield from unheard_addresses(annotations)
    yield from unfollowed(annotations, of_service=own)


def of_balancers(annotations: Mapping[str, str]) -> Iterator[str]:
    """Annotations that are about a balancer."""
    return (name for name in annotations if name.startswith(PREFIX) or is_of_balancers(name))


def _read(
    annotations: Mapping[str, str], healths_alone: bool = False, by_http: bool = False
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The fields that annotations say, and what is wrong with which of them. Of an Ingress its checks alone count."""
    spec: dict[str, Any] = {}
    problems: list[tuple[str, str]] = []
    sources: dict[str, str] = {}
    checks: dict[str, str] = {}  # which annotation says what of the checks

    def take(name: str, path: tuple[str, ...], value: Any) -> None:
        if healths_alone and path[0] != "healthCheck":
            problems.append((name, f"isn't followed of an Ingress for {path[0]}"))
        elif wrong := _wrong(path, value):
            problems.append((name, "; ".join(message for _, message in wrong)))
        else:
            sources[path[0]] = name
            if path[0] == "healthCheck":
                checks.update(dict.fromkeys(path[1:] or value, name))
            _put(spec, path, value)

    nlb = ""
    for name, found in said(annotations):
        if isinstance(found, str):
            problems.append((name, found))
        elif found.path == ("mode",):
            nlb = name
        else:
            take(name, *found)
    for name, text in annotations.items():
        if name == IP_MODE and text not in ("VIP", "Proxy"):
            problems.append((name, f'"{text}" is not one of VIP, Proxy'))
        field_name = name.removeprefix(PREFIX)
        if field_name == name or name == IP_MODE:
            continue
        if field_name in BALANCING:
            take(name, (field_name,), _plain(text, field_name in _MAPPINGS))
        else:
            problems.append((name, f"is no field of a balancer; these are {', '.join(sorted(BALANCING))}"))
    problems += _unasked(spec.get("healthCheck") or {}, checks, by_http)
    problems += _unsound(spec, sources)
    if nlb and "mode" not in spec:  # an NLB forwards packets; with a PROXY header it is a proxy here
        asked = {**spec, "mode": "nat"}
        spec = spec if "proxyProtocol" in spec and modes_agree(asked) else asked
    for where, message in modes_agree(spec):
        problems.append((sources.get(str(where[0]), f"{PREFIX}{where[0]}"), message))
    return _agreeing(spec, sources), problems


def _unasked(check: dict[str, Any], sources: Mapping[str, str], by_http: bool) -> Iterator[tuple[str, str]]:
    """Takes away what AWS' controller doesn't heed: it checks a Service's balancer by TCP, whatever path it is told,
    until it is told of HTTP (buildTargetGroupHealthCheckPath of pkg/service/model_build_target_group.go)."""
    if check.get("protocol", "HTTP" if by_http else "TCP") in ("HTTP", "HTTPS"):
        return
    for field_name in ("path", "codes"):
        name = sources.get(field_name, "")
        if name.startswith(NLB):
            del check[field_name]
            yield (
                name,
                f"changes nothing without {NLB}healthcheck-protocol: HTTP or HTTPS; the check is by TCP",
            )


def _unsound(spec: dict[str, Any], sources: Mapping[str, str]) -> list[tuple[str, str]]:
    """Takes away checks that can't be, or say nothing."""
    check = spec.get("healthCheck")
    wrong = health_check(check) if check else ()
    if wrong or check == {}:
        del spec["healthCheck"]
    return [(sources["healthCheck"], message) for _, message in wrong]


def _agreeing(spec: dict[str, Any], sources: Mapping[str, str]) -> dict[str, Any]:
    """The fields without those of clouds' annotations that the mode can't have; of others the mode is given up."""
    while disagreeing := [str(where[0]) for where, _ in modes_agree(spec)]:
        field_name = disagreeing[0]
        if sources.get(field_name, PREFIX).startswith(PREFIX):
            return {**spec, "mode": "proxy", "preserveClientIP": None}
        spec = {name: value for name, value in spec.items() if name != field_name}
    return spec


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
    if not all(equals for _, equals, _ in pairs):
        return text
    return {name.strip(): plain(value.strip()) for name, _, value in pairs}


def _wrong(path: tuple[str, ...], value: Any) -> Problems:
    check: Check = BALANCING[path[0]]
    return check({path[1]: value} if path[1:] else value)


def _put(spec: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    if path[1:]:
        spec.setdefault(path[0], {})[path[1]] = value
    else:
        spec[path[0]] = {**spec.get(path[0], {}), **value} if isinstance(value, dict) else value
