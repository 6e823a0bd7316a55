"""WireGuard devices."""

from __future__ import annotations

from collections.abc import Callable

from emulab.dataclass import dataclass
from emulab.plan.links.item import Link


@dataclass(frozen=True, slots=True)
class Wireguard(Link):
    """A WireGuard device. Its keys and peers are a ruleset (`state.WireguardPeers`)."""

    namespace: str
    name: str
    mtu: int

    word = "wireguard"

    def line(self, name: Callable[[str], str]) -> str:
        return f"wireguard {self.name} mtu {self.mtu}"
