"""The Events that ingress controllers write, after each pass of the reconciler."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from math import inf

from emulab.cluster.ingressevents import COMPONENT, IngressEvents
from emulab.kinds.emulab.clusterview import cluster_of
from emulab.kinds.registry import CONFIG_MAP, INGRESS, POD
from emulab.lab.supervisor.surroundings import Surroundings
from emulab.model.collection import NORMAL, WARNING, Objects, Tell
from emulab.model.keys import Key
from emulab.plan.l7.reloads import is_reloaded
from emulab.plan.state import PlannedServer, World
from emulab.servers.l7.config import L7Config, Notice

_AT_ONCE = 100  # Events that are written in one turn of the loop
_LOOK = 3600.0  # seconds after which is looked at the latest: the clock may have been set


class _Reloads:
    """Which controllers' configurations have been read anew."""

    def __init__(self) -> None:
        self._known: dict[Key, L7Config] = {}
        self._world: World | None = None

    def told(self, world: World | None, objects: Objects) -> list[Tell]:
        """What their Pods say of it."""
        if world is None or world is self._world:
            return []
        before, self._known, self._world = self._known, {}, world
        found = []
        for server in world.servers.values():
            pod = objects.get(_pod_of(server)) if isinstance(server.config, L7Config) else None
            if pod is not None and isinstance(server.config, L7Config):
                self._known[pod.key] = server.config
                if is_reloaded(before.get(pod.key), server.config):
                    found.append(Tell(pod, NORMAL, "RELOAD", _RELOADED, COMPONENT))
        return found


class _Complaints:
    """What objects say and controllers can't follow, as these write it into their logs."""

    def __init__(self) -> None:
        self._known: frozenset[Notice] = frozenset()
        self._world: World | None = None

    def told(self, world: World | None, objects: Objects) -> list[Tell]:
        """What is wrong now, and wasn't before: of each object for itself, whichever controllers say so."""
        if world is None or world is self._world:
            return []
        configs = {id(s.config): s.config for s in world.servers.values() if isinstance(s.config, L7Config)}
        there = dict.fromkeys(one for config in configs.values() for one in config.notices if one.about)
        before, self._known, self._world = self._known, frozenset(there), world
        found = []
        for one in there:
            kind, _, name = one.about.partition(" ")
            o = objects.get(_KINDS[kind].key(*name.split("/"))) if one not in before else None
            if o is not None:
                found.append(Tell(o, WARNING, _REASONS[kind], one.text, COMPONENT))
        return found


_KINDS = {kind.kind: kind for kind in (INGRESS, CONFIG_MAP)}
_REASONS = {INGRESS.kind: "AnnotationParsingFailed", CONFIG_MAP.kind: "ConfigParsingFailed"}
_RELOADED = "NGINX reload triggered due to a change in configuration"


def _pod_of(server: PlannedServer) -> Key:
    """Servers of Pods are named `NAMESPACE.POD/CONTAINER`."""
    namespace, _, name = server.name.partition("/")[0].partition(".")
    return POD.key(namespace, name)


class IngressNews:
    """Tells of one lab's Ingresses. `poke` asks for another pass."""

    def __init__(self, around: Surroundings, poke: Callable[[], None]) -> None:
        self._around = around
        self._poke = poke
        self._events = IngressEvents()
        self._reloads = _Reloads()
        self._complaints = _Complaints()
        self._later: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """The lab is ending."""
        if self._later is not None:
            self._later.cancel()

    async def tell(self) -> None:
        """Tells what is new."""
        objects, now = self._around.store.objects(), time.time()
        found = await asyncio.to_thread(self._events.told, objects, cluster_of(objects), now)
        found += await asyncio.to_thread(self._reloads.told, self._around.world, objects)
        found += await asyncio.to_thread(self._complaints.told, self._around.world, objects)
        for start in range(0, len(found), _AT_ONCE):
            self._around.events.tell(found[start : start + _AT_ONCE], now)
            await asyncio.sleep(0)
        self.close()
        if self._events.due < inf:
            pause = min(_LOOK, max(0.0, self._events.due - now))
            self._later = asyncio.get_running_loop().call_later(pause, self._poke)
