"""Which of the kernel's settings a Pod may have: pkg/kubelet/sysctl, safe_sysctls.go and allowlist.go. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

REASON = "SysctlForbidden"

SAFE = frozenset(
    (
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    )
)
"""Those that are a Pod's own, and leave other Pods alone. A kubelet allows no others unless it is told to."""


def forbidden(spec: Mapping[str, Any]) -> str:
    """Why the kubelet doesn't take a Pod with this `spec`, in its words; "" where it does."""
    given = (spec.get("securityContext") or {}).get("sysctls") or ()
    for name in (entry["name"].replace("/", ".") for entry in given):
        if name not in SAFE:
            return f'forbidden sysctl: "{name}" not allowlisted'
        if spec.get("hostNetwork") and name.startswith("net."):
            return f'forbidden sysctl: "{name}" not allowed with host net enabled'
    return ""
