"""Pairs of virtual Ethernet devices."""

from __future__ import annotations

from collections.abc import Callable

from emulab.dataclass import dataclass
from emulab.plan.links.item import End, Link


@dataclass(frozen=True, slots=True)
class Veth(Link):
    """A veth pair, born with both ends named, addressed (MAC) and up. `master` is a bridge of `namespace`.

    `inner`: a node has it of its own accord, and so only once it has its uplink.
    """

    namespace: str
    name: str
    mac: str
    peer_namespace: str
    peer: str
    peer_mac: str
    mtu: int
    master: str = ""
    inner: bool = False

    word = "veth"

    def ends(self) -> tuple[End, ...]:
        return ((self.namespace, self.name), (self.peer_namespace, self.peer))

    def first(self) -> bool:
        return not self.inner

    def joins(self) -> tuple[End, ...]:
        return ((self.namespace, self.master),) if self.master else ()

    def line(self, name: Callable[[str], str]) -> str:
        master = f" master {self.master}" if self.master else ""
        peer = f"{name(self.peer_namespace)}/{self.peer} mac {self.peer_mac}"
        return f"veth {self.name} mac {self.mac} mtu {self.mtu}{master} peer {peer}"
