"""Which of a host's addresses is tried first: destination address selection as glibc's getaddrinfo(3) does it.

RFC 6724 with the table that glibc has without a gai.conf(5), in which unique local addresses come before those of IPv4.
Source addresses are the kernel's own word: those that it would send from, so that a place without a way in one family
goes by the other. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv6Address, ip_address, ip_network

_MAPPED = ip_network("::ffff:0:0/96")
_LABELS = {
    "::1/128": 0,
    "::/0": 1,
    "2002::/16": 2,
    "::/96": 3,
    "::ffff:0:0/96": 4,
    "fec0::/10": 5,
    "fc00::/7": 6,
    "2001::/32": 7,
}
_PRECEDENCES = {"::1/128": 50, "::/0": 40, "2002::/16": 30, "::/96": 20, "::ffff:0:0/96": 10}
_LINK, _SITE, _GLOBAL = 2, 5, 14
"""Scopes (RFC 4007): that of private addresses of IPv4 is global."""


def by_preference(sources: Mapping[str, str | None]) -> list[str]:
    """Addresses in the order in which to try them, by the source that each would have; None: there is no way there."""
    return sorted(sources, key=lambda one: _key(one, sources[one]))


def _key(text: str, own: str | None) -> tuple[int, ...]:
    """Less is better (RFC 6724, section 6: rules 1, 2, 5, 6, 8 and 9)."""
    to = _of_six(text)
    if own is None:
        return (1, 0, 0, -_longest(_PRECEDENCES, to), _scope(to), 0)
    source = _of_six(own)
    common = 128 - (int(to) ^ int(source)).bit_length() if ":" in text else 0
    return (
        0,
        _scope(to) != _scope(source),
        _longest(_LABELS, to) != _longest(_LABELS, source),
        -_longest(_PRECEDENCES, to),
        _scope(to),
        -common,
    )


def _of_six(text: str) -> IPv6Address:
    """An address, one of IPv4 as that of IPv6 which stands for it."""
    address = ip_address(text.partition("%")[0])
    return address if isinstance(address, IPv6Address) else IPv6Address(int(_MAPPED[0]) + int(address))


def _scope(address: IPv6Address) -> int:
    four = address.ipv4_mapped
    if four is not None:
        return _LINK if four.is_loopback or four.is_link_local else _GLOBAL
    if address.is_multicast:
        return address.packed[1] & 0xF
    if address.is_loopback or address.is_link_local:
        return _LINK
    return _SITE if address.is_site_local else _GLOBAL


def _longest(table: Mapping[str, int], address: IPv6Address) -> int:
    """What a table has for the smallest network that an address is in."""
    inside: Iterable[tuple[int, int]] = (
        (ip_network(network).prefixlen, value)
        for network, value in table.items()
        if address in ip_network(network)
    )
    return max(inside)[1]
