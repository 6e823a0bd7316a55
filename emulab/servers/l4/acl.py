"""Who may come in: source ranges, as a cloud's `loadBalancerSourceRanges`."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable


class Acl:
    """A set of CIDR ranges; an empty one allows everyone.

    Raises:
        ValueError: a range is malformed. Host bits are forgiven, as iptables forgives them.
    """

    __slots__ = ("_networks", "ranges")

    def __init__(self, ranges: Iterable[str] = ()) -> None:
        networks = [ipaddress.ip_network(text, strict=False) for text in ranges]
        self.ranges = [str(network) for network in networks]
        # Integers: a check is two operations, and it is made for every connection.
        self._networks = [(n.version, int(n.netmask), int(n.network_address)) for n in networks]

    def allows(self, address: str) -> bool:
        """Whether a client with this address may come in. An IPv4-mapped IPv6 address counts as IPv4."""
        if not self._networks:
            return True
        parsed = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        number = int(parsed)
        return any(
            version == parsed.version and number & mask == network
            for version, mask, network in self._networks
        )
