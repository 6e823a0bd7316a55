"""Bridges."""

from __future__ import annotations

from collections.abc import Callable

from emulab.dataclass import dataclass
from emulab.plan.links.item import Link


@dataclass(frozen=True, slots=True)
class Bridge(Link):
    """A Linux bridge without spanning tree. `mac` is fixed, else it would change with its ports.

    `inner`: a node has it of its own accord, and so only once it has its uplink.
    """

    namespace: str
    name: str
    mac: str
    mtu: int
    inner: bool = False

    word = "bridge"

    def first(self) -> bool:
        return not self.inner

    def line(self, name: Callable[[str], str]) -> str:
        return f"bridge {self.name} mac {self.mac} mtu {self.mtu}"
