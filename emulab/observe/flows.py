"""Which packets are one packet, and one connection, from place to place. Pure.

* A *transit* is one packet on its way: the same identity at one interface after the other.
* A *leg* is one connection (or exchange of datagrams) between two programs, whatever addresses it has on its
  way: two flows are one leg when a packet was seen with both. A proxy ends a leg and starts the next; its own
  record says which.

Everything starts from what the sender knows: its sockets. What can't be reached from there by packets, conntrack
entries and records belongs to somebody else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from emulab.observe.events import Flow, Record, Recording
from emulab.observe.packets import SYN, Arp, Packet, decode

NAME_RESOLUTION = 0
"""The number of all legs that resolve names."""


@dataclass(slots=True)
class Transit:
    """One packet on its way. `forward`: from the side that began the connection."""

    forward: bool
    packets: list[Packet]
    flight: int = 0

    @property
    def time(self) -> int:
        return self.packets[0].time

    @property
    def first(self) -> Packet:
        return self.packets[0]

    @property
    def last(self) -> Packet:
        return self.packets[-1]


@dataclass(slots=True)
class Leg:
    """One connection. `flows` are all it was seen as, True for those from the side that began it.

    `connect` is the record of the proxy that started it, `accept` that of the proxy that it ended at.
    """

    number: int
    flows: dict[Flow, bool]
    transits: list[Transit] = field(default_factory=list)
    errors: list[Transit] = field(default_factory=list)  # ICMP errors about it
    connect: Record | None = None
    accept: Record | None = None
    records: list[Record] = field(default_factory=list)  # of the server at its far end, about it

    @property
    def protocol(self) -> str:
        return next(iter(self.flows)).protocol

    @property
    def begun(self) -> Transit | None:
        """Its first packet."""
        return next((t for t in self.transits if t.forward), None)

    def clients(self) -> set[str]:
        """Every `ADDRESS:PORT` that it comes from, as a server may see it."""
        return {endpoint(f.source, f.source_port) for f, forward in self.flows.items() if forward}

    @property
    def arrived(self) -> Packet | None:
        """Where the packet of those that went from the beginning side came farthest."""
        best: Packet | None = None
        most = 0
        for transit in self.transits:
            if transit.forward and len(transit.packets) > most:
                best, most = transit.last, len(transit.packets)
        return best


@dataclass(slots=True)
class Joined:
    """All that belongs to one request."""

    legs: list[Leg]
    arps: list[Arp]  # of everybody; who looks for a reason picks his

    def chain(self) -> list[Leg]:
        """The connections of the request itself, in their order."""
        return [leg for leg in self.legs if leg.number != NAME_RESOLUTION]


def endpoint(address: str, port: int) -> str:
    """`ADDRESS:PORT`, as servers write it in their records."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def parse_endpoint(text: str) -> tuple[str, int] | None:
    """Address and port of `ADDRESS:PORT`."""
    address, _, port = text.rpartition(":")
    return (address.strip("[]"), int(port)) if address and port.isdigit() else None


class _Index:
    """The packets of a recording by flow, by identity and, for ICMP errors, by the flow they are about."""

    def __init__(self, recording: Recording) -> None:
        self.flows: dict[Flow, list[Packet]] = defaultdict(list)
        self.identities: dict[tuple[object, ...], list[Packet]] = defaultdict(list)
        self.errors: dict[Flow, list[Packet]] = defaultdict(list)
        self.arps: list[Arp] = []
        for packet in sorted(decode(recording.frames), key=lambda p: p.time):
            if isinstance(packet, Arp):
                self.arps.append(packet)
                continue
            self.flows[packet.flow].append(packet)
            self.identities[packet.identity].append(packet)
            if packet.about is not None:
                self.errors[packet.about].append(packet)
        self.translations: dict[Flow, list[Flow]] = defaultdict(list)
        for found in recording.translations:
            for one, other in ((found.original, found.translated), (found.translated, found.original)):
                if one != other:
                    self.translations[one].append(other)

    def oriented(self, seeds: Iterable[Flow]) -> dict[Flow, bool]:
        """Every flow that is the same connection as the seeds, which go forward."""
        known: dict[Flow, bool] = {}
        queue: list[Flow] = []

        def note(flow: Flow, forward: bool) -> None:
            if flow not in known:
                known[flow], known[flow.reverse] = forward, not forward
                queue.append(flow if forward else flow.reverse)

        for seed in seeds:
            note(seed, True)
        while queue:
            flow = queue.pop()
            for direction, forward in ((flow, True), (flow.reverse, False)):
                for packet in self.flows.get(direction, ()):
                    # In the order of time: where both directions carry the same bytes, as an echo's do, the
                    # first one that is seen says which direction of a pair is which.
                    for same in self.identities[packet.identity]:
                        note(same.flow, forward)
            for other in self.translations.get(flow, ()):
                note(other, True)
        return known

    def packets(self, flows: dict[Flow, bool]) -> list[tuple[bool, Packet]]:
        """The packets of these flows, each with whether it goes forward, in the order of time."""
        found = [(forward, p) for flow, forward in flows.items() for p in self.flows.get(flow, ())]
        return sorted(found, key=lambda pair: pair[1].time)


def join(recording: Recording) -> Joined:
    """The legs of the request that the recording's sender sent."""
    index = _Index(recording)
    sending = recording.sending
    legs: list[Leg] = []
    places = {sending.place}
    for port in sending.name_ports:
        seeds = [
            flow
            for flow, packets in index.flows.items()
            if flow.source_port == port and flow.destination_port == 53 and packets[0].place in places
        ]
        if seeds:
            _resolution(recording, index, seeds, legs, set())
    if sending.local is not None and sending.address:
        protocol = "udp" if sending.protocol == "udp" else "tcp"
        own = Flow(protocol, *sending.local, sending.address, sending.port)
        seen = [
            flow
            for flow, packets in index.flows.items()
            if (flow.protocol, flow.source_port) == (protocol, sending.local[1])
            and packets[0].place == sending.place
            and packets[0].outgoing
        ]
        _chain(recording, index, [own, *seen], legs)
    return Joined(legs, index.arps)


def _leg(index: _Index, number: int, seeds: Iterable[Flow]) -> Leg:
    leg = Leg(number, index.oriented(seeds))
    leg.transits = list(_transits(index.packets(leg.flows)))
    errors = [(not forward, p) for flow, forward in leg.flows.items() for p in index.errors.get(flow, ())]
    leg.errors = list(_transits(sorted(errors, key=lambda pair: pair[1].time)))
    return leg


def _transits(packets: Iterable[tuple[bool, Packet]]) -> Iterator[Transit]:
    """Groups sightings of the same packet. Seen again where it was before, it is sent again.

    A packet that went in a circle was seen there too, but with less time to live.
    """
    open_: dict[tuple[object, ...], tuple[Transit, set[tuple[object, ...]]]] = {}
    for forward, packet in packets:
        key = (forward, packet.identity)
        sighting = (packet.place, packet.interface, packet.outgoing, packet.flow, packet.ttl)
        found = open_.get(key)
        if found is None or sighting in found[1]:
            transit = Transit(forward, [packet])
            open_[key] = (transit, {sighting})
            yield transit
        else:
            found[0].packets.append(packet)
            found[1].add(sighting)


def _chain(recording: Recording, index: _Index, own: list[Flow], legs: list[Leg]) -> None:
    """The request's own connection, and those that proxies started for it."""
    pending: list[tuple[list[Flow], Record | None, tuple[int, int] | None]] = [(own, None, None)]
    number = 0
    seen: set[Flow] = set()
    while pending:
        seeds, connect, window = pending.pop(0)
        if all(seed in seen for seed in seeds):
            continue
        number += 1
        leg = _leg(index, number, seeds)
        seen.update(leg.flows)
        leg.connect = connect
        if window is not None:
            _limit(leg, *window)
        legs.append(leg)
        clients = leg.clients()
        for record in recording.records:
            fields = record.fields
            if fields.get("client") not in clients or fields.get("event", "").startswith("dns"):
                continue
            if connect is not None and record.place == connect.place:
                continue  # a proxy's client that happens to have the proxy's own address
            leg.records.append(record)
            if fields["event"] == "proxy-accept":
                leg.accept = record
            elif fields["event"] == "proxy-connect":
                started = _started(recording, index, record)
                if started:
                    pending.append((started, record, _window(recording.records, record)))


def _started(recording: Recording, index: _Index, record: Record) -> list[Flow]:
    """The connection that a proxy-connect record tells of, as it left the proxy."""
    source = parse_endpoint(str(record.fields.get("upstream_source", "")))
    upstream = parse_endpoint(str(record.fields.get("upstream", "")))
    if source is None:
        return []
    protocol = "udp" if record.fields.get("protocol") == "udp" else "tcp"
    seen = [
        flow for flow in index.flows if (flow.protocol, flow.source, flow.source_port) == (protocol, *source)
    ]
    if upstream is not None and upstream[0][:1].isdigit():
        return [Flow(protocol, *source, *upstream)]
    return seen[:1]  # an upstream by name: whatever address it turned out to have


def _window(records: Sequence[Record], connect: Record) -> tuple[int, int] | None:
    """When a connection that serves one request after the other served this one; None: always.

    A proxy tells `request` when an answer is through, and only then uses the connection again.
    """
    source = connect.fields.get("upstream_source")
    uses = [
        r
        for r in records
        if r.place == connect.place
        and r.fields.get("event") == "proxy-connect"
        and r.fields.get("upstream_source") == source
    ]
    at = uses.index(connect)
    fresh = not connect.fields.get("reused")
    start, end = 0, 1 << 63
    if at > 0:
        start = max(start, _done(records, uses[at - 1]))
    elif fresh and len(uses) == 1:
        return None
    if at + 1 < len(uses):
        end = _done(records, connect)
    return start, end


def _done(records: Sequence[Record], connect: Record) -> int:
    """When the request was through that a proxy-connect record tells of."""
    client = connect.fields.get("client")
    return next(
        (
            r.time
            for r in records
            if r.place == connect.place
            and r.time >= connect.time
            and r.fields.get("event") == "request"
            and r.fields.get("client") == client
        ),
        connect.time,
    )


def _limit(leg: Leg, start: int, end: int) -> None:
    leg.transits = [t for t in leg.transits if start < t.time <= end or (t.first.flags & SYN and start == 0)]


def _resolution(
    recording: Recording, index: _Index, seeds: list[Flow], legs: list[Leg], known: set[Any]
) -> None:
    """An exchange with a name server, and those that the server had with others for its sake."""
    leg = _leg(index, NAME_RESOLUTION, seeds)
    if not leg.transits:
        return
    legs.append(leg)
    clients = leg.clients()
    for record in recording.records:
        if not str(record.fields.get("event", "")).startswith("dns-"):
            continue
        if record.fields.get("client") in clients:
            leg.records.append(record)
    for asked in [r for r in leg.records if r.fields["event"] == "dns-query"]:
        for record in recording.records:
            if record.fields.get("event") != "dns-forward" or record.server != asked.server:
                continue
            if asked.fields.get("client") not in (record.fields.get("for") or ()):
                continue
            source = parse_endpoint(str(record.fields.get("source", "")))
            upstream = parse_endpoint(str(record.fields.get("upstream", "")))
            key = (record.server, source, upstream)
            if source is None or upstream is None or key in known:
                continue
            known.add(key)
            protocol = str(record.fields.get("protocol") or "udp")
            _resolution(recording, index, [Flow(protocol, *source, *upstream)], legs, known)
