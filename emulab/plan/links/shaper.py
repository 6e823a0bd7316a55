"""Links that send no more than so much a second."""

from __future__ import annotations

from collections.abc import Callable

from emulab.dataclass import dataclass
from emulab.plan.links.item import End, Item

_QUEUE = 0.05  # seconds for which a packet waits at the most before it is dropped instead


@dataclass(frozen=True, slots=True)
class Shaper(Item):
    """A link that sends `rate` bits a second, frames of up to `mtu` and their head; more waits, and then is lost."""

    namespace: str
    link: str
    rate: int
    mtu: int

    word = "shaper"

    def on(self) -> tuple[End, ...]:
        return ((self.namespace, self.link),)

    def slots(self) -> tuple[tuple[object, ...], ...]:
        return (("qdisc", self.namespace, self.link),)

    def reading_order(self) -> tuple[object, ...]:
        return (self.link,)

    def title(self) -> str:
        return f"shaper on {self.link}"

    def line(self, name: Callable[[str], str]) -> str:
        return f"shaper {self.link} rate {self.rate}bit burst {self.burst} limit {self.limit}"

    @property
    def burst(self) -> int:
        """Bytes that go at once: a frame at the least, and what a timer's tick of a millisecond would let through."""
        return max(self.mtu + 14, self.rate // 8000)

    @property
    def limit(self) -> int:
        """Bytes that wait."""
        return max(10 * (self.mtu + 14), round(self.rate / 8 * _QUEUE)) + self.burst
