"""A cgroup as a value: its folders and what is to be written there. A child of the spawner makes and enters it."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from emulab.dataclass import dataclass, field
from emulab.errors import KernelError
from emulab.kernel.cgroups.hierarchies import Hierarchies
from emulab.kernel.cgroups.limits import OPTIONAL, Limits

OURS = "emulab"
ENABLED = "user.emulab.enabled"
"""The extended attribute of our topmost folder that says what was enabled above it."""
_TRIES = 5  # a lab that ends removes the folders above its own where no other is left


@dataclass(frozen=True, slots=True)
class CgroupFolder:
    """One folder. `enable`: the controllers that those below it have; version 1 has no such thing."""

    path: str
    files: Mapping[str, str] = field(default_factory=dict)
    enable: Sequence[str] = ()
    ours: bool = True  # else it is the one above our topmost


@dataclass(frozen=True, slots=True)
class Cgroup:
    """What a container is in: `groups` from the outermost to its own, and those that its processes `enter`."""

    groups: Sequence[CgroupFolder] = ()
    enter: Sequence[str] = ()

    @staticmethod
    def of(described: Mapping[str, Any]) -> Cgroup:
        """A cgroup as `dataclasses.asdict` has it."""
        return Cgroup(
            tuple(CgroupFolder(**group) for group in described["groups"]), tuple(described["enter"])
        )


def container_cgroup(
    there: Hierarchies, names: tuple[str, str, str], pod: Limits, container: Limits
) -> Cgroup:
    """The cgroup of a container, with its pod's and its lab's, as far as they can be had. `names`: of all three."""
    lab, *rest = names
    groups: list[CgroupFolder] = []
    enter: list[str] = []
    for top in there.folders:
        controllers = [name for name, folder in there.tops.items() if folder == top]
        enable = [name for name in controllers if there.unified]
        if there.enable:
            groups.append(CgroupFolder(top, enable=there.enable, ours=False))
        path = f"{top}/{OURS}"
        groups.append(CgroupFolder(path, enable=enable))
        groups.append(CgroupFolder(path := f"{path}/{lab}", enable=enable))
        for name, limits, inner in zip(rest, (pod, container), (enable, ()), strict=True):
            files: dict[str, str] = {}
            for controller, wanted in limits.files(there.unified).items():
                if controller in controllers:
                    files |= wanted
            path = f"{path}/{name}"
            groups.append(CgroupFolder(path, files, inner))
        enter.append(path)
    return Cgroup(groups, enter)


def join(cgroup: Cgroup) -> None:
    """Makes what isn't there, writes what is to be in force, and moves the calling process there. Raises KernelError.

    What was there may go meanwhile, with a life of the container or the pod that has just ended.
    """
    for left in reversed(range(_TRIES)):
        try:
            for group in cgroup.groups:
                _make(group)
            enter(cgroup)
            return
        except FileNotFoundError as error:
            if not cgroup.groups:  # that of what runs there, which nobody makes anew
                raise KernelError(f"enter the cgroup {error.filename}: what ran there has ended") from None
            if left == 0:
                raise KernelError(f"make {error.filename}", errno=errno.ENOENT) from None


def _make(group: CgroupFolder) -> None:
    if group.ours:
        try:
            os.mkdir(group.path)
        except FileExistsError:
            pass
        except FileNotFoundError:
            raise
        except OSError as error:
            raise KernelError(f"make the cgroup {group.path}", errno=error.errno or 0) from None
    if group.enable:
        _enable(group)
    for name, value in group.files.items():
        path = f"{group.path}/{name}"
        try:
            with open(path, "w") as file:
                file.write(value)
        except FileNotFoundError:
            if name not in OPTIONAL:
                raise
        except OSError as error:
            raise KernelError(f"write {value} to {path}", errno=error.errno or 0) from None


def _enable(group: CgroupFolder) -> None:
    path = f"{group.path}/cgroup.subtree_control"
    missing = sorted(set(group.enable) - set(Path(path).read_text().split()))
    if not missing:
        return
    if not group.ours:  # noted first, so that whatever happens it is taken back
        top = f"{group.path}/{OURS}"
        with suppress(FileExistsError):
            os.mkdir(top)
        with suppress(OSError):  # a kernel before 5.7 keeps no such note, and what was enabled stays
            os.setxattr(top, ENABLED, " ".join(missing).encode())
    try:
        Path(path).write_text(" ".join(f"+{name}" for name in missing))
    except OSError as error:
        raise KernelError(f"enable {', '.join(missing)} in {path}", errno=error.errno or 0) from None


def enter(cgroup: Cgroup) -> None:
    """Moves the calling process there, where its children are born. Raises KernelError, FileNotFoundError."""
    for path in cgroup.enter:
        try:
            with open(f"{path}/cgroup.procs", "w") as procs:
                procs.write("0")
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno == errno.ENODEV:  # it was removed since it was opened
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None
            raise KernelError(f"enter the cgroup {path}", errno=error.errno or 0) from None
