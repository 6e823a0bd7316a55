"""What `securityContext` may say, of a Pod and of a container: pkg/apis/core/validation."""

from __future__ import annotations

from typing import Any

from emulab.kinds.openapi.typed import typed
from emulab.model.checks import Problems, integer, one_of, pattern, sequence, string, unique, wrong
from emulab.model.paths import FieldPath

_MOST = (1 << 31) - 1
_user = integer(0, _MOST)
_SYSCTL = r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9][-_a-z0-9./]*"


def _profile_fits(profile: dict[str, Any]) -> Problems:
    if profile["type"] == "Localhost":
        given = profile.get("localhostProfile") or ""
        if not given:
            return wrong("must be set when seccomp type is Localhost", "localhostProfile")
        if given.startswith("/") or ".." in given.split("/"):
            return wrong("must be a relative path, and may not have '..' in it", "localhostProfile")
        return ()
    if "localhostProfile" in profile:
        return wrong("can only be set when seccomp type is Localhost", "localhostProfile")
    return ()


_seccomp = typed(
    "core.v1.SeccompProfile",
    {"type": one_of("Localhost", "RuntimeDefault", "Unconfined")},
    rules=(_profile_fits,),
)


def _escalation_fits(context: dict[str, Any]) -> Problems:
    if context.get("allowPrivilegeEscalation") is not False:
        return ()
    if context.get("privileged"):
        what = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
        return wrong(what, "allowPrivilegeEscalation")
    if "CAP_SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
        what = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
        return wrong(what, "allowPrivilegeEscalation")
    return ()


container_security = typed(
    "core.v1.SecurityContext",
    {
        "runAsUser": _user,
        "runAsGroup": _user,
        "seccompProfile": _seccomp,
        "procMount": one_of("Default", "Unmasked"),
    },
    rules=(_escalation_fits,),
)

pod_security = typed(
    "core.v1.PodSecurityContext",
    {
        "runAsUser": _user,
        "runAsGroup": _user,
        "fsGroup": _user,
        "supplementalGroups": sequence(_user),
        "supplementalGroupsPolicy": one_of("Merge", "Strict"),
        "fsGroupChangePolicy": one_of("OnRootMismatch", "Always"),
        "seccompProfile": _seccomp,
        "sysctls": sequence(
            typed("core.v1.Sysctl", {"name": pattern(_SYSCTL, "the name of a sysctl"), "value": string}),
            rules=(unique("name"),),
        ),
    },
)


def namespaces_fit(spec: dict[str, Any]) -> Problems:
    """Of a Pod's `spec`: which of the host's namespaces it may ask for beside others."""
    found: list[tuple[FieldPath, str]] = []
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        found += wrong("ShareProcessNamespace and HostPID cannot both be enabled", "shareProcessNamespace")
    if spec.get("hostUsers") is False:
        for field in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(field):
                found += wrong("may not be set when `pod.Spec.HostUsers` is false", field)
        return found
    for field in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(field) or ()):
            if (container.get("securityContext") or {}).get("procMount") == "Unmasked":
                what = "`hostUsers` must be false to use `Unmasked`"
                found += wrong(what, field, index, "securityContext", "procMount")
    return found
