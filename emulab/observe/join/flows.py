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
from collections.abc import Iterable, Iterator
from typing import Any

from emulab.dataclass import dataclass, field
from emulab.model.addresses import parse_socket_name, socket_name
from emulab.model.families import FAMILIES
from emulab.observe.events import Flow, Recording, ServerRecord, TriedConnection
from emulab.observe.join.packets import Discovery, Packet
from emulab.observe.join.proxying import during, seen_started, started, tried, use_of
from emulab.observe.join.sightings import Sightings

NAME_RESOLUTION = 0
"""The number of all legs that resolve names."""

_ANY = frozenset(str(family.any) for family in FAMILIES)


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

    def after(self, packet: Packet) -> Packet | None:
        """Where a packet was seen next."""
        place = next((i for i, one in enumerate(self.packets) if one is packet), len(self.packets))
        return self.packets[place + 1] if place + 1 < len(self.packets) else None


@dataclass(slots=True)
class Leg:
    """One connection. `flows` are all it was seen as, True for those from the side that began it.

    `connect` is the record of the proxy that started it, `accept` that of the proxy that it ended at.
    """

    number: int
    flows: dict[Flow, bool]
    transits: list[Transit] = field(default_factory=list)
    errors: list[Transit] = field(default_factory=list)  # ICMP errors about it
    connect: ServerRecord | None = None
    accept: ServerRecord | None = None
    records: list[ServerRecord] = field(default_factory=list)  # of the server at its far end, about it
    attempt: TriedConnection | None = None  # what it was, where it wasn't the request's

    @property
    def protocol(self) -> str:
        return next(iter(self.flows)).protocol

    @property
    def begun(self) -> Transit | None:
        """The first packet of the connection."""
        return next((t for t in self.transits if t.forward), None)

    def clients(self) -> set[str]:
        """Every `ADDRESS:PORT` that the connection comes from, as a server may see it."""
        return {socket_name(f.source, f.source_port) for f, forward in self.flows.items() if forward}

    def servers(self) -> set[str]:
        """Every `ADDRESS:PORT` that the connection goes to, as a server may see its own."""
        return {
            socket_name(f.destination, f.destination_port) for f, forward in self.flows.items() if forward
        }

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
    discoveries: list[Discovery]  # everybody's; who looks for a reason picks his

    def chain(self) -> list[Leg]:
        """The connections of the request itself, in their order."""
        return [leg for leg in self.connections() if leg.attempt is None]

    def connections(self) -> list[Leg]:
        """Those, and those that were tried in vain before."""
        return [leg for leg in self.legs if leg.number != NAME_RESOLUTION]


class _Index:
    """The packets of a recording, and which flows conntrack knows to be the same connection."""

    def __init__(self, recording: Recording, sightings: Sightings) -> None:
        self.sightings = sightings
        self._translations: dict[Flow, list[Flow]] = defaultdict(list)
        for found in recording.translations:
            for one, other in ((found.original, found.translated), (found.translated, found.original)):
                if one != other:
                    self._translations[one].append(other)

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
                for packet in self.sightings.of(direction):
                    # In the order of time: where both directions carry the same bytes, as an echo's do, the
                    # first one that is seen says which direction of a pair is which.
                    for same in self.sightings.same(packet):
                        note(same.flow, forward)
            for other in self._translations.get(flow, ()):
                note(other, True)
        return known

    def packets(self, flows: dict[Flow, bool]) -> list[tuple[bool, Packet]]:
        """The packets of these flows, each with whether it goes forward, in the order of time."""
        found = [(forward, p) for flow, forward in flows.items() for p in self.sightings.of(flow)]
        return sorted(found, key=lambda pair: pair[1].time)

    def begun_at(self, place: str, protocol: str, port: int) -> list[Flow]:
        """The flows that a place sent from a port, with whatever address it put there."""
        found: list[Flow] = []
        for flow in self.sightings.from_port(protocol, port):
            first = self.sightings.of(flow)[0]
            if first.place == place and first.outgoing:
                found.append(flow)
        return found


def join(recording: Recording, sightings: Sightings | None = None) -> Joined:
    """The legs of the request that the recording's sender sent. `sightings` are its frames', if they were made."""
    index = _Index(recording, sightings or Sightings(recording.frames))
    sending = recording.sending
    legs: list[Leg] = []
    asked: set[Any] = set()
    for port in sending.name_ports:
        for protocol in ("udp", "tcp"):
            seeds = [f for f in index.begun_at(sending.place, protocol, port) if f.destination_port == 53]
            if seeds:
                _resolution(recording, index, seeds, legs, asked)
    if sending.local is not None and sending.address:
        for attempt in sending.attempts:
            number = 1 + sum(leg.attempt is not None for leg in legs)
            legs.append(_leg(index, number, _seeds(recording, index, attempt.local, attempt.address)))
            legs[-1].attempt = attempt
        _chain(recording, index, _seeds(recording, index, sending.local, sending.address), legs)
    return Joined(legs, index.sightings.discoveries)


def _seeds(recording: Recording, index: _Index, local: tuple[str, int], address: str) -> list[Flow]:
    """What the sender sent from one of its sockets. Two of different families may have the same port."""
    sending = recording.sending
    protocol = "udp" if sending.protocol == "udp" else "tcp"
    begun = index.begun_at(sending.place, protocol, local[1])
    own = Flow(protocol, *local, address, sending.port)
    return [own, *(flow for flow in begun if (":" in flow.destination) == (":" in address))]


def _leg(index: _Index, number: int, seeds: Iterable[Flow]) -> Leg:
    leg = Leg(number, index.oriented(seeds))
    leg.transits = list(_transits(index.packets(leg.flows)))
    errors = [
        (not forward, p) for flow, forward in leg.flows.items() for p in index.sightings.errors_about(flow)
    ]
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
    pending: list[tuple[list[Flow], ServerRecord | None, tuple[int, int] | None]] = [(own, None, None)]
    number = sum(leg.attempt is not None for leg in legs)
    seen: set[Flow] = set()
    while pending:
        seeds, connect, window = pending.pop(0)
        if not seeds or all(seed in seen for seed in seeds):
            continue
        number += 1
        leg = _leg(index, number, seeds)
        seen.update(leg.flows)
        leg.connect = connect
        if window is not None:
            _limit(leg, *window)
        legs.append(leg)
        clients, servers = leg.clients(), leg.servers()
        for record in recording.records:
            if record.fields.get("client") not in clients or not _is_about(record, servers, window):
                continue
            if connect is not None and record.place == connect.place:
                continue  # a proxy's client that happens to have the proxy's own address
            leg.records.append(record)
            if record.fields["event"] == "proxy-accept":
                leg.accept = record
            else:
                pending += _started_by(recording, index.sightings, record, leg)


def _started_by(
    recording: Recording, sightings: Sightings, record: ServerRecord, leg: Leg
) -> Iterator[tuple[list[Flow], ServerRecord, tuple[int, int] | None]]:
    """The connection that a proxy has started by a record, and the time in which it served the request."""
    if record.fields["event"] == "proxy-try":
        if failed := tried(recording, sightings, record):
            yield failed, record, None
    elif record.fields["event"] == "proxy-connect":
        if "upstream_source" not in record.fields:
            at = during(record)
            yield seen_started(sightings, record, at), record, at
        elif own := started(sightings, record):
            yield own, record, use_of(recording.records, record, leg)


def _is_about(record: ServerRecord, servers: set[str], window: tuple[int, int] | None) -> bool:
    """Whether what is told of a client is of its connection to these servers, and of the use that the window is."""
    fields = record.fields
    if str(fields.get("event", "")).startswith("dns"):
        return False
    local = str(fields.get("local") or "")
    own = parse_socket_name(local)
    # One source address and port may lead to several destinations at a time.
    if local and local not in servers and not (own and own[0] in _ANY):
        return False
    if window is None:
        return True
    begun = record.time - int(float(fields.get("duration_us") or 0) * 1000)
    return window[0] <= begun <= window[1]


def _limit(leg: Leg, start: int, end: int) -> None:
    """Leaves what was sent between two times, from the first packet on that is more than an acknowledgement."""
    within = [t for t in leg.transits if start <= t.time <= end]
    if start:
        speaks = (i for i, t in enumerate(within) if t.forward and t.first.significant)
        within = within[next(speaks, len(within)) :]
    leg.transits = within
    leg.errors = [t for t in leg.errors if start <= t.time <= end]


def _resolution(
    recording: Recording,
    index: _Index,
    seeds: list[Flow],
    legs: list[Leg],
    known: set[Any],
    after: int = 0,
) -> None:
    """An exchange with a name server, and those that the server had with others for its sake."""
    leg = _leg(index, NAME_RESOLUTION, seeds)
    leg.transits = [t for t in leg.transits if t.time >= after]
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
            # Who asks what is being asked already joins those that wait: told when the answer is there.
            if record.fields.get("event") not in ("dns-forward", "dns-forwarded"):
                continue
            if record.server != asked.server or record.time < asked.time:
                continue
            if asked.fields.get("client") not in (record.fields.get("for") or ()):
                continue
            source = parse_socket_name(str(record.fields.get("source", "")))
            upstream = parse_socket_name(str(record.fields.get("upstream", "")))
            key = (record.server, source, upstream)
            if source is None or upstream is None or key in known:
                continue
            known.add(key)
            protocol = str(record.fields.get("protocol") or "udp")
            seeds = [Flow(protocol, *source, *upstream)]
            _resolution(recording, index, seeds, legs, known, leg.transits[0].time)
