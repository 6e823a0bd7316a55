"""VXLAN devices."""

from __future__ import annotations

from collections.abc import Callable

from emulab.dataclass import dataclass
from emulab.model.addresses import IPAddress
from emulab.plan.links.item import End, Link


@dataclass(frozen=True, slots=True)
class Vxlan(Link):
    """A VXLAN device (RFC 7348) without learning: peers are known from `ForwardingEntry` items alone."""

    namespace: str
    name: str
    mac: str
    mtu: int
    vni: int
    local: IPAddress
    port: int
    device: str

    word = "vxlan"

    def on(self) -> tuple[End, ...]:
        return ((self.namespace, self.device),)

    def line(self, name: Callable[[str], str]) -> str:
        ends = f"local {self.local} port {self.port} dev {self.device}"
        return f"vxlan {self.name} mac {self.mac} mtu {self.mtu} vni {self.vni} {ends}"
