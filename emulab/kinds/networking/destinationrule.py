"""DestinationRules: what a Service is spared by those who call it, as users of Istio write it.

In a mesh the callers' sidecars heed them; here it is the ingress. What of one is followed is without subsets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from emulab.kinds import cells
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.checks import whole
from emulab.kinds.core.serviceview import Service
from emulab.kinds.definition import Definition
from emulab.kinds.following import kind_table, table
from emulab.kinds.networking.destinations import SIMPLE, DestinationRule, duration
from emulab.kinds.registry import DESTINATION_RULE, SERVICE
from emulab.model.checks import (
    LARGEST,
    Problems,
    Rule,
    anything,
    boolean,
    dns_subdomain,
    integer,
    mapping,
    one_of,
    pattern,
    sequence,
    show,
    string,
    wrong,
)
from emulab.model.findings import Finding

if TYPE_CHECKING:
    from emulab.kinds.lookup import Lookup
    from emulab.model.objects import Object

_count = integer(0, LARGEST)
_percent = integer(0, 100, "a percentage")


def _duration(value: Any) -> Problems:
    if type(value) is not str:
        return string(value)
    try:
        seconds = duration(value)
    except ValueError:
        return wrong(f"{show(value)} is not a duration such as 30s, 1m30s or 500ms")
    if seconds < 0.001:
        return wrong(f"{show(value)} is shorter than 1ms")
    parts = seconds * 1000
    return () if abs(parts - round(parts)) < 1e-6 else wrong(f"{show(value)} isn't of whole milliseconds")


def _maybe_never(value: Any) -> Problems:
    """A duration, or none at all."""
    return () if value == "0s" else _duration(value)


def _some_of(*names: str) -> Rule:
    """A rule of Istio's webhook: a mapping that is there says something (pkg/config/validation/validation.go)."""
    return lambda value: () if any(name in value for name in names) else wrong("must have at least one field")


def _not_both(one: str, other: str, is_set: Callable[[Any], bool] = lambda value: value is not None) -> Rule:
    """A rule: two fields aren't given together."""

    def rule(value: dict[str, Any]) -> Problems:
        if not (is_set(value.get(one)) and is_set(value.get(other))):
            return ()
        return wrong(f"only one of {one} and {other} may be given")

    return rule


def _split(value: dict[str, Any]) -> Problems:
    if value.get("consecutiveLocalOriginFailures") and not value.get("splitExternalLocalOriginErrors"):
        return wrong("needs splitExternalLocalOriginErrors: true", "consecutiveLocalOriginFailures")
    return ()


def _protocol(value: dict[str, Any]) -> Problems:
    if value.get("useClientProtocol") and value.get("h2UpgradePolicy") == "UPGRADE":
        return wrong("must not be true with h2UpgradePolicy: UPGRADE", "useClientProtocol")
    return ()


_tcp = mapping(
    {
        "maxConnections": _count,
        "connectTimeout": _duration,
        "tcpKeepalive": mapping({"probes": _count, "time": _duration, "interval": _duration}, closed=True),
        "maxConnectionDuration": _duration,
        "idleTimeout": _maybe_never,
    },
    closed=True,
)

_http = mapping(
    {
        "http1MaxPendingRequests": _count,
        "http2MaxRequests": _count,
        "maxRequestsPerConnection": _count,
        "maxRetries": _count,
        "idleTimeout": _maybe_never,
        "h2UpgradePolicy": one_of("DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"),
        "useClientProtocol": boolean,
        "maxConcurrentStreams": _count,
        "http2KeepAlive": mapping(
            {"interval": _duration, "timeout": _duration}, required=("interval", "timeout"), closed=True
        ),
    },
    rules=(_protocol,),
    closed=True,
)

_pool = mapping({"tcp": _tcp, "http": _http}, rules=(_some_of("tcp", "http"),), closed=True)

_outliers = mapping(
    {
        "splitExternalLocalOriginErrors": boolean,
        "consecutiveLocalOriginFailures": _count,
        "consecutiveErrors": _count,
        "consecutiveGatewayErrors": _count,
        "consecutive5xxErrors": _count,
        "interval": _duration,
        "baseEjectionTime": _duration,
        "maxEjectionPercent": _percent,
        "minHealthPercent": _percent,
        "outlierDetectionHttpErrorCodes": sequence(integer(100, 599, "a status")),
    },
    rules=(_split,),
    closed=True,
)

_balancer = mapping(
    {
        "simple": one_of("UNSPECIFIED", *SIMPLE),
        "consistentHash": anything,
        "localityLbSetting": anything,
        "zoneAwareLbSetting": anything,
        "warmup": anything,
        "warmupDurationSecs": _duration,
    },
    rules=(
        _not_both("simple", "consistentHash", lambda value: value not in (None, "UNSPECIFIED")),
        _not_both("localityLbSetting", "zoneAwareLbSetting"),
        _not_both("warmup", "warmupDurationSecs"),
    ),
    closed=True,
)

_settings = {
    "connectionPool": _pool,
    "loadBalancer": _balancer,
    "outlierDetection": _outliers,
    "tls": anything,
}

_policy = mapping(
    {
        **_settings,
        "portLevelSettings": sequence(
            mapping(
                {**_settings, "port": mapping({"number": integer(1, 65535, "a port")}, required=("number",))},
                required=("port",),
                rules=(_some_of(*_settings),),
                closed=True,
            )
        ),
        "tunnel": anything,
        "proxyProtocol": anything,
        "retryBudget": anything,
    },
    rules=(
        _some_of(*_settings, "portLevelSettings", "tunnel", "proxyProtocol", "retryBudget"),
        _not_both("tunnel", "proxyProtocol"),
    ),
    closed=True,
)

_spec = mapping(
    {
        "host": pattern(r"\S+", "a host"),
        "trafficPolicy": _policy,
        "subsets": sequence(
            mapping({"name": string, "labels": anything, "trafficPolicy": _policy}, required=("name",))
        ),
        "exportTo": sequence(string),
        "workloadSelector": anything,
    },
    required=("host",),
    closed=True,
)

_SETTINGS = table(
    ignored={"tls": "how a backend is spoken to an Ingress' annotation backend-protocol says"},
    loadBalancer=table(
        "simple",
        ignored={
            "consistentHash": "an Ingress' annotation upstream-hash-by does that",
            "localityLbSetting": "endpoints of all zones are alike",
            "zoneAwareLbSetting": "endpoints of all zones are alike",
            "warmup": "an endpoint that is new gets its whole share",
            "warmupDurationSecs": "an endpoint that is new gets its whole share",
        },
    ),
    connectionPool=table(
        tcp=table(
            "maxConnections connectTimeout",
            ignored={
                "tcpKeepalive": "connections are as the kernel keeps them",
                "maxConnectionDuration": "a connection lives until it is idle",
                "idleTimeout": "it is the key upstream-keepalive-timeout of the controller's ConfigMap",
            },
        ),
        http=table(
            "http1MaxPendingRequests http2MaxRequests maxRequestsPerConnection maxRetries",
            ignored={
                "idleTimeout": "it is the key upstream-keepalive-timeout of the controller's ConfigMap",
                "h2UpgradePolicy": "backends are asked by HTTP/1.1",
                "useClientProtocol": "backends are asked by HTTP/1.1",
                "maxConcurrentStreams": "backends are asked by HTTP/1.1",
                "http2KeepAlive": "backends are asked by HTTP/1.1",
            },
        ),
    ),
    outlierDetection=table(
        "consecutiveGatewayErrors consecutive5xxErrors interval baseEjectionTime maxEjectionPercent minHealthPercent"
        " splitExternalLocalOriginErrors consecutiveLocalOriginFailures outlierDetectionHttpErrorCodes",
        ignored={"consecutiveErrors": "Istio heeds it no longer; it was what consecutiveGatewayErrors is"},
    ),
)
"""Of a Service, and of each of its ports."""
_FIELDS = table(
    "host",
    ignored={
        "subsets": "the ingress knows no subsets of a Service",
        "exportTo": "the ingress heeds the rule, wherever that is",
        "workloadSelector": "the ingress heeds the rule",
    },
    trafficPolicy=_SETTINGS
    | table(
        ignored={
            "tunnel": "requests go to the Service",
            "proxyProtocol": "a backend isn't told of the client in this way",
            "retryBudget": "retries are as the Ingress has them, and at most maxRetries at once",
        },
        portLevelSettings=table("port") | _SETTINGS,
    ),
)


def _warnings(o: Object, world: Lookup) -> Iterator[Finding]:
    rule = DestinationRule.of(o)
    if rule.service is None:
        if "*" not in rule.host:
            what = f"{show(rule.host)} is no name of a Service, so nothing heeds the rule"
            yield Finding(o, ("spec", "host"), what)
        return
    service = world.get(SERVICE.key(*rule.service))
    if service is None:
        yield Finding(o, ("spec", "host"), f"there is no Service {'/'.join(rule.service)}")
        return
    for what in _elsewhere(rule, world.cluster.cluster_domain):
        yield Finding(o, ("spec", "host"), what)
    yield from _of_ports(o, rule, Service.of(service))


def _elsewhere(rule: DestinationRule, domain: str) -> Iterator[str]:
    """What of a rule that is heeded here Istio would have it otherwise (`ResolveShortnameToFQDN`, `destinationRule` of
    its pilot)."""
    assert rule.service is not None
    namespace, name = rule.service
    whole = f"{name}.{namespace}.svc.{domain}"
    if rule.host.rstrip(".") not in (name, whole):
        yield f"{show(rule.host)} is taken for {whole} here; Istio completes names without a dot alone: write it whole"
    if rule.namespace not in (namespace, *_HEARD):
        yield (
            f"Istio heeds a rule in the Namespace of who calls, of the Service, or {_HEARD[1]}, and"
            f" {rule.namespace} is none of these; here it is heeded"
        )


_HEARD = ("ingress-nginx", "istio-system")
"""The Namespaces of who calls, and of all (`rootNamespace`)."""


def _of_ports(o: Object, rule: DestinationRule, service: Service) -> Iterator[Finding]:
    there = {one.port for one in service.ports}
    for at, number in enumerate(rule.ports):
        if number not in there:
            path = ("spec", "trafficPolicy", "portLevelSettings", at, "port")
            yield Finding(
                o, path, f"Service {service.namespace}/{service.name} has no port {number}: nothing heeds it"
            )


def _cells(o: Raw, now: float) -> Cells:
    return [cells.name(o), str(cells.spec(o).get("host") or ""), cells.age(o, now)], []


DEFINITION = Definition(
    check=whole(DESTINATION_RULE, dns_subdomain, _spec),
    fields=kind_table(_FIELDS),
    warnings=_warnings,
    columns=Columns(("NAME", "HOST", "AGE"), (), _cells),
)
