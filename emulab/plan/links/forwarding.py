"""Forwarding entries of VXLAN devices."""

from __future__ import annotations

from collections.abc import Callable

from emulab.dataclass import dataclass
from emulab.model.addresses import IPAddress
from emulab.plan.links.item import End, Item


@dataclass(frozen=True, slots=True)
class ForwardingEntry(Item):
    """A VXLAN forwarding entry: frames for `mac` go to the VTEP at `destination`."""

    namespace: str
    link: str
    mac: str
    destination: IPAddress

    word = "forwarding"

    def on(self) -> tuple[End, ...]:
        return ((self.namespace, self.link),)

    def slots(self) -> tuple[tuple[object, ...], ...]:
        return (("fdb", self.namespace, self.link, self.mac),)

    def reading_order(self) -> tuple[object, ...]:
        return (self.link, self.mac, str(self.destination))

    def title(self) -> str:
        return f"forwarding entry {self.destination} {self.mac} on {self.link}"

    def line(self, name: Callable[[str], str]) -> str:
        return f"forwarding {self.mac} dev {self.link} to {self.destination}"
