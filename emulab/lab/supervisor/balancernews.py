"""What balancers tell of their backends, written where everybody sees it: their objects' status, and Events.

The rules of mode nat leave out who isn't healthy by that status, and records may be healthy as a balancer is, of Zones
and of Services themselves: where there are such, a change of it asks for another pass.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from emulab.cluster.balancerevents import BalancerEvents, health_event, with_health, without_health
from emulab.cluster.balancerstates import (
    ACTIVE,
    is_active,
    node_names,
    state_event,
    with_frontends,
    with_state,
)
from emulab.errors import EmulabError
from emulab.kinds.emulab.balancerplaces import service_place
from emulab.kinds.emulab.clusterview import cluster_of
from emulab.kinds.emulab.zone import Zone
from emulab.kinds.externaldns import route_of
from emulab.kinds.registry import LOAD_BALANCER, SERVICE, ZONE
from emulab.lab.supervisor.surroundings import Surroundings
from emulab.model.keys import Key
from emulab.model.objects import Object
from emulab.plan.balancers import balanced
from emulab.plan.balancing.placing import VRRP
from emulab.servers.l4.config import L4Config


class BalancerNews:
    """Tells of one lab's balancers. `poke` asks for another pass."""

    def __init__(self, around: Surroundings, poke: Callable[[], None]) -> None:
        self._around = around
        self._poke = poke
        self._events = BalancerEvents()
        self._taking_over: set[asyncio.Task[None]] = set()
        self._words: Counter[str] = Counter()  # of balancers on their backends, by place
        self._moves: Counter[str] = Counter()  # of nodes from one state to another, by place

    async def tell(self) -> None:
        """Tells what is new of Services, after a pass."""
        objects = self._around.store.objects()
        found = await asyncio.to_thread(self._events.told, objects, cluster_of(objects))
        self._around.events.tell(found, time.time())

    def heard(self, server: str, record: Mapping[str, Any]) -> None:
        """A balancer tells of a backend or of its node, or has ended."""
        if record["event"] not in ("health", "ended", "vrrp"):
            return
        place = server.removesuffix(VRRP)
        o = self._object_of(place)
        if o is None:
            return
        if place != server:
            ended = record["event"] == "ended"
            state, why = ("unknown", "it has ended") if ended else (record["state"], record["why"])
            self._moved(o, place, str(state), str(why))
        else:
            self._words[place] += 1
            if is_active(o, place):
                self._judged(o, place, record)

    def _judged(self, o: Object, place: str, record: Mapping[str, Any]) -> None:
        """What is known of backends has changed."""
        ended = record["event"] == "ended"
        status = without_health(o.status) if ended else with_health(o.status, record)
        self._around.store.put_status(o.key, status)
        if not ended:
            self._around.events.tell([health_event(o, record)], time.time())
        self._follow(place)
        zones = self._around.store.objects().kind(ZONE)
        if route_of(o) is not None or any(Zone.of(zone).asks_of(o) for zone in zones):
            self._poke()

    def _follow(self, place: str) -> None:
        """Rules may have to follow."""
        planned = self._around.world.servers.get(place) if self._around.world else None
        if planned is None or (isinstance(planned.config, L4Config) and planned.config.watched):
            self._poke()

    def _moved(self, o: Object, place: str, state: str, why: str) -> None:
        """A node is in another state; one that is none of the balancer's any more says so late."""
        if place not in node_names(o):
            return
        self._moves[place] += 1
        self._around.events.tell([state_event(o, place, state, why)], time.time())
        if state == ACTIVE:
            task = asyncio.ensure_future(self._take_over(o.key, place, self._moves[place]))
            self._taking_over.add(task)
            task.add_done_callback(self._taking_over.discard)
        else:
            self._around.store.put_status(o.key, with_state(o.status, place, state))

    async def _take_over(self, key: Key, place: str, move: int) -> None:
        """A node is active: from now on it is this one that judges backends, at which it has looked all along.
        Unless it is none any more when it has told what it saw: the one that is preferred may have come meanwhile."""
        frontends: Mapping[str, Any] = {}
        with suppress(EmulabError):  # who isn't up yet tells it when it is
            heard = -1
            while heard != self._words[place]:
                heard = self._words[place]
                frontends = (await self._around.servers.status(place)).get("frontends", {})
        o = self._around.store.get(key)
        if o is not None and place in node_names(o) and move == self._moves[place]:
            status = with_frontends(with_state(o.status, place, ACTIVE), frontends)
            self._around.store.put_status(key, status)
            self._follow(place)

    def _object_of(self, place: str) -> Object | None:
        """The LoadBalancer or Service whose balancer is at the place of that name, or has a node there."""
        objects = self._around.store.objects()
        if (o := objects.get(LOAD_BALANCER.key("", place))) is not None:
            return o
        services = objects.facts(SERVICE, balanced).values()
        found = (o for o in (*objects.kind(LOAD_BALANCER), *services) if place in node_names(o))
        return next(found, None) or next((o for o in services if service_place(o) == place), None)
