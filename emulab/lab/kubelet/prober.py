"""The probes of one container, for as long as its pod lives: pkg/kubelet/prober.

Startup first; then readiness and liveness side by side, anew in each life of the container. Once the Pod is to end
nobody asks any more whether a container lives, but whether it is ready. Every try that fails is told in an Event,
whether it changes anything or not.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from emulab.kinds.core.podspec import Container
from emulab.kinds.core.probespec import Probe
from emulab.lab.kubelet.podstatus import ContainerState
from emulab.lab.kubelet.probes import Aim, ProbeCounter, Warned, attempt, failing
from emulab.lab.kubelet.telling import Said, probe_warning, unhealthy

STARTUP, READINESS, LIVENESS = "Startup", "Readiness", "Liveness"
"""The kinds of probes, as Events call them."""
_LOOK = 1.0  # seconds between two looks at what isn't asked as often as it could change


class Probed(Protocol):
    """The pod, as far as a prober has to do with it."""

    @property
    def terminating(self) -> bool: ...

    @property
    def unready(self) -> bool:
        """Whether its readiness probes are to fail."""

    def state(self, container: Container) -> ContainerState: ...

    def report(self) -> None:
        """Writes what containers are like by now into the Pod's status."""

    def tell(self, container: Container, said: Said) -> None: ...

    async def fail(self, container: Container, probe: str) -> None:
        """Ends a container that doesn't live, as this kind of probe says; returns when it has ended."""


class Prober:
    def __init__(self, container: Container, aim: Aim, pod: Probed) -> None:
        self._container = container
        self._aim = aim
        self._pod = pod

    @property
    def _state(self) -> ContainerState:
        return self._pod.state(self._container)

    async def run(self) -> None:
        container = self._container
        while not self._pod.terminating:
            while not self._state.running:
                if self._state.done:
                    return
                await asyncio.sleep(0.02)
            if container.startup and not await self._startup(container.startup):
                continue
            state = self._state
            state.started = True
            state.ready = state.ready or container.readiness is None
            self._pod.report()
            pairs = ((container.readiness, READINESS), (container.liveness, LIVENESS))
            life = state.restarts
            await asyncio.gather(*(self._watch(probe, kind, life) for probe, kind in pairs if probe))
            if container.startup:
                await self._until_over(life, min(container.startup.period, _LOOK))

    async def _until_over(self, life: int, pause: float) -> None:
        """Returns when a life of the container is over: whoever has started is asked that again in the next one."""
        while self._state.running and self._state.restarts == life and not self._pod.terminating:
            await asyncio.sleep(pause)

    async def _startup(self, probe: Probe) -> bool:
        counter = ProbeCounter(probe.success_threshold, probe.failure_threshold, False)
        await asyncio.sleep(self._delay(probe, self._state.restarts))
        while self._state.running and not self._pod.terminating:
            if await self._try(probe, STARTUP, counter) is not None:
                if counter.state:
                    return True
                if counter.failing and not self._pod.terminating:
                    await self._pod.fail(self._container, STARTUP)
                    return False
            await asyncio.sleep(probe.period)
        return False

    def _delay(self, probe: Probe, life: int) -> float:
        """What starts a stand-in takes no time, however long the image's program would have needed.

        The kubelet asks on at the same pace when a container begins anew, so whoever has just been found dead isn't
        asked at once whether it is again.
        """
        delay = probe.initial_delay if self._container.command else 0.0
        return max(delay, probe.period) if life else delay

    async def _watch(self, probe: Probe, kind: str, life: int) -> None:
        """Runs one probe for one life of the container; readiness sets `ready`, liveness ends that life."""
        counter = ProbeCounter(probe.success_threshold, probe.failure_threshold, kind == LIVENESS)
        await asyncio.sleep(self._delay(probe, life if kind == LIVENESS else 0))
        while True:
            state = self._state
            if not state.running or state.restarts != life:
                return
            if kind == LIVENESS and self._pod.terminating:
                return
            if await self._try(probe, kind, counter) is not None:
                if kind == READINESS:
                    state.ready = counter.state and state.running
                    self._pod.report()
                elif counter.failing and not self._pod.terminating:
                    await self._pod.fail(self._container, LIVENESS)
                    return
            # The kubelet asks an unready container more often at first; a second is often enough for a lab.
            await asyncio.sleep(probe.period if counter.state else min(probe.period, _LOOK))

    async def _try(self, probe: Probe, kind: str, counter: ProbeCounter) -> bool | None:
        """One try, counted and told; None for one that couldn't be made."""
        broken = kind == READINESS and self._pod.unready
        verdict = failing(probe, self._aim) if broken else await attempt(probe, self._aim)
        if verdict.success is not None:
            counter.note(verdict.success)
        if self._state.running:
            if isinstance(verdict, Warned):
                self._pod.tell(self._container, probe_warning(kind, verdict.output))
            elif not verdict.success:
                self._pod.tell(self._container, unhealthy(kind, *verdict))
        return verdict.success
