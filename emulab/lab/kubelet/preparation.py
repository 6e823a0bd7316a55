"""What a Pod and its containers wait for before they start: volumes, and what they are to be told.

A container whose ConfigMap or Secret isn't there can't be made (CreateContainerConfigError); it is tried again whenever
something has changed, and nothing of that is a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from emulab.kinds.core.podspec import Container
from emulab.lab.kubelet import telling
from emulab.lab.kubelet.confinement import NotConfigured
from emulab.lab.kubelet.environs import Environs
from emulab.lab.kubelet.podstatus import ContainerState
from emulab.lab.kubelet.telling import Said
from emulab.lab.kubelet.volumes.podvolumes import PodVolumes

T = TypeVar("T")
_WAITING = "CreateContainerConfigError"


class Preparation:
    def __init__(
        self,
        environs: Environs,
        volumes: PodVolumes,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        tell: Callable[[Container, Said], None],
        changed: Callable[[], None],
    ) -> None:
        self._environs = environs
        self._volumes = volumes
        self._spawn = spawn
        self._tell = tell
        self._changed = changed
        self._woken = asyncio.Event()
        self._lacking: dict[str, str] = {}  # by container, why it can't begin

    def wake(self) -> None:
        """Something has changed."""
        self._woken.set()
        if self._volumes.wake():
            self._spawn(self._volumes.refresh())

    async def create(self, container: Container, state: ContainerState) -> str:
        """Creates the container at the begin of a life, once that can begin; its id. Raises OSError, KernelError."""
        return await self._until(lambda: self._environs.create(container, state), container, state)

    async def told(self, container: Container, state: ContainerState) -> None:
        """Returns once a container that runs nothing could begin."""

        async def begin() -> None:
            self._environs.begin(container)

        await self._until(begin, container, state)

    async def _until(
        self, attempt: Callable[[], Awaitable[T]], container: Container, state: ContainerState
    ) -> T:
        while True:
            self._woken.clear()
            try:
                if container.name in self._lacking:
                    self._environs.begin(container)  # which costs less than all else that it takes to begin
                made = await attempt()
            except NotConfigured as error:
                if self._note(container, state, error):
                    self._changed()
                await self._woken.wait()
            else:
                self._settle(container, state)
                return made

    def begins(self, container: Container, state: ContainerState) -> bool:
        """Whether a stand-in may begin a life: its container could be told what it is to be told."""
        try:
            self._environs.begin(container)
        except NotConfigured as error:
            self._note(container, state, error)
            return False
        self._settle(container, state)
        return True

    def _note(self, container: Container, state: ContainerState, error: NotConfigured) -> bool:
        """Whether it is news."""
        state.waiting, state.message = _WAITING, str(error)
        if self._lacking.get(container.name) == str(error):
            return False
        self._lacking[container.name] = str(error)
        self._tell(container, telling.misconfigured(error))
        return True

    def _settle(self, container: Container, state: ContainerState) -> None:
        if self._lacking.pop(container.name, None) is not None:
            state.waiting = state.message = ""
