"""The folder in which a user's images are: whole, shared, and the same for all labs of that user.

    lock            held alone for the time of a few renames by who changes what is here
    use             held together by those who load; who has it alone knows that what is being made is nobody's
    names.json      what each name means: the digest of an image's configuration
    images/ID       an image: its configuration, and the layers that a container of it has
    layers/ID       a layer, `diff` being what it unpacks to; ID is the beginning of the digest of its archive, as all
                    layers of a container have to fit in one page (mount(2))
    loading/        what is being made, or was when its maker was killed

Everything is made in `loading` and renamed. What a lab uses it holds (flock(2)) by the layers' folders: those of an
image that has been removed go once no lab holds them, with the next command that changes the store.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from emulab.dataclass import dataclass
from emulab.errors import UserError
from emulab.kernel import folders
from emulab.lab.images.configs import ImageConfig
from emulab.lab.images.home import MEND
from emulab.model.imagenames import ImageName, image_name

_ID = 32  # letters of a digest: 128 bits
_CREATE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class StoredImage:
    """`layers`: the digests of those that a container has, the lowest first. `digest`: that of the manifest, or ""."""

    id: str
    digest: str
    config: ImageConfig
    layers: tuple[str, ...]
    size: int
    loaded: str  # when
    names: tuple[str, ...] = ()

    def reference(self, asked: str) -> str:
        """What a container's status says of the image that it was made of."""
        name = image_name(asked)
        return f"{name.repository}@{self.digest}" if name is not None and self.digest else self.id


class ImageStore:
    """Raises UserError when the folder isn't the user's alone. Everything blocks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    # what there is

    @property
    def version(self) -> tuple[int, int, int]:
        """Another one after each change of what names mean."""
        try:
            found = os.stat(self.folder / "names.json")
        except OSError:
            return 0, 0, 0
        return found.st_mtime_ns, found.st_ino, found.st_size

    def names(self) -> dict[str, str]:
        """Ids by name."""
        return {str(k): str(v) for k, v in _read(self.folder / "names.json").items()}

    def image(self, id: str) -> StoredImage | None:
        """The image of this id."""
        raw = _read(self.folder / "images" / short(id))
        if raw.get("id") != id:
            return None
        names = tuple(sorted(name for name, meant in self.names().items() if meant == id))
        return StoredImage(
            id=id,
            digest=raw["digest"],
            config=ImageConfig.of(raw["config"]),
            layers=tuple(raw["layers"]),
            size=raw["size"],
            loaded=raw["loaded"],
            names=names,
        )

    def images(self) -> list[StoredImage]:
        """All of them, by name."""
        there = (_read(path).get("id") for path in _listed(self.folder / "images"))
        found = [image for id in there if id and (image := self.image(id)) is not None]
        return sorted(found, key=lambda image: (not image.names, image.names, image.id))

    def find(self, asked: str) -> StoredImage | None:
        """The image of that name, or digest."""
        name = image_name(asked)
        if name is None:
            return None
        if name.digest:
            return next((i for i in self.images() if i.digest == name.digest and _is_of(i, name)), None)
        id = self.names().get(name.tagged)
        return self.image(id) if id else None

    def paths(self, image: StoredImage) -> tuple[str, ...]:
        """The unpacked layers of an image, the top one first."""
        return tuple(self.layer(diff) for diff in reversed(image.layers))

    def layer(self, diff: str) -> str:
        return str(self.folder / "layers" / short(diff) / "diff")

    def layer_info(self, diff: str) -> Mapping[str, Any] | None:
        """What was noted of an unpacked layer; None when it isn't there."""
        info = _read(self.folder / "layers" / short(diff) / "info.json")
        return info if info.get("digest") == diff else None

    # changes

    @contextmanager
    def loading(self) -> Iterator[Path]:
        """A folder to make layers in. What others have left behind is swept first, and no layer goes meanwhile."""
        self._make()
        self.sweep()
        use = self._lock("use", fcntl.LOCK_SH)
        work = Path(tempfile.mkdtemp(dir=self.folder / "loading"))
        try:
            yield work
        finally:
            _delete(work)
            os.close(use)
            self.sweep()

    def publish(self, image: StoredImage, raw: Mapping[str, Any], made: Mapping[str, Path]) -> None:
        """Adds an image, with the layers that were made for it, under its names. `raw`: its configuration."""
        lock = self._lock("lock", fcntl.LOCK_EX)
        try:
            for diff, path in made.items():
                place = self.folder / "layers" / short(diff)
                if not place.exists():  # somebody else may have been faster
                    os.rename(path, place)
            record = {
                "id": image.id,
                "digest": image.digest,
                "layers": image.layers,
                "size": image.size,
                "loaded": image.loaded,
                "config": raw,
            }
            self._write(self.folder / "images" / short(image.id), record)
            names = {**self.names(), **dict.fromkeys(image.names, image.id)}
            self._write(self.folder / "names.json", names)
            kept = set(map(short, names.values()))
            for path in _listed(self.folder / "images"):
                if path.name not in kept:  # another one has its name now
                    path.unlink()
        finally:
            os.close(lock)

    def remove(self, asked: str) -> StoredImage | None:
        """Takes a name from its image, and the image itself away with its last one. None when there is none."""
        self._make()
        use = self._lock("use", fcntl.LOCK_SH)  # what is written is in `loading` for a moment
        lock = self._lock("lock", fcntl.LOCK_EX)
        try:
            found = self.find(asked) or self.by_id(asked)
            if found is None:
                return None
            name = image_name(asked)
            gone = {name.tagged} if name is not None and name.tagged in found.names else set(found.names)
            self._write(self.folder / "names.json", {k: v for k, v in self.names().items() if k not in gone})
            if gone.issuperset(found.names):
                os.unlink(self.folder / "images" / short(found.id))
        finally:
            os.close(lock)
            os.close(use)
            self.sweep()
        return found

    def by_id(self, asked: str) -> StoredImage | None:
        """The one image whose id begins so."""
        digits = asked.removeprefix("sha256:")
        if len(digits) < 4 or set(digits) - set("0123456789abcdef"):
            return None
        found = [i for i in self.images() if i.id.partition(":")[2].startswith(digits)]
        return found[0] if len(found) == 1 else None

    def sweep(self) -> None:
        """Removes what killed loads have left, and layers that no image has and no lab holds. Not while others load."""
        try:
            use = self._lock("use", fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        try:
            lock = self._lock("lock", fcntl.LOCK_EX)
            try:
                wanted = {short(diff) for image in self.images() for diff in image.layers}
                for path in _listed(self.folder / "layers"):
                    if path.name not in wanted and not _is_held(path):
                        os.rename(path, self.folder / "loading" / path.name)
            finally:
                os.close(lock)
            for path in _listed(self.folder / "loading"):
                _delete(path)
        finally:
            os.close(use)

    def hold(self, id: str) -> tuple[StoredImage, list[int]] | None:
        """An image whose layers stay as long as one of the descriptors is open; None when it has gone."""
        if not (self.folder / "lock").exists():
            return None
        lock = self._lock("lock", fcntl.LOCK_SH)
        held: list[int] = []
        try:
            image = self.image(id)
            if image is None:
                return None
            for diff in image.layers:
                held.append(os.open(self.folder / "layers" / short(diff), _FOLDER))
                fcntl.flock(held[-1], fcntl.LOCK_SH)
        except OSError:
            for fd in held:
                os.close(fd)
            raise
        finally:
            os.close(lock)
        return image, held

    # the folder

    def _make(self) -> None:
        os.close(folders.open_own(self.folder, create=True, mend=MEND))
        for name in ("images", "layers", "loading"):
            (self.folder / name).mkdir(mode=0o700, exist_ok=True)

    def _lock(self, name: str, kind: int) -> int:
        fd = os.open(self.folder / name, _CREATE, 0o600)
        try:
            fcntl.flock(fd, kind)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _write(self, path: Path, data: Mapping[str, Any]) -> None:
        fd, new = tempfile.mkstemp(dir=self.folder / "loading")
        with os.fdopen(fd, "w") as file:
            json.dump(data, file)
            file.flush()
            os.fsync(fd)
        os.rename(new, path)


def short(digest: str) -> str:
    """The name of what is kept by a digest."""
    return digest.partition(":")[2][:_ID]


def opened_store(folder: Path) -> ImageStore:
    """The store at a folder, if it is the user's alone or isn't there yet. Raises UserError."""
    with suppress(FileNotFoundError):
        os.close(folders.open_own(folder, mend=MEND))
    return ImageStore(folder)


def _is_of(image: StoredImage, name: ImageName) -> bool:
    return any(
        (other := image_name(n)) is not None and other.repository == name.repository for n in image.names
    )


def _is_held(layer: Path) -> bool:
    fd = os.open(layer, _FOLDER)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def _read(path: Path) -> dict[str, Any]:
    """A file of the store's; nothing of one that isn't there. Raises UserError when it can't be read."""
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise UserError(f"{path}: {why}; remove the folder and load the images again, or {MEND}") from None
    return found if isinstance(found, dict) else {}


def _delete(path: Path) -> None:
    """Removes a file, or a folder with whatever rights there are in it."""
    try:
        fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (NotADirectoryError, OSError):
        with suppress(FileNotFoundError):
            path.unlink()
        return
    try:
        os.chmod(f"/proc/self/fd/{fd}", 0o700)
        inner = os.open(".", _FOLDER, dir_fd=fd)
    finally:
        os.close(fd)
    try:
        folders.empty(inner)
    finally:
        os.close(inner)
    path.rmdir()
