"""VXLAN devices without ends and number of their own: each packet says them, by its route (`RouteTunnel`)."""

from __future__ import annotations

from collections.abc import Callable

from emulab.dataclass import dataclass
from emulab.plan.links.item import Link


@dataclass(frozen=True, slots=True)
class TunnelVxlan(Link):
    """`ip link add NAME type vxlan external dstport PORT`."""

    namespace: str
    name: str
    mac: str
    mtu: int
    port: int

    word = "vxlan"

    def line(self, name: Callable[[str], str]) -> str:
        return f"vxlan {self.name} mac {self.mac} mtu {self.mtu} external port {self.port}"
