"""Authoritative data and its lookup (RFC 1034 section 4.3.2, wildcards of RFC 4592). Pure.

Every name that exists in a zone is a node, also one that only leads to others (an empty non-terminal): so a
node without the type asked for is NODATA, and no node and no wildcard is NXDOMAIN.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum, auto
from typing import Any, NamedTuple, Protocol

from emulab.errors import UserError
from emulab.servers.dns import names, rdata
from emulab.servers.dns.config import RoutedRecords, Soa
from emulab.servers.dns.names import Name, lower, suffixes
from emulab.servers.dns.routing import RecordSet, RoutedSets
from emulab.servers.dns.wire import ResourceRecord
from emulab.servers.health.state import Health

ClientNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_WILDCARD = b"*"
_MAX_TTL = 0x7FFFFFFF


class Rotor:
    """Records of one owner and type that take turns in being the first."""

    __slots__ = ("records", "turn")

    def __init__(self, records: Sequence[ResourceRecord] = ()) -> None:
        self.records = tuple(records)
        self.turn = 0

    def next(self) -> int:
        """Whose turn it is to be first; each call moves on by one."""
        turn = self.turn
        self.turn = (turn + 1) % len(self.records) if self.records else 0
        return turn


def rotated(records: tuple[ResourceRecord, ...], turn: int) -> tuple[ResourceRecord, ...]:
    """The records with number `turn` first, in a ring."""
    return records[turn:] + records[:turn] if turn else records


class LookupKind(Enum):
    """What a lookup found."""

    ANSWER = auto()
    ALIAS = auto()  # a CNAME where another type was asked for
    REFERRAL = auto()  # NS records that delegate the name away
    NODATA = auto()
    NXDOMAIN = auto()
    ELSEWHERE = auto()  # not here: as if the zone weren't


class Found(NamedTuple):
    """The outcome of a lookup; `rrset` is empty for NODATA and NXDOMAIN. The next one has another outcome where it is
    `drawn`. An alias that stands `alone` is an answer, whatever becomes of what it leads to."""

    kind: LookupKind
    rrset: Rotor = Rotor()
    drawn: bool = False
    alone: bool = False


class Authority(Protocol):
    """Who answers for the names at and below `origin`, as `networks` alone see it (None: everyone)."""

    origin: Name
    networks: tuple[ClientNetwork, ...] | None
    soa: ResourceRecord
    draws: bool  # whether an outcome may be `drawn`

    def lookup(self, name: Name, rtype: int) -> Found:
        """Looks up a lower-case name at or below the origin."""

    def addresses(self, name: Name) -> Iterator[ResourceRecord]:
        """The A and AAAA records of exactly this lower-case name, for the additional section."""


def start_of_authority(origin: str, settings: Soa) -> ResourceRecord:
    """The SOA of a zone that has none of its own."""
    dot = "." + origin.strip(".")
    hosts = settings.mname or "ns.dns" + dot, settings.rname or "hostmaster" + dot
    numbers = settings.serial, settings.refresh, settings.retry, settings.expire, settings.minimum
    data = rdata.from_text(rdata.SOA, " ".join(map(str, (*hosts, *numbers))))
    ttl = settings.minimum if settings.ttl is None else settings.ttl
    return ResourceRecord(lower(names.from_text(origin)), rdata.SOA, ttl, data)


def negative(soa: ResourceRecord) -> ResourceRecord:
    """The SOA of negative answers. Its TTL is what RFC 2308 section 3 asks for: the lesser of its own and its minimum
    field."""
    return soa._replace(ttl=min(soa.ttl, rdata.minimum(soa.data)))


class ServedZone:
    """The records at and below `origin`, seen by `networks` alone (None: by everyone)."""

    def __init__(
        self,
        origin: str,
        records: Sequence[Sequence[Any]],
        *,
        clients: Sequence[str] | None = None,
        soa: Soa | None = None,
        routed: Sequence[RoutedRecords] = (),
    ) -> None:
        """Builds the zone. Raises UserError, naming the zone and the record that is wrong."""
        self.nodes: dict[Name, dict[int, Rotor]] = {}
        self.delegates = False
        self.draws = bool(routed)
        self.routed: dict[tuple[Name, int], RoutedSets] = {}
        fields: Sequence[Any] = ()
        try:
            self.origin = lower(names.from_text(origin))
            self.networks = None if clients is None else tuple(map(ipaddress.ip_network, clients))
            self.nodes[self.origin] = {}
            grouped: dict[tuple[Name, int], dict[Any, ResourceRecord]] = {}
            for fields in records:
                record = self._record(*fields)
                grouped.setdefault((record.owner, record.rtype), {})[tuple(fields[2:])] = record
            for (owner, rtype), rrset in grouped.items():
                self._node(owner)[rtype] = Rotor(tuple(rrset.values()))
                self.delegates |= rtype == rdata.NS and owner != self.origin
            for one in routed:
                fields = (one.name, one.type, *one.data)
                self._route(one)
            fields = ("SOA",)
            self.soa = self._start_of_authority(origin, soa or Soa())
        except (ValueError, TypeError) as error:
            where = f"record {list(fields)}: " if fields else ""
            raise UserError(f"DNS zone {origin}: {where}{error}") from None

    def _record(self, owner: str, rtype: str, text: str, ttl: int) -> ResourceRecord:
        name, number = lower(names.from_text(owner)), rdata.type_number(rtype)
        if number not in rdata.WORDS:
            raise ValueError(f"type {rtype!r} is none of {', '.join(map(rdata.type_name, rdata.WORDS))}")
        if not 0 <= ttl <= _MAX_TTL:
            raise ValueError(f"TTL {ttl} is out of range")
        if name[max(0, len(name) - len(self.origin)) :] != self.origin:
            raise ValueError("the name is outside the zone")
        return ResourceRecord(name, number, int(ttl), rdata.from_text(number, text))

    def _route(self, given: RoutedRecords) -> None:
        """Takes in a set of which others have more. Their node has it, and what it is drawn from is `routed`."""
        records = tuple(self._record(given.name, given.type, text, given.ttl) for text in given.data)
        owner, rtype = records[0].owner, records[0].rtype
        self._node(owner).setdefault(rtype, Rotor())
        checked = {check: Health() for check in given.checks}
        made = RecordSet(records, given.weight, given.failover, given.healthy, checked)
        self.routed.setdefault((owner, rtype), RoutedSets()).sets.append(made)

    def _node(self, name: Name) -> dict[int, Rotor]:
        """The node of a name; makes it and the nodes that lead to it."""
        node = self.nodes.get(name)
        if node is None:
            node = self.nodes[name] = {}
            self._node(name[1:])
        return node

    def _start_of_authority(self, origin: str, settings: Soa) -> ResourceRecord:
        """The SOA that negative answers carry: the zone's own, or one made from `settings`."""
        apex = self.nodes[self.origin]
        if rdata.SOA not in apex:
            apex[rdata.SOA] = Rotor((start_of_authority(origin, settings),))
        return negative(apex[rdata.SOA].records[0])

    def lookup(self, name: Name, rtype: int) -> Found:
        """Looks up a lower-case name at or below the origin.

        A node with a CNAME has nothing else that counts (RFC 1034 section 3.6.2). Records found through a
        wildcard still have the wildcard as owner: who answers with them puts in the name.
        """
        if self.delegates and (cut := self._cut(name, rtype)):
            return Found(LookupKind.REFERRAL, cut)
        node = self.nodes.get(name)
        if node is not None:
            return self._at(name, node, rtype)
        encloser = next(suffix for suffix in suffixes(name) if suffix in self.nodes)
        wildcard = (_WILDCARD, *encloser)
        node = self.nodes.get(wildcard)
        return Found(LookupKind.NXDOMAIN) if node is None else self._at(wildcard, node, rtype)

    def _at(self, name: Name, node: Mapping[int, Rotor], rtype: int) -> Found:
        """What one node has for a type. ANY gets one record set (RFC 8482 section 4.1)."""
        kind = LookupKind.ANSWER
        if rdata.CNAME in node:
            kind = LookupKind.ANSWER if rtype in (rdata.CNAME, rdata.ANY) else LookupKind.ALIAS
            rtype = rdata.CNAME
        elif rtype == rdata.ANY:
            rtype = next(iter(node), rtype)
        rrset = node.get(rtype)
        if rrset is None:
            return Found(LookupKind.NODATA)
        sets = self.routed.get((name, rtype)) if self.draws else None
        return Found(kind, rrset) if sets is None else Found(kind, Rotor(sets.pick()), drawn=True)

    def _cut(self, name: Name, rtype: int) -> Rotor | None:
        """The NS records that delegate `name` away, those nearest to the origin."""
        found = None
        for suffix in suffixes(name):
            if suffix == self.origin:
                break
            if rdata.NS in self.nodes.get(suffix, ()) and (suffix, rtype) != (name, rdata.DS):
                found = self.nodes[suffix][rdata.NS]
        return found

    def addresses(self, name: Name) -> Iterator[ResourceRecord]:
        """The A and AAAA records of exactly this lower-case name, for the additional section."""
        node = self.nodes.get(name, {})
        for rtype in (rdata.A, rdata.AAAA):
            if rtype in node:
                yield from self._at(name, node, rtype).rrset.records


class Zones:
    """All zones of a server: which one is responsible for a name, seen by a client.

    A view is a bit mask: bit N is set when the client's address is in the networks of the Nth restricted
    zone. Clients with equal views get equal answers, so answers can be kept by view.
    """

    def __init__(self, zones: Sequence[Authority] = ()) -> None:
        self.zones = tuple(zones)
        self._restricted = [zone for zone in zones if zone.networks is not None]
        self._by_origin: dict[Name, list[tuple[int, Authority]]] = {}
        bits = {id(zone): 1 << index for index, zone in enumerate(self._restricted)}
        # Of two zones with one origin, a client that the restricted one admits sees that one.
        for zone in sorted(zones, key=lambda zone: zone.networks is None):
            self._by_origin.setdefault(zone.origin, []).append((bits.get(id(zone), 0), zone))
        self._views: dict[str, int] = {}
        self.restricted = bool(self._restricted)

    def view(self, client: str) -> int:
        """The view of a client's IP address; 0 for everyone when no zone is restricted."""
        if not self._restricted:
            return 0
        view = self._views.get(client)
        if view is None:
            if len(self._views) >= 4096:
                self._views.clear()
            view = self._views[client] = self._compute_view(client)
        return view

    def _compute_view(self, client: str) -> int:
        try:
            address = ipaddress.ip_address(client)
        except ValueError:
            return 0
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return sum(
            1 << index
            for index, zone in enumerate(self._restricted)
            if any(address in network for network in zone.networks or ())
        )

    def find(self, name: Name, view: int) -> Authority | None:
        """The zone with the longest origin at or above a lower-case name, among those in view."""
        for suffix in suffixes(name):
            for bit, zone in self._by_origin.get(suffix, ()):
                if not bit or view & bit:
                    return zone
        return None
