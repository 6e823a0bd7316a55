"""Unpacking one layer of an image below a folder, in the form that overlayfs takes for a lower layer.

* A member is written below the layer's folder or not at all: every parent is opened with RESOLVE_BENEATH
  (openat2(2)), and what is made is made in that folder by its bare name, never through a link.
* `.wh.NAME` hides NAME of the layers below: a character device 0/0, which since Linux 5.8 anybody may make.
  `.wh..wh..opq` hides all that a folder has below: the attribute `trusted.overlay.opaque` where root unpacks, and
  `user.overlay.opaque` otherwise, which an overlay mounted with `userxattr` heeds.
* An ordinary user's files are all their own: a container of theirs has one user. What else they may not set (a file's
  capabilities) is counted, and said by who unpacks.
* Folders get their modes and times last, as a folder that can't be written to may have entries, and each changes it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from emulab.errors import UserError
from emulab.kernel.folders import empty
from emulab.kernel.layers.beneath import open_beneath
from emulab.kernel.layers.streams import CHUNK, ArchiveError, Budget, Readable
from emulab.kernel.layers.tar import Member, TarReader

_WHITEOUT, _AUFS, _OPAQUE = ".wh.", ".wh..wh.", ".wh..wh..opq"
_CAPABILITY = "security.capability"
_LARGEST_ID = (1 << 32) - 2
_LATEST = (1 << 62) - 1  # nanoseconds
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class _Attributes(NamedTuple):
    """Those of a folder, which it gets in the end."""

    mode: int
    uid: int
    gid: int
    mtime: int | None = None
    xattrs: tuple[tuple[str, bytes], ...] = ()


class Unpacked(NamedTuple):
    """What a layer has come to: octets of its files, members, and attributes that weren't set.

    `covers`: it hides all that is below it. An overlay doesn't heed that of a layer's root.
    """

    size: int
    members: int
    unset: int
    covers: bool


class Unpacker:
    """Writes the members of one layer below `folder`, a descriptor of an empty folder.

    `below`: the unpacked layers that this one lies on, the lowest first. A folder that the layer has entries in without
    saying what it is, is as there. `root`: owners and all attributes can be set.
    """

    def __init__(self, folder: int, below: Sequence[str], budget: Budget, root: bool) -> None:
        self._root = folder
        self._below = below
        self._budget = budget
        self._privileged = root
        self._opaque = "trusted.overlay.opaque" if root else "user.overlay.opaque"
        self._hidden: set[str] = set()  # paths that have a whiteout, or had one
        self._folders: dict[str, _Attributes] = {}
        self._open: tuple[str, int] | None = None  # the folder that was written to last
        self._size = self._members = self._unset = 0
        self._covers = False

    def unpack(self, stream: Readable) -> Unpacked:
        """Raises ArchiveError, which says of which member, and OSError of the disk's."""
        reader = TarReader(stream)
        self._folders[""] = self._as_below("")
        try:
            for member in reader:
                self._budget.count()
                self._members += 1
                try:
                    self._write(member, reader)
                except OSError as error:
                    raise _refusal(member, error) from None
            self._finish()
        finally:
            self._leave()
        return Unpacked(self._size, self._members, self._unset, self._covers)

    def _write(self, member: Member, body: TarReader) -> None:
        path = _path(member.name, member.name)
        parent, _, name = path.rpartition("/")
        if not 0 <= member.uid <= _LARGEST_ID or not 0 <= member.gid <= _LARGEST_ID:
            raise ArchiveError(
                f"{member.name}: no user or group has the number {max(member.uid, member.gid)}"
            )
        if name.startswith(_WHITEOUT):
            self._hide(parent, name)
        elif member.kind == "folder":
            self._folder(path, member)
        elif not name:
            raise ArchiveError(f"{member.name}: the layer's root is a {member.kind}")
        elif member.kind.endswith("device"):
            raise ArchiveError(
                f"{member.name}: is a {member.kind}, which no image needs: a container has its own /dev"
            )
        else:
            self._other(self._enter(parent), path, name, member, body)

    def _other(self, folder: int, path: str, name: str, member: Member, body: TarReader) -> None:
        """Makes what is no folder, in the place of what was there."""
        if member.kind == "hard link":
            self._link(folder, path, name, member)
            return
        if path in self._hidden or _is_there(folder, name):
            self._remove(folder, path, name)
            folder = self._enter(path.rpartition("/")[0])
        if member.kind == "file":
            fd = os.open(name, _NEW, 0o600, dir_fd=folder)
            try:
                self._fill(fd, body)
                self._settle(fd, _attributes(member))
            finally:
                os.close(fd)
            return
        if member.kind == "fifo":
            os.mkfifo(name, 0o600, dir_fd=folder)
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            try:
                self._settle(fd, _attributes(member)._replace(xattrs=()))
            finally:
                os.close(fd)
            return
        os.symlink(member.target, name, dir_fd=folder)
        if self._privileged:
            os.chown(name, member.uid, member.gid, dir_fd=folder, follow_symlinks=False)
        times = (min(member.mtime, _LATEST),) * 2
        os.utime(name, ns=times, dir_fd=folder, follow_symlinks=False)

    def _fill(self, fd: int, body: TarReader) -> None:
        while data := body.read(CHUNK):
            view = memoryview(data)
            while view:
                written = os.write(fd, view)
                self._size += written
                view = view[written:]

    def _link(self, folder: int, path: str, name: str, member: Member) -> None:
        target = _path(member.target, member.name)
        where, _, what = target.rpartition("/")
        try:
            origin = open_beneath(self._root, where)
        except FileNotFoundError:
            raise _no_target(member) from None
        try:
            if target in self._hidden or not what or not _is_there(origin, what, but_folders=True):
                raise _no_target(member)
            if target == path:
                return
            if _is_there(folder, name) or path in self._hidden:
                self._remove(folder, path, name)
                folder = self._enter(path.rpartition("/")[0])
            os.link(what, name, src_dir_fd=origin, dst_dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            raise _no_target(member) from None
        finally:
            os.close(origin)

    def _hide(self, parent: str, name: str) -> None:
        """A whiteout. It says nothing of what this layer has itself, before it or behind it (OCI image layers)."""
        if name == _OPAQUE:
            self._covers |= not parent
            self._make_opaque(self._enter(parent))
            return
        if name.startswith(_AUFS):
            return  # of the file system that whiteouts are of, and of no meaning in an image
        hidden = name.removeprefix(_WHITEOUT)
        if hidden in ("", ".", ".."):
            raise ArchiveError(f"{name}: it hides nothing that could be there")
        folder, path = self._enter(parent), f"{parent}/{hidden}".lstrip("/")
        try:
            found = os.stat(hidden, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            os.mknod(hidden, stat.S_IFCHR | 0o600, 0, dir_fd=folder)
            self._hidden.add(path)
            return
        if stat.S_ISDIR(found.st_mode):
            self._make_opaque(self._enter(path))

    def _make_opaque(self, folder: int) -> None:
        os.setxattr(f"/proc/self/fd/{folder}", self._opaque, b"y")

    # folders

    def _folder(self, path: str, member: Member) -> None:
        parent, _, name = path.rpartition("/")
        if path:
            self._make(self._enter(parent), path, name, _attributes(member))
        self._folders[path] = _attributes(member)

    def _make(self, folder: int, path: str, name: str, attributes: _Attributes) -> None:
        """A folder where none is, and in the place of what is none."""
        opaque = path in self._hidden
        if opaque or _is_there(folder, name, but_folders=True):
            self._remove(folder, path, name)
            folder = self._enter(path.rpartition("/")[0])
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=folder)
            self._folders[path] = attributes
        if opaque:
            inner = open_beneath(self._root, path, _FOLDER)
            try:
                self._make_opaque(inner)
            finally:
                os.close(inner)

    def _enter(self, path: str) -> int:
        """A descriptor of a folder of the layer, which is made, with those above, where it is missing."""
        if self._open is not None and self._open[0] == path:
            return self._open[1]
        if not self._is_folder(path):
            parts = path.split("/")
            for depth, name in enumerate(parts):
                way = "/".join(parts[: depth + 1])
                if not self._is_folder(way):
                    self._make(self._enter("/".join(parts[:depth])), way, name, self._as_below(way))
        fd = open_beneath(self._root, path)
        self._leave()
        self._open = path, fd
        return fd

    def _is_folder(self, path: str) -> bool:
        """Whether there is one; what else is there is none of the layer's own, or raises NotADirectoryError."""
        if path in self._hidden:
            return False
        try:
            os.close(open_beneath(self._root, path))
        except FileNotFoundError:
            return False
        except NotADirectoryError:
            if any(path.startswith(f"{one}/") for one in self._hidden):
                return False
            raise
        return True

    def _leave(self) -> None:
        if self._open is not None:
            os.close(self._open[1])
            self._open = None

    def _as_below(self, path: str) -> _Attributes:
        """The attributes of a folder that the layer doesn't say: those that it has in the layers below."""
        for layer in reversed(self._below):
            try:
                found = os.lstat(layer) if not path else _lstat_beneath(layer, path)
            except FileNotFoundError:
                continue
            except OSError:
                break
            return _Attributes(stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)
        return _Attributes(0o755, 0, 0)

    def _remove(self, folder: int, path: str, name: str) -> None:
        try:
            os.unlink(name, dir_fd=folder)
        except IsADirectoryError:
            inner = os.open(name, _FOLDER, dir_fd=folder)
            try:
                empty(inner)
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=folder)
        self._hidden.discard(path)
        for one in [p for p in self._folders if p == path or p.startswith(f"{path}/")]:
            del self._folders[one]
        self._leave()  # it may be what is gone

    def _finish(self) -> None:
        for path in sorted(self._folders, key=lambda p: p.count("/") if p else -1, reverse=True):
            try:
                fd = open_beneath(self._root, path, _FOLDER)
            except (FileNotFoundError, NotADirectoryError):
                continue
            try:
                self._settle(fd, self._folders[path])
            finally:
                os.close(fd)

    def _settle(self, fd: int, attributes: _Attributes) -> None:
        """Owner first: its change takes setuid bits and capabilities away (chown(2))."""
        path = f"/proc/self/fd/{fd}"
        if self._privileged:
            os.chown(path, attributes.uid, attributes.gid)
        for name, value in attributes.xattrs:
            self._set(path, name, value)
        os.chmod(path, attributes.mode)
        if attributes.mtime is not None:
            os.utime(path, ns=(min(attributes.mtime, _LATEST),) * 2)

    def _set(self, path: str, name: str, value: bytes) -> None:
        """Sets an attribute, but for those that say something to an overlay, and those of this machine's security."""
        if name != _CAPABILITY and (not name.startswith("user.") or name.startswith("user.overlay.")):
            self._unset += 1
            return
        try:
            os.setxattr(path, name, value)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EACCES):
                raise
            self._unset += 1


def _attributes(member: Member) -> _Attributes:
    return _Attributes(member.mode, member.uid, member.gid, member.mtime, tuple(member.xattrs.items()))


def _path(name: str, member: str) -> str:
    """A member's path below the layer; "" is the layer's root."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in name:
        raise ArchiveError(f"{member}: it leads out of the layer ({name})")
    return "/".join(parts)


def _lstat_beneath(layer: str, path: str) -> os.stat_result:
    """Of a folder of a layer. Raises OSError, FileNotFoundError where the layer says nothing of it."""
    root = os.open(layer, _FOLDER)
    try:
        fd = open_beneath(root, path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    finally:
        os.close(root)
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def _is_there(folder: int, name: str, but_folders: bool = False) -> bool:
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return not (but_folders and stat.S_ISDIR(found.st_mode))


def _no_target(member: Member) -> ArchiveError:
    return ArchiveError(f"{member.name}: it is a hard link to {member.target}, which isn't in the layer")


def _refusal(member: Member, error: OSError) -> UserError | OSError:
    """What the kernel refused: what an archive asks for is its fault, what the disk can't do isn't."""
    if error.errno in (errno.EXDEV, errno.ELOOP):
        return ArchiveError(f"{member.name}: it leads out of the layer over a symbolic link")
    if error.errno in (errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL, errno.EISDIR, errno.ENOENT):
        return ArchiveError(f"{member.name}: {error.strerror}")
    return error
