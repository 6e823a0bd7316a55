"""A folder, or a file, of the host's (pkg/volume/hostpath), below one that the Cluster allows.

What is below an allowed folder is looked up from there, with links followed inside of it alone: whatever somebody has
put there leads nowhere else.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from emulab.kernel import libc
from emulab.lab.kubelet.volumes.volume import AskedVolume, NotInLabs, NotMounted, VolumeSource

_KINDS: dict[str, tuple[Callable[[int], bool], str]] = {
    "DirectoryOrCreate": (stat.S_ISDIR, "a directory"),
    "Directory": (stat.S_ISDIR, "a directory"),
    "FileOrCreate": (stat.S_ISREG, "a file"),
    "File": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket file"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}
"""By `type`: what is to be there, and how the kubelet says that it isn't."""
_MADE_AS_FILE, _MADE_AS_FOLDER = ("FileOrCreate",), ("", "DirectoryOrCreate")
_BELOW = libc.RESOLVE_IN_ROOT | libc.RESOLVE_NO_MAGICLINKS


def source(asked: AskedVolume) -> VolumeSource:
    return source_at(asked, asked.settings["path"])


def source_at(asked: AskedVolume, path: str) -> VolumeSource:
    """Raises NotInLabs where the Cluster doesn't allow it."""
    path = os.path.normpath(f"/{path}").replace("//", "/")
    for own in asked.own_folders:
        if os.path.commonpath((path, own)) in (path, own):
            raise NotInLabs(f"hostPath {path} isn't allowed: emulab keeps its own files at {own}")
    allowed = asked.cluster.host_path(path)
    if allowed is None:
        raise NotInLabs(f"hostPath {path} isn't allowed: name it in spec.pods.hostPaths of the Cluster")
    below = path[len(allowed.path) :].strip("/")
    return VolumeSource(allowed.path, below, allowed.read_only, owned=False)


def make(asked: AskedVolume, source: VolumeSource) -> None:
    make_at(asked.settings.get("type") or "", source)


def make_at(kind: str, source: VolumeSource) -> None:
    """Makes what is missing, where the Cluster lets Pods write, and checks that it is of that kind."""
    path = os.path.join(source.path, source.sub_path).rstrip("/")
    try:
        with _opened(source) as folder:
            mode = _mode_of(folder, source, kind, path)
    except FileNotFoundError:
        words = f"hostPath type check failed: {path} is not {_KINDS[kind][1]}" if kind in _KINDS else ""
        raise NotMounted(words or f"hostPath {path} isn't there, and Pods can't write there") from None
    if kind in _KINDS and not _KINDS[kind][0](mode):
        raise NotMounted(f"hostPath type check failed: {path} is not {_KINDS[kind][1]}")


@contextmanager
def _opened(source: VolumeSource) -> Iterator[int]:
    folder = os.open(source.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield folder
    finally:
        os.close(folder)


def is_there(source: VolumeSource, path: str) -> bool:
    """Whether there is something at a path below a volume. Blocks."""
    try:
        with _opened(source) as folder:
            os.close(libc.open_below(folder, os.path.join(source.sub_path, path) or ".", os.O_PATH, _BELOW))
    except OSError:  # a file in place of a folder, or links that go round, say
        return False
    return True


def _mode_of(folder: int, source: VolumeSource, kind: str, path: str) -> int:
    try:
        return _stat(folder, source.sub_path)
    except FileNotFoundError:
        if source.read_only or kind not in (*_MADE_AS_FILE, *_MADE_AS_FOLDER):
            raise
    parent, _, name = source.sub_path.rpartition("/")
    if kind in _MADE_AS_FILE:
        where = libc.open_below(folder, parent or ".", os.O_PATH | os.O_DIRECTORY, _BELOW)
        try:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            with suppress(FileExistsError):
                os.close(os.open(name, flags, 0o644, dir_fd=where))
        finally:
            os.close(where)
    else:
        _make_folders(folder, source.sub_path)
    return _stat(folder, source.sub_path)


def _stat(folder: int, path: str) -> int:
    found = libc.open_below(folder, path or ".", os.O_PATH, _BELOW)
    try:
        return os.fstat(found).st_mode
    finally:
        os.close(found)


def _make_folders(folder: int, path: str) -> None:
    here = os.dup(folder)
    done = ""
    try:
        for name in path.split("/"):
            done = os.path.join(done, name)
            try:
                there = libc.open_below(folder, done, os.O_PATH, _BELOW)
            except FileNotFoundError:
                with suppress(FileExistsError):  # another Pod may have made it just now
                    os.mkdir(name, 0o755, dir_fd=here)
                there = libc.open_below(folder, done, os.O_PATH, _BELOW)
            os.close(here)
            here = there
    finally:
        os.close(here)
