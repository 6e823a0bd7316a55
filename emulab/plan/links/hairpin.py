"""Ports of bridges that send frames back where they came from."""

from __future__ import annotations

from collections.abc import Callable

from emulab.dataclass import dataclass
from emulab.plan.links.item import End, Item


@dataclass(frozen=True, slots=True)
class Hairpin(Item):
    """A bridge's port that a frame may leave by which came in by it: a pod reaches itself by its Service's address."""

    namespace: str
    link: str

    word = "hairpin"

    def on(self) -> tuple[End, ...]:
        return ((self.namespace, self.link),)

    def slots(self) -> tuple[tuple[object, ...], ...]:
        return (("hairpin", self.namespace, self.link),)

    def reading_order(self) -> tuple[object, ...]:
        return (self.link,)

    def title(self) -> str:
        return f"hairpin mode of {self.link}"

    def line(self, name: Callable[[str], str]) -> str:
        return f"link {self.link} hairpin on"
