"""What a container's root is mounted of: layers, devices, /proc and /sys.

It all happens in a mount namespace of the container's own, before the program begins. In a lab of an ordinary user the
mounts that come with the namespace are locked: they can't be looked below, and nothing that they forbid can be allowed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from emulab.errors import KernelError
from emulab.kernel import libc
from emulab.kernel.containers.places import in_user_namespace, mount_points

_HARDENED = libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC
_DEVICES = ("full", "null", "random", "tty", "urandom", "zero")
_LINKS = {
    "core": "/proc/kcore",
    "fd": "/proc/self/fd",
    "ptmx": "pts/ptmx",
    "stderr": "/proc/self/fd/2",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
}
MASKED = (
    "acpi",
    "asound",
    "kcore",
    "keys",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
)
MASKED_OF_SYS = ("firmware", "devices/virtual/powercap")
READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
"""Of /proc and /sys: containerd's `MaskedPaths` and `ReadonlyPaths` (pkg/oci/spec.go)."""

_TERMINALS = 256
"""Of a container: the machine has some thousands for all that runs on it (kernel.pty.max)."""
CGROUPS = "/sys/fs/cgroup"
_ATTRIBUTES = {"read_only": 0x1, "no_devices": 0x4}


def overlay(target: str, lowers: Sequence[str], upper: str, work: str) -> None:
    """Mounts layers, the top one first, with a writable one above them. No device works in it. Raises KernelError."""
    layers = ":".join(_escaped(lower) for lower in lowers)
    options = f"lowerdir={layers},upperdir={_escaped(upper)},workdir={_escaped(work)}"
    if in_user_namespace():
        options += ",userxattr"
    libc.mount("overlay", target, "overlay", libc.MS_NODEV, options)


def _escaped(path: str) -> str:
    return "".join(f"\\{c}" if c in "\\,:" else c for c in path)


def attributes(*, read_only: bool = False, no_devices: bool = False) -> int:
    """What mount_setattr(2) calls that."""
    return read_only * _ATTRIBUTES["read_only"] | no_devices * _ATTRIBUTES["no_devices"]


def restrict(target: str, *, read_only: bool = False, no_devices: bool = False, below: bool = False) -> None:
    """Forbids writing to a mount, or its devices, and those `below` it too (mount_setattr(2)). Raises KernelError."""
    libc.set_mount_attributes(target, attributes(read_only=read_only, no_devices=no_devices), below)


def forbidden(path: str) -> Sequence[str]:
    """What the mount forbids on which a file lies, as options of mount(8). Raises OSError."""
    flags = os.statvfs(path).f_flag
    names = {"ro": os.ST_RDONLY, "nosuid": os.ST_NOSUID, "nodev": os.ST_NODEV, "noexec": os.ST_NOEXEC}
    return [name for name, flag in names.items() if flags & flag]


def bind_in_place(path: str) -> None:
    """Makes a folder or file a mount of its own, which can be restricted. Raises KernelError."""
    libc.mount(path, path, flags=libc.MS_BIND)


def devices(top: str, shared_memory: str, owner: int) -> None:
    """Makes /dev, which is that user's, of the nodes that a runtime gives, each the host's. Raises KernelError."""
    dev = own_folder(top, "dev")
    libc.mount(
        "tmpfs",
        dev,
        "tmpfs",
        libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC,
        f"mode=755,size=65536k,uid={owner},gid={owner}",
    )
    for name in _DEVICES:
        if os.path.exists(f"/dev/{name}"):
            empty_file(f"{dev}/{name}")
            libc.mount(f"/dev/{name}", f"{dev}/{name}", flags=libc.MS_BIND)
            restrict(
                f"{dev}/{name}", read_only=True
            )  # its owner and mode, which are the host's, not the device
    for name, aim in _LINKS.items():
        os.symlink(aim, f"{dev}/{name}")
    for name in ("mqueue", "pts", "shm"):
        os.mkdir(f"{dev}/{name}")
    group = "" if in_user_namespace() else ",gid=5"
    flags = libc.MS_NOSUID | libc.MS_NOEXEC
    options = f"newinstance,ptmxmode=0666,mode=0620,max={_TERMINALS}{group}"
    libc.mount("devpts", f"{dev}/pts", "devpts", flags, options)
    with suppress(KernelError):  # a kernel without POSIX message queues
        libc.mount("mqueue", f"{dev}/mqueue", "mqueue", _HARDENED)
    if shared_memory:
        libc.mount(shared_memory, f"{dev}/shm", flags=libc.MS_BIND)
    else:
        libc.mount("tmpfs", f"{dev}/shm", "tmpfs", _HARDENED, "mode=1777,size=65536k")


def mounts_proc(at: str) -> bool:
    """Whether a /proc of one's own is to be had, tried at an empty folder. Blocks."""
    try:
        libc.mount("proc", at, "proc", _HARDENED)
    except KernelError:
        return False
    libc.unmount(at, libc.MNT_DETACH)
    return True


def proc(
    top: str, sysctls: Mapping[str, str], unmasked: bool, empty: str, network_settings: bool = False
) -> None:
    """Mounts the /proc of this process's PID namespace, and sets what is the container's own of the kernel's settings.

    It stays empty where the kernel refuses it: in a user namespace in a container whose own /proc is masked. `empty` is
    a folder with nothing in it. With `network_settings` those of the network can be written. Raises KernelError, and
    OSError when a setting can't be made.
    """
    here = own_folder(top, "proc")
    try:
        libc.mount("proc", here, "proc", _HARDENED)
    except KernelError:
        return
    set_all(here, sysctls)
    if unmasked:
        return
    _cover((f"{here}/{name}" for name in MASKED), empty)
    for name in READ_ONLY:
        path = f"{here}/{name}"
        if os.path.exists(path):
            bind_in_place(path)
            if name == "sys" and network_settings:
                bind_in_place(
                    f"{path}/net"
                )  # a mount of its own, which isn't restricted with the one above it
            restrict(path, read_only=True)


def set_all(proc: str, sysctls: Mapping[str, str]) -> None:
    """Sets the kernel's settings by way of a /proc. Raises OSError."""
    for name, value in sysctls.items():
        with open(f"{proc}/sys/{name.replace('.', '/')}", "w") as setting:
            setting.write(value)


def sys(top: str, unmasked: bool, empty: str) -> None:
    """Mounts /sys, read-only, with the interfaces of this process's network; it is empty where the kernel refuses."""
    here = own_folder(top, "sys")
    with suppress(KernelError):
        libc.mount("sysfs", here, "sysfs", _HARDENED | libc.MS_RDONLY)
        if not unmasked:
            _cover((f"{here}/{name}" for name in MASKED_OF_SYS), empty)


def own_folder(top: str, name: str) -> str:
    """A folder of the root's on which something is mounted. Raises KernelError when the image has a link there."""
    path = f"{top}/{name}"
    if os.path.islink(path):
        raise KernelError(f"mount /{name}: the image has a link in its place")
    os.makedirs(path, exist_ok=True)
    return path


def cgroups(top: str) -> None:
    """Shows the container's own cgroup below /sys, read-only, in the way in which the machine has it.

    It is that of the cgroup namespace that this process is in. Nothing is there where the kernel refuses it.
    """
    here, flags = f"{top}{CGROUPS}", _HARDENED | libc.MS_RDONLY
    there = {path: mount for path, mount in mount_points().items() if mount.kind in ("cgroup", "cgroup2")}
    if not there or not os.path.isdir(here):
        return
    with suppress(KernelError):
        if CGROUPS in there:
            libc.mount("cgroup", here, there[CGROUPS].kind, flags)
            return
        libc.mount("tmpfs", here, "tmpfs", _HARDENED, "mode=755,size=64k")
        for path, mount in there.items():
            name = path.removeprefix(f"{CGROUPS}/")
            if path.startswith(CGROUPS) and "/" not in name:
                os.mkdir(f"{here}/{name}")
                options = [o for o in mount.options.split(",") if o not in ("rw", "ro")]
                with suppress(KernelError):
                    libc.mount("cgroup", f"{here}/{name}", mount.kind, flags, ",".join(options))
        restrict(here, read_only=True)


def _cover(paths: Iterable[str], empty: str) -> None:
    for path in paths:
        if os.path.isdir(path):
            hide(path, empty)
        elif os.path.exists(path):
            libc.mount("/dev/null", path, flags=libc.MS_BIND)
            restrict(path, read_only=True)


def hide(path: str, empty: str) -> None:
    """Covers a folder with an empty one that can't be written to. Raises KernelError."""
    libc.mount(empty, path, flags=libc.MS_BIND)
    restrict(path, read_only=True)


def empty_file(path: str) -> None:
    """Makes a file on which something can be mounted. Raises OSError."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
