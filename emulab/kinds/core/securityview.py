"""The typed view of `securityContext`, of a Pod's and a container's together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulab.dataclass import dataclass

UNMASKED = "Unmasked"  # procMount


@dataclass(frozen=True, slots=True)
class PodSecurity:
    """What holds for all containers of a Pod, as its manifest says it; None and empty where it says nothing."""

    groups: tuple[int, ...] = ()  # supplementalGroups
    merges_groups: bool = True  # supplementalGroupsPolicy: those of the image's /etc/group too (KEP-3619)
    fs_group: int | None = None
    sysctls: tuple[tuple[str, str], ...] = ()
    shares_processes: bool = False
    own_users: bool | None = None  # hostUsers: false
    host_pid: bool = False
    host_ipc: bool = False

    @staticmethod
    def of(spec: Mapping[str, Any]) -> PodSecurity:
        """Of a Pod's `spec`, or a template's."""
        given = spec.get("securityContext") or {}
        return PodSecurity(
            groups=tuple(given.get("supplementalGroups") or ()),
            merges_groups=given.get("supplementalGroupsPolicy") != "Strict",
            fs_group=given.get("fsGroup"),
            sysctls=tuple((s["name"], str(s["value"])) for s in given.get("sysctls") or ()),
            shares_processes=bool(spec.get("shareProcessNamespace")),
            host_pid=bool(spec.get("hostPID")),
            host_ipc=bool(spec.get("hostIPC")),
            own_users=None if spec.get("hostUsers") is None else not spec["hostUsers"],
        )


@dataclass(frozen=True, slots=True)
class Security:
    """What holds for one container: its own `securityContext`, and where that is silent, the Pod's."""

    user: int | None = None
    group: int | None = None
    non_root: bool = False
    read_only_root: bool = False
    privileged: bool = False
    escalates: bool = True  # allowPrivilegeEscalation
    added: tuple[str, ...] = ()  # capabilities, without CAP_
    dropped: tuple[str, ...] = ()
    seccomp: str = "RuntimeDefault"
    seccomp_file: str = ""
    unmasked: bool = False

    @staticmethod
    def of(container: Mapping[str, Any], pod: Mapping[str, Any] | None) -> Security:
        """Of an entry of `containers`, in a Pod with this `securityContext`."""
        own, shared = container.get("securityContext") or {}, pod or {}

        def said(field: str) -> Any:
            return shared.get(field) if own.get(field) is None else own[field]

        capabilities = own.get("capabilities") or {}
        profile = said("seccompProfile") or {}
        escalates = own.get("allowPrivilegeEscalation")
        return Security(
            user=said("runAsUser"),
            group=said("runAsGroup"),
            non_root=bool(said("runAsNonRoot")),
            read_only_root=bool(own.get("readOnlyRootFilesystem")),
            privileged=bool(own.get("privileged")),
            escalates=escalates is None or bool(escalates),
            added=_names(capabilities.get("add")),
            dropped=_names(capabilities.get("drop")),
            seccomp=profile.get("type") or "RuntimeDefault",
            seccomp_file=profile.get("localhostProfile") or "",
            unmasked=own.get("procMount") == UNMASKED,
        )


def _names(given: Any) -> tuple[str, ...]:
    """Capabilities as the kernel's header has them, whatever the case and with or without CAP_ (kubelet)."""
    return tuple(str(name).upper().removeprefix("CAP_") for name in given or ())
