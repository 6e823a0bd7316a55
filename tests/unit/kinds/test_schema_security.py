"""What `securityContext` may say: refused as the API server refuses it."""

from __future__ import annotations

from typing import Any

import pytest
from manifest_texts import POD, accepted, described, patched, refused

from emulab.kinds.core import safesysctls

OWN = "containers.0.securityContext"


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (
            "securityContext",
            {"runAsUser": -1},
            "securityContext.runAsUser: -1 is not a number (0-2147483647)",
        ),
        ("securityContext", {"fsGroup": 1 << 31}, "fsGroup: 2147483648 is not a number (0-2147483647)"),
        ("securityContext", {"supplementalGroupsPolicy": "x"}, 'Policy: "x" is not one of Merge, Strict'),
        ("securityContext", {"seccompProfile": {}}, "seccompProfile.type: is required"),
        (OWN, {"seccompProfile": {"type": "Localhost"}}, "must be set when seccomp type is Localhost"),
        (
            OWN,
            {"seccompProfile": {"type": "Unconfined", "localhostProfile": "a"}},
            "can only be set when seccomp type is Localhost",
        ),
        (
            OWN,
            {"privileged": True, "allowPrivilegeEscalation": False},
            "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
        ),
        (OWN, {"procMount": "Unmasked"}, "`hostUsers` must be false to use `Unmasked`"),
        (OWN, {"runasuser": 1}, "runasuser"),
        ("shareProcessNamespace+hostPID", True, "ShareProcessNamespace and HostPID cannot both be enabled"),
        ("hostNetwork+hostUsers", (True, False), "may not be set when `pod.Spec.HostUsers` is false"),
        (
            "securityContext",
            {"sysctls": [{"name": "a b", "value": "1"}]},
            '"a b" is not the name of a sysctl',
        ),
    ],
)
def test_refused(path: str, value: Any, problem: str) -> None:
    spec = POD
    fields = path.split("+")
    for field, one in zip(fields, value if isinstance(value, tuple) else [value] * len(fields), strict=True):
        spec = patched(spec, field, one)
    assert any(problem in line for line in refused(described("Pod", spec))), refused(described("Pod", spec))


def test_accepted() -> None:
    spec = patched(patched(POD, OWN, {"procMount": "Unmasked", "privileged": True}), "hostUsers", False)
    accepted(described("Pod", spec))


@pytest.mark.parametrize(
    ("names", "host_network", "why"),
    [
        (["net.ipv4.tcp_rmem", "kernel.shm_rmid_forced"], False, ""),
        (["kernel/shm_rmid_forced"], False, ""),
        (["kernel.msgmax"], False, 'forbidden sysctl: "kernel.msgmax" not allowlisted'),
        (
            ["net.ipv4.tcp_rmem"],
            True,
            'forbidden sysctl: "net.ipv4.tcp_rmem" not allowed with host net enabled',
        ),
    ],
)
def test_settings_that_a_pod_may_have(names: list[str], host_network: bool, why: str) -> None:
    sysctls = [{"name": name, "value": "1"} for name in names]
    assert (
        safesysctls.forbidden({"securityContext": {"sysctls": sysctls}, "hostNetwork": host_network}) == why
    )
