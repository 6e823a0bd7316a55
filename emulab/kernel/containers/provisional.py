"""Volumes in a container that has the host's root: until `build` makes it one of its own. Not for good."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from emulab.errors import KernelError
from emulab.kernel import libc
from emulab.kernel.containers.root import Bind

_BELOW = libc.RESOLVE_IN_ROOT | libc.RESOLVE_NO_MAGICLINKS


def mount(binds: Iterable[Bind]) -> None:
    covered: set[str] = set()
    for bind in binds:
        source = os.open(bind.source, os.O_PATH | os.O_CLOEXEC)
        path = ""
        for part in filter(None, bind.sub_path.split("/")):
            path = os.path.join(path, part)
            try:
                os.close(libc.open_below(source, path, os.O_PATH, _BELOW))
            except FileNotFoundError:
                outer = libc.open_below(source, os.path.dirname(path) or ".", os.O_PATH, _BELOW)
                os.mkdir(part, 0o755, dir_fd=outer)
        found = libc.open_below(source, path or ".", os.O_PATH, _BELOW)
        _make_target(bind.target, os.path.isdir(f"/proc/self/fd/{found}"), covered)
        libc.mount(f"/proc/self/fd/{found}", bind.target, flags=libc.MS_BIND | libc.MS_REC)
        if bind.read_only:
            flags = libc.MS_BIND | libc.MS_REMOUNT | libc.MS_RDONLY | libc.MS_NOSUID | libc.MS_NODEV
            libc.mount("none", bind.target, flags=flags)


def _make_target(target: str, folder: bool, covered: set[str]) -> None:
    if os.path.exists(target):
        return
    there = target
    while not os.path.exists(there):
        there = os.path.dirname(there)
    if not any(there == top or there.startswith(f"{top}/") for top in covered):
        with suppress(KernelError):
            libc.mount("provisional", there, "tmpfs", data="mode=0755")
        covered.add(there)
    os.makedirs(target if folder else os.path.dirname(target), exist_ok=True)
    if not folder:
        open(target, "w").close()
