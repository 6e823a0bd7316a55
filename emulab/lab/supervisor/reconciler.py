"""The one way in which anything changes: objects → controllers → plan → kernel and servers → kubelet.

`_settle` runs passes until nothing is left to do, or for long enough: a StatefulSet's pods come one a pass.
Whoever changes the store holds `lock` meanwhile, so that a change and its first application are one step
that can be taken back whole.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeVar

from emulab.cluster import controllers
from emulab.cluster.controllers.pods import with_condition
from emulab.cluster.resolve import resolve
from emulab.cluster.store import Store
from emulab.errors import EmulabError
from emulab.kernel.network import KernelNetwork
from emulab.kinds.registry import NODE, POD
from emulab.lab.kubelet.kubelet import Kubelet
from emulab.lab.kubelet.programs import missing_program
from emulab.lab.supervisor.balancernews import BalancerNews
from emulab.lab.supervisor.ingressnews import IngressNews
from emulab.lab.supervisor.nursery import MANY, Nursery
from emulab.lab.supervisor.proxysyncs import ProxySyncs
from emulab.lab.supervisor.publisher import Publisher
from emulab.lab.supervisor.surroundings import Surroundings
from emulab.lab.supervisor.zonenews import ZoneNews
from emulab.model.collection import WARNING, Tell
from emulab.plan.pods import namespaces_to_come
from emulab.plan.state import World
from emulab.plan.world import Planner

_DRAINING = 60.0
"""Seconds after which is looked again at what stays for connections alone, as kube-proxy does."""
_TRIES = 4  # of a change, each on a fork of the store as it is by then
_PASSES = 50  # in one go; then whoever waits for the lock gets it, and the rest goes on in the background

T = TypeVar("T")
Progress = Callable[[str], None]
Work = Callable[[Store], None]
"""What a change does to a store. It may be done again, to another one, and in a thread."""


class _Planned(NamedTuple):
    """A world, and when its objects came into the store (on the clock of `time.perf_counter`, 0: unknown)."""

    world: World
    since: float


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
        self._news = IngressNews(around, self.poke)
        self.balancers = BalancerNews(around, self.poke)
        self.zones = ZoneNews(around)
        self._planner = Planner()
        self._nursery = Nursery(around.processes, asyncio.get_running_loop())
        self.lock = asyncio.Lock()
        self._closing = False
        self._dirty = asyncio.Event()
        self._planned_anew = asyncio.Event()  # so something else may be due next; or there is something to do
        # Seconds of each part of a pass, added up since the start; told by `summary`, read by the benchmarks.
        self.spent = dict.fromkeys(("controllers", "plan", "kernel", "servers", "names", "kubelet"), 0.0)
        self._looked = (
            0.0  # Unix time at which controllers worked last: what is due since then is yet to be done
        )
        self.programmed = 0.0  # seconds that the last change of objects took from the store to the kernel
        self._later: asyncio.TimerHandle | None = None
        self._naming: asyncio.Task[None] | None = None  # beside everything else of a pass
        self.failure = ""  # of the last background pass; shown by `summary`, mended by the next change

    @property
    def given(self) -> dict[str, int]:
        """Namespaces that others have made and handed over, by what they were handed over as."""
        return self._network.given

    def poke(self) -> None:
        """Asks for another pass soon."""
        self._dirty.set()
        self._planned_anew.set()

    def close(self) -> None:
        """The lab is ending: nothing is applied, undone or named any more."""
        self._closing = True
        self._news.close()
        if self._later is not None:
            self._later.cancel()

    async def rest(self, progress: Progress = lambda _: None) -> None:
        """Returns when nothing is left to do."""
        async with self.lock:
            while self._dirty.is_set():
                await self._settle_or_poke(progress)

    async def _settle_or_poke(self, progress: Progress = lambda _: None) -> None:
        """As `_settle`; what is left undone stays asked for, where something failed or who waited for it has left: the
        kernel may be as planned by then, and no server."""
        try:
            await self._settle(progress)
        except BaseException:
            self.poke()
            raise

    async def run(self) -> None:
        """Reconciles for ever, whenever poked."""
        while True:
            await self._until_due()
            try:
                async with self.lock:
                    await self._settle()
                if self.failure:
                    self.failure = ""
                    self._tell_nodes("False", "NetworkIsUp", "rules, links and servers are as planned")
            except Exception as error:  # whatever it is, the next change may mend it, and the lab must go on
                self.failure = str(error) or repr(error)
                traceback.print_exc()
                self._tell_nodes("True", "NetworkNotReady", f"network is not ready: {self.failure}")
                await asyncio.sleep(1.0)
                self._dirty.set()

    def _tell_nodes(self, unavailable: str, reason: str, message: str) -> None:
        """Says in every Node's status, and of what is wrong in an Event, whether what is planned is there."""
        store, now = self._around.store, time.time()
        for node in store.objects().kind(NODE):
            store.put_status(
                node.key, with_condition(node.status, now, "NetworkUnavailable", unavailable, reason, message)
            )
            if unavailable == "True":
                self._around.events.tell([Tell(node, WARNING, reason, message, "kubelet", node.name)], now)

    async def _until_due(self) -> None:
        """Waits until poked, or until time alone changes something (`minReadySeconds`, a deadline, a schedule)."""
        while not self._dirty.is_set():
            self._planned_anew.clear()
            due = controllers.next_due(self._around.store.objects(), self._looked)
            try:
                async with asyncio.timeout(None if due is None else max(0.0, due - time.time())):
                    await self._planned_anew.wait()
            except TimeoutError:
                return

    async def change(self, work: Work, progress: Progress = lambda _: None) -> None:
        """Does `work` to the store and applies the result.

        It is tried on a copy first, controllers and plan included: what can't be planned has never been written. What
        then can't be built is undone by writing all objects anew as they were, which watchers see like any change.
        """
        async with self.lock:
            saved, lives = self._around.store.objects(), self._planner.lives
            try:
                await self._settle(progress, work)
            except BaseException:
                if not self._closing:
                    self._around.store.revert(saved)
                    self._planner.go_back(lives)
                    await self._settle_or_poke()
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

    async def _settle(self, progress: Progress = lambda _: None, work: Work | None = None) -> None:
        """Passes until the objects ask for no other one, the first of them with `work`; what is left after many of them
        stays asked for. Raises EmulabError."""
        try:
            for _ in range(_PASSES):
                if self._closing:
                    raise EmulabError("the lab is going down")
                await self._pass(progress, work)
                work = None
                if not self._dirty.is_set():
                    self._kubelet.rested()
                    return
        finally:
            await self._named()

    async def _pass(self, progress: Progress, work: Work | None) -> None:
        self._dirty.clear()
        changes = self._around.store.take_changes()
        progress("planning")
        planned = await self._plan(work)
        world, since = planned.world, changes.since or planned.since
        progress("namespaces, links and rules")
        servers, namespaces = self._around.servers, world.network.namespaces
        await servers.prepare(world.servers, self._network.handles, namespaces)
        await self._write(world, since)
        await self._serve(world, progress)
        begun = time.perf_counter()
        self._around.world = world
        self._kubelet.sync(world)
        self.spent["kubelet"] += time.perf_counter() - begun
        await self._news.tell()
        await self.balancers.tell()

    async def _plan(self, work: Work | None) -> _Planned:
        """The world of the objects after `work`, if any, once controllers and allocation have come to rest.

        All of it is done on a fork of the store in a thread, and adopted once it is done: the loop goes on meanwhile,
        and so do those who write statuses. What they wrote is looked at in the next pass.
        """
        store = self._around.store
        for tries in range(_TRIES):
            base, fork = store.objects(), store.fork()
            if tries < _TRIES - 1:
                planned = await _to_its_end(asyncio.to_thread(self._planned, fork, work))
            else:  # nobody else can write while the loop waits
                planned = self._planned(fork, work)
            whole = store.adopt(fork, base, partly=work is None)
            if whole or work is None:
                self._planned_anew.set()
                self._around.events.tell(store.take_told(), time.time())
                if not whole:
                    self._dirty.set()
                return planned
        raise AssertionError("a fork is adopted where nobody has written since it was made")

    def _planned(self, fork: Store, work: Work | None) -> _Planned:
        begun = time.perf_counter()
        if work is not None:
            work(fork)
        since, self._looked = fork.changes.since, time.time()
        cluster, objects = resolve(fork, self._looked, missing_program, self._around.images.program)
        resolved = time.perf_counter()
        there = self._network.applied.namespaces
        if len(objects.members(POD)) >= len(there) + MANY:
            self._nursery.expect(namespaces_to_come(objects, cluster, there))
        world = self._planner.plan(objects, cluster)
        self.spent["controllers"] += resolved - begun
        self.spent["plan"] += time.perf_counter() - resolved
        return _Planned(world, since)

    async def _write(self, world: World, since: float) -> None:
        begun = time.perf_counter()
        self._network.ahead = dict(await self._nursery.take())
        try:
            done = await _to_its_end(asyncio.to_thread(self._apply, world, asyncio.get_running_loop()))
        finally:
            self._syncs.note(self._network.take_syncs(), time.time())
        self._look_again()
        self.spent["kernel"] += time.perf_counter() - begun
        if since:
            self.programmed = done - since

    def _apply(self, world: World, loop: asyncio.AbstractEventLoop) -> float:
        """Has the kernel be as planned, for a thread. When it was (`perf_counter`): the loop may hear of it later."""
        servers = self._around.servers
        going = servers.going(world.servers, world.network.namespaces)

        def leave() -> None:
            asyncio.run_coroutine_threadsafe(servers.leave(going), loop).result()

        self._network.apply(world.network, *([leave] if going else ()))
        return time.perf_counter()

    async def _serve(self, world: World, progress: Progress) -> None:
        begun = time.perf_counter()
        progress("servers")
        await self._named()
        self._naming = asyncio.ensure_future(self._publish(world))
        await self._around.servers.apply(world.servers, self._network.handles)
        self.spent["servers"] += time.perf_counter() - begun
        self._syncs.tell(self._around.servers)

    def _look_again(self) -> None:
        loop = asyncio.get_running_loop()
        if self._network.draining and (self._later is None or self._later.when() <= loop.time()):
            self._later = loop.call_later(_DRAINING, self.poke)

    async def _publish(self, world: World) -> None:
        if self._publisher is not None and not self._closing:
            begun = time.perf_counter()
            await _to_its_end(self._publisher.publish(world.places, self._network.handles))
            self.spent["names"] += time.perf_counter() - begun

    async def _named(self) -> None:
        """Returns when the names are made that have been begun with. Raises what was wrong with them, once."""
        naming, self._naming = self._naming, None
        if naming is not None:
            await naming


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Awaits work in a thread, which can't be cancelled: whoever is cancelled meanwhile waits for its end."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
