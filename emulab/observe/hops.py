"""Hops as they are made of evidence, before they have a number and a time relative to the others. Pure."""

from __future__ import annotations

from dataclasses import replace

from emulab.dataclass import dataclass
from emulab.observe.events import Flow
from emulab.observe.join.decisions import Decision, Evidence
from emulab.observe.join.dissect import end_name
from emulab.observe.join.flows import Leg, Transit
from emulab.observe.join.packets import Packet
from emulab.observe.path import Hop


@dataclass(slots=True)
class HopDraft:
    """A hop before its number and times relative to the others are known. `time` is in nanoseconds."""

    time: int
    hop: Hop


def crossing(evidence: Evidence, leg: Leg, transit: Transit, packet: Packet, event: str, detail: str) -> Hop:
    """A packet at an interface."""
    hop = hop_of(
        leg.number,
        "request" if transit.forward else "response",
        *(packet.place, packet.interface, event, packet.flow, detail),
    )
    outer = packet.encapsulation
    route = ""
    if packet.outgoing:
        destination = outer.outer_destination if outer else packet.flow.destination
        route = evidence.route_taken(packet.place, destination, transit.after(packet))
    return replace(
        hop,
        encapsulation=outer,
        route=route,
        flight=transit.flight,
        packets=1,
        frames=(packet.frame,),
    )


def decided(leg: Leg, transit: Transit, decision: Decision, packet: Packet) -> Hop:
    """What a place decided about a packet."""
    hop = hop_of(
        leg.number,
        "request" if transit.forward else "response",
        *(decision.place, packet.interface, decision.event, decision.before, decision.detail),
    )
    return replace(
        hop,
        object=decision.object,
        rule=decision.rule,
        conntrack=decision.conntrack,
        flight=transit.flight,
        frames=(packet.frame,),
    )


def hop_of(
    connection: int,
    direction: str,
    place: str,
    interface: str | None,
    event: str,
    flow: Flow,
    detail: str,
) -> Hop:
    """What was seen of a flow at a place."""
    return Hop(
        index=0,
        time=0.0,
        delta=0.0,
        direction=direction,
        place=place,
        interface=interface,
        event=event,
        protocol=flow.protocol,
        source=end_name(flow.source, flow.source_port),
        destination=end_name(flow.destination, flow.destination_port),
        detail=detail,
        connection=connection,
    )
