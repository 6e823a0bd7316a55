"""A target is well that takes connections."""

from __future__ import annotations

import socket

from emulab.servers.health.config import HealthPolicy
from emulab.servers.health.state import CheckResult


async def check(sock: socket.socket, address: str, policy: HealthPolicy) -> CheckResult:
    """Nothing more is asked over the connection."""
    return CheckResult(True, "L4OK")
