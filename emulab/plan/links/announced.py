"""A link whose addresses are told to its neighbours once they are there."""

from __future__ import annotations

from collections.abc import Callable

from emulab.dataclass import dataclass
from emulab.plan.links.item import End, Item


@dataclass(frozen=True, slots=True)
class AnnouncedLink(Item):
    """A link of which the neighbours hear that its addresses are at its MAC address.

    They know better where these moved by VRRP before, and would else ask there for some ten seconds.
    """

    namespace: str
    link: str
    mac: str

    word = "announced"

    def on(self) -> tuple[End, ...]:
        return ((self.namespace, self.link),)

    def slots(self) -> tuple[tuple[object, ...], ...]:
        return (("announced", self.namespace, self.link),)

    def reading_order(self) -> tuple[object, ...]:
        return (self.link,)

    def title(self) -> str:
        return f"announcement of {self.link}"

    def line(self, name: Callable[[str], str]) -> str:
        return f"link {self.link} arp_notify 1 address {self.mac}"
