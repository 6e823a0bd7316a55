"""All packets that were seen, by flow and by identity. Pure.

Made once of a recording's frames. Among a hundred thousand of somebody else's a request has two hundred, so a frame
is only glanced at, and decoded when somebody asks for its flow or for packets that look like one that is known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from emulab.observe.events import Flow, Frame
from emulab.observe.join.packets import (
    Discovery,
    Packet,
    decode,
    flow_key,
    glance,
    key_destination,
    key_flow,
    key_source,
    mark,
)


class Sightings:
    """The packets among some frames; always in the order of time."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.discoveries: list[Discovery] = []  # everybody's; who looks for a reason picks his
        self._frames = frames
        self._decoded: dict[int, Packet | None] = {}
        self._numbers: dict[bytes, list[int]] = {}  # of frames, by flow key
        self._marked: dict[bytes, list[int]] = {}  # of frames, by mark
        self._keys: dict[bytes, list[bytes]] = defaultdict(list)  # of flows, by protocol and source port
        self._errors: dict[Flow, list[Packet]] = defaultdict(list)  # ICMP errors by what they are about
        self._flows: dict[Flow, list[Packet]] = {}
        self._identities: dict[tuple[object, ...], list[list[Packet]]] = {}
        for number in sorted(range(len(frames)), key=lambda n: frames[n].time):
            seen = glance(frames[number].data) or self._look(number)
            if seen is None:
                continue
            key, its_mark = seen
            if key in self._numbers:
                self._numbers[key].append(number)
            else:
                self._numbers[key] = [number]
                self._keys[key_source(key)].append(key)
            self._marked.setdefault(its_mark, []).append(number)

    def of(self, flow: Flow) -> Sequence[Packet]:
        """The sightings of a flow's packets."""
        if flow not in self._flows:
            try:
                numbers = self._numbers.get(flow_key(flow), [])
            except OSError:  # no address
                numbers = []
            self._flows[flow] = [p for p in self._packets(numbers) if p.flow == flow]
        return self._flows[flow]

    def same(self, packet: Packet) -> Sequence[Packet]:
        """Every sighting of a packet, as far as its identity tells."""
        identity = packet.identity
        if identity not in self._identities:
            marked = self._packets(self._marked.get(mark(packet), ()))
            found = [p for p in marked if p.identity == identity]
            anonymous = packet.flow.protocol == "udp" and ":" in packet.flow.source
            self._identities[identity] = _told_apart(found) if anonymous else [found]
        several = self._identities[identity]
        if len(several) == 1:
            return several[0]
        return next(one for one in several if any(p.frame == packet.frame for p in one))

    def from_port(self, protocol: str, port: int) -> list[Flow]:
        """The flows from a source port, whatever the addresses, in the order in which they were first seen."""
        wanted = flow_key(Flow(protocol, "::", port, "::", 0))
        flows = map(key_flow, self._keys.get(key_source(wanted), ()))
        return [flow for flow in flows if self.of(flow)]

    def towards(self, protocol: str, address: str, port: int) -> list[Flow]:
        """The flows to an address and port."""
        wanted = key_destination(flow_key(Flow(protocol, address, 0, address, port)))
        flows = (key for key in self._numbers if key_destination(key) == wanted)
        return [flow for flow in map(key_flow, flows) if self.of(flow)]

    def errors_about(self, flow: Flow) -> Sequence[Packet]:
        """The ICMP errors about a flow."""
        return self._errors.get(flow, ())

    def _look(self, number: int) -> tuple[bytes, bytes] | None:
        """Looks into a frame of which a glance doesn't tell enough, or that is no packet of a flow at all."""
        packet = decode(number, self._frames[number])
        if isinstance(packet, Discovery):
            self.discoveries.append(packet)
        if not isinstance(packet, Packet):
            return None
        self._decoded[number] = packet
        if packet.about is not None:
            self._errors[packet.about].append(packet)
        return flow_key(packet.flow), mark(packet)

    def _packets(self, numbers: Iterable[int]) -> list[Packet]:
        found = []
        for number in numbers:
            if number not in self._decoded:
                packet = decode(number, self._frames[number])
                self._decoded[number] = packet if isinstance(packet, Packet) else None
            known = self._decoded[number]
            if known is not None:
                found.append(known)
        return found


def _told_apart(found: Iterable[Packet]) -> list[list[Packet]]:
    """Datagrams of the same bytes that have no identification, as those of IPv6: what a proxy passes on, an echo."""
    several: list[list[Packet]] = []
    for packet in found:
        home = next((one for one in reversed(several) if any(p.flow == packet.flow for p in one)), None)
        if home is None and several and not _begins(packet, several[-1]):
            home = several[-1]
        if home is None:
            several.append([packet])
        else:
            home.append(packet)
    return several


def _begins(packet: Packet, before: Iterable[Packet]) -> bool:
    """Whether a place has sent a packet anew: what it passes on of those that it received has a hop less to live."""
    return packet.outgoing and any(
        p.place == packet.place and not p.outgoing and p.ttl <= packet.ttl for p in before
    )
