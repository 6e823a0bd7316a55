"""The one way in which anything changes: objects → controllers → plan → kernel and servers → kubelet.

`settle` runs passes until nothing is left to do, or for long enough: a StatefulSet's pods come one a pass.
Whoever changes the store holds `lock` meanwhile, so that a change and its first application are one step
that can be taken back whole.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from emulab.cluster import controllers
from emulab.cluster.resolve import resolve
from emulab.cluster.store import Changes
from emulab.errors import EmulabError
from emulab.kernel.network import KernelNetwork
from emulab.lab.kubelet.kubelet import Kubelet
from emulab.lab.supervisor.proxysyncs import ProxySyncs
from emulab.lab.supervisor.publisher import Publisher
from emulab.lab.supervisor.surroundings import Surroundings
from emulab.model.collection import Put
from emulab.plan.state import World
from emulab.plan.world import Planner

_DRAINING = (
    60.0  # seconds after which is looked again at what stays for connections alone, as kube-proxy does
)
_PASSES = 50  # in one go; then whoever waits for the lock gets it, and the rest goes on in the background

T = TypeVar("T")
Progress = Callable[[str], None]


class Reconciler:
    """Keeps the data plane equal to the objects."""

    def __init__(
        self, around: Surroundings, network: KernelNetwork, kubelet: Kubelet, publisher: Publisher | None
    ) -> None:
        self._around = around
        self._network = network
        self._kubelet = kubelet
        self._publisher = publisher
        self._syncs = ProxySyncs(around.store)
        self._planner = Planner()
        self.lock = asyncio.Lock()
        self._closing = False
        self._dirty = asyncio.Event()
        # Seconds of each part of a pass, added up since the start; told by `summary`, read by the benchmarks.
        self.spent = dict.fromkeys(("controllers", "plan", "kernel", "servers", "names", "kubelet"), 0.0)
        self.programmed = 0.0  # seconds that the last change of objects took from the store to the kernel
        self._later: asyncio.TimerHandle | None = None
        self.failure = ""  # of the last background pass; shown by `summary`, mended by the next change

    def poke(self) -> None:
        """Asks for another pass soon."""
        self._dirty.set()

    def close(self) -> None:
        """The lab is ending: nothing is applied, undone or named any more."""
        self._closing = True
        if self._later is not None:
            self._later.cancel()

    async def rest(self, progress: Progress = lambda _: None) -> None:
        """Returns when nothing is left to do."""
        async with self.lock:
            while self._dirty.is_set():
                await self.settle(progress)

    async def run(self) -> None:
        """Reconciles for ever, whenever poked."""
        while True:
            await self._until_due()
            try:
                async with self.lock:
                    await self.settle()
                self.failure = ""
            except Exception as error:  # whatever it is, the next change may mend it, and the lab must go on
                self.failure = str(error) or repr(error)
                traceback.print_exc()
                await asyncio.sleep(1.0)
                self._dirty.set()

    async def _until_due(self) -> None:
        """Waits until poked, or until time alone changes something (`minReadySeconds`, a deadline)."""
        now = time.time()
        due = controllers.next_due(self._around.store.objects(), now)
        try:
            async with asyncio.timeout(None if due is None else max(0.0, due - now)):
                await self._dirty.wait()
        except TimeoutError:
            return

    async def change(self, work: Callable[[], None], progress: Progress = lambda _: None) -> None:
        """Runs `work`, which changes the store, and applies the result; undoes both when that fails."""
        async with self.lock:
            saved = self._around.store.save()
            try:
                work()
                await self.settle(progress)
            except BaseException:
                if not self._closing:
                    self._around.store.restore(saved)
                    self._planner.forget()
                    await self.settle()
                raise

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits until the condition holds after a pass."""
        woken = asyncio.Event()
        stop = self._around.store.watch(lambda _: woken.set())
        try:
            while not condition():
                await woken.wait()
                woken.clear()
        finally:
            stop()

    async def settle(self, progress: Progress = lambda _: None) -> None:
        """Passes until the objects ask for no other one; what is left after many of them stays asked for.

        Raises EmulabError.
        """
        for _ in range(_PASSES):
            if self._closing:
                raise EmulabError("the lab is going down")
            try:
                await self._pass(progress)
            except BaseException:
                self._planner.forget()
                raise
            if not self._dirty.is_set():
                return

    async def _pass(self, progress: Progress) -> None:
        poked = self._dirty.is_set()
        self._dirty.clear()
        changes = self._around.store.take_changes()
        # Whoever pokes may mean more than objects: a server that died, say.
        world = None if poked else self._planner.follow(changes.before, self._around.store.get)
        if world is not None:
            await self._write(world, changes.since)
            self._around.world = world
            self._syncs.tell(self._around.servers)
            return
        await self._hurry(changes)
        begun = time.perf_counter()
        cluster, objects = resolve(self._around.store, time.time())
        self._around.store.take_changes()
        self.spent["controllers"] += time.perf_counter() - begun
        progress("planning")
        begun = time.perf_counter()
        world = self._planner.plan(objects, cluster)
        self.spent["plan"] += time.perf_counter() - begun
        progress("namespaces, links and rules")
        await self._around.servers.prepare(world.servers, self._network.handles)
        await self._write(world, changes.since)
        await self._serve(world, progress)
        begun = time.perf_counter()
        self._kubelet.sync(world, cluster)
        self.spent["kubelet"] += time.perf_counter() - begun

    async def _hurry(self, changes: Changes) -> None:
        """Has the kernel know at once of endpoints that came or went, where all else that it means takes long."""
        found = self._planner.anticipate(changes.before, self._around.store.get)
        if found is not None:
            slices, world = found
            self._around.store.apply(map(Put, slices))
            await self._write(world, changes.since)
            changes.since = 0.0

    async def _write(self, world: World, since: float) -> None:
        begun = time.perf_counter()
        try:
            await _to_its_end(asyncio.to_thread(self._network.apply, world.network))
        finally:
            self._syncs.note(self._network.take_syncs(), time.time())
        self._look_again()
        done = time.perf_counter()
        self.spent["kernel"] += done - begun
        if since:
            self.programmed = done - since

    async def _serve(self, world: World, progress: Progress) -> None:
        begun = time.perf_counter()
        progress("servers")
        named = asyncio.ensure_future(self._publish(world))
        try:
            await self._around.servers.apply(world.servers, self._network.handles)
            self.spent["servers"] += time.perf_counter() - begun
        finally:
            await named
        self._syncs.tell(self._around.servers)

    def _look_again(self) -> None:
        loop = asyncio.get_running_loop()
        if self._network.draining and (self._later is None or self._later.when() <= loop.time()):
            self._later = loop.call_later(_DRAINING, self.poke)

    async def _publish(self, world: World) -> None:
        if self._publisher is not None and not self._closing:
            begun = time.perf_counter()
            await _to_its_end(asyncio.to_thread(self._publisher.publish, world.places, self._network.handles))
            self.spent["names"] += time.perf_counter() - begun


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Awaits work in a thread, which can't be cancelled: whoever is cancelled meanwhile waits for its end."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
