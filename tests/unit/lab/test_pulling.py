"""Containers that wait for an image: what is told of it, in the kubelet's words, and that it is taken in the end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from imagearchives import Image, archive, file, layer, oci

from emulab.errors import KernelError
from emulab.kinds.core.podspec import Container, PodImage
from emulab.lab.images.held import Images
from emulab.lab.images.loading import load
from emulab.lab.images.store import ImageStore
from emulab.lab.kubelet import pulling
from emulab.lab.kubelet.podstatus import ContainerState
from emulab.lab.kubelet.pulling import PodImages
from emulab.lab.kubelet.stopsignals import signal_number
from emulab.lab.kubelet.telling import Said
from emulab.model.objects import Object

WEB = Image(layer(file("entry", "x", 0o755)), Entrypoint=["/entry"], Cmd=["serve"], WorkingDir="/srv", User="7:8",
            Env=["A=b"], StopSignal="SIGQUIT")  # fmt: skip


class Pod:
    """A pod of one container, of which is noted what is told and how it waits."""

    def __init__(self, folder: Path, found: PodImage | None = None, **container: Any) -> None:
        self.folder = folder
        raw = {"name": "c", "image": "web:1", **container}
        pod = Object(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [raw]}}
        )
        self.container = Container.of(raw, (), PodImage() if found is None else found)
        self.state = ContainerState("c", raw["image"])
        self.told: list[str] = []
        self.waited: list[str] = []
        self.lab = Images(folder / "images")
        self.images = PodImages(lambda: self.lab, pod, self._tell, self._note)

    def _tell(self, _: Container, said: Said) -> None:
        self.told.append(f"{said.type} {said.reason}: {said.message}")

    def _note(self) -> None:
        self.waited.append(self.state.waiting)

    def load(self, image: Image = WEB, name: str = "web:1") -> None:
        source = self.folder / "archive"
        source.write_bytes(archive(oci({name: image})))
        load(ImageStore(self.folder / "images"), str(source))

    async def ready(self) -> Container:
        return await asyncio.wait_for(self.images.ready(self.container, self.state), 20)


async def eventually(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not check():
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulling, "_LOOK", 0.01)
    monkeypatch.setattr(pulling, "_FRESH", 0.05)


async def test_an_image_that_is_there_is_run(tmp_path: Path) -> None:
    pod = Pod(tmp_path, PodImage(WEB.id, ("/entry", "serve")))
    pod.load()
    container = await pod.ready()
    assert container.command == ("/entry", "serve")
    image = pod.images.of(container)
    assert image is not None and (image.user, image.env, image.working_dir) == ("7:8", {"A": "b"}, "/srv")
    assert (Path(image.layers[0]) / "entry").is_file()
    assert signal_number(image.stop_signal) == signal.SIGQUIT
    assert pod.told == [
        'Normal Pulled: Container image "web:1" already present on machine and can be accessed by the pod'
    ]
    assert pod.state.image == "docker.io/library/web:1"
    assert pod.state.image_id.startswith("docker.io/library/web@sha256:")
    # It goes on being there, for the next life, when somebody removes it.
    ImageStore(tmp_path / "images").remove("web:1")
    assert (await pod.ready()).command == container.command and (Path(image.layers[0]) / "entry").is_file()
    pod.lab.close()
    ImageStore(tmp_path / "images").sweep()
    assert os.listdir(tmp_path / "images" / "layers") == []


async def test_an_image_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    pod = Pod(tmp_path, args=["other"])
    waiting = asyncio.ensure_future(pod.ready())
    await eventually(lambda: pod.state.waiting == "ImagePullBackOff")
    name = "docker.io/library/web:1"
    why = (
        f'rpc error: code = NotFound desc = failed to pull and unpack image "{name}": failed to resolve reference'
        f' "{name}": {name}: not found; no registry is asked: emulab image load ARCHIVE'
    )
    assert pod.told == [
        'Normal Pulling: Pulling image "web:1"',
        f'Warning Failed: Failed to pull image "web:1": {why}',
        "Warning Failed: Error: ErrImagePull",
        'Normal BackOff: Back-off pulling image "web:1"',
        "Warning Failed: Error: ImagePullBackOff",
    ]
    assert pod.waited == ["ErrImagePull", "ImagePullBackOff"]
    assert pod.state.message == f'Back-off pulling image "web:1": ErrImagePull: {why}'
    await asyncio.to_thread(pod.load)
    container = await waiting
    assert container.command == ("/entry", "other")
    assert (pod.state.waiting, pod.state.message) == ("", "")
    assert [line.partition(" in ")[0] for line in pod.told[5:]] == [
        'Normal Pulling: Pulling image "web:1"',
        'Normal Pulled: Successfully pulled image "web:1"',
    ]


async def test_who_never_pulls_says_so(tmp_path: Path) -> None:
    pod = Pod(tmp_path, imagePullPolicy="Never", command=["/own"])
    waiting = asyncio.ensure_future(pod.ready())
    await eventually(lambda: pod.state.waiting == "ErrImageNeverPull")
    assert pod.told == [
        'Warning ErrImageNeverPull: Container image "web:1" is not present with pull policy of Never',
        "Warning Failed: Error: ErrImageNeverPull",
    ]
    await asyncio.to_thread(pod.load)
    container = await waiting
    assert container.command == ("/own",)


async def test_what_is_no_name_is_waited_for_in_vain(tmp_path: Path) -> None:
    pod = Pod(tmp_path, image="Web:1")
    waiting = asyncio.ensure_future(pod.ready())
    await eventually(lambda: pod.state.waiting == "InvalidImageName")
    said = 'Failed to apply default image tag "Web:1": couldn\'t parse image name "Web:1": invalid reference format'
    assert pod.told == [f"Warning InspectFailed: {said}", "Warning Failed: Error: InvalidImageName"]
    assert pod.state.message == said
    waiting.cancel()


async def test_an_image_without_a_program_starts_nothing(tmp_path: Path) -> None:
    pod = Pod(tmp_path, PodImage())
    pod.load(Image(layer(file("data"))))
    with pytest.raises(KernelError, match="no command specified"):
        await pod.ready()


async def test_what_runs_no_image_asks_nobody(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    container = Container.of({"name": "c", "image": "web:1", "command": ["x"]})
    ready: Callable[..., Awaitable[Container]] = pod.images.ready
    assert await ready(container, pod.state) is container and pod.told == []


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("SIGQUIT", 3),
        ("quit", 3),
        ("9", 9),
        ("SIGRTMIN+3", 37),
        ("RTMAX-1", 63),
        ("", 15),
        ("SIGNO", 15),
        ("0", 15),
    ],
)
def test_signals(text: str, number: int) -> None:
    assert signal_number(text) == number
