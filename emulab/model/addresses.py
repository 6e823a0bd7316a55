"""IP addresses from text."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

IPAddress = IPv4Address | IPv6Address


@lru_cache(maxsize=1 << 16)
def parse_address(text: str) -> IPAddress:
    """The address. The same few are read again in every plan, so they are read once. Raises ValueError."""
    return ip_address(text)
