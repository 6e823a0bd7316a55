"""From evidence to a path: legs, flights and decisions in causal order. Pure.

Rules:

* A *flight* is what one side sends until the other has something to say, or until it has something else to say
  after a pause. Acknowledgements alone belong to the flight that went before them in their direction. Its hops
  carry the times of its first packet.
* A place that a packet enters and leaves *forwards* it; what happened to its addresses in between is a decision
  with a hop of its own, at the time of entering, told once a connection. Answers are translated back by
  conntrack without a decision: their hop says so.
* A record of a proxy joins two connections: *proxy-accept* is the end of one, *proxy-connect* the beginning
  of the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from emulab.observe.events import Recording
from emulab.observe.explain.case import Diagnosis
from emulab.observe.explain.failures import explain, oddities, passed_over
from emulab.observe.hops import HopDraft, crossing, decided, hop_of
from emulab.observe.join.decisions import Decision, Evidence, untold
from emulab.observe.join.dissect import ends
from emulab.observe.join.flows import NAME_RESOLUTION, Joined, Leg, Transit, join
from emulab.observe.join.packets import Packet
from emulab.observe.join.sightings import Sightings
from emulab.observe.path import Connection, Hop, Path
from emulab.observe.totals import time_totals
from emulab.observe.wording import (
    accepted,
    assign_flights,
    flight_detail,
    missing_evidence,
    name_answer,
    pick,
    proxy_rule,
    reused,
)


def tell(recording: Recording, every_packet: bool = False, sightings: Sightings | None = None) -> Path:
    """The path of the recorded request; with `every_packet`, a hop for each packet at each interface.

    `sightings` are those of the recording's frames, if they were made already.
    """
    joined = join(recording, sightings)
    teller = _Teller(recording, joined, every_packet)
    drafts = teller.drafts()
    sending = recording.sending
    finding = explain(recording, joined, teller.evidence)
    if finding is not None:
        drafts = sorted([*drafts, *teller.thrown_away(finding, drafts)], key=lambda d: d.time)
    hops = _numbered(drafts)
    start = drafts[0].time if drafts else sending.begun
    answered = (sending.ended - start) / 1000 if sending.status is not None else None
    return Path(
        source=sending.place,
        url=sending.target,
        status=sending.status,
        duration=hops[-1].time if hops else 0.0,
        hops=hops,
        places=_places(joined, sending.place),
        connections=teller.connections(),
        failure=finding.failure if finding else None,
        totals=time_totals(recording, joined, drafts[0].time, drafts[-1].time) if drafts else {},
        tls=sending.tls or None,
        notes=[
            *passed_over(recording, joined, teller.evidence),
            *missing_evidence(recording),
            *([] if finding else oddities(recording, joined, teller.evidence)),
        ],
        answered=round(answered, 1) if answered is not None else None,
        method=sending.method,
    )


def _numbered(drafts: Sequence[HopDraft]) -> list[Hop]:
    """Hops with index, time and delta; the deltas add up to the last hop's time."""
    hops: list[Hop] = []
    before = 0.0
    for index, draft in enumerate(drafts):
        time = round((draft.time - drafts[0].time) / 1000, 1)
        hops.append(replace(draft.hop, index=index, time=time, delta=round(time - before, 1)))
        before = time
    return hops


def _places(joined: Joined, source: str) -> list[str]:
    """The places that the request came through, in order; one that it came back to, again."""
    places = [source]
    for leg in joined.chain():
        farthest = max((t for t in leg.transits if t.forward), key=lambda t: len(t.packets), default=None)
        for packet in farthest.packets if farthest else ():
            if packet.place != places[-1]:
                places.append(packet.place)
    return places


class _Teller:
    """Makes the hops of all legs."""

    def __init__(self, recording: Recording, joined: Joined, every_packet: bool) -> None:
        self.evidence = Evidence(recording)
        self._recording = recording
        self._joined = joined
        self._addresses = {tap.place: set(tap.addresses) for tap in recording.taps}
        number = 1
        for leg in joined.legs:
            number = assign_flights(leg, number, every_packet)

    def drafts(self) -> list[HopDraft]:
        """All hops in causal order."""
        drafts: list[HopDraft] = []
        for leg in self._joined.legs:
            drafts += self._connect(leg)
            drafts += self._leg(leg)
            drafts += self._records(leg)
        return sorted(drafts, key=lambda d: d.time)  # stable: what has one time stays in its causal order

    def thrown_away(self, finding: Diagnosis, drafts: Sequence[HopDraft]) -> list[HopDraft]:
        """The end of the packet that a failure is about, if no rule or server told of it."""
        packet, failure = finding.packet, finding.failure
        place = packet.place if packet else failure.place
        if any((d.hop.event, d.hop.place) == ("drop", place) for d in drafts):
            return []
        why = f", {failure.kernel_reason}" if failure.kernel_reason else ""
        detail = f"dropped ({failure.reason}{why})"
        if packet is None:
            if finding.flow is None:
                return []
            direction = "request" if finding.forward else "response"
            hop = hop_of(finding.connection, direction, place, None, "drop", finding.flow, detail)
            return [HopDraft(finding.time, replace(hop, object=failure.object, rule=finding.rule))]
        for leg in self._joined.legs:
            for transit in leg.transits:
                if packet in transit.packets:
                    direction = "request" if transit.forward else "response"
                    where = (place, packet.interface, "drop", packet.flow)
                    hop = hop_of(leg.number, direction, *where, detail)
                    hop = replace(hop, object=failure.object, rule=finding.rule)
                    hop = replace(hop, flight=transit.flight, frames=(packet.frame,))
                    return [HopDraft(max(finding.time, packet.time), hop)]
        return []

    def connections(self) -> list[Connection]:
        """A heading for name resolution and for each connection."""
        found = []
        if any(leg.number == NAME_RESOLUTION for leg in self._joined.legs):
            found.append(Connection(NAME_RESOLUTION, "name resolution", "", "", "udp"))
        for leg in self._joined.connections():
            begun, arrived = leg.begun, leg.arrived
            flow = begun.first.flow if begun else next(iter(leg.flows))
            source = begun.first.place if begun else self._recording.sending.place
            destination = arrived.place if arrived else ""
            again = " (an open connection, used again)" if reused(leg) else ""
            vain = f" (passed over: {leg.attempt.reason})" if leg.attempt else ""
            title = f"{source} → {destination or '?'}: {flow.protocol.upper()} {ends(flow)}{again}{vain}"
            found.append(Connection(leg.number, title, source, destination, flow.protocol))
        return found

    def _leg(self, leg: Leg) -> list[HopDraft]:
        drafts: list[HopDraft] = []
        told: set[tuple[str, str]] = set()
        flights: dict[int, list[Transit]] = {}
        for transit in (*leg.transits, *leg.errors):
            flights.setdefault(transit.flight, []).append(transit)
        for transits in flights.values():
            drafts += self._flight(leg, transits, told)
        if leg.number != NAME_RESOLUTION and not leg.begun:
            drafts += self._never_left(leg)
        return drafts

    def _flight(self, leg: Leg, transits: list[Transit], told: set[tuple[str, str]]) -> list[HopDraft]:
        """The hops of one flight: the way of its first packet, and whatever others did besides."""
        detail = flight_detail(transits)
        drafts: list[HopDraft] = []
        at: dict[tuple[Any, ...], int] = {}
        for transit in transits:
            events = self._events(transit)
            for position, (packet, event) in enumerate(zip(transit.packets, events, strict=True)):
                key = (packet.place, packet.interface, packet.outgoing, packet.flow, packet.encapsulation)
                if key in at:
                    hop = drafts[at[key]].hop
                    frames = (*hop.frames, packet.frame)
                    drafts[at[key]].hop = replace(hop, frames=frames, packets=len(frames))
                    continue
                before = transit.packets[position - 1] if position else None
                for decision in self._decisions(transit, before, packet, told):
                    time = before.time if before else packet.time
                    drafts.append(HopDraft(time, decided(leg, transit, decision, before or packet)))
                at[key] = len(drafts)
                text = self._translated_back(transit, before, packet) or detail
                drafts.append(
                    HopDraft(packet.time, crossing(self.evidence, leg, transit, packet, event, text))
                )
            last = transit.last
            for decision in self._decided_at_the_end(transit, told):
                drafts.append(HopDraft(last.time, decided(leg, transit, decision, last)))
            refusal = self._refusal(leg, transit)
            if refusal is not None and ("drop", refusal.place) not in told:
                told.add(("drop", refusal.place))
                drafts.append(HopDraft(last.time, decided(leg, transit, refusal, last)))
        return drafts

    def _events(self, transit: Transit) -> list[str]:
        """What each sighting of a packet was, from the ones around it."""
        events = []
        packets = transit.packets
        for i, packet in enumerate(packets):
            before = packets[i - 1] if i and packets[i - 1].place == packet.place else None
            after = packets[i + 1] if i + 1 < len(packets) else None
            if packet.outgoing:
                if packet.encapsulation and before and not before.encapsulation:
                    events.append("encapsulate")
                else:
                    events.append("send" if i == 0 else "forward")
            elif before and before.encapsulation and not packet.encapsulation:
                events.append("decapsulate" if after else self._end(packet, "decapsulate"))
            elif after and after.place == packet.place:
                events.append("receive")
            else:
                events.append(self._end(packet, "receive"))
        return events

    def _end(self, packet: Packet, otherwise: str) -> str:
        mine = packet.flow.destination in self._addresses.get(packet.place, ())
        entry = self.evidence.translation(packet.place, packet.flow)
        if entry is not None and entry.original == packet.flow != entry.translated:
            return otherwise  # what it was translated to is told next
        refused = self.evidence.refusal(packet.place, (packet.flow,), packet.sequence)
        return "deliver" if mine and not packet.encapsulation and not refused else otherwise

    def _decisions(
        self, transit: Transit, before: Packet | None, packet: Packet, told: set[tuple[str, str]]
    ) -> list[Decision]:
        """The translations that a place decided on between two sightings, or before the first one."""
        if not transit.forward:
            return []
        if before is None and not packet.outgoing:  # by a loopback comes what the place itself has sent
            entry = self.evidence.origin(packet.place, packet.flow) if packet.interface == "lo" else None
            if entry is None:
                return []
            flow = packet.flow.towards(entry.original)
        elif before is not None:  # a bridge translates what comes in by its ports before it is the node's own
            flow = before.flow
        else:
            entry = self.evidence.translation(packet.place, packet.flow)
            if entry is None:
                return []
            flow = entry.original
        if flow == packet.flow or (before is not None and before.place != packet.place):
            return []
        return untold(self.evidence.translations_between(flow, packet.flow, packet), told)

    def _decided_at_the_end(self, transit: Transit, told: set[tuple[str, str]]) -> list[Decision]:
        """The translations of a packet that a place kept: for a program of its own, or lost afterwards."""
        last = transit.last
        if not transit.forward or last.outgoing or last.encapsulation:
            return []
        entry = self.evidence.translation(last.place, last.flow)
        if entry is None or entry.original != last.flow or entry.translated == last.flow:
            return []
        return untold(self.evidence.translations_between(last.flow, entry.translated, last), told)

    def _translated_back(self, transit: Transit, before: Packet | None, packet: Packet) -> str:
        """What conntrack did to an answer, in words; "" when it did nothing."""
        if transit.forward or before is None or before.place != packet.place or before.flow == packet.flow:
            return ""
        if before.flow.protocol == "icmp":
            return ""
        return f"{flight_detail([transit])}; translated back by conntrack: {ends(before.flow)} ⇒ {ends(packet.flow)}"

    def _refusal(self, leg: Leg, transit: Transit) -> Decision | None:
        last = transit.last
        sequence = last.sequence if last.flow.protocol == "tcp" else None
        if not transit.forward or last.outgoing:
            return None
        entry = (f for f, forward in leg.flows.items() if forward)
        return self.evidence.refusal(last.place, entry, sequence)

    def _never_left(self, leg: Leg) -> list[HopDraft]:
        """A connection whose first packet was refused where it was made."""
        sending = self._recording.sending
        flows = [f for f, forward in leg.flows.items() if forward]
        refusal = self.evidence.refusal(sending.place, flows, None)
        if refusal is None:
            return []
        time = leg.transits[0].time if leg.transits else sending.ended
        hop = hop_of(
            leg.number,
            *("request", sending.place, None, "drop", refusal.before, refusal.detail),
        )
        return [HopDraft(time, replace(hop, object=refusal.object, rule=refusal.rule))]

    def _connect(self, leg: Leg) -> list[HopDraft]:
        """How a proxy came to start this connection."""
        record = leg.connect
        if record is None:
            return []
        begun = leg.begun
        time = min(record.time, begun.time) if begun else record.time
        fields = record.fields
        flow = begun.first.flow if begun else next(iter(leg.flows))
        rule = proxy_rule(fields)
        hop = hop_of(leg.number, "request", record.place, None, "proxy-connect", flow, pick(fields))
        upstream = self.evidence.text(flow.protocol, flow.destination, flow.destination_port)
        return [HopDraft(time, replace(hop, object=upstream, rule=rule))]

    def _records(self, leg: Leg) -> list[HopDraft]:
        """What the server at a leg's far end told about it."""
        drafts = []
        flow = leg.arrived.flow if leg.arrived else next(iter(leg.flows))
        for record in leg.records:
            event = str(record.fields["event"])
            if event == "proxy-accept":
                hop = hop_of(leg.number, "request", record.place, None, event, flow, accepted(leg))
            elif event == "drop":
                detail = str(record.fields.get("reason", ""))
                hop = hop_of(leg.number, "request", record.place, None, "drop", flow, detail)
                owner = self.evidence.text(flow.protocol, flow.destination, flow.destination_port)
                acl = ", ".join(map(str, record.fields.get("acl") or ()))
                hop = replace(hop, object=owner, rule=f"sourceRanges {acl}" if acl else "")
            elif event in ("dns-query", "dns-answer"):
                direction = "request" if event == "dns-query" else "response"
                seen = flow if event == "dns-query" else flow.reverse
                hop = hop_of(
                    leg.number, direction, record.place, None, event, seen, name_answer(record.fields)
                )
            else:
                continue
            drafts.append(HopDraft(record.time, hop))
        return drafts
