"""Loading the images of an archive into the store: their layers are unpacked, each once, and nothing is half there."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from emulab.errors import UserError
from emulab.kernel.folders import knows_all_users
from emulab.kernel.layers.streams import ArchiveError, Budget, Hashed, decompressed
from emulab.kernel.layers.unpack import Unpacked, Unpacker
from emulab.kinds.images import server_of
from emulab.lab.images.archives import FoundImage, LayerBlob, images_in, in_full
from emulab.lab.images.files import Files, FolderFiles, TarFiles, copied
from emulab.lab.images.store import ImageStore, StoredImage, short
from emulab.observe.telling.escapes import printable

STDIN = "-"
MAX_SIZE = 32 << 30
"""Octets that an image may come to unpacked, if nobody says otherwise."""
_MEMBERS = 2_000_000  # of an image: inodes


class LoadedImage(NamedTuple):
    """`unpacked`: how many of its layers weren't there yet. `notes`: what isn't as the image says."""

    image: StoredImage
    unpacked: int
    notes: tuple[str, ...]


def load(
    store: ImageStore,
    source: str,
    name: str = "",
    max_size: int = MAX_SIZE,
    say: Callable[[str], None] = lambda _: None,
) -> list[LoadedImage]:
    """Loads all images of an archive: a file, a folder, or `-`. `name`: that of the one image in it. Blocks.

    Raises UserError, with the archive's name in it.
    """
    full = in_full(name) if name else ""
    label = "standard input" if source == STDIN else source
    try:
        with store.loading() as work, ExitStack() as stack:
            files = _files(source, work, stack, max_size)
            found = [(image, _names(image, full)) for image in images_in(files)]
            if full and len(found) > 1:
                raise ArchiveError(f"it has {len(found)} images, and --name gives one alone")
            return [_Loading(store, work, files, max_size, say).load(*pair) for pair in found]
    except ArchiveError as error:
        raise UserError(f"{label}: {printable(str(error))}") from None
    except OSError as error:
        raise UserError(f"{error.filename or store.folder}: {error.strerror}") from None


def _files(source: str, work: Path, stack: ExitStack, max_size: int) -> Files:
    """The archive's files. What is compressed, or comes by a pipe, is written down first."""
    if source != STDIN and os.path.isdir(source):
        return FolderFiles(Path(source))
    if source == STDIN:
        given: BinaryIO = sys.stdin.buffer
    else:
        given = stack.enter_context(os.fdopen(os.open(source, os.O_RDONLY | os.O_CLOEXEC), "rb"))
    if stat.S_ISREG(os.fstat(given.fileno()).st_mode) and given.seekable() and _is_plain(given):
        return TarFiles(given)
    written = stack.enter_context((work / "archive").open("w+b"))
    copied(Hashed(decompressed(given), "sha256", Budget(max_size, 1)), written)
    return TarFiles(written)


def _is_plain(file: BinaryIO) -> bool:
    """Whether a file is a tar archive as it stands, without having read of it."""
    head = os.pread(file.fileno(), 512, 0)
    return head[257:262] == b"ustar"


def _names(image: FoundImage, given: str) -> tuple[str, ...]:
    if given:
        return (given,)
    if not image.names:
        what = f"a tag alone, {image.tag!r}" if image.tag else "no name"
        raise ArchiveError(f"an image of it has {what}: give it one by --name NAME")
    return image.names


class _Loading:
    """The loading of one image."""

    def __init__(
        self, store: ImageStore, work: Path, files: Files, max_size: int, say: Callable[[str], None]
    ) -> None:
        self._store = store
        self._work = work
        self._files = files
        self._budget = Budget(max_size, _MEMBERS)
        self._say = say
        self._root = os.geteuid() == 0 and knows_all_users()
        self._made: dict[str, Path] = {}
        self._infos: list[dict[str, Any]] = []
        self._below: list[str] = []  # the layers so far, the lowest first

    def load(self, found: FoundImage, names: tuple[str, ...]) -> LoadedImage:
        for number, layer in enumerate(found.layers, 1):
            self._say(f"{names[0]}: layer {number} of {len(found.layers)}")
            self._layer(layer)
        first = max((at for at, info in enumerate(self._infos) if info["covers"]), default=0)
        image = StoredImage(
            id=found.id,
            digest=found.digest,
            config=found.config,
            layers=found.config.layers[first:],
            size=sum(info["size"] for info in self._infos),
            loaded=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            names=names,
        )
        self._store.publish(image, json.loads(found.raw), self._made)
        return LoadedImage(image, len(self._made), tuple(self._notes(names)))

    def _layer(self, layer: LayerBlob) -> None:
        made = self._made.get(layer.diff)
        info = self._store.layer_info(layer.diff)
        if made is not None:  # an image may have the same layer twice
            info = json.loads((made / "info.json").read_bytes())
            self._below.append(str(made / "diff"))
        elif info is not None:
            self._below.append(self._store.layer(layer.diff))
        else:
            info = self._unpack(layer)
        self._infos.append(dict(info))

    def _unpack(self, layer: LayerBlob) -> dict[str, Any]:
        place = self._work / short(layer.diff)
        diff = place / "diff"
        place.mkdir(mode=0o700)
        diff.mkdir(mode=0o755)
        try:
            opened = self._files.open(layer.name)
        except KeyError:
            raise ArchiveError(f"there is no {layer.name} in it") from None
        fd = os.open(diff, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with opened as file:
                found = self._written(layer, file, fd)
        except ArchiveError as error:
            raise ArchiveError(f"layer {layer.diff}: {error}") from None
        finally:
            os.close(fd)
        info = {"digest": layer.diff, **found._asdict()}
        (place / "info.json").write_text(json.dumps(info))
        self._made[layer.diff] = place
        self._below.append(str(diff))
        return info

    def _written(self, layer: LayerBlob, file: BinaryIO, fd: int) -> Unpacked:
        packed = Hashed(file, layer.digest.partition(":")[0] or "sha256")
        plain = Hashed(decompressed(packed), layer.diff.partition(":")[0], self._budget)
        found = Unpacker(fd, self._below, self._budget, self._root).unpack(plain)
        plain.drain()
        packed.drain()
        if layer.digest and packed.digest != layer.digest:
            raise ArchiveError(f"it isn't what its digest {layer.digest} says: the archive is damaged")
        if plain.digest != layer.diff:
            raise ArchiveError("it isn't what its digest says: the archive is damaged")
        return found

    def _notes(self, names: tuple[str, ...]) -> list[str]:
        unset = sum(info["unset"] for info in self._infos)
        notes = []
        if unset:
            whose = "" if self._root else ", as an ordinary user can't set a file's capabilities"
            notes.append(f"{unset} extended attributes of files aren't set{whose}")
        notes += [
            f"containers of {name} are emulab's own server all the same" for name in names if server_of(name)
        ]
        return notes
