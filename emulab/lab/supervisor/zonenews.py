"""What name servers tell of the records of Zones, written where everybody sees it: the Zone's status, and Events."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from emulab.cluster.zoneevents import UNHEALTHY, record_health_event, with_record_health
from emulab.kinds.emulab.resolver import OWN_RESOLVER
from emulab.kinds.emulab.zone import Zone
from emulab.kinds.registry import ZONE
from emulab.lab.supervisor.surroundings import Surroundings
from emulab.model.objects import Object

_SEEN_BY = {"dns": "public", OWN_RESOLVER: "private"}


class ZoneNews:
    """Tells of one lab's Zones. A private one is several servers' business, each of which finds out the same."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    def heard(self, server: str, record: Mapping[str, Any]) -> None:
        """A name server tells of a record's health, or has ended, after which it takes all for healthy."""
        if record["event"] == "ended" and server in _SEEN_BY:
            self._forget(_SEEN_BY[server])
        if record["event"] != "health" or "zone" not in record:
            return
        o = self._around.store.objects().get(ZONE.key("", record["zone"]))
        if o is None or record["record"] not in {r.text for r in Zone.of(o).records}:
            return
        if _told(o, record["record"]) is record["healthy"]:
            self._around.store.put_status(o.key, with_record_health(o.status, record))
            self._around.events.tell([record_health_event(o, record)], time.time())

    def _forget(self, visibility: str) -> None:
        for o in self._around.store.objects().kind(ZONE):
            if UNHEALTHY in o.status and Zone.of(o).visibility == visibility:
                self._around.store.put_status(o.key, {k: v for k, v in o.status.items() if k != UNHEALTHY})


def _told(o: Object, record: str) -> bool:
    """Whether a record is known not to be healthy."""
    return any(one["record"] == record for one in o.status.get(UNHEALTHY) or ())
