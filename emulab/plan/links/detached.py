"""Ports that are taken out of their bridge."""

from __future__ import annotations

from collections.abc import Callable

from emulab.dataclass import dataclass
from emulab.plan.links.item import End, Item


@dataclass(frozen=True, slots=True)
class Detached(Item):
    """A link that is no port of its bridge for the time being, because something stands between the two.

    Undoing it makes the link a port of `bridge` again.
    """

    namespace: str
    link: str
    bridge: str

    word = "detached"

    def on(self) -> tuple[End, ...]:
        return ((self.namespace, self.link),)

    def slots(self) -> tuple[tuple[object, ...], ...]:
        return (("detached", self.namespace, self.link),)

    def reading_order(self) -> tuple[object, ...]:
        return (self.link,)

    def title(self) -> str:
        return f"{self.link} apart from {self.bridge}"

    def line(self, name: Callable[[str], str]) -> str:
        return f"link {self.link} nomaster"
