"""Permanent neighbours."""

from __future__ import annotations

from collections.abc import Callable

from emulab.dataclass import dataclass
from emulab.model.addresses import IPAddress
from emulab.plan.links.item import End, Item


@dataclass(frozen=True, slots=True)
class Neighbour(Item):
    """A permanent neighbour entry: nobody is asked for it (ARP, NDP)."""

    namespace: str
    link: str
    address: IPAddress
    mac: str

    word = "neighbour"

    def on(self) -> tuple[End, ...]:
        return ((self.namespace, self.link),)

    def slots(self) -> tuple[tuple[object, ...], ...]:
        return (("neighbour", self.namespace, self.link, self.address),)

    def reading_order(self) -> tuple[object, ...]:
        return (self.link, self.address.version, int(self.address), str(self.address))

    def title(self) -> str:
        return f"neighbour {self.address} {self.mac} on {self.link}"

    def line(self, name: Callable[[str], str]) -> str:
        return f"neighbour {self.address} dev {self.link} mac {self.mac}"
