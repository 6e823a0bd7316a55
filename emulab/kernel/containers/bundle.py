"""Makes a container's root and its config.json for an OCI runtime, and becomes that runtime.

Called in a fresh child that has a mount and a cgroup namespace of its own, in the container's cgroup and the pod's
network namespace, but in the lab's PID namespace, as the runtime is. Nothing of what is made here outlives the runtime:
the bundle, the runtime's state and its temporary files lie in a tmpfs of this mount namespace. Rules:

* The container's root is the builtin runtime's (`build`), with /sys and /dev, which want the pod's network and IPC and
  no device that works in it; the runtime mounts /proc and binds what the builder has found and opened, so that no link
  of a volume leads it anywhere.
* The runtime sees a cgroup file system of version 2, whatever the machine has, in which it can write nothing. Its own
  way with cgroups isn't wanted: the container's are made and joined already. crun fails where both versions are mounted
  (`invalid file system type on /sys/fs/cgroup`), and runc makes cgroups that nobody would remove.
* It sees a /proc of its own PID namespace: the lab's is the host's, in which its numbers mean others.
* Who has entered a pod's own user namespace can't look into the lab's folders: the tmpfs is moved to where all can.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import NoReturn

from emulab.dataclass import dataclass
from emulab.errors import KernelError
from emulab.kernel import libc
from emulab.kernel.containers import build, mounts, ocispec
from emulab.kernel.containers.confine import HARMLESS, identify
from emulab.kernel.containers.rights import Rights
from emulab.kernel.containers.root import Root

_MEETING = ("/mnt", "/srv", "/media", "/opt")
"""Folders that all may look into, one of which nothing else is needed of while a runtime runs."""
_TEMPORARY = "tmp"
_TELL_TEMPORARY = ("TMPDIR", "_LIBCONTAINER_STATEDIR")
"""The variables that name a runtime's folder of temporary files. The second is that of the file over which a runtime
binds its own program before it becomes it (crun: `try_bindfd`), which stays when it is killed just then.
"""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class OciRun:
    """One run of a runtime. `command`: its program, and words before the verb. `folder`: where the lab finds the files
    `pid` and `log`, which the runtime writes. `id`: of the container, as the runtime is to call it. `binds_devices`:
    the runtime is to bind /dev, which is there; else it finds the devices there, and makes none that it finds.
    """

    command: Sequence[str]
    folder: str
    id: str
    binds_devices: bool = False


def become_runtime(
    run: OciRun,
    root: Root,
    rights: Rights,
    namespaces: Mapping[str, int],
    *,
    users: int,
    argv: Sequence[str],
    environment: Mapping[str, str],
    directory: str,
) -> NoReturn:
    """Replaces the process with the runtime. Raises KernelError and OSError.

    `namespaces`: those that the container joins, by kind. `users`: as `build` takes it.
    """
    laid = build.lay_out(root, users)
    paths = _bind_namespaces(root.stage, namespaces)
    top = _meeting_place(run, root)
    moved = {kind: f"{top}{path.removeprefix(root.stage)}" for kind, path in paths.items()}
    binds = [bind._replace(source=f"{top}{bind.source.removeprefix(root.stage)}") for bind in laid.binds]
    if run.binds_devices:
        devices = build.LaidBind(f"{top}/root/dev", "/dev", mounts.forbidden(f"{laid.top}/dev"))
        binds.insert(0, devices)
    container = ocispec.OciContainer(
        argv=argv,
        environment=environment,
        working_directory=directory,
        rights=rights,
        identity=identify(rights, lambda path: _open_inside(laid, path)),
        root=f"{top}/root",
        machine=os.uname().machine,
        read_only=root.read_only,
        unmasked=root.unmasked,
        namespaces=moved,
        binds=binds,
        permitted=libc.permitted_capabilities(),
        first_user=root.first_user,
    )
    os.mkdir(f"{root.stage}/bundle")
    os.mkdir(f"{root.stage}/state", 0o711)
    os.mkdir(f"{root.stage}/{_TEMPORARY}")
    with open(f"{root.stage}/bundle/config.json", "w") as file:
        json.dump(ocispec.config(container), file)
    _show_own_kernel()
    mounts.set_all(
        "/proc", root.sysctls
    )  # those of namespaces in which this process is: runtimes refuse that
    libc.mount(root.stage, top, flags=libc.MS_MOVE)
    _execute(run, top)


def _execute(run: OciRun, top: str) -> NoReturn:
    before = ("--root", f"{top}/state", "--log", f"{run.folder}/log", "--log-format", "json")
    files = ("--bundle", f"{top}/bundle", "--pid-file", f"{run.folder}/pid", "--no-new-keyring")
    environment = {"PATH": _PATH, "HOME": "/", **dict.fromkeys(_TELL_TEMPORARY, f"{top}/{_TEMPORARY}")}
    try:
        os.chdir("/")
        os.execve(run.command[0], [*run.command, *before, "run", *files, run.id], environment)
    except OSError as error:
        raise KernelError(f"start the runtime {run.command[0]}", errno=error.errno or 0) from None


def _bind_namespaces(stage: str, namespaces: Mapping[str, int]) -> dict[str, str]:
    """Gives the container's namespaces paths, by kind."""
    os.mkdir(f"{stage}/ns")
    found = {kind: f"{stage}/ns/{kind}" for kind in namespaces}
    for kind, path in found.items():
        mounts.empty_file(path)
        libc.mount(f"/proc/self/fd/{namespaces[kind]}", path, flags=libc.MS_BIND)
    return found


def _meeting_place(run: OciRun, root: Root) -> str:
    needed = (run.folder, root.stage, os.path.realpath(run.command[0]))
    for place in _MEETING:
        if os.path.isdir(place) and not any(path.startswith(f"{place}/") for path in needed):
            return place
    raise KernelError(f"show a container to its runtime: there is none of the folders {', '.join(_MEETING)}")


def _show_own_kernel() -> None:
    """Shows /proc and the cgroup of this process as the runtime is to know them. Raises KernelError."""
    hardened = libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC
    libc.mount("proc", "/proc", "proc", hardened)
    # Over a tmpfs, as what is mounted somewhere isn't mounted there once more (EBUSY).
    libc.mount("tmpfs", mounts.CGROUPS, "tmpfs", hardened, "size=4k")
    libc.mount("cgroup2", mounts.CGROUPS, "cgroup2", hardened)
    mounts.restrict(mounts.CGROUPS, read_only=True)


def _open_inside(laid: build.Laid, path: str) -> int:
    """A file as the container will see it. Raises OSError."""
    for source, target, _ in reversed(laid.binds):
        if path == target:
            return os.open(source, HARMLESS)
        if path.startswith(f"{target.rstrip('/')}/"):
            return _open_below(source, path.removeprefix(target))
    return _open_below(laid.top, path)


def _open_below(folder: str, path: str) -> int:
    opened = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return libc.open_below(opened, path, HARMLESS, libc.RESOLVE_IN_ROOT)
    finally:
        os.close(opened)
