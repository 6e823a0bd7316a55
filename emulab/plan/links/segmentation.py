"""Links that send no packets that are to be cut up later."""

from __future__ import annotations

from collections.abc import Callable

from emulab.dataclass import dataclass
from emulab.plan.links.item import End, Item


@dataclass(frozen=True, slots=True)
class Segmentation(Item):
    """A link that cuts large packets (GSO) into those that a real wire would carry, before it sends them.

    Virtual links hand them on whole, so that whoever judges packets by their size would see larger ones than there are.
    """

    namespace: str
    link: str

    word = "segmentation"

    def on(self) -> tuple[End, ...]:
        return ((self.namespace, self.link),)

    def slots(self) -> tuple[tuple[object, ...], ...]:
        return (("segmentation", self.namespace, self.link),)

    def reading_order(self) -> tuple[object, ...]:
        return (self.link,)

    def title(self) -> str:
        return f"segmentation on {self.link}"

    def line(self, name: Callable[[str], str]) -> str:
        return f"link {self.link} gso_max_segs 1"
