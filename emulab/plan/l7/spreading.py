"""How an upstream is asked: what Ingresses wish of it, and what a DestinationRule says of its Service. Pure.

An Ingress' own annotations decide whose turn it is before a DestinationRule does, and that before the controller's
ConfigMap. Who is left out is an endpoint, so who asks for that has the endpoints asked themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulab.kinds.core.serviceview import Service
from emulab.kinds.networking.destinations import DestinationRule, DestinationRules, duration
from emulab.plan.l7.upstreams import backend_port
from emulab.plan.l7.wishes import UpstreamWish
from emulab.servers.l7.config import (
    Balance,
    ConnectionLimits,
    DrawnServer,
    InTurn,
    LeastRequest,
    OutlierDetection,
    Upstream,
)

_SIMPLE: Mapping[str, Balance] = {
    "LEAST_CONN": LeastRequest(),
    "LEAST_REQUEST": LeastRequest(),
    "RANDOM": DrawnServer(),
    "ROUND_ROBIN": InTurn(),
}
_LOCAL_FAILURES = 5
"""How many in a row where it isn't said: Envoy's default."""
_ALL_ALIKE = "PASSTHROUGH"
"""Asks for where the caller wanted to go: the Service's address."""


def rule_of_port(rules: DestinationRules, service: Service, wanted: int | str) -> DestinationRule | None:
    """What there is for the port of a Service that a backend means."""
    rule, port = rules.of(service.namespace, service.name), backend_port(service, wanted)
    return rule and rule.at(port.port if port is not None else None)


def says_service(wish: UpstreamWish, default: UpstreamWish) -> bool | None:
    """Whether it is said that the Service's address is asked, or that its endpoints are; None: neither."""
    return default.service if wish.service is None else wish.service


def asks_service(
    wish: UpstreamWish, default: UpstreamWish, rule: DestinationRule | None, cluster: bool
) -> bool:
    """Whether the Service's address is asked; `cluster` is what holds where nobody says it."""
    said = says_service(wish, default)
    if said is not None:
        return said
    if not isinstance(wish.balance or default.balance or InTurn(), InTurn):
        return False
    if rule is not None and (rule.outliers is not None or rule.simple in _SIMPLE):
        return False
    return cluster or (rule is not None and rule.simple == _ALL_ALIKE)


def spread(wish: UpstreamWish, default: UpstreamWish, rule: DestinationRule | None) -> Upstream:
    """The upstream, without its servers."""
    balance = wish.balance or (rule and _SIMPLE.get(rule.simple)) or default.balance or InTurn()
    if rule is None:
        return Upstream(balance=balance)
    return Upstream(balance=balance, limits=_limits(rule), outliers=_outliers(rule))


def _limits(rule: DestinationRule) -> ConnectionLimits | None:
    """0 is what isn't said (pilot/pkg/networking/core/cluster_traffic_policy.go)."""
    tcp, http = rule.tcp, rule.http
    limits = ConnectionLimits(
        connections=tcp.get("maxConnections") or None,
        pending=http.get("http1MaxPendingRequests") or None,
        requests=http.get("http2MaxRequests") or None,
        requests_per_connection=http.get("maxRequestsPerConnection") or 0,
        retries=http.get("maxRetries") or None,
        connect_timeout=duration(tcp["connectTimeout"]) if tcp.get("connectTimeout") else 0.0,
    )
    return limits if limits != ConnectionLimits() else None


def _outliers(rule: DestinationRule) -> OutlierDetection | None:
    said = rule.outliers
    if said is None:
        return None
    values: dict[str, Any] = {}
    for key, field in (
        ("consecutive5xxErrors", "consecutive_5xx"),
        ("consecutiveGatewayErrors", "consecutive_gateway_errors"),
    ):
        if said.get(key) is not None:
            values[field] = said[key]
    for key, field in (("interval", "interval"), ("baseEjectionTime", "base_ejection_time")):
        if said.get(key):
            values[field] = duration(said[key])
    for key, field in (
        ("maxEjectionPercent", "max_ejection_percent"),
        ("minHealthPercent", "min_health_percent"),
    ):
        if said.get(key):
            values[field] = said[key]
    if said.get("splitExternalLocalOriginErrors"):
        values["consecutive_local_failures"] = said.get("consecutiveLocalOriginFailures") or _LOCAL_FAILURES
    values["error_codes"] = tuple(said.get("outlierDetectionHttpErrorCodes") or ())
    return OutlierDetection(**values)
