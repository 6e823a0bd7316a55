"""The images of a pod's containers: where one isn't there, its container waits for it as the kubelet lets it wait.

Nothing is pulled: what a registry would have is what the user has loaded (`emulab image load`). A name is looked up
twice a second, so that nobody waits for the next try once the image has been loaded. The words are those of
pkg/kubelet/images/image_manager.go and of containerd.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from emulab.cluster.programs import ImageProgram, image_for
from emulab.errors import KernelError, UserError
from emulab.kinds.core.podspec import UNKNOWN, Container
from emulab.lab.images.held import Images, RunnableImage
from emulab.lab.kubelet import telling
from emulab.lab.kubelet.backoff import Backoff
from emulab.lab.kubelet.podstatus import ContainerState
from emulab.lab.kubelet.telling import Said
from emulab.model.imagenames import image_name
from emulab.model.objects import Object

_LOOK = 0.5  # seconds
_FRESH = 2.0  # seconds for which a failure is one before it is a back-off: until the kubelet's next look at the pod
NO_COMMAND = "failed to generate spec: no command specified"


class PodImages:
    """`tell` of a container, and `changed` when a container's state has."""

    def __init__(
        self,
        images: Callable[[], Images],
        pod: Object,
        tell: Callable[[Container, Said], None],
        changed: Callable[[], None],
    ) -> None:
        self._images = images
        self._pod = pod
        self._tell = tell
        self._changed = changed
        self._there: dict[str, RunnableImage] = {}  # by container

    def of(self, container: Container) -> RunnableImage | None:
        """The image that a container runs; None when it runs none, or isn't `ready`."""
        return self._there.get(container.name)

    def forget(self, container: Container) -> None:
        """It has another image now."""
        self._there.pop(container.name, None)

    async def ready(self, container: Container, state: ContainerState) -> Container:
        """The container with the program that its image has, once that is there. Raises KernelError if it has none."""
        if container.image_id is None:
            return container
        image = await self._held(container.image_id, container) or await self._pulled(container, state)
        self._there[container.name] = image
        name = image_name(container.image)
        state.image, state.image_id = str(name or container.image), image.reference
        state.waiting = state.message = ""
        if not container.image_id:
            container = self._with_program(container, image)
        if container.command == (UNKNOWN,):
            raise KernelError(
                NO_COMMAND, remedy="the image has no ENTRYPOINT and no CMD: give the container a command"
            )
        return container

    async def _held(self, id: str, container: Container) -> RunnableImage | None:
        """The image that was there when the Pod was made, or when the container began before."""
        known = self._there.get(container.name)
        id = known.id if known is not None else id
        image = await asyncio.to_thread(self._images().runnable, id, container.image) if id else None
        if image is not None:
            self._tell(container, telling.image_present(container.image))
        return image

    def _with_program(self, container: Container, image: RunnableImage) -> Container:
        """As it would be if the image had been there when the Pod was made."""
        both = (*(self._pod.spec.get("containers") or ()), *(self._pod.spec.get("initContainers") or ()))
        raw = next(c for c in both if c["name"] == container.name)
        found = image_for(raw, ImageProgram(image.id, image.entrypoint, image.cmd))
        return replace(container, command=found.command(raw), image_id=image.id)

    async def _pulled(self, container: Container, state: ContainerState) -> RunnableImage:
        """Waits for the image of a name."""
        asked, backoff = container.image, Backoff()
        backoff.after(0.0)  # the first failure is put off, other than a program's first end
        name = image_name(asked)
        if name is None:
            self._wait(container, state, "InvalidImageName", telling.no_image_name(asked))
            await asyncio.Event().wait()
        while True:
            image = await self._found(asked)
            if image is not None and container.pull_policy == "Never":
                self._tell(container, telling.image_present(asked))
                return image
            if container.pull_policy == "Never":
                self._wait(container, state, "ErrImageNeverPull", telling.never_pulled(asked))
                await self._loaded(asked, None)
                continue
            self._tell(container, telling.pulling(asked))
            if image is not None:
                self._tell(container, telling.pulled(asked, image.size))
                return image
            why = telling.why_not_pulled(str(name))
            self._wait(container, state, "ErrImagePull", telling.not_pulled(asked, why), why)
            if not await self._loaded(asked, _FRESH):
                said = telling.pull_put_off(asked)
                self._wait(container, state, "ImagePullBackOff", said, f"{said.message}: ErrImagePull: {why}")
                await self._loaded(asked, backoff.after(0.0) - _FRESH)

    def _wait(
        self, container: Container, state: ContainerState, reason: str, said: Said, message: str = ""
    ) -> None:
        self._tell(container, said)
        self._tell(container, telling.not_made(reason))
        state.waiting, state.message = reason, message or said.message
        self._changed()

    async def _found(self, asked: str) -> RunnableImage | None:
        program = await asyncio.to_thread(self._images().program, asked)
        if program is None:
            return None
        try:
            return await asyncio.to_thread(self._images().runnable, program.id, asked)
        except (UserError, OSError):
            return None  # somebody is just removing it

    async def _loaded(self, asked: str, seconds: float | None) -> bool:
        """Waits until an image of that name has been loaded, for as long; whether it was."""
        try:
            async with asyncio.timeout(seconds):
                while await self._found(asked) is None:
                    await asyncio.sleep(_LOOK)
        except TimeoutError:
            return False
        return True
