"""Links at which a node's programs translate what is for Services (proxy mode ebpf)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_address

from emulab.dataclass import dataclass
from emulab.model.addresses import IPAddress
from emulab.plan.links.item import End, Item

POD, UPLINK, LOOPBACK = "pod", "uplink", "loopback"
"""What a link is to its node."""
STAND_INS: Mapping[int, IPAddress] = {4: ip_address("169.254.42.1"), 6: ip_address("100::169.254.42.1")}
"""By version, who the node's own requests to Services come from on their way over the node: nobody. That of IPv4 is
Cilium's (ipv4-service-loopback-address), that of IPv6 one that is good for nothing else (RFC 6666)."""


@dataclass(frozen=True, slots=True)
class Translated(Item):
    """A link whose packets meet the programs of its node."""

    namespace: str
    link: str
    role: str  # POD | UPLINK | LOOPBACK

    word = "translated"

    def on(self) -> tuple[End, ...]:
        return ((self.namespace, self.link),)

    def slots(self) -> tuple[tuple[object, ...], ...]:
        return (("clsact", self.namespace, self.link),)

    def reading_order(self) -> tuple[object, ...]:
        return (self.link,)

    def title(self) -> str:
        return f"programs at {self.link}"

    def line(self, name: Callable[[str], str]) -> str:
        return f"bpf {self.link} {self.role}"
