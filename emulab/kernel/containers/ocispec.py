"""A container as an OCI runtime is told of it: config.json of the runtime specification 1.0. Pure.

What a runtime mounts is what containerd has it mount, but for what of the root is there already (`bundle`).
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from emulab.dataclass import dataclass, field
from emulab.kernel.containers import mounts, syscalls
from emulab.kernel.containers.build import LaidBind
from emulab.kernel.containers.confine import Credentials
from emulab.kernel.containers.rights import CAPABILITIES, Rights
from emulab.kernel.containers.root import MAPPED_USERS

VERSION = "1.0.2"
_KINDS = {"pid": "pid", "net": "network", "ipc": "ipc", "uts": "uts", "cgroup": "cgroup", "users": "user"}
"""Kinds of namespaces by our words for them."""
_FRESH = ("pid", "cgroup")
"""Those that a container has of its own, unless it joins one."""
_ARCHITECTURES = {
    "x86_64": ("X86_64", "X86", "X32"),
    "aarch64": ("AARCH64", "ARM"),
    "ppc64le": ("PPC64LE",),
    "riscv64": ("RISCV64",),
    "s390x": ("S390X", "S390"),
}


@dataclass(frozen=True, slots=True)
class OciContainer:
    """`root` is the folder of its root, `namespaces` those that it joins, by kind; others are the runtime's.

    `permitted`: the capabilities that can be given at all, as a bit mask. `machine`: as uname(2) calls it.
    `first_user`: the host's number of the root of its own users, 0 without such.
    """

    argv: Sequence[str]
    environment: Mapping[str, str]
    working_directory: str
    rights: Rights
    identity: Credentials
    root: str
    machine: str
    read_only: bool = False
    unmasked: bool = False
    namespaces: Mapping[str, str] = field(default_factory=dict)
    binds: Sequence[LaidBind] = ()
    permitted: int = (1 << 64) - 1
    first_user: int = 0


def config(container: OciContainer) -> dict[str, Any]:
    """The document that config.json has."""
    process, linux = _process(container), _linux(container)
    return {
        "ociVersion": VERSION,
        "process": process,
        "root": {"path": container.root, "readonly": container.read_only},
        "mounts": [*_mounts(container)],
        "linux": linux,
    }


def _process(container: OciContainer) -> dict[str, Any]:
    rights, identity = container.rights, container.identity
    held = [
        n for n in CAPABILITIES if n in rights.capabilities and container.permitted >> CAPABILITIES[n] & 1
    ]
    names = [f"CAP_{name}" for name in held]
    user: dict[str, Any] = {"uid": identity.uid, "gid": identity.gid}
    if identity.groups:
        user["additionalGids"] = [*identity.groups]
    environment = {"HOME": identity.home, **container.environment}
    return {
        "terminal": False,
        "user": user,
        "args": [*container.argv],
        "env": [f"{name}={value}" for name, value in environment.items()],
        "cwd": container.working_directory or "/",
        "capabilities": {"bounding": names, "effective": names, "permitted": names},
        "noNewPrivileges": rights.no_new_privileges,
    }


def _mounts(container: OciContainer) -> Iterator[dict[str, Any]]:
    yield _mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev")
    for bind in container.binds:  # a runtime mounts again with the options that it is given alone
        yield _mount(bind.target, "bind", bind.source, "rbind", "rprivate", *bind.options)


def _mount(destination: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": [*options]}


def _linux(container: OciContainer) -> dict[str, Any]:
    namespaces: list[dict[str, str]] = [{"type": "mount"}]
    for kind, type in _KINDS.items():
        if kind in container.namespaces:
            namespaces.append({"type": type, "path": container.namespaces[kind]})
        elif kind in _FRESH:
            namespaces.append({"type": type})
    found: dict[str, Any] = {"namespaces": namespaces, "rootfsPropagation": "private"}
    if container.first_user:
        users = [{"containerID": 0, "hostID": container.first_user, "size": MAPPED_USERS}]
        found |= {"uidMappings": users, "gidMappings": users}
    if not container.unmasked:
        found["maskedPaths"] = [f"/proc/{name}" for name in mounts.MASKED]
        found["readonlyPaths"] = [f"/proc/{name}" for name in mounts.READ_ONLY]
    if container.rights.seccomp == "default":
        found["seccomp"] = seccomp(container.rights.capabilities, container.machine)
    elif container.rights.seccomp == "unconfined":
        found["seccomp"] = wide_seccomp(container.rights.makes_users, container.machine)
    return found


def seccomp(capabilities: Sequence[str], machine: str) -> dict[str, Any]:
    """containerd's default profile for a container with these capabilities."""
    rules: list[dict[str, Any]] = [
        {"names": syscalls.allowed(capabilities, machine), "action": "SCMP_ACT_ALLOW"},
    ]
    for condition in syscalls.conditions(capabilities, machine):
        rules.append({"names": [condition.name], "action": "SCMP_ACT_ALLOW", "args": [_compared(condition)]})
    if syscalls.makes_no_namespaces(capabilities):
        rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS})
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": errno.EPERM,
        "architectures": [f"SCMP_ARCH_{name}" for name in _ARCHITECTURES.get(machine, ())],
        "syscalls": rules,
    }


def wide_seccomp(makes_users: bool, machine: str) -> dict[str, Any]:
    """A profile that refuses what reaches beyond namespaces alone."""
    refused = {"action": "SCMP_ACT_ERRNO", "errnoRet": errno.EPERM}
    rules: list[dict[str, Any]] = [{"names": [*syscalls.SHARED], **refused}]
    for condition in syscalls.shared(makes_users, machine):
        rules.append({"names": [condition.name], **refused, "args": [_compared(condition)]})
    if not makes_users:
        rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS})
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": [f"SCMP_ARCH_{name}" for name in _ARCHITECTURES.get(machine, ())],
        "syscalls": rules,
    }


def _compared(condition: syscalls.Condition) -> dict[str, Any]:
    found = {
        "index": condition.argument,
        "value": condition.value,
        "op": f"SCMP_CMP_{condition.operation}",
    }
    return found | ({"valueTwo": condition.masked} if condition.operation == syscalls.MASKED else {})
