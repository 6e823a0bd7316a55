"""What balancers tell of their backends, written where everybody sees it: their objects' status, and Events.

The rules of mode nat leave out who isn't healthy by that status, and records of Zones may be healthy as a balancer is:
where there are such, a change of it asks for another pass.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from emulab.cluster.balancerevents import BalancerEvents, health_event, with_health, without_health
from emulab.kinds.emulab.clusterview import cluster_of
from emulab.kinds.emulab.zone import Zone
from emulab.kinds.registry import LOAD_BALANCER, SERVICE, ZONE
from emulab.lab.supervisor.surroundings import Surroundings
from emulab.model.objects import Object
from emulab.plan.balancers import balanced, service_place
from emulab.servers.l4.config import L4Config


class BalancerNews:
    """Tells of one lab's balancers. `poke` asks for another pass."""

    def __init__(self, around: Surroundings, poke: Callable[[], None]) -> None:
        self._around = around
        self._poke = poke
        self._events = BalancerEvents()

    async def tell(self) -> None:
        """Tells what is new of Services, after a pass."""
        objects = self._around.store.objects()
        found = await asyncio.to_thread(self._events.told, objects, cluster_of(objects))
        self._around.events.tell(found, time.time())

    def heard(self, server: str, record: Mapping[str, Any]) -> None:
        """A balancer tells of a backend, or has ended."""
        if record["event"] not in ("health", "ended"):
            return
        o = self._object_of(server)
        if o is None:
            return
        ended = record["event"] == "ended"
        status = without_health(o.status) if ended else with_health(o.status, record)
        self._around.store.put_status(o.key, status)
        if not ended:
            self._around.events.tell([health_event(o, record)], time.time())
        planned = self._around.world.servers.get(server) if self._around.world else None
        watched = planned is None or (isinstance(planned.config, L4Config) and planned.config.watched)
        if watched or any(Zone.of(zone).asks_of(o) for zone in self._around.store.objects().kind(ZONE)):
            self._poke()

    def _object_of(self, server: str) -> Object | None:
        """The LoadBalancer or Service whose balancer is at the place of that name."""
        objects = self._around.store.objects()
        if (o := objects.get(LOAD_BALANCER.key("", server))) is not None:
            return o
        if not server.startswith("lb-"):
            return None
        return next(
            (o for o in objects.facts(SERVICE, balanced).values() if service_place(o) == server), None
        )
