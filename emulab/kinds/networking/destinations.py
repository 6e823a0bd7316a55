"""The typed view of DestinationRules, and which of them is a Service's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from typing import Any

from emulab.dataclass import dataclass
from emulab.model.objects import Object

SIMPLE = ("LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST")
"""`loadBalancer.simple`; LEAST_CONN is what LEAST_REQUEST was called first."""

_PIECES = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|us|µs|ns|m|s)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def duration(text: str) -> float:
    """Seconds, as Go's `time.ParseDuration` reads them. Raises ValueError."""
    pieces = _PIECES.findall(text)
    if not pieces or "".join(number + unit for number, unit in pieces) != text:
        raise ValueError(f"{text!r} is no duration")
    return sum(float(number) * _UNITS[unit] for number, unit in pieces)


@dataclass(frozen=True, slots=True)
class DestinationRule:
    """`pool` and `outliers` are as they were given, None where they weren't."""

    namespace: str
    name: str
    host: str
    service: tuple[str, str] | None  # Namespace and name, if the host is the name of one
    simple: str  # "" where no algorithm is asked for
    tcp: Mapping[str, Any]
    http: Mapping[str, Any]
    outliers: Mapping[str, Any] | None
    says: bool = False  # whether it has a policy at all, and not subsets alone
    ports: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)  # policies of ports of the Service

    @staticmethod
    def of(o: Object) -> DestinationRule:
        policy = o.spec.get("trafficPolicy") or {}
        host = str(o.spec.get("host") or "")
        of_ports = policy.get("portLevelSettings") or ()
        ports = {int((one.get("port") or {}).get("number") or 0): one for one in of_ports}
        return DestinationRule(
            namespace=o.namespace,
            name=o.name,
            host=host,
            service=_service(host, o.namespace),
            says=bool(policy),
            ports=ports,
            **_settings(policy),
        )

    def at(self, port: int | None) -> DestinationRule:
        """What it says of a port of the Service. What is said of a port takes the place of all that is said of the
        Service: what isn't said there is the default (`selectTrafficPolicyComponents` of Istio's pilot)."""
        own = self.ports.get(port) if port is not None else None
        return self if own is None else replace(self, **_settings(own))


def _settings(policy: Mapping[str, Any]) -> dict[str, Any]:
    pool = policy.get("connectionPool") or {}
    simple = str((policy.get("loadBalancer") or {}).get("simple") or "")
    return {
        "simple": "" if simple == "UNSPECIFIED" else simple,
        "tcp": pool.get("tcp") or {},
        "http": pool.get("http") or {},
        "outliers": policy.get("outlierDetection"),
    }


def _service(host: str, namespace: str) -> tuple[str, str] | None:
    """The Service that a host names: `shop`, of the rule's own Namespace, `shop.prod`, `shop.prod.svc`, or the whole
    name in whichever cluster's domain."""
    name, *rest = host.rstrip(".").split(".")
    if not name or "*" in host:
        return None
    if not rest:
        return namespace, name
    if len(rest) == 1 or rest[1] == "svc":
        return rest[0], name
    return None


class DestinationRules:
    """All there are. Of several for one Service the oldest counts that has a policy (`mergeDestinationRule` of Istio's
    pilot), and before one whose host is a pattern."""

    def __init__(self, objects: Iterable[Object], domain: str) -> None:
        """`domain` is the cluster's."""
        self._domain = domain
        self._exact: dict[tuple[str, str], DestinationRule] = {}
        self._patterns: list[DestinationRule] = []
        for rule in map(DestinationRule.of, objects):
            if rule.service is not None:
                first = self._exact.setdefault(rule.service, rule)
                if rule.says and not first.says:
                    self._exact[rule.service] = rule
            elif rule.host.startswith("*"):
                self._patterns.append(rule)
        self._patterns.sort(key=lambda rule: -len(rule.host))

    def of(self, namespace: str, name: str) -> DestinationRule | None:
        """The one of a Service."""
        if (exact := self._exact.get((namespace, name))) is not None:
            return exact
        whole = f"{name}.{namespace}.svc.{self._domain}"
        return next((rule for rule in self._patterns if whole.endswith(rule.host[1:])), None)
