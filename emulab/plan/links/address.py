"""Addresses of links."""

from __future__ import annotations

from collections.abc import Callable

from emulab.dataclass import dataclass
from emulab.model.addresses import IPInterface
from emulab.plan.links.item import End, Item


@dataclass(frozen=True, slots=True)
class Address(Item):
    """An address. `routed`: whether the kernel makes a route to the rest of its network, as it does by itself."""

    namespace: str
    link: str
    address: IPInterface
    routed: bool = True

    word = "address"

    def on(self) -> tuple[End, ...]:
        return ((self.namespace, self.link),)

    def slots(self) -> tuple[tuple[object, ...], ...]:
        return (("address", self.namespace, self.link, self.address),)

    def reading_order(self) -> tuple[object, ...]:
        return (self.link, self.address.version, int(self.address), str(self.address))

    def title(self) -> str:
        return f"address {self.address} on {self.link}"

    def line(self, name: Callable[[str], str]) -> str:
        return f"address {self.address} dev {self.link}{'' if self.routed else ' noprefixroute'}"
