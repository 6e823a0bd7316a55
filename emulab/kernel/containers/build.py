"""Makes a container's root, and makes the calling process see nothing else.

Called in a fresh child that has a mount namespace of its own, in the container's PID and network namespaces. Rules:

* Everything is mounted before the root is entered, so that paths of the lab still mean what they say.
* No link is followed that the container, its image or its volumes made, but inside the container's root: paths in it
  are opened with openat2(2), whose descriptors are what is mounted on.
* What a container may write lies in one tmpfs, on which no device works; it goes with the mount namespace.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from emulab.errors import KernelError
from emulab.kernel import libc
from emulab.kernel.containers import binds, mounts
from emulab.kernel.containers.places import NOT_SHOWN, below, in_user_namespace, is_shown, mount_points
from emulab.kernel.containers.root import Bind, Root
from emulab.kernel.containers.skeleton import COPIED

_STICKY = 0o1777
_BINDS = "binds"
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
    bound = stage.binds()
    mounts.proc(stage.top, root.sysctls, root.unmasked, stage.empty, root.network_settings)
    mounts.sys(stage.top, root.unmasked, stage.empty)
    mounts.cgroups(stage.top)
    mounts.devices(stage.top, root.shared_memory, root.first_user)
    binds.bind_all(stage.top, [binds.StagedBind(bind) for bind in stage.covers()])
    binds.bind_all(stage.top, bound, root.first_user)
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
    bound = stage.binds()
    mounts.own_folder(stage.top, "proc")
    mounts.sys(stage.top, root.unmasked, stage.empty)
    mounts.cgroups(stage.top)
    mounts.devices(stage.top, root.shared_memory, root.first_user)
    binds.bind_all(stage.top, [binds.StagedBind(bind) for bind in stage.covers()])
    os.mkdir(f"{root.stage}/{_BINDS}")
    targets = [f"{_BINDS}/{number}" for number in range(len(bound))]
    pairs = [(f"{root.stage}/{at}", bind.target) for at, (bind, _) in zip(targets, bound, strict=True)]
    staged = [
        binds.StagedBind(replace(b.bind, target=at), b.users) for at, b in zip(targets, bound, strict=True)
    ]
    binds.bind_all(root.stage, staged)
    _make_targets(stage.top, pairs, root.first_user)
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


def _make_targets(top: str, pairs: Sequence[tuple[str, str]], owner: int) -> None:
    """Makes what runtimes would make, of a root that can be written to by then."""
    opened = os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for source, target in pairs:
            if target.split("/")[1] not in ("proc", "sys"):  # the kernel's, in which nobody makes anything
                os.close(binds.target(opened, target, os.path.isdir(source), owner))
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
        self._stacked = True  # there are overlays
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

    def binds(self) -> Sequence[binds.StagedBind]:
        """What is bound, each with a source: before anything lies over the container's layers."""
        return [
            binds.StagedBind(b, self._users)
            if b.source
            else binds.StagedBind(replace(b, source=self._own(b.target)))
            for b in self._root.binds
        ]

    def _own(self, target: str) -> str:
        """A folder of the root as a mount of its own, which isn't restricted with the root's.

        What is in it is the image's until it is written to, so nothing is copied.
        """
        path = self._fresh("own", 0o755)
        binds.keep(self.top, target, path, self._root.first_user, copied=not self._stacked)
        return path

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
        if path in self._root.hidden:  # `covers` lies over it, so nothing below could be restricted any more
            return
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
            self._stacked = False
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
            binds.mount_clone(opened, there, 0, self._users)
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


def _enter(top: str) -> None:
    """Makes a folder the root, and leaves nothing of the one before."""
    os.chdir(top)
    libc.pivot_root(".", ".")  # the old root lies on the new one then, and is what `.` names
    libc.unmount(".", libc.MNT_DETACH)
    os.chdir("/")
