"""Links on which every question for an address is answered."""

from __future__ import annotations

from collections.abc import Callable

from emulab.dataclass import dataclass
from emulab.plan.links.item import End, Item


@dataclass(frozen=True, slots=True)
class ProxyArp(Item):
    """A link on which the kernel answers, at once, that it has whatever address it knows another way to.

    IPv4's; in IPv6 the router has an address of its own there.
    """

    namespace: str
    link: str

    word = "proxy-arp"

    def on(self) -> tuple[End, ...]:
        return ((self.namespace, self.link),)

    def slots(self) -> tuple[tuple[object, ...], ...]:
        return (("proxy-arp", self.namespace, self.link),)

    def reading_order(self) -> tuple[object, ...]:
        return (self.link,)

    def title(self) -> str:
        return f"proxy ARP on {self.link}"

    def line(self, name: Callable[[str], str]) -> str:
        return f"link {self.link} proxy_arp 1 proxy_delay 0"
