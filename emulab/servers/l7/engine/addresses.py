"""Whether an address is in one of some networks. Pure; IPv4 and IPv6 alike."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

from emulab.servers.configuration import BadConfiguration


@lru_cache(maxsize=4096)
def _number(address: str) -> tuple[int, int] | None:
    """Family and number of an address; one of IPv4 that is written as IPv6 is what it stands for."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return ip.version, int(ip)


class Networks:
    """A set of networks. To ask costs as much as there are lengths of prefixes, however many networks there are."""

    __slots__ = ("_prefixes",)

    def __init__(self, cidrs: Iterable[str]) -> None:
        """Raises `BadConfiguration`, without the place."""
        prefixes: dict[tuple[int, int], set[int]] = {}
        for cidr in cidrs:
            try:
                network = ip_network(cidr, strict=False)
            except ValueError:
                raise BadConfiguration(f"{cidr!r} is no network") from None
            shift = network.max_prefixlen - network.prefixlen
            prefixes.setdefault((network.version, shift), set()).add(int(network.network_address) >> shift)
        self._prefixes = [(version, shift, frozenset(known)) for (version, shift), known in prefixes.items()]

    def __bool__(self) -> bool:
        return bool(self._prefixes)

    def __contains__(self, address: str) -> bool:
        number = _number(address)
        if number is None:
            return False
        family, value = number
        return any(family == version and value >> shift in known for version, shift, known in self._prefixes)
