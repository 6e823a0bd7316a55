"""What a story still lacks: the questions that its packets raise. Pure; who asks them is elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from emulab.dataclass import dataclass
from emulab.observe.events import Flow, Recording, is_loopback
from emulab.observe.join.decisions import half
from emulab.observe.join.flows import NAME_RESOLUTION, Joined, Leg, join
from emulab.observe.join.sightings import Sightings

_FORWARDERS = frozenset({"router", "node"})


@dataclass(frozen=True, slots=True)
class Needs:
    """The questions, by kind.

    `translations`: place and flow; `routes`: place, destination, source, input interface ("" for what the place
    sends itself); `owners`: protocol, address, port; `chains`: place, family, table, chain; `links`: places;
    `listeners`: place, protocol, port.
    """

    translations: frozenset[tuple[str, Flow]] = frozenset()
    routes: frozenset[tuple[str, str, str, str]] = frozenset()
    owners: frozenset[tuple[str, str, int]] = frozenset()
    chains: frozenset[tuple[str, str, str, str]] = frozenset()
    links: frozenset[str] = frozenset()
    listeners: frozenset[tuple[str, str, int]] = frozenset()

    def without(self, other: Needs) -> Needs:
        """The questions that `other` hasn't."""
        return Needs(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(self)))

    def plus(self, other: Needs) -> Needs:
        return Needs(*(getattr(self, f.name) | getattr(other, f.name) for f in fields(self)))

    def __bool__(self) -> bool:
        return any(getattr(self, f.name) for f in fields(self))


def needs(recording: Recording, sightings: Sightings | None = None) -> Needs:
    """Everything that the packets of the request met and that isn't in packets.

    `sightings` are those of the recording's frames, if they were made already.
    """
    joined = join(recording, sightings)
    kinds = {tap.place: tap.kind for tap in recording.taps}
    translations: set[tuple[str, Flow]] = set()
    routes: set[tuple[str, str, str, str]] = set()
    owners: set[tuple[str, str, int]] = set()
    for leg in joined.legs:
        for flow in leg.flows:
            owners |= {
                (flow.protocol, flow.destination, flow.destination_port),
                ("", flow.destination, 0),
                ("", flow.source, 0),
            }
        _ways(leg, kinds, translations, routes)
    sending = recording.sending
    if sending.local is not None and kinds.get(sending.place) in _FORWARDERS:
        protocol = "udp" if sending.protocol == "udp" else "tcp"
        ways = [(sending.local, sending.address), *((one.local, one.address) for one in sending.attempts)]
        for local, address in ways:
            translations.add((sending.place, Flow(protocol, *local, address, sending.port)))
    for leg in joined.legs:  # a proxy that shares a node's addresses sends as the node does
        if leg.connect is not None and kinds.get(leg.connect.place) in _FORWARDERS:
            translations |= {(leg.connect.place, flow) for flow, forward in leg.flows.items() if forward}
    owners |= {("host", sending.host, 0), ("published", sending.host, 0), ("faults", "", 0), ("links", "", 0)}
    for record in recording.records:
        if record.fields.get("upstream_name"):
            owners.add(("upstream", str(record.fields["upstream_name"]), 0))
    for route in recording.routes:
        owners |= {("", a, 0) for a in (route.gateway, route.destination) if a}
    places, asked = _troubled(recording, joined)
    owners |= asked
    translated = {(t.place, t.original): t.translated for t in recording.translations}
    for leg in joined.legs if places else ():
        if not leg.transits:  # it never left
            sender, flow = leg.connect.place if leg.connect else sending.place, next(iter(leg.flows))
            routes |= {(sender, f.destination, "", "") for f in (flow, translated.get((sender, flow), flow))}
        _stuck(leg, kinds, translated, routes)
    flows = {flow for leg in joined.legs for flow in leg.flows}
    # Where rules see a packet only once its destination is another one.
    flows |= {half(t.original, t.translated) for t in recording.translations if t.original in flows}
    # A packet's flow changes on its way through the rules; its trace's number doesn't.
    packets = {(s.place, s.trace_id) for s in recording.rules if s.flow in flows}
    # What only leads on decides nothing, and to list a rule takes a process in some modes.
    steps = (s for s in recording.rules if s.handle and s.final and (s.place, s.trace_id) in packets)
    chains = {(s.place, s.family, s.table, s.chain) for s in steps}
    if places:  # whom a rule kept the packet from, which it may have met translated
        met = {s.flow for s in recording.rules if s.flow is not None and (s.place, s.trace_id) in packets}
        owners |= {(f.protocol, f.destination, f.destination_port) for f in met}
        owners |= {("", address, 0) for f in met for address in (f.source, f.destination)}
    # The kernel has no answer for what came over a loopback, and what goes over one isn't routed any further.
    routes = {r for r in routes if not is_loopback(r[1])}
    listeners = _ends(joined, kinds) if places else set()
    return Needs(*map(frozenset, (translations, routes, owners, chains, places, listeners)))  # type: ignore[arg-type]


def _ways(
    leg: Leg,
    kinds: dict[str, str],
    translations: set[tuple[str, Flow]],
    routes: set[tuple[str, str, str, str]],
) -> None:
    """What forwarders did with the packets of a leg: asked once for each way through a place."""
    for transit in leg.transits:
        for i, packet in enumerate(transit.packets):
            before = transit.packets[i - 1] if i and transit.packets[i - 1].place == packet.place else None
            outer = packet.encapsulation
            if not packet.outgoing:
                last = i + 1 == len(transit.packets)
                if outer or kinds.get(packet.place) not in _FORWARDERS:
                    continue
                if transit.forward:
                    translations.add((packet.place, packet.flow))
                if last and packet.interface != "lo":  # it may have got stuck here
                    flow = packet.flow
                    routes.add((packet.place, flow.destination, flow.source, packet.interface))
                continue
            if outer is not None:
                routes.add((packet.place, outer.outer_destination, "", ""))
            elif before is None:
                routes.add((packet.place, packet.flow.destination, "", ""))
                if kinds.get(packet.place) in _FORWARDERS and transit.forward:
                    # It may have been translated before it was seen: conntrack knows it by its answers then.
                    translations |= {(packet.place, packet.flow), (packet.place, packet.flow.reverse)}
            elif not before.outgoing:
                flow = packet.flow
                routes.add((packet.place, flow.destination, before.flow.source, before.interface))


def _ends(joined: Joined, kinds: dict[str, str]) -> set[tuple[str, str, int]]:
    """Where packets came to an end that were meant for a program."""
    ends = (transit.last for leg in joined.legs for transit in leg.transits if transit.forward)
    return {
        (last.place, last.flow.protocol, last.flow.destination_port)
        for last in ends
        if not last.outgoing
        and last.flow.protocol in ("tcp", "udp")
        and kinds.get(last.place) not in _FORWARDERS
    }


def _stuck(
    leg: Leg,
    kinds: dict[str, str],
    translated: Mapping[tuple[str, Flow], Flow],
    routes: set[tuple[str, str, str, str]],
) -> None:
    """The ways from where packets came to an end: on, once translated, and back to who sent them; and on from
    where an error came from."""
    for transit in leg.transits:
        last = transit.last
        if last.outgoing or last.encapsulation:
            continue
        onwards = translated.get((last.place, last.flow))
        if kinds.get(last.place) not in _FORWARDERS:
            routes.add((last.place, last.flow.source, "", ""))
        elif onwards is not None:
            routes.add((last.place, onwards.destination, last.flow.source, last.interface))
    for error in (transit.first for transit in leg.errors):
        onwards = translated.get((error.place, error.about)) if error.about else None
        if onwards is not None:  # what was sent on isn't seen where nobody takes it
            routes.add((error.place, onwards.destination, "", ""))


def _troubled(recording: Recording, joined: Joined) -> tuple[set[str], set[tuple[str, str, int]]]:
    """Where a failed request may have got stuck: places whose links are looked at, and what to ask about it."""
    sending = recording.sending
    told = [r for leg in joined.legs for r in leg.records]
    unserved = any(r.fields.get("event") == "drop" for r in told)
    if not (
        sending.error
        or sending.attempts
        or unserved
        or any(
            r.fields.get("event") == "upstream-error" or r.fields.get("answered_by") == "ingress"
            for r in told
        )
    ):
        return set(), set()
    places = {sending.place}
    if unserved:  # a balancer that found nobody may be cut off from every node
        places |= {tap.place for tap in recording.taps if tap.kind == "node"}
    asked: set[tuple[str, str, int]] = {("like", sending.host, 0)} if sending.error == "name" else set()
    hops = {d.target for d in joined.discoveries if not d.is_reply and d.outgoing}
    asked |= {("", target, 0) for target in hops}
    for leg in joined.legs:
        places |= {p.place for t in leg.transits for p in (t.first, t.last)}
        places |= {t.first.place for t in leg.errors}
        asked |= {("pods", flow.destination, 0) for flow in leg.flows if leg.number != NAME_RESOLUTION}
        if leg.connect is not None:
            places.add(leg.connect.place)
    places |= {r.place for r in recording.routes}  # who had it on its way
    hops |= {route.gateway or route.destination for route in recording.routes}
    for hop in hops:
        owner = recording.owners.get(("", hop, 0))
        if owner is not None:
            places.add(f"{owner.namespace}.{owner.name}" if owner.kind == "Pod" else owner.name)
    places &= {tap.place for tap in recording.taps}
    return places, asked | {("place", place, 0) for place in places}
