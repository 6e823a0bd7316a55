"""The Events that ingress controllers write, after each pass of the reconciler."""

from __future__ import annotations

import asyncio
import time

from emulab.cluster.ingressevents import IngressEvents
from emulab.kinds.emulab.clusterview import cluster_of
from emulab.lab.supervisor.surroundings import Surroundings

_AT_ONCE = 100  # Events that are written in one turn of the loop


class IngressNews:
    """Tells of one lab's Ingresses."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._events = IngressEvents()

    async def tell(self) -> None:
        """Tells what is new."""
        objects, now = self._around.store.objects(), time.time()
        found = await asyncio.to_thread(self._events.told, objects, cluster_of(objects), now)
        for start in range(0, len(found), _AT_ONCE):
            self._around.events.tell(found[start : start + _AT_ONCE], now)
            await asyncio.sleep(0)
