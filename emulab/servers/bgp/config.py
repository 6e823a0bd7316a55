"""What a speaker of BGP is told: who it is, whom it talks to, and what it has to tell."""

from __future__ import annotations

from emulab.dataclass import dataclass
from emulab.servers.configuration import Configuration


@dataclass(frozen=True, slots=True)
class BgpPeer:
    """A session with one address of another speaker. `passive`: that one opens it."""

    name: str
    address: str
    passive: bool = False
    least: int = 0  # routes that it has to tell, once it is up
    outside: bool = False  # whether it is the router, and no node


@dataclass(frozen=True, slots=True)
class BgpConfig(Configuration):
    """One speaker. Whoever calls from `callers` has a session with it, too."""

    router_id: int = 0  # of 32 bits; it is written as an address of IPv4, and needn't be one
    number: int = 64512  # of the autonomous system, which all are of
    own: tuple[str, ...] = ()  # its addresses, one of each family
    peers: tuple[BgpPeer, ...] = ()
    blocks: tuple[str, ...] = ()  # of addresses that are its own pods', as Calico's nodes have them
    ranges: tuple[
        str, ...
    ] = ()  # that are its own pods', as kube-router's nodes have them, with routes of their own
    services: tuple[str, ...] = ()  # addresses of Services, of which it tells the router alone
    pools: tuple[str, ...] = ()  # of which it tells single addresses that it has of others' blocks
    callers: tuple[str, ...] = ()  # networks
    silent: bool = False  # whether its sessions with peers are shut down
    reflects: bool = False  # whether it tells callers what it has heard from others
