"""Links that send real checksums."""

from __future__ import annotations

from collections.abc import Callable

from emulab.dataclass import dataclass
from emulab.plan.links.item import End, Item


@dataclass(frozen=True, slots=True)
class Checksums(Item):
    """A link that works checksums out before it sends, as it has no offload for them.

    Virtual links leave them open, as memory doesn't change what it carries: whoever gets such a packet takes it as
    right, whatever has become of it. It goes with its link and not before.
    """

    namespace: str
    link: str

    word = "checksums"

    def on(self) -> tuple[End, ...]:
        return ((self.namespace, self.link),)

    def slots(self) -> tuple[tuple[object, ...], ...]:
        return (("checksums", self.namespace, self.link),)

    def reading_order(self) -> tuple[object, ...]:
        return (self.link,)

    def title(self) -> str:
        return f"checksums on {self.link}"

    def line(self, name: Callable[[str], str]) -> str:
        return f"link {self.link} tx-checksumming off"
