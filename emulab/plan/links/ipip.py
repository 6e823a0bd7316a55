"""Devices of IP in IP."""

from __future__ import annotations

from collections.abc import Callable

from emulab.dataclass import dataclass
from emulab.plan.links.item import Link


@dataclass(frozen=True, slots=True)
class Ipip(Link):
    """The device of IP in IP (RFC 2003) that every namespace has once the kernel has any: routes say where packets go.

    It isn't made, but set up, and stays when it is removed.
    """

    namespace: str
    mtu: int
    name: str = "tunl0"

    word = "ipip"

    def line(self, name: Callable[[str], str]) -> str:
        return f"ipip {self.name} mtu {self.mtu}"
