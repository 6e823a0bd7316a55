"""Names as hosts files have them (plugin/hosts of CoreDNS). Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from emulab.servers.dns import names, rdata
from emulab.servers.dns.config import HostsConfig
from emulab.servers.dns.names import Name, lower
from emulab.servers.dns.plugins.made import Below, Made
from emulab.servers.dns.wire import SERVFAIL, ResourceRecord

_RECORDS = {4: rdata.A, 6: rdata.AAAA}


class Hosts:
    """The lines of one file."""

    def __init__(self, config: HostsConfig) -> None:
        """Raises ValueError."""
        self._zones, self._through = Below(config.zones), Below(config.fallthrough)
        self._ttl = config.ttl
        self._found: dict[Name, dict[int, list[ResourceRecord]]] = {}
        self._pointers: dict[Name, list[ResourceRecord]] = {}
        self._passes_types = config.passes_types
        for address, aliases in config.entries:
            ip = _address(address)
            for alias in aliases:
                name, rtype = lower(names.from_text(alias)), _RECORDS[ip.version]
                if name not in self._zones:
                    continue  # nor does its address lead to it
                self._add(self._found.setdefault(name, {}).setdefault(rtype, []), name, rtype, str(ip))
                if config.reverse and not alias.startswith("*"):
                    pointer = lower(names.from_text(ip.reverse_pointer))
                    self._add(self._pointers.setdefault(pointer, []), pointer, rdata.PTR, alias)

    def _add(self, records: list[ResourceRecord], owner: Name, rtype: int, text: str) -> None:
        record = ResourceRecord(owner, rtype, self._ttl, rdata.from_text(rtype, text))
        if all(rdata.to_text(known.data) != rdata.to_text(record.data) for known in records):
            records.append(record)

    def __call__(self, name: Name, rtype: int) -> Made | None:
        """What there is of a lower-case name; None to ask elsewhere.

        There is no SOA to say with that a name isn't there, so that is SERVFAIL where nobody else may be asked.
        """
        if rtype == rdata.PTR:
            pointers = self._pointers.get(name)
            return Made(answer=tuple(pointers)) if pointers else None
        if name not in self._zones:
            return None
        passes = name in self._through
        if rtype not in _RECORDS.values() and self._passes_types and passes:
            return None
        named, any_name = (self._found.get(owner, {}) for owner in (name, (b"*", *name[1:])))
        if not named and not any_name:
            return None if passes else Made(SERVFAIL)
        # Each family is looked for by itself: an address of one leaves the other's to a wildcard.
        records = named.get(rtype) or any_name.get(rtype) or []
        return Made(answer=tuple(record._replace(owner=name) for record in records))


def _address(text: str) -> IPv4Address | IPv6Address:
    """An address as Go reads it: one of IPv4 that is written as IPv6 is the former, and a zone counts for nothing.

    Raises ValueError.
    """
    ip = ip_address(text.partition("%")[0])
    return (ip.version == 6 and ip.ipv4_mapped) or ip
