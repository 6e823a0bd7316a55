"""Dummy devices."""

from __future__ import annotations

from collections.abc import Callable

from emulab.dataclass import dataclass
from emulab.plan.links.item import Link


@dataclass(frozen=True, slots=True)
class Dummy(Link):
    """A device that only holds addresses. They are local to the namespace although it isn't `up`."""

    namespace: str
    name: str
    mac: str
    up: bool = False

    word = "dummy"

    def line(self, name: Callable[[str], str]) -> str:
        return f"dummy {self.name} mac {self.mac}{' up' if self.up else ''}"
