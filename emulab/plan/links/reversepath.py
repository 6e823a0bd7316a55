"""Links that take nothing which would be answered over another one."""

from __future__ import annotations

from collections.abc import Callable

from emulab.dataclass import dataclass
from emulab.plan.links.item import End, Item


@dataclass(frozen=True, slots=True)
class ReversePath(Item):
    """A link with a strict reverse path filter: the kernel drops what comes from where it would send over another link.

    IPv4's (RFC 3704, section 2.2); IPv6 has none, but rules for it.
    """

    namespace: str
    link: str

    word = "reverse-path"

    def on(self) -> tuple[End, ...]:
        return ((self.namespace, self.link),)

    def slots(self) -> tuple[tuple[object, ...], ...]:
        return (("reverse-path", self.namespace, self.link),)

    def reading_order(self) -> tuple[object, ...]:
        return (self.link,)

    def title(self) -> str:
        return f"reverse path filter of {self.link}"

    def line(self, name: Callable[[str], str]) -> str:
        return f"link {self.link} rp_filter 1"
