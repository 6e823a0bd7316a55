"""IP addresses of either family."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_network,
)

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network
IPInterface = IPv4Interface | IPv6Interface


@lru_cache(maxsize=1 << 16)
def parse_address(text: str) -> IPAddress:
    """The address. The same few are read again in every plan, so they are read once. Raises ValueError."""
    return ip_address(text)


def is_address(text: str) -> bool:
    """Whether a text is an address, and no name."""
    try:
        parse_address(text)
    except ValueError:
        return False
    return True


def spread(text: str, size: int) -> int:
    """A number below `size`, fixed for the text."""
    import hashlib  # here: it takes longer to load than all else that addresses need

    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % size


def networks(cidrs: Iterable[str] | None) -> tuple[IPNetwork, ...]:
    """CIDRs as network objects; host bits are cut off, as Kubernetes does with source ranges."""
    return tuple(ip_network(cidr.strip(), strict=False) for cidr in cidrs or ())


def socket_name(address: IPAddress | str, port: int | str) -> str:
    """`10.0.0.1:80` or `[fd00::1]:80`."""
    return f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"


def url_host(host: str) -> str:
    """A host as a URL has it: an address of IPv6 in brackets (RFC 3986 section 3.2.2)."""
    return f"[{host}]" if ":" in host else host


def parse_socket_name(text: str) -> tuple[str, int] | None:
    """Host and port of a `socket_name`, or of `web.example.com:80`; None for what is none."""
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        return None
    return (host, int(port)) if host and port.isdigit() else None
