"""What a container's programs may do. Values alone; `confine` takes the rest away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from emulab.dataclass import dataclass

_NAMES = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
CAPABILITIES: Mapping[str, int] = {name: number for number, name in enumerate(_NAMES.split())}
"""By their names without CAP_, their numbers (linux/capability.h)."""

_DEFAULT = """
CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL
AUDIT_WRITE
"""
DEFAULT_CAPABILITIES = tuple(_DEFAULT.split())
"""Those that containerd gives a container whose manifest asks for nothing."""


@dataclass(frozen=True, slots=True)
class Rights:
    """The identity of a container's programs, and what they may ask of the kernel.

    `user` is what an image may say: a name or number of the container's own /etc/passwd, and `:GROUP` behind it; `gid`
    outranks that group, and without either it is the user's. `groups` are supplementary ones, None where nobody may set
    any (a lab of an ordinary user); with `merges_groups` the user has those of /etc/group beside them. `seccomp` is
    `default`, `unconfined`, which refuses what reaches beyond namespaces alone, or `none`; `makes_users`: an unconfined
    program may make user namespaces.
    """

    user: str = "0"
    gid: int | None = None
    groups: Sequence[int] | None = ()
    merges_groups: bool = True
    capabilities: Sequence[str] = DEFAULT_CAPABILITIES
    no_new_privileges: bool = False
    seccomp: str = "default"
    makes_users: bool = False
