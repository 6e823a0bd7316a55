"""The containers of one pod for which servers stand: when they live, end and live anew."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Protocol

from emulab.cluster.store import timestamp
from emulab.errors import KernelError
from emulab.kinds.core.podspec import Container, PodSpec
from emulab.kinds.core.restarts import RestartPolicy
from emulab.lab.hosts.logs import Log
from emulab.lab.hosts.serverhosts import ServerHosts
from emulab.lab.kubelet import hooks, telling
from emulab.lab.kubelet.podstatus import ContainerState
from emulab.lab.kubelet.preparation import Preparation
from emulab.lab.kubelet.probes import Aim
from emulab.lab.kubelet.served import ENDED_BY, Served, ends_at_once
from emulab.lab.kubelet.telling import Said
from emulab.lab.kubelet.termination import last_words
from emulab.model.objects import Object
from emulab.model.shortened import log_name
from emulab.plan.pods import place_name
from emulab.plan.standins import STANDINS, is_standin
from emulab.plan.world import server_name

_LOOK = 0.1
"""Seconds between two looks at whether what a stand-in has begun for a pod that goes is done, and before one at what a
server has printed."""


class StoodIn(Protocol):
    """The pod, as far as its stand-ins have to do with it."""

    @property
    def pod(self) -> Object: ...

    @property
    def spec(self) -> PodSpec: ...

    @property
    def name(self) -> str:
        """The pod in messages, as the kubelet's `format.Pod` has it."""
        ...

    @property
    def preparation(self) -> Preparation: ...

    @property
    def terminating(self) -> bool: ...

    def may_begin(self, container: Container) -> bool: ...

    def policy(self, container: Container) -> RestartPolicy: ...

    def log(self, container: Container) -> Log: ...

    def aim(self, container: Container) -> Aim: ...

    def tell(self, container: Container, said: Said) -> None: ...

    def report(self) -> None: ...

    def container_changed(self) -> None: ...

    def keep(self, work: Coroutine[Any, Any, None]) -> object:
        """Does work for as long as the pod lives."""
        ...


class ServedContainers:
    def __init__(self, pod: StoodIn, servers: ServerHosts) -> None:
        self._pod = pod
        self._servers = servers
        self._served: dict[str, Served] = {}

    def __contains__(self, name: str) -> bool:
        """Whether a server has begun to stand for a container of that name."""
        return name in self._served

    def get(self, name: str) -> Served | None:
        return self._served.get(name)

    def of(self, container: Container, state: ContainerState | None = None) -> Served:
        """`state`: that of its lives before, where it begins to be stood for."""
        if container.name not in self._served:
            shared = is_standin(container)
            server = STANDINS if shared else server_name(place_name(self._pod.pod), container.name)
            known = self._servers.restarts.get(server, 0) if state is not None else 0
            self._served[container.name] = Served(container, server, shared, known, state)
        return self._served[container.name]

    def forget(self, container: Container) -> None:
        served = self._served.pop(container.name, None)
        if served is not None and served.is_silent:
            self._pod.keep(self._begin_life(container, served))

    def abandon(self) -> None:
        """The pod has gone."""
        for name, served in self._served.items():
            if served.shared:
                self._servers.keep_order(STANDINS, self._log(name), None)
            else:
                self._servers.let_go(served.server)

    def launch(self, container: Container, state: ContainerState | None = None) -> None:
        served = self.of(container, state)
        if ends_at_once(self._pod.pod, container) and self._pod.preparation.begins(container, served.state):
            self.tell_start(container)
            served.complete(timestamp())

    def refresh(self) -> None:
        """Takes over how the servers are."""
        for container in self._pod.spec.lasting:
            served = self._served.get(container.name)
            if served is not None:
                self._refresh_one(container, served)

    def _refresh_one(self, container: Container, served: Served) -> None:
        servers, state = self._servers, served.state
        up = self._pod.may_begin(container) and servers.running(served.server)
        number, status = servers.restarts.get(served.server, 0), servers.exits.get(served.server)
        # It waits for volumes or for init containers, or has ended already and waits to live anew.
        if not self._pod.may_begin(container) or (served.is_silent and served.shared):
            served.overlook(number)
        counted = served.count(number, status, timestamp())
        begins = up and not served.held and not self._pod.terminating  # what a Pod's end has ended stays so
        if begins and not state.running and not self._pod.preparation.begins(container, state):
            return
        if begins and (counted or not state.running):
            self.tell_start(container)
        if not up:
            state.running = state.ready = False
            if counted and (seconds := servers.put_off(served.server)):
                served.put_off()
                self._put_off(container, state, seconds)
            if counted and status and not served.shared:
                self._pod.keep(self._hear_last_words(container, state))
        elif begins and not state.running:
            self._begin(container, served)

    def _put_off(self, container: Container, state: ContainerState, seconds: float) -> None:
        """A container that ended is begun again only after a while."""
        state.waiting = "CrashLoopBackOff"
        state.message = telling.why_waiting(seconds, container.name, self._pod.name)
        self._pod.tell(container, telling.backing_off(container.name, self._pod.name))

    async def _hear_last_words(self, container: Container, state: ContainerState) -> None:
        """Has the state say what a server said last that ended badly; that is on its way into the log just then."""
        await asyncio.sleep(_LOOK)
        state.last_words = await asyncio.to_thread(last_words, self._pod.log(container).path)
        self._pod.report()

    def _begin(self, container: Container, served: Served) -> None:
        served.begun = asyncio.get_running_loop().time()
        served.state.waiting = served.state.message = ""
        served.resume()
        if ends_at_once(self._pod.pod, container):
            served.complete(timestamp())
        elif container.post_start is None:
            served.begin(timestamp())
        else:
            served.held = True
            self._pod.keep(self._greet(container, served))

    async def _greet(self, container: Container, served: Served) -> None:
        assert container.post_start is not None
        why = await hooks.run(container.post_start, self._pod.aim(container))
        if why:
            served.state.waiting, served.state.message = "PostStartHookError", why
            self._pod.tell(container, telling.hook_failed("PostStart", why))
            self._pod.tell(container, telling.not_greeted())
            await self.again(container, served)
            return
        served.begin(timestamp())
        self._pod.report()

    async def exited(self, name: str, status: int) -> None:
        """The program that a stand-in plays was asked to end, with this status."""
        container = next((c for c in self._pod.spec.lasting if c.name == name), None)
        served = self._served.get(name)
        if container is None or served is None or served.held or self._pod.terminating:
            return
        if served.state.running:
            served.held = True
            await self.again(container, served, status)

    async def again(
        self, container: Container, served: Served, status: int = ENDED_BY, grace: float = 0.0
    ) -> None:
        """A container is to end, for which a server has `grace` seconds, and to live anew as its policy says."""
        pod = self._pod
        await self._end_life(container, served, grace)
        lived = asyncio.get_running_loop().time() - served.begun
        seconds = served.end(timestamp(), pod.policy(container), lived, status)
        if seconds is None:
            pod.container_changed()
            return
        if seconds:
            self._put_off(container, served.state, seconds)
            pod.report()
            await asyncio.sleep(seconds)
        await self._servers.flush(served.server)
        if not pod.terminating and self._served.get(container.name) is served:
            await self._begin_life(container, served)
        if self._served.get(container.name) is not served:
            return  # it has begun anew with another image
        served.state.restarts += 1
        if not pod.terminating and pod.preparation.begins(container, served.state):
            pod.log(container).begin_again()
            self.tell_start(container)
            self._begin(container, served)
        elif not pod.terminating:
            served.held = False  # it begins once it can
        pod.report()

    async def finish(self, container: Container, grace: float) -> None:
        """A container is to end for good, for which a server has `grace` seconds; its Pod stays."""
        served = self.of(container)
        served.held = True
        await self._end_life(container, served, grace)
        served.finish(timestamp())
        self._pod.report()

    async def _end_life(self, container: Container, served: Served, grace: float) -> None:
        """Cuts off whom a container answers, and refuses who comes: a stand-in's process is there for others, too."""
        served.is_silent = True
        if served.shared:
            await self._say(container, lives=False)
        else:
            if self._servers.has(served.server):
                served.expect_end()
            await self._servers.stop(served.server, grace)

    async def _begin_life(self, container: Container, served: Served) -> None:
        served.is_silent = False
        if served.shared:
            await self._say(container, lives=True)
        else:
            await self._servers.resume(served.server)

    async def _say(self, container: Container, lives: bool) -> None:
        """Has the stand-in begin or end a life of one container."""
        pod, log = self._pod.pod, self._log(container.name)
        order = {"pod": (pod.namespace, pod.name), "log": log, "lives": lives}
        self._servers.keep_order(STANDINS, log, None if lives else order)
        with suppress(KernelError):
            await self._servers.order(STANDINS, order)

    def _log(self, container: str) -> str:
        return log_name(self._pod.pod.namespace, self._pod.pod.name, container)

    def tell_start(self, container: Container) -> None:
        self._pod.tell(container, telling.created(container.name))
        self._pod.tell(container, telling.started(container.name))

    async def drain(self, container: Container, before: float, grace: float) -> None:
        """Ends what stands for a container; a stand-in has others to answer for, so its connections alone end."""
        if not is_standin(container):
            await self._servers.drain(self.of(container).server, before, grace)
            return
        await asyncio.sleep(before)
        clock = asyncio.get_running_loop().time
        end = clock() + grace
        while await self._end_connections() and clock() < end:
            await asyncio.sleep(_LOOK)
        await self._end_connections(now=True)

    async def _end_connections(self, now: bool = False) -> int:
        """Ends what the stand-in has for this pod but for requests under way, and `now` those, too: how many there are.
        Without a word to their clients they would hang, once the pod's network has gone."""
        pod = self._pod.pod
        with suppress(KernelError):
            said = await self._servers.order(STANDINS, {"pod": (pod.namespace, pod.name), "now": now})
            return int(said["requests"]) if said else 0
        return 0
