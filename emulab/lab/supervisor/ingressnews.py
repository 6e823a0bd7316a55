"""The Events that ingress controllers write, after each pass of the reconciler."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from math import inf

from emulab.cluster.ingressevents import IngressEvents
from emulab.kinds.emulab.clusterview import cluster_of
from emulab.lab.supervisor.surroundings import Surroundings

_AT_ONCE = 100  # Events that are written in one turn of the loop
_LOOK = 3600.0  # seconds after which is looked at the latest: the clock may have been set


class IngressNews:
    """Tells of one lab's Ingresses. `poke` asks for another pass."""

    def __init__(self, around: Surroundings, poke: Callable[[], None]) -> None:
        self._around = around
        self._poke = poke
        self._events = IngressEvents()
        self._later: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """The lab is ending."""
        if self._later is not None:
            self._later.cancel()

    async def tell(self) -> None:
        """Tells what is new."""
        objects, now = self._around.store.objects(), time.time()
        found = await asyncio.to_thread(self._events.told, objects, cluster_of(objects), now)
        for start in range(0, len(found), _AT_ONCE):
            self._around.events.tell(found[start : start + _AT_ONCE], now)
            await asyncio.sleep(0)
        self.close()
        if self._events.due < inf:
            pause = min(_LOOK, max(0.0, self._events.due - now))
            self._later = asyncio.get_running_loop().call_later(pause, self._poke)
