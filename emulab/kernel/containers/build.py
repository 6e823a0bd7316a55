"""Makes a container's root, and makes the calling process see nothing else.

Called in a fresh child that has a mount namespace of its own, in the container's PID and network namespaces. Rules:

* Everything is mounted before the root is entered, so that paths of the lab still mean what they say.
* No link is followed that the container, its image or its volumes made, but inside the container's root: paths in it
  are opened with openat2(2), whose descriptors are what is mounted on.
* What a container may write lies in one tmpfs, on which no device works; it goes with the mount namespace.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from emulab.errors import KernelError
from emulab.kernel import libc
from emulab.kernel.containers import mounts
from emulab.kernel.containers.places import NOT_SHOWN, below, in_user_namespace, is_shown, mount_points
from emulab.kernel.containers.root import Bind, Root
from emulab.kernel.containers.skeleton import COPIED

_STICKY = 0o1777
_BINDS = "binds"
_SHOWN = 200  # characters of a path in an error
_OWN = {"run": 0o755, "tmp": _STICKY, "mnt": 0o755, "media": 0o755}
"""Folders of `/` that a container has of its own, with their modes."""


class LaidBind(NamedTuple):
    source: str
    target: str
    options: Sequence[str]  # what the mount at the source forbids, as mount(8) has it


class Laid(NamedTuple):
    """A root that another one is to enter: its folder, and what is to be bound where in it, in this order."""

    top: str
    binds: Sequence[LaidBind]


def build(root: Root, users: int = -1) -> None:
    """Makes this process see a container's root. Raises KernelError and OSError.

    `users` is an open user namespace, where the container has one: files of others have its owners then.
    """
    _mount_stage(root)
    if root.bare:
        mounts.restrict(root.stage, read_only=True)
        _enter(root.stage)
        return
    before = os.umask(0)
    stage = _Stage(root, users)
    for layer in stage.lay():
        stage.writable.append(layer)
    mounts.proc(stage.top, root.sysctls, root.unmasked, stage.empty, root.network_settings)
    mounts.sys(stage.top, root.unmasked, stage.empty)
    mounts.cgroups(stage.top)
    mounts.devices(stage.top, root.shared_memory, root.first_user)
    _bind_all(stage.top, stage.covers(), -1)
    _bind_all(stage.top, root.binds, users)
    stage.finish()
    os.umask(before)
    _enter(stage.top)


def lay_out(root: Root, users: int = -1) -> Laid:
    """Makes a container's root for a runtime, which mounts /proc in it. Raises KernelError and OSError.

    What is to be bound is found, mapped and restricted here, and where it is seen is made while that can be done.
    """
    _mount_stage(root)
    before = os.umask(0)
    stage = _Stage(root, users)
    for layer in stage.lay():
        stage.writable.append(layer)
    mounts.own_folder(stage.top, "proc")
    mounts.sys(stage.top, root.unmasked, stage.empty)
    mounts.cgroups(stage.top)
    mounts.devices(stage.top, root.shared_memory, root.first_user)
    _bind_all(stage.top, stage.covers(), -1)
    os.mkdir(f"{root.stage}/{_BINDS}")
    staged = [replace(bind, target=f"{_BINDS}/{number}") for number, bind in enumerate(root.binds)]
    _bind_all(root.stage, staged, users)
    pairs = [(f"{root.stage}/{s.target}", bind.target) for s, bind in zip(staged, root.binds, strict=True)]
    _make_targets(stage.top, pairs)
    stage.finish()
    os.umask(before)
    return Laid(stage.top, [LaidBind(*pair, mounts.forbidden(pair[0])) for pair in pairs])


def _mount_stage(root: Root) -> None:
    libc.mount("none", "/", flags=libc.MS_REC | libc.MS_PRIVATE)
    libc.mount(
        "tmpfs",
        root.stage,
        "tmpfs",
        libc.MS_NOSUID | libc.MS_NODEV,
        f"mode=755,size={root.size},nr_inodes=1m",
    )


def _make_targets(top: str, binds: Sequence[tuple[str, str]]) -> None:
    """Makes what runtimes would make, of a root that can be written to by then."""
    opened = os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for source, target in binds:
            if target.split("/")[1] not in ("proc", "sys"):  # the kernel's, in which nobody makes anything
                os.close(_target(opened, target, os.path.isdir(source)))
    finally:
        os.close(opened)


class _Stage:
    """The tmpfs of one container: `root`, which it will see, and the layers that are written to beside it."""

    def __init__(self, root: Root, users: int) -> None:
        self._root = root
        self._users = users
        self.top = f"{root.stage}/root"
        self.empty = f"{root.stage}/empty"
        self.writable: list[str] = []
        self._layers = 0
        self._mounts = mount_points()
        self._make(self.top, 0o755)
        os.mkdir(self.empty, 0o555)

    def lay(self) -> Sequence[str]:
        """Makes what lies below the container's own mounts; the mounts that can be written to."""
        if self._root.layers:
            return self._image()
        libc.mount(self.top, self.top, flags=libc.MS_BIND)
        laid = [self.top, *self._host()]
        for name, mode in _OWN.items():
            self._make(f"{self.top}/{name}", mode)
        return laid

    def finish(self) -> None:
        """Forbids writing where the root is to be read-only."""
        for layer in reversed(self.writable if self._root.read_only else ()):
            mounts.restrict(layer, read_only=True)

    def covers(self) -> Sequence[Bind]:
        """What lies over folders of the host: a fresh /var/tmp, and nothing over those that are hidden."""
        if self._root.layers:
            return ()
        fresh = Bind(self._fresh("var-tmp", _STICKY), "/var/tmp", self._root.read_only)
        hidden = [
            path for path in self._root.hidden if os.path.isdir(path) and path.split("/")[1] not in NOT_SHOWN
        ]
        return (fresh, *(Bind(self.empty, path, read_only=True) for path in hidden))

    def _image(self) -> Sequence[str]:
        self._overlay(self.top, self._short(self._root.layers))
        return [self.top]

    def _short(self, layers: Sequence[str]) -> Sequence[str]:
        """Links to the layers: the options of a mount are a page at the most."""
        os.mkdir(f"{self._root.stage}/l")
        for number, layer in enumerate(layers):
            os.symlink(layer, f"{self._root.stage}/l/{number}")
        os.chdir(self._root.stage)
        return [f"l/{number}" for number in range(len(layers))]

    def _host(self) -> list[str]:
        laid: list[str] = []
        for name in sorted(os.listdir("/")):
            if name not in NOT_SHOWN:
                self._show(f"/{name}", laid)
        return laid

    def _show(self, path: str, laid: list[str]) -> None:
        """Shows a folder of the host, copy-on-write; one below which there are mounts is shown entry by entry."""
        there = f"{self.top}{path}"
        if os.path.islink(path):
            os.symlink(os.readlink(path), there)
            os.lchown(there, self._root.first_user, self._root.first_user)
            return
        if not os.path.isdir(path) or not is_shown(path, self._mounts):
            return
        if not os.path.lexists(there):
            os.mkdir(there, stat.S_IMODE(os.stat(path).st_mode))
        inner = below(path, self._mounts)
        skeleton = f"{self._root.skeleton}{path}"
        has_skeleton = bool(self._root.skeleton) and os.path.isdir(skeleton)
        if not (inner if in_user_namespace() else any(is_shown(mount, self._mounts) for mount in inner)):
            laid += self._overlay(there, [skeleton, path] if has_skeleton else [path])
            return
        laid += self._overlay(there, [skeleton] if has_skeleton else [self._fresh("no", 0o755)])
        if path in COPIED and has_skeleton:
            return
        for name in sorted(os.listdir(path)):
            if not os.path.islink(f"{there}/{name}"):
                self._show(f"{path}/{name}", laid)

    def _overlay(self, target: str, lowers: Sequence[str]) -> list[str]:
        """Mounts layers with a fresh one above, or what of them there is read-only where there are no overlays."""
        like = os.stat(lowers[0])
        upper, work = self._fresh("upper", stat.S_IMODE(like.st_mode)), self._fresh("work", 0o755)
        if not in_user_namespace():
            os.chown(upper, self._root.first_user + like.st_uid, self._root.first_user + like.st_gid)
        try:
            mounts.overlay(target, [self._mapped(lower) for lower in lowers], upper, work)
        except KernelError:
            if len(self._root.layers) > 1 or self._users >= 0:
                raise
            libc.mount(lowers[-1], target, flags=libc.MS_BIND | libc.MS_REC)
            mounts.restrict(target, read_only=True, no_devices=True, below=True)
        return [target]

    def _mapped(self, lower: str) -> str:
        """A layer with the owners that it has in the container's user namespace."""
        if self._users < 0:
            return lower
        there = self._fresh("lower", 0o755)
        opened = os.open(lower, os.O_PATH | os.O_CLOEXEC)
        try:
            _mount_clone(opened, there, 0, self._users)
        finally:
            os.close(opened)
        return there

    def _fresh(self, name: str, mode: int) -> str:
        self._layers += 1
        path = f"{self._root.stage}/{name}-{self._layers}"
        self._make(path, mode)
        return path

    def _make(self, path: str, mode: int) -> None:
        os.mkdir(path, mode)
        if self._root.first_user:
            os.chown(path, self._root.first_user, self._root.first_user)


def _mount_clone(source: int, target: str, attributes: int, users: int) -> None:
    """Mounts what is open, restricted before anybody can use it."""
    mount = libc.clone_mount(source, attributes, users)
    try:
        libc.attach_mount(mount, target)
    finally:
        os.close(mount)


def _bind_all(top: str, binds: Sequence[Bind], users: int) -> None:
    root = os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for bind in binds:
            _bind(root, bind, users)
    finally:
        os.close(root)


def _bind(root: int, bind: Bind, users: int) -> None:
    """Raises KernelError that says what can't be seen where."""
    sub_path = f" with subPath {bind.sub_path[:_SHOWN]}" if bind.sub_path else ""
    what = f"mount {bind.target[:_SHOWN]}{sub_path}"
    if not bind.target.strip("/."):
        raise KernelError(f"{what}: it is the container's root")
    try:
        source = _source(bind)
        try:
            _bind_open(root, source, bind, users)
        finally:
            os.close(source)
    except KernelError as error:
        raise KernelError(what, errno=error.errno, remedy=error.remedy) from None
    except OSError as error:
        leads_out = bind.sub_path and error.errno == errno.EXDEV
        why = "a link in it leads out of its volume" if leads_out else error.strerror
        raise KernelError(f"{what}: {why}") from None


def _bind_open(root: int, source: int, bind: Bind, users: int) -> None:
    target = _target(root, bind.target, stat.S_ISDIR(os.fstat(source).st_mode))
    try:
        attributes = mounts.attributes(read_only=bind.read_only, no_devices=True)
        _mount_clone(source, _by_descriptor(target), attributes, users)
    finally:
        os.close(target)


def _by_descriptor(fd: int) -> str:
    return f"/proc/self/fd/{fd}"


def _source(bind: Bind) -> int:
    """What is bound. A link below the source that leads out of it is refused (EXDEV). Raises OSError."""
    source = os.open(bind.source, os.O_PATH | os.O_CLOEXEC)
    if not bind.sub_path:
        return source
    try:
        return _made_below(
            source, bind.sub_path, libc.RESOLVE_BENEATH | libc.RESOLVE_NO_MAGICLINKS, folder=True
        )
    finally:
        os.close(source)


def _target(root: int, path: str, folder: bool) -> int:
    return _made_below(root, path, libc.RESOLVE_IN_ROOT | libc.RESOLVE_NO_MAGICLINKS, folder)


def _made_below(root: int, path: str, resolve: int, folder: bool) -> int:
    """Opens what lies below an open folder, after what is missing of it was made. Raises OSError.

    Another container may make and move things there meanwhile, the same ones for the same reason among them.
    """
    words = [word for word in path.split("/") if word not in ("", ".")]
    here = os.dup(root)
    for at, word in enumerate(words):
        so_far = "/".join(words[: at + 1])
        try:
            opened = libc.open_below(root, so_far, os.O_PATH, resolve)
        except FileNotFoundError:
            with suppress(FileExistsError):
                _make_in(here, word, folder or at + 1 < len(words))
            opened = libc.open_below(root, so_far, os.O_PATH, resolve)
        finally:
            os.close(here)
        here = opened
    return here


def _make_in(here: int, name: str, folder: bool) -> None:
    if folder:
        os.mkdir(name, 0o755, dir_fd=here)
    else:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(name, flags, 0o644, dir_fd=here))


def _enter(top: str) -> None:
    """Makes a folder the root, and leaves nothing of the one before."""
    os.chdir(top)
    libc.pivot_root(".", ".")  # the old root lies on the new one then, and is what `.` names
    libc.unmount(".", libc.MNT_DETACH)
    os.chdir("/")
