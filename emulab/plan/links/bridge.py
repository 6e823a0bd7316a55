"""Bridges."""

from __future__ import annotations

from collections.abc import Callable

from emulab.dataclass import dataclass
from emulab.plan.links.item import Link


@dataclass(frozen=True, slots=True)
class Bridge(Link):
    """A Linux bridge without spanning tree. `mac` is fixed, else it would change with its ports."""

    namespace: str
    name: str
    mac: str
    mtu: int

    word = "bridge"

    def line(self, name: Callable[[str], str]) -> str:
        return f"bridge {self.name} mac {self.mac} mtu {self.mtu}"
