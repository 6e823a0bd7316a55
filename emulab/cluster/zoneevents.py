"""What is told of the records of Zones: which of them are healthy. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulab.model.collection import NORMAL, WARNING, Tell
from emulab.model.objects import Object

COMPONENT = "dns"
UNHEALTHY = "unhealthyRecords"


def with_record_health(status: Mapping[str, Any], record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The status of a Zone after the news of a record: those that aren't healthy are listed, with why."""
    others = [one for one in status.get(UNHEALTHY) or () if one["record"] != record["record"]]
    if not record["healthy"]:
        others.append({"record": record["record"], "check": record["check"]})
    rest = {name: value for name, value in status.items() if name != UNHEALTHY}
    return {**rest, UNHEALTHY: others} if others else rest


def record_health_event(o: Object, record: Mapping[str, Any]) -> Tell:
    """What is told of a record's change."""
    if record["healthy"]:
        return Tell(
            o, NORMAL, "RecordHealthy", f"{record['record']} is healthy: {record['check']}", COMPONENT
        )
    told = f"{record['record']} is not healthy: {record['check']}"
    return Tell(o, WARNING, "RecordUnhealthy", told, COMPONENT)
