"""What the containers of a pod may do, and what of their manifest they don't get here. Pure.

A lab's containers run on somebody's machine, so what would give a container that machine is withheld, whatever its
manifest says: the capabilities that reach beyond namespaces, and with them most of what `privileged` means.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from emulab.errors import UserError
from emulab.kernel.containers.confine import DIGITS
from emulab.kernel.containers.rights import CAPABILITIES, DEFAULT_CAPABILITIES, Rights
from emulab.kinds.core.podspec import Container, PodSpec

WITHHELD = frozenset(
    (
        *("AUDIT_CONTROL", "AUDIT_READ", "BLOCK_SUSPEND", "BPF", "CHECKPOINT_RESTORE", "DAC_READ_SEARCH"),
        *(
            "MAC_ADMIN",
            "MAC_OVERRIDE",
            "PERFMON",
            "SYS_ADMIN",
            "SYS_BOOT",
            "SYS_MODULE",
            "SYS_PACCT",
            "SYS_PTRACE",
        ),
        *("SYS_RAWIO", "SYS_TIME", "SYS_TTY_CONFIG", "SYSLOG", "WAKE_ALARM"),
    )
)
"""Capabilities that concern the whole machine, or let a container into what prepares another program in it."""


class NotConfigured(UserError):
    """The kubelet doesn't start a container like that: CreateContainerConfigError."""


def rights_of(
    container: Container, spec: PodSpec, one_user: bool, user: str = "", own_users: bool = False
) -> Rights:
    """`one_user`: the lab is an ordinary user's, and has no user but that. `user`: the image's, "" for root.
    `own_users`: the pod has a user namespace of its own.
    """
    asked = container.security
    who = user if asked.user is None else str(asked.user)
    security = spec.security
    groups = (*security.groups, *(() if security.fs_group is None else (security.fs_group,)))
    return Rights(
        user="0" if one_user else who or "0",
        gid=0 if one_user else asked.group,
        groups=None if one_user else groups,
        merges_groups=security.merges_groups,
        capabilities=_capabilities(container),
        no_new_privileges=not asked.escalates and not asked.privileged,
        seccomp="unconfined" if asked.seccomp == "Unconfined" else "default",
        makes_users=own_users,
    )


def _capabilities(container: Container) -> tuple[str, ...]:
    """pkg/securitycontext, and containerd's: `ALL` first, then single ones."""
    asked = container.security
    if asked.privileged:
        return tuple(name for name in CAPABILITIES if name not in WITHHELD)
    found = dict.fromkeys(DEFAULT_CAPABILITIES)
    if "ALL" in asked.added:
        found = dict.fromkeys(CAPABILITIES)
    if "ALL" in asked.dropped:
        found = {}
    found |= dict.fromkeys(name for name in asked.added if name in CAPABILITIES)
    for name in asked.dropped:
        found.pop(name, None)
    return tuple(name for name in found if name not in WITHHELD)


def check(container: Container, pod: str, user: str = "") -> None:
    """Raises NotConfigured where it mustn't run as root and would: pkg/kubelet/kuberuntime/security_context.go.

    `pod`: its name in messages, as the kubelet's `format.Pod` has it. `user`: the image's.
    """
    asked = container.security
    if not asked.non_root:
        return
    about = f'(pod: "{pod}", container: {container.name})'
    if asked.user is not None:
        if asked.user == 0:
            raise NotConfigured(f"container's runAsUser breaks non-root policy {about}")
        return
    name = user.partition(":")[0] or "0"
    if not name.isdecimal():
        why = f"container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root"
        raise NotConfigured(f"{why} {about}")
    if len(name) <= DIGITS and int(name) == 0:  # of more digits it is refused as no number of a user
        raise NotConfigured(f"container has runAsNonRoot and image will run as root {about}")


class Machine(NamedTuple):
    """What the machine lets a lab give its containers."""

    one_user: bool  # the lab is an ordinary user's
    filters: bool  # system calls can be filtered
    has_proc: bool
    permitted: int  # the capabilities that the lab has itself, as a bit mask


def shortfalls(
    container: Container, spec: PodSpec, machine: Machine, own_users: bool = False, user: str = ""
) -> Sequence[str]:
    """What its manifest asks for and it doesn't get, each as a sentence without its dot.

    `own_users`: its pod has a user namespace of its own. `user`: its image's.
    """
    asked = container.security
    found = []
    if asked.privileged:
        found.append(
            "privileged gives all capabilities but those that reach the machine, and none of its devices"
        )
    withheld = [name for name in asked.added if name in WITHHELD]
    if withheld:
        found.append(f"{_listed(withheld)} would reach beyond the lab and is withheld")
    unknown = [name for name in asked.added if name != "ALL" and name not in CAPABILITIES]
    if unknown:
        found.append(f"{_listed(unknown)} is no capability")
    lacking = [
        n for n in asked.added if n not in WITHHELD and not machine.permitted >> CAPABILITIES.get(n, 0) & 1
    ]
    networking = [name for name in ("NET_ADMIN", "NET_RAW") if name in asked.added]
    if networking and own_users:
        found.append(
            f"{_listed(networking)} has no effect with hostUsers: false, as the pod's network is the lab's"
        )
    if lacking and "ALL" not in asked.added:
        found.append(f"emulab doesn't have {_listed(lacking)} on this machine itself")
    if machine.one_user:
        found += _of_one_user(container, spec, user)
    if asked.seccomp == "Localhost":
        found.append(
            f"there is no seccomp profile {asked.seccomp_file}, the runtime's default takes its place"
        )
    if asked.seccomp == "Unconfined" and machine.filters and not own_users:
        found.append(
            "seccompProfile Unconfined allows all system calls but those that reach beyond the lab: user namespaces "
            "(which hostUsers: false allows), keys of the kernel, AF_VSOCK"
        )
    if not machine.filters:
        found.append("its system calls aren't filtered: install libseccomp2")
    if not machine.has_proc:
        found.append("its /proc is empty, as the kernel gives none where /proc is masked: see emulab doctor")
    return found


def _of_one_user(container: Container, spec: PodSpec, user: str) -> Sequence[str]:
    asked, found = container.security, []
    if user.partition(":")[0] not in ("", "0", "root") and asked.user is None:
        found.append(f"a lab of an ordinary user has one user, so the image's USER {user} isn't followed")
    if spec.security.own_users:
        found.append(
            "a lab of an ordinary user has one user, so its pods share that: hostUsers isn't followed"
        )
    if asked.user or asked.group:
        found.append(
            "a lab of an ordinary user has one user and group, so runAsUser and runAsGroup aren't followed"
        )
    if spec.security.groups or spec.security.fs_group is not None:
        found.append(
            "a lab of an ordinary user has one group, so supplementalGroups and fsGroup aren't followed"
        )
    return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"CAP_{name}" for name in names)
