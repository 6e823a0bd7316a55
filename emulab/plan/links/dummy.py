"""Dummy devices."""

from __future__ import annotations

from collections.abc import Callable

from emulab.dataclass import dataclass
from emulab.plan.links.item import Link


@dataclass(frozen=True, slots=True)
class Dummy(Link):
    """A device that is never brought up: it only holds addresses, which are local to the namespace all the same."""

    namespace: str
    name: str
    mac: str

    word = "dummy"

    def line(self, name: Callable[[str], str]) -> str:
        return f"dummy {self.name} mac {self.mac}"
