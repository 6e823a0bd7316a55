"""Volumes of Pods on real file systems: one that is full fills no other, and what it had no room for comes later."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_container_roots import inside

from emulab.cluster.store import Store
from emulab.errors import KernelError
from emulab.kinds.core.podspec import PodSpec
from emulab.lab.folders import private, rooms
from emulab.lab.kubelet.telling import Said
from emulab.lab.kubelet.volumes import podvolumes
from emulab.lab.kubelet.volumes.podvolumes import PodVolumes
from emulab.model.objects import Object

pytestmark = pytest.mark.privilege

LAB = Path("/mnt/lab")
VOLUMES = [{"name": "words", "configMap": {"name": "words"}}, {"name": "room", "emptyDir": {}}]
MOUNTS = [{"name": "words", "mountPath": "/words"}, {"name": "room", "mountPath": "/room"}]


def made(kind: str, name: str, **parts: Any) -> Object:
    metadata = {"name": name, "namespace": "default", "uid": name}
    return Object({"apiVersion": "v1", "kind": kind, "metadata": metadata, **parts})


class Pods:
    """Pods with an emptyDir and a ConfigMap of 20 kB, in rooms of 100 kB."""

    def __init__(self) -> None:
        rooms.SIZE, podvolumes._FIRST_PAUSE = "100k", 0.05  # type: ignore[misc]
        LAB.mkdir()
        private.mount(LAB)
        self.store = Store()
        self.said: list[Said] = []
        self.tell("1")
        images = SimpleNamespace(folder=Path("/mnt/images"))
        self.around: Any = SimpleNamespace(store=self.store, folder=LAB, images=images)

    def tell(self, word: str) -> None:
        self.store.put(made("ConfigMap", "words", data={"word": word * 20_000}))

    async def begun(self, name: str) -> PodVolumes:
        container = {"name": "c", "image": "i", "command": ["x"], "volumeMounts": MOUNTS}
        o = made("Pod", name, spec={"containers": [container], "volumes": VOLUMES})
        self.store.put(o)
        volumes = PodVolumes(self.around, o, PodSpec.of_pod(o), self.said.append)
        assert await volumes.mounted(lambda: False)
        return volumes

    def fill(self, name: str) -> int:
        """What the kernel says when there is no more room."""
        try:
            for number in range(10):
                (LAB / f"private/pods/{name}/volumes/room/{number}").write_bytes(b"x" * 20_000)
        except OSError as error:
            return error.errno or 0
        return 0

    @staticmethod
    def word(name: str) -> str:
        return (LAB / f"private/pods/{name}/volumes/words/word").read_text()[:1]


def run(work: Callable[[Pods], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        return await work(Pods())

    return inside(lambda: asyncio.run(main()))


def test_a_pod_that_has_filled_its_volume_fills_no_other() -> None:
    async def work(pods: Pods) -> list[Any]:
        await pods.begun("a")
        full = pods.fill("a")
        other = await pods.begun("b")
        pods.tell("2")
        assert other.wake()
        await other.refresh()
        return [full, pods.word("b"), pods.fill("b"), [said.message for said in pods.said]]

    assert run(work) == [errno.ENOSPC, "2", errno.ENOSPC, []]


def test_what_there_was_no_room_for_is_written_once_there_is() -> None:
    async def work(pods: Pods) -> list[Any]:
        volumes = await pods.begun("a")
        pods.fill("a")
        pods.tell("2")
        assert volumes.wake() and not volumes.wake()
        refreshing = asyncio.ensure_future(volumes.refresh())
        await asyncio.sleep(0.3)
        kept, tries = pods.word("a"), len(pods.said)
        for file in (LAB / "private/pods/a/volumes/room").iterdir():
            file.unlink()
        await asyncio.wait_for(refreshing, 5)
        return [kept, tries > 1, pods.said[0].reason, "No space left" in pods.said[0].message, pods.word("a")]

    assert run(work) == ["1", True, "FailedMount", True, "2"]


def test_nothing_is_left_of_a_pod_that_is_over() -> None:
    """What is tried again isn't any more, and nobody makes its files anew."""

    async def work(pods: Pods) -> list[Any]:
        volumes = await pods.begun("a")
        pods.fill("a")
        pods.tell("2")
        refreshing = asyncio.ensure_future(volumes.refresh())
        await asyncio.sleep(0.1)
        held = os.open(LAB / "private/pods/a/volumes/room/0", os.O_RDONLY)
        await volumes.release()
        os.close(held)
        await asyncio.wait_for(refreshing, 5)
        try:
            volumes.room.make()
        except KernelError as error:
            return [os.listdir(LAB / "private/pods"), str(error)]
        return []

    assert run(work) == [[], "make files of a pod: the pod has been stopped"]


def test_a_room_is_made_once() -> None:
    def work() -> list[Any]:
        LAB.mkdir()
        for _ in range(2):
            rooms.make(LAB / "in/one", 0o777, "100k")
            (LAB / "in/one/there").touch()
        found = [os.listdir(LAB / "in/one"), os.statvfs(LAB / "in/one").f_blocks * 4096 <= 100 << 10]
        rooms.remove(LAB / "in/one")
        rooms.remove(LAB / "in/one")
        return [*found, os.listdir(LAB / "in")]

    assert inside(work) == [["there"], True, []]
