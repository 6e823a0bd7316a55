"""The images of a lab's user, as the lab knows them: what names mean now, and what its containers use until it ends."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from threading import Lock

from emulab.cluster.programs import ImageProgram
from emulab.dataclass import dataclass
from emulab.errors import UserError
from emulab.lab.images.store import ImageStore, StoredImage, opened_store


@dataclass(frozen=True, slots=True)
class RunnableImage:
    """What a container needs of its image. `layers`: unpacked, the top one first, as a container's `Root` has them.

    `user` is a name or a number, with a group behind a colon or without; "" for root.
    """

    id: str
    reference: str  # the image's name and the digest of its manifest, or its id
    layers: tuple[str, ...]
    user: str
    env: Mapping[str, str]
    working_dir: str
    stop_signal: str
    size: int
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    volumes: tuple[str, ...] = ()


class Images:
    """Blocks, but for `version`; threads may share it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._store = ImageStore(folder)
        self._lock = Lock()
        self._version: tuple[int, int, int] | None = None
        self._found: dict[str, StoredImage | None] = {}
        self._held: dict[str, tuple[StoredImage, list[int]]] = {}

    @property
    def version(self) -> tuple[int, int, int]:
        """Another one after each change of what names mean."""
        return self._store.version

    def program(self, asked: str) -> ImageProgram | None:
        """What the image of that name runs; None when there is none."""
        image = self._find(asked)
        if image is None:
            return None
        config = image.config
        return ImageProgram(image.id, config.entrypoint, config.cmd)

    def runnable(self, id: str, asked: str) -> RunnableImage | None:
        """An image, whose layers are there until the lab ends; None when it has gone. Raises UserError, OSError."""
        with self._lock:
            held = self._held.get(id) or opened_store(self.folder).hold(id)
            if held is None:
                return None
            self._held[id] = held
        image = held[0]
        return RunnableImage(
            id=image.id,
            reference=image.reference(asked),
            layers=self._store.paths(image),
            user=image.config.user,
            env=dict(image.config.env),
            working_dir=image.config.working_dir,
            stop_signal=image.config.stop_signal,
            size=image.size,
            entrypoint=image.config.entrypoint,
            cmd=image.config.cmd,
            volumes=image.config.volumes,
        )

    def close(self) -> None:
        """Lets go of all images."""
        with self._lock:
            for _, descriptors in self._held.values():
                for fd in descriptors:
                    os.close(fd)
            self._held.clear()

    def _find(self, asked: str) -> StoredImage | None:
        with self._lock:
            version = self._store.version
            if version != self._version:
                self._version = version
                self._found = {}
            if asked not in self._found:
                self._found[asked] = self._looked_up(asked) if any(version) else None
            return self._found[asked]

    def _looked_up(self, asked: str) -> StoredImage | None:
        try:
            return opened_store(self.folder).find(asked)
        except UserError as error:
            print(f"images: {error}", flush=True)  # into the lab's log; `emulab doctor` says it, too
            return None
