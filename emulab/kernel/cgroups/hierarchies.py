"""Where cgroups can be had: the mounted hierarchies, and what of them this user may write to."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from emulab.dataclass import dataclass, field
from emulab.kernel import mounttable
from emulab.kernel.mounttable import MountEntry

CONTROLLERS = ("cpu", "memory", "pids")
"""Those that bound something, as users know them."""
_COUNTING = "cpuacct"
"""The controller of version 1 that counts what `cpu` bounds; in version 2 that is one."""

NO_MOUNT = "no hierarchy has it"
NOT_OURS = "its cgroups aren't this user's to write to"
NOT_ENABLED = "cgroup.subtree_control of {} doesn't have it, which is the service manager's"
OCCUPIED = "there are processes in {}, so that nothing below it can have it"


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """The folders in which ours may lie.

    `tops`: by controller the folder above `emulab`; with version 2 it is one for all of them. `enable`: controllers
    that have to be enabled in that one first. `missing`: of those of `CONTROLLERS` that can't be had, why not.
    """

    unified: bool = False  # version 2
    tops: Mapping[str, str] = field(default_factory=dict)
    enable: Sequence[str] = ()
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def folders(self) -> tuple[str, ...]:
        """All folders above `emulab`, each once."""
        return tuple(dict.fromkeys(self.tops.values()))


@dataclass(frozen=True, slots=True)
class Mount:
    root: str  # the cgroup that is seen at its top
    point: str
    controllers: frozenset[str]  # none: version 2
    unified: bool


def cgroup_mounts(table: Iterable[MountEntry]) -> list[Mount]:
    """The cgroup file systems of what is mounted."""
    found = []
    for entry in table:
        if entry.kind == "cgroup2":
            found.append(Mount(entry.root, entry.point, frozenset(), True))
        elif entry.kind == "cgroup":
            controllers = frozenset(entry.options.split(",")) & {*CONTROLLERS, _COUNTING}
            found.append(Mount(entry.root, entry.point, controllers, False))
    return found


def parse_own(text: str) -> dict[str, str]:
    """By controller the cgroup that a process is in, as /proc/self/cgroup has it; "" stands for version 2."""
    found = {}
    for line in text.splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            found[""] = path
        found.update(dict.fromkeys(filter(None, controllers.split(",")), path))
    return found


@cache
def hierarchies() -> Hierarchies:
    """What this process can have, looked up once. Reads the kernel's files."""
    try:
        mounts = cgroup_mounts(mounttable.read())
        own = parse_own(Path("/proc/self/cgroup").read_text())
    except OSError:
        return Hierarchies(missing=dict.fromkeys(CONTROLLERS, NO_MOUNT))
    for mount in mounts:
        if mount.unified and set(_words(f"{mount.point}/cgroup.controllers")) & set(CONTROLLERS):
            return _version_2(mount, own.get("", "/"))
    return _version_1(mounts, own)


def swept_folders() -> tuple[str, ...]:
    """The folders below which a dead lab of this user's may have left some.

    What a user's service manager delegates is there from any of his shells, though not to move processes to.
    """
    user = os.getuid()
    found = list(hierarchies().folders)
    with suppress(OSError):
        for mount in cgroup_mounts(mounttable.read()):
            folder = f"{mount.point}/user.slice/user-{user}.slice/user@{user}.service"
            if mount.unified and os.access(folder, os.W_OK):
                found.append(folder)
    return tuple(dict.fromkeys(found))


def _version_2(mount: Mount, own: str) -> Hierarchies:
    top = highest_writable(mount, own)
    if top is None:
        return Hierarchies(True, missing=dict.fromkeys(CONTROLLERS, NOT_OURS))
    there, enabled = _words(f"{top}/cgroup.controllers"), _words(f"{top}/cgroup.subtree_control")
    enable: list[str] = []
    missing: dict[str, str] = {}
    for name in CONTROLLERS:
        if name not in there:
            missing[name] = NO_MOUNT if top == mount.point else NOT_OURS
        elif name in enabled:
            continue
        elif not _is_for_us(top):
            missing[name] = NOT_ENABLED.format(top)
        elif _is_occupied(top):
            missing[name] = OCCUPIED.format(top)
        else:
            enable.append(name)
    tops = {name: top for name in CONTROLLERS if name not in missing}
    return Hierarchies(True, tops, enable, missing)


def _version_1(mounts: Sequence[Mount], own: Mapping[str, str]) -> Hierarchies:
    tops: dict[str, str] = {}
    missing: dict[str, str] = {}
    for name in (*CONTROLLERS, _COUNTING):
        mount = next((m for m in mounts if name in m.controllers), None)
        top = highest_writable(mount, own.get(name, "/")) if mount is not None else None
        if top is not None:
            tops[name] = top
        elif name in CONTROLLERS:
            missing[name] = NO_MOUNT if mount is None else NOT_OURS
    return Hierarchies(False, tops, (), missing)


def highest_writable(mount: Mount, own: str) -> str | None:
    """The folder nearest to the top of the hierarchy, of those that this process is below, that it may write to.

    For root that is the top itself. Who has had some of it delegated has the same one wherever below it he is.
    """
    inside = own.removeprefix(mount.root.rstrip("/")) if own.startswith(mount.root) else own
    path = mount.point
    for part in ("", *filter(None, inside.split("/"))):
        if part == "..":  # it is in none that is mounted here
            return None
        path = f"{path}/{part}" if part else path
        if os.access(path, os.W_OK | os.X_OK) and os.access(f"{path}/cgroup.procs", os.W_OK):
            return path
    return None


def _is_for_us(top: str) -> bool:
    """Whether it is ours to say which controllers there are below a folder of version 2.

    The very top of the machine's hierarchy, which alone has no `cgroup.type`, is its service manager's.
    """
    at_the_very_top = not os.path.exists(f"{top}/cgroup.type")
    return not (at_the_very_top and os.path.isdir("/run/systemd/system"))


def _is_occupied(top: str) -> bool:
    """Whether processes keep controllers from what is below (cgroups(7), "no internal processes")."""
    return os.path.exists(f"{top}/cgroup.type") and bool(_words(f"{top}/cgroup.procs"))


def _words(path: str) -> list[str]:
    with suppress(OSError):
        return Path(path).read_text().split()
    return []
