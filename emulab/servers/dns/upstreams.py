"""Upstream servers, understood."""

from __future__ import annotations

from collections.abc import Iterable

from emulab.dataclass import dataclass
from emulab.servers.dns.config import Asking

ServerAddress = tuple[str, int]


@dataclass(slots=True, frozen=True)
class Upstreams:
    """How to ask upstream servers: `timeout` seconds each, all of them `tries` times; in any order if `shuffled`, over
    TCP alone with `stream`. Who `follows` referrals asks the servers that they name."""

    servers: tuple[ServerAddress, ...] = ()
    timeout: float = 1.0
    tries: int = 2
    mixed_case: bool = False
    shuffled: bool = False
    stream: bool = False
    follows: bool = False  # referrals


def upstreams(servers: Iterable[str], asking: Asking) -> Upstreams:
    """Raises ValueError."""
    addresses = tuple(map(parse_server_address, servers))
    return Upstreams(addresses, asking.timeout, asking.tries, asking.mixed_case)


def parse_server_address(text: str, port: int = 53) -> ServerAddress:
    """`198.51.100.53:53`, `[2001:db8::1]:53`, or an address alone. Raises ValueError."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, int(rest[1:]) if rest else port
    if text.count(":") == 1:
        host, _, rest = text.partition(":")
        return host, int(rest)
    return text, port
