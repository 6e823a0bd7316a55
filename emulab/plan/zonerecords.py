"""What name servers are told of a Zone: its records, and those of which one is answered at a time with their health.

The health of a record is found out by the server that has the zone, by asking; that of a balancer is known already, and
is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from emulab.kinds.core.serviceview import ingress_ips
from emulab.kinds.emulab.balancingview import HealthCheck
from emulab.kinds.emulab.zone import Record, Zone
from emulab.kinds.registry import LOAD_BALANCER, SERVICE
from emulab.model.families import FAMILIES
from emulab.model.objects import Object
from emulab.plan.balancers import asked_policy, is_well
from emulab.plan.cni.plugin import Node
from emulab.plan.kept import PlanSource
from emulab.plan.publishing import RoutedRecord
from emulab.servers.dns.config import RecordCheck, RoutedRecords, ZoneRecord
from emulab.servers.health.config import HealthPolicy

_POLICY = HealthPolicy(interval=1.0, timeout=1.0, rise=1, fall=2, codes="200-399")
_PORTS = {"https": 443}
_PORT = 80
_ELSEWHERE = ("loadBalancer", "service", "address")

ZoneParts = tuple[list[ZoneRecord], list[RoutedRecords]]


def zone_parts(o: Object, source: PlanSource, nodes: Sequence[Node]) -> ZoneParts:
    """The plain records of a Zone, and the others."""
    zone = Zone.of(o)
    origin = zone.name.rstrip(".") + "."
    plain: list[ZoneRecord] = []
    groups: dict[tuple[str, ...], list[Record]] = {}
    by_health = {(r.name.lower(), r.type) for r in zone.records if r.routed}
    for index, record in enumerate(zone.records):
        if (record.name.lower(), record.type) not in by_health:
            plain.append(ZoneRecord(absolute(record.name, origin), record.type, record.value, record.ttl))
            continue
        which = record.set_identifier or f"{index}"
        groups.setdefault((record.name.lower(), record.type, which), []).append(record)
    well = _Wellness(source, nodes)
    routed = [_routed(zone.name, origin, records, well) for records in groups.values()]
    return plain, routed


def routed_sets(
    published: Iterable[RoutedRecord], source: PlanSource, nodes: Sequence[Node]
) -> list[RoutedRecords]:
    """The sets of records that the cloud's DNS publishes by itself: each as well as the balancers of all of it."""
    groups: dict[tuple[str, str, str], list[RoutedRecord]] = {}
    for one in published:
        groups.setdefault((one.record.name, one.record.type, one.route.identifier), []).append(one)
    return [
        RoutedRecords(
            name,
            rtype,
            tuple(one.record.data for one in records),
            min(one.record.ttl for one in records),
            records[0].route.weight,
            records[0].route.failover,
            all(_is_served(one, source, nodes) for one in records),
        )
        for (name, rtype, _), records in groups.items()
    ]


def _is_served(one: RoutedRecord, source: PlanSource, nodes: Sequence[Node]) -> bool:
    """Whether the balancer that a record leads to is well, in its family; what isn't known to be one is."""
    o = source.get(one.service) if one.service is not None else None
    family = next((family for family in FAMILIES if family.record == one.record.type), None)
    if o is None or family is None or one.record.data not in ingress_ips(o):
        return True
    return is_well(source, o, nodes, family)


def absolute(name: str, origin: str) -> str:
    """A name of a zone with all its labels."""
    if name in ("@", ""):
        return origin
    return name if name.endswith(".") else f"{name}.{origin}" if origin != "." else f"{name}."


class _Wellness:
    """Whether balancers are well, each asked once."""

    def __init__(self, source: PlanSource, nodes: Sequence[Node]) -> None:
        self._source, self._nodes = source, nodes
        self._known: dict[object, bool] = {}

    def of(self, record: Record) -> bool:
        """By a record's check; one that asks nobody here is well. An address is as well as its family is served."""
        check = record.health_check or {}
        family = next((one for one in FAMILIES if one.record == record.type), None)
        service = check.get("service")
        if service:
            key = SERVICE.key(service.get("namespace") or "default", service["name"])
        elif check.get("loadBalancer"):
            key = LOAD_BALANCER.key("", check["loadBalancer"])
        else:
            return True
        if (key, family) not in self._known:
            o = self._source.get(key)
            self._known[key, family] = o is not None and is_well(self._source, o, self._nodes, family)
        return self._known[key, family]


def _routed(zone: str, origin: str, records: Sequence[Record], well: _Wellness) -> RoutedRecords:
    """One set, which is healthy as long as all of it is."""
    first = records[0]
    checks = [check for record in records if (check := _check(zone, record)) is not None]
    return RoutedRecords(
        absolute(first.name, origin),
        first.type,
        tuple(record.value for record in records),
        min(record.ttl for record in records),
        first.weight,
        first.failover,
        all(well.of(record) for record in records),
        tuple(checks),
    )


def _check(zone: str, record: Record) -> RecordCheck | None:
    """Who is to be asked for a record; None where that is nobody."""
    asked = record.health_check
    if asked is None or asked.get("loadBalancer") or asked.get("service"):
        return None
    health = HealthCheck.of({k: v for k, v in asked.items() if k not in _ELSEWHERE})
    policy = asked_policy(_POLICY, health)
    if policy.protocol in ("http", "https") and not policy.path:
        policy = replace(policy, path="/")
    port = health.port or _PORTS.get(policy.protocol, _PORT)
    policy = replace(policy, port=None)
    return RecordCheck(zone, record.text, asked.get("address") or record.value, port, policy)
