"""Ends of IP in IP that take what is sent to one address."""

from __future__ import annotations

from collections.abc import Callable

from emulab.dataclass import dataclass
from emulab.model.addresses import IPAddress
from emulab.plan.links.item import Link


@dataclass(frozen=True, slots=True)
class IpipEnd(Link):
    """A device that what comes in IP in IP (RFC 2003; RFC 2473 of IPv6) to `local` is taken out by, whoever sent it."""

    namespace: str
    name: str
    local: IPAddress

    word = "ipip-end"

    def line(self, name: Callable[[str], str]) -> str:
        return f"ipip-end {self.name} local {self.local}"
