"""All volumes of one Pod: pkg/kubelet/volumemanager.

They are made before the first container starts, which waits for what isn't there, and written anew within the pass that
changes a ConfigMap, a Secret or the Pod's labels. Where nothing but stand-ins is in the Pod nothing is made before a
program is run in one; but what a Pod names that isn't there holds it up all the same, as in a cluster, unless somebody
who isn't run here would make it there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from emulab.errors import KernelError
from emulab.kernel.containers.root import Bind
from emulab.kinds.core.podspec import Container, PodSpec
from emulab.kinds.core.volumespec import Volume
from emulab.kinds.emulab.clusterview import cluster_of
from emulab.lab.folders import private, rundir
from emulab.lab.kubelet import telling
from emulab.lab.kubelet.environment.machine import allocatable
from emulab.lab.kubelet.podroom import PodRoom
from emulab.lab.kubelet.telling import Said
from emulab.lab.kubelet.volumes import making, mounts
from emulab.lab.kubelet.volumes.claimfolders import claims_folder
from emulab.lab.kubelet.volumes.files import WrittenFiles
from emulab.lab.kubelet.volumes.kinds import kind_of
from emulab.lab.kubelet.volumes.volume import (
    AskedVolume,
    MadeByNobody,
    NotInLabs,
    NotMounted,
    NotProcessed,
    VolumeKind,
    VolumeSource,
)
from emulab.lab.supervisor.surroundings import Surroundings
from emulab.model.objects import Object

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 122.0
"""Seconds between two tries, of which each is told, as of the kubelet's (pkg/util/goroutinemap/exponentialbackoff)."""


class PodVolumes:
    def __init__(
        self, around: Surroundings, pod: Object, spec: PodSpec, tell: Callable[[Said], None]
    ) -> None:
        self._around = around
        self._pod = pod
        self._spec = spec
        self._tell = tell
        self.room = PodRoom(private.folder(around.folder) / "pods" / str(pod.metadata.get("uid")))
        self._claims = claims_folder(around.folder)
        self._sources: dict[str, VolumeSource] = {}
        self._written: dict[str, WrittenFiles] = {}
        self._seen: object = None
        self._named = making.named(spec, pod.namespace)
        self._woken = asyncio.Event()
        self._changed = asyncio.Event()
        self._busy = asyncio.Lock()
        self._released = self._refreshing = False

    @property
    def any(self) -> bool:
        return bool(self._spec.volumes)

    async def mounted(self, over: Callable[[], bool]) -> bool:
        """Returns when all volumes are there that the Pod's containers need; False once that is `over`."""
        runs = any(c.command for c in (*self._spec.init_containers, *self._spec.containers))
        pause = _FIRST_PAUSE
        while not over():
            self._woken.clear()
            failed = await self._set_up(make=runs)
            if not failed:
                return not over()
            for said in failed:
                self._tell(said)
            try:
                async with asyncio.timeout(pause):
                    await self._woken.wait()
            except TimeoutError:
                pause = min(2 * pause, _LONGEST_PAUSE)
        return False

    async def made(self) -> None:
        """Makes what isn't made yet, for a program that is run in a Pod of stand-ins. What can't be made isn't seen."""
        if any(volume.name not in self._sources for volume in self._spec.volumes):
            await self._set_up(make=True)

    def wake(self) -> bool:
        """Something has changed: whether it is something that these volumes tell."""
        self._woken.set()
        if not self._written or self._released:
            return False
        seen = self._inputs()
        if seen == self._seen:
            return False
        self._seen = seen
        return True

    async def refresh(self) -> None:
        """Writes anew what has changed. What can't be written stays as it was, is told and tried again."""
        self._changed.set()
        if self._refreshing:
            return
        self._refreshing = True
        pause = _FIRST_PAUSE
        try:
            while not self._released:
                self._changed.clear()
                failed = await self._set_up(make=True, again=True)
                for said in failed:
                    self._tell(said)
                if not failed and not self._changed.is_set():
                    return
                try:
                    async with asyncio.timeout(pause):
                        await self._changed.wait()
                    pause = _FIRST_PAUSE
                except TimeoutError:
                    pause = min(2 * pause, _LONGEST_PAUSE)
        finally:
            self._refreshing = False

    def binds(self, container: Container, environment: Mapping[str, str]) -> tuple[Bind, ...]:
        """What a container sees of them. Raises ConfigError."""
        return mounts.binds(container, self._sources, environment)

    async def release(self) -> None:
        """The Pod is over: everything goes but what claims lead to."""
        self._released = True
        self._changed.set()
        async with self._busy:
            await asyncio.to_thread(self.room.remove)

    async def _set_up(self, make: bool, again: bool = False) -> list[Said]:
        """Makes the volumes that aren't there yet; what is to be told of those that can't be made."""
        async with self._busy:
            if self._released:
                return []
            self._seen = self._inputs()
            failed: list[Said] = []
            unprocessed: dict[str, str] = {}
            for volume in self._spec.volumes:
                if volume.name in self._sources and not (again and kind_of(volume.kind).files):
                    continue
                try:
                    await self._set_up_one(volume, make)
                except NotProcessed as error:
                    unprocessed[volume.name] = str(error)
                except (NotMounted, KernelError, OSError) as error:
                    if not (isinstance(error, NotInLabs | MadeByNobody) and self._is_nobodys(volume)):
                        failed.append(telling.not_mounted(volume.name, error))
            if unprocessed:
                failed.append(telling.not_processed(unprocessed))
            return failed

    async def _set_up_one(self, volume: Volume, make: bool) -> None:
        """Raises NotMounted, KernelError or OSError."""
        kind, asked = kind_of(volume.kind), self._asked(volume)
        source = kind.source(asked)
        files = kind.files(asked) if kind.files else None
        if not make or (files is not None and files == self._written.get(volume.name)):
            return
        one_user = await asyncio.to_thread(self._make, asked, kind, source, files)
        self._sources[volume.name] = source
        if files is not None:
            self._written[volume.name] = files
        if one_user:
            self._tell(telling.no_group(volume.name))

    def _make(
        self, asked: AskedVolume, kind: VolumeKind, source: VolumeSource, files: WrittenFiles | None
    ) -> bool:
        self.room.make()
        return making.make(asked, kind, source, files)

    def _asked(self, volume: Volume) -> AskedVolume:
        objects = self._around.store.objects()
        pod = objects.get(self._pod.key) or self._pod
        room = allocatable(objects.get, self._spec.node_name)
        folder, cluster = self.room.path / "volumes" / volume.name, cluster_of(objects)
        own = str(rundir.base()), str(self._around.images.folder)
        return AskedVolume(volume, pod, self._spec, objects, cluster, folder, self._claims, room, own)

    def _is_nobodys(self, volume: Volume) -> bool:
        """Whether no program sees it."""
        everybody = (*self._spec.init_containers, *self._spec.containers)
        return not any(c.command and any(m.volume == volume.name for m in c.mounts) for c in everybody)

    def _inputs(self) -> tuple[Any, ...]:
        """What written volumes are made of, to be compared by identity where it may be long."""
        pod = self._around.store.get(self._pod.key) or self._pod
        objects = (self._around.store.get(key) for key in self._named)
        return (pod.labels, pod.annotations, *(o.metadata["resourceVersion"] if o else None for o in objects))
