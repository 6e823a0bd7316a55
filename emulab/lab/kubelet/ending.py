"""How the containers of a pod are ended: pkg/kubelet/kuberuntime, `killContainer` and `killContainersWithSyncResult`.

The hook before the end has its time of the grace period; what is left of that, two seconds at least, is between SIGTERM
and SIGKILL. Who is killed at once (a grace period of 0) is asked nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from emulab.kinds.core.podspec import Container, PodSpec
from emulab.lab.kubelet import hooks, telling
from emulab.lab.kubelet.container import LEAST_GRACE, ContainerRunner
from emulab.lab.kubelet.podstatus import ContainerState
from emulab.lab.kubelet.probes import Aim
from emulab.lab.kubelet.telling import Said

DRAIN = 1.0  # seconds that a stand-in, or a server of the lab's, goes on answering after it was told to end


class Endable(Protocol):
    """The pod, as far as who ends its containers has to do with it."""

    @property
    def runners(self) -> Mapping[str, ContainerRunner]: ...

    def state_of(self, container: Container) -> ContainerState: ...

    def stands_in(self, container: Container) -> bool: ...

    async def drain(self, container: Container, before: float, grace: float) -> None:
        """Ends what stands for a container, which answers for `before` seconds as if nothing was."""

    async def finish(self, container: Container, grace: float) -> None:
        """Has nothing stand for a container any more, for as long as the pod is there."""

    def aim(self, container: Container) -> Aim: ...

    def tell(self, container: Container, said: Said) -> None: ...


async def pre_stop(pod: Endable, container: Container, grace: float) -> float:
    """Runs the hook before the end, for as long as there is time. How long the end itself may take."""
    if container.pre_stop is None or grace <= 0:
        return max(grace, LEAST_GRACE)
    deadline = asyncio.get_running_loop().time() + grace
    try:
        async with asyncio.timeout(grace):
            why = await hooks.run(container.pre_stop, pod.aim(container))
    except TimeoutError:
        why = f"it did not complete in {telling.in_go(grace)}"
    if why:
        pod.tell(container, telling.hook_failed("PreStop", why))
    return max(deadline - asyncio.get_running_loop().time(), LEAST_GRACE)


async def end_program(pod: Endable, container: Container, runner: ContainerRunner, grace: float) -> None:
    """Ends this life of a container's program; returns when it has ended."""
    id = runner.id
    left = await pre_stop(pod, container, grace)
    if runner.id == id:
        await runner.kill(left)
        while runner.state.running and runner.id == id:
            await asyncio.sleep(0.02)


async def stop_all(pod: Endable, spec: PodSpec, grace: float) -> None:
    """Ends the containers side by side, but for the sidecars, which are told when the others have ended, the last one
    first (KEP-753). The hooks of all run at once: only then does a sidecar wait for its turn."""
    deadline = asyncio.get_running_loop().time() + grace
    sidecars = [c for c in reversed(spec.sidecars) if c.name in pod.runners]
    others = [c for c in (*spec.containers, *spec.init_containers) if c not in sidecars]
    _tell_stopping(pod, (*spec.containers, *spec.init_containers))
    drained = [c for c in others if pod.stands_in(c)][:1]
    ends = [asyncio.ensure_future(_stop(pod, c, deadline, c in drained)) for c in others]
    for sidecar in sidecars:
        ends.append(asyncio.ensure_future(_stop(pod, sidecar, deadline, False, tuple(ends))))
    await _all_of(ends)


async def stop_sidecars(pod: Endable, spec: PodSpec, grace: float) -> None:
    """Ends the sidecars for good, the last one first, in a Pod that stays: its other containers run no more."""
    deadline = asyncio.get_running_loop().time() + grace
    begun = [c for c in reversed(spec.sidecars) if c.name in pod.runners or _has_stood(pod, c)]
    _tell_stopping(pod, begun)
    ends: list[asyncio.Future[None]] = []
    for sidecar in begun:
        ends.append(asyncio.ensure_future(_part(pod, sidecar, deadline, tuple(ends))))
    await _all_of(ends)


def _has_stood(pod: Endable, container: Container) -> bool:
    """Whether a server has had a life for it: one behind an init container that has failed never began."""
    state = pod.state_of(container)
    return pod.stands_in(container) and (state.running or state.restarts > 0)


def _tell_stopping(pod: Endable, containers: Iterable[Container]) -> None:
    for container in containers:
        if pod.state_of(container).running:
            pod.tell(container, telling.stopping(container.name))


async def _all_of(ends: Sequence[asyncio.Future[None]]) -> None:
    try:
        await asyncio.gather(*ends)
    finally:
        for end in ends:
            end.cancel()


async def _part(
    pod: Endable, sidecar: Container, deadline: float, before: Sequence[asyncio.Future[None]]
) -> None:
    await _stop(pod, sidecar, deadline, False, before)
    if sidecar.name not in pod.runners:
        await pod.finish(sidecar, max(0.0, deadline - asyncio.get_running_loop().time()))


async def _stop(
    pod: Endable,
    container: Container,
    deadline: float,
    drains: bool,
    before: Sequence[asyncio.Future[None]] = (),
) -> None:
    """Ends one container once all `before` it have ended; a stand-in gets a while to answer who doesn't know yet."""
    loop = asyncio.get_running_loop()
    grace = max(0.0, deadline - loop.time())
    if pod.state_of(container).running:
        await pre_stop(pod, container, grace)
    if before:
        await asyncio.wait(before, timeout=max(0.0, deadline - loop.time()))
    left = max(deadline - loop.time(), LEAST_GRACE) if grace else 0.0
    if container.name in pod.runners:
        await pod.runners[container.name].stop(left)
    elif drains:
        served = min(DRAIN, left)
        await pod.drain(container, served, left - served)
