"""Packets as events of one line each: what passed, where, between whom. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, NamedTuple

from emulab.observe.events import Flow, Frame
from emulab.observe.join.dissect import describe_packet, end_name
from emulab.observe.join.packets import Discovery, decode
from emulab.observe.path import Encapsulation
from emulab.observe.telling.texts import short_place

_PLACE = 26  # columns of where it was

Naming = Callable[[str, str, int], str]
"""The name of the object that a protocol, an address and a port are; "" for none."""


class PacketEvent(NamedTuple):
    """One packet at one interface, or one that the kernel dropped: `reason` says why then."""

    time: int
    place: str
    interface: str
    outgoing: bool
    flow: Flow
    size: int
    detail: str
    encapsulation: Encapsulation | None = None
    reason: str = ""
    location: str = ""  # the kernel's function that dropped it


def event_of(frame: Frame) -> PacketEvent | None:
    """The event of a frame; None for what isn't understood."""
    packet = decode(0, frame)
    if packet is None:
        return None
    where = (frame.time, frame.place, frame.interface, frame.outgoing)
    if isinstance(packet, Discovery):
        flow = Flow("arp", packet.sender, 0, packet.target, 0)
        what = "is at" if packet.is_reply else "who has"
        word = "NDP" if ":" in packet.target else "ARP"
        about = packet.sender if packet.is_reply else packet.target
        return PacketEvent(*where, flow, frame.length, f"{word} {what} {about}")
    return PacketEvent(*where, packet.flow, packet.length, describe_packet(packet), packet.encapsulation)


class WantedPackets(NamedTuple):
    """Which events are told: None is whichever."""

    sources: Collection[str] | None = None
    destinations: Collection[str] | None = None
    either: Collection[str] | None = None

    def admits(self, event: PacketEvent) -> bool:
        source, destination = event.flow.source, event.flow.destination
        return (
            (self.sources is None or source in self.sources)
            and (self.destinations is None or destination in self.destinations)
            and (self.either is None or source in self.either or destination in self.either)
        )


def peers_of(event: PacketEvent) -> list[tuple[str, str, int]]:
    """Whose names an event is told with."""
    flow = event.flow
    return [
        (flow.protocol, flow.source, flow.source_port),
        (flow.protocol, flow.destination, flow.destination_port),
    ]


def line_of(event: PacketEvent, name: Naming, wide: bool) -> str:
    """An event on one line."""
    clock = datetime.fromtimestamp(event.time / 1e9).strftime("%H:%M:%S.%f")
    source, destination = (_end(*peer, name, wide) for peer in peers_of(event))
    place = short_place(event.place, _PLACE)
    where = f"{place}/{event.interface}" if event.interface else place
    mark = "×" if event.reason else "→" if event.outgoing else "←"
    text = f"{clock} {where:<{_PLACE}} {mark} {source} → {destination}  {event.detail}"
    if event.encapsulation is not None:
        e = event.encapsulation
        text += f", in {e.name} {e.outer_source} → {e.outer_destination}"
    if event.reason:
        text += f", DROPPED: {event.reason}" + (f" in {event.location}" if event.location else "")
    return text


def _end(protocol: str, address: str, port: int, name: Naming, wide: bool) -> str:
    found = name(protocol, address, port)
    if not found:
        return end_name(address, port)
    if wide:
        return f"{found} {end_name(address, port)}"
    return f"{found}:{port}" if port else found


def json_of(event: PacketEvent, name: Naming) -> dict[str, Any]:
    """An event for programs."""
    source, destination = (
        {"address": address, "port": port, "name": name(protocol, address, port)}
        for protocol, address, port in peers_of(event)
    )
    return {
        "time": datetime.fromtimestamp(event.time / 1e9).astimezone().isoformat(),
        "event": "drop" if event.reason else "send" if event.outgoing else "receive",
        "place": event.place,
        "interface": event.interface,
        "protocol": event.flow.protocol,
        "source": source,
        "destination": destination,
        "size": event.size,
        "detail": event.detail,
        "encapsulation": event.encapsulation.to_json() if event.encapsulation else None,
        **({"reason": event.reason, "location": event.location} if event.reason else {}),
    }
