"""What a node of a balancer is told of the addresses that it may have."""

from __future__ import annotations

from emulab.dataclass import dataclass
from emulab.servers.configuration import Configuration

FIRST, SECOND = 150, 100
"""Priorities of the first and the second node."""


@dataclass(frozen=True, slots=True)
class VrrpConfig(Configuration):
    """One virtual router. Times are in seconds."""

    name: str = ""  # of the balancer
    version: int = 3  # 2 (IPv4 alone) or 3
    identifier: int = 1  # VRID
    priority: int = SECOND
    interval: float = 1.0  # between advertisements
    preempt: bool = True  # whether one of a higher priority takes the addresses back
    link: str = "eth0"
    own: str = ""  # this node's own address, of the family of the addresses that are advertised
    addresses: tuple[str, ...] = ()  # that are advertised, of one family
    along: tuple[str, ...] = ()  # that go with them
    peer: str = ""  # the other node's own address, where it is told of the connections that are forwarded; "": it isn't
