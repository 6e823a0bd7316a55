"""Ports of Pods by their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def container_port(spec: Mapping[str, Any], name: str, protocol: str) -> int:
    """The container port of that name and protocol, restartable init containers included (KEP-753); 0 without one."""
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in [*(spec.get("containers") or ()), *sidecars]:
        for port in container.get("ports") or ():
            if port.get("name") == name and (port.get("protocol") or "TCP") == protocol:
                return int(port["containerPort"])
    return 0
