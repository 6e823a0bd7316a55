"""How far the two sides of a connection came with each other: what got lost first, or who owes an answer. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from emulab.dataclass import dataclass
from emulab.observe.events import is_loopback
from emulab.observe.explain.case import Case
from emulab.observe.join.flows import Leg, Transit
from emulab.observe.join.packets import ACK, FIN, RST, SYN, Packet


@dataclass(frozen=True, slots=True)
class Stop:
    """Where the packets of a connection came to a stand.

    `packet` is the last sighting of what came farthest, `tries` how often it was sent. `lost`: it never arrived;
    else it did, and whoever has it owes the next word.
    """

    packet: Packet
    forward: bool
    tries: int
    lost: bool
    open: bool  # whether the connection was open already: the answer to a SYN was taken
    taken: bool  # whether the other kernel acknowledged it
    said: int  # bytes that had come back until then


def arrived(case: Case, leg: Leg, transit: Transit) -> bool:
    """Whether a packet came to whom it was meant for, and not just through there."""
    last = transit.last
    if last.outgoing or last.encapsulation:
        return False
    if not transit.forward:
        return leg.begun is not None and last.place == leg.begun.first.place
    if is_loopback(last.flow.destination):
        return True
    own = case.addresses.get(last.place, ())
    entry = case.evidence.translation(last.place, last.flow)
    if entry is not None and entry.original == last.flow != entry.translated:
        return entry.translated.destination in own  # a process of the node stands in for a Service
    if last.flow.destination not in own:
        return False
    owner = case.owner(last.flow)
    # A node port is the node's address, but whoever asks for it is meant for a pod.
    return not (owner and owner.kind == "Service" and case.kinds.get(last.place) in ("node", "router"))


def stopped(case: Case, leg: Leg) -> Stop | None:
    """Where a connection came to a stand; None when its packets all went well, or none was seen."""
    groups = _groups(t for t in leg.transits if _matters(t.first))
    if not groups:
        return None
    opened = any(t.forward and t.first.flags & ACK for t in leg.transits)
    for group in groups:
        if not any(arrived(case, leg, t) for t in group):
            best = max(group, key=lambda t: (len(t.packets), -t.time))
            before = (t for t in leg.transits if t.time < group[0].time)
            said = _answered_bytes(case, leg, before)
            return Stop(best.last, best.forward, len(group), True, opened, False, said)
    last = groups[-1]
    taken = any(_acknowledges(t, last[-1]) for t in leg.transits)
    said = _answered_bytes(case, leg, leg.transits)
    return Stop(last[-1].last, last[-1].forward, len(last), False, opened, taken, said)


def _acknowledges(transit: Transit, of: Transit) -> bool:
    """Whether a TCP packet says that another one arrived."""
    first, other = transit.first, of.first
    if transit.forward == of.forward or not first.flags & ACK or other.flow.protocol != "tcp":
        return False
    behind = (first.acknowledged - other.sequence) % (1 << 32)
    return 0 < behind < 1 << 31


def _matters(packet: Packet) -> bool:
    """Whether the loss of a packet matters: bare acknowledgements, and what only ends a connection, may get lost."""
    if packet.flow.protocol != "tcp":
        return True
    return packet.size > 0 or bool(packet.flags & SYN)


def _groups(transits: Iterable[Transit]) -> list[list[Transit]]:
    """Packets in groups that carry the same data, sent once or again, in the order of the first of each."""
    found: dict[tuple[object, ...], list[Transit]] = {}
    for transit in transits:
        first = transit.first
        if first.flow.protocol == "tcp":
            key: tuple[object, ...] = (transit.forward, first.sequence, first.flags & SYN)
        else:
            key = (transit.forward, first.size, first.payload)
        found.setdefault(key, []).append(transit)
    return list(found.values())


def _answered_bytes(case: Case, leg: Leg, transits: Iterable[Transit]) -> int:
    """Bytes of the answer that came back to who asked."""
    seen = {
        (t.first.sequence, t.first.size, t.first.payload if t.first.flow.protocol == "udp" else b"")
        for t in transits
        if not t.forward and t.first.size and arrived(case, leg, t)
    }
    return sum(size for _, size, _ in seen)


def reset(leg: Leg) -> Transit | None:
    """The reset that the far side answered with, if it did."""
    return next((t for t in leg.transits if not t.forward and t.first.flags & RST), None)


def was_kept(leg: Leg) -> bool:
    """Whether a connection was open before the request: whoever sent it had kept it from an earlier one."""
    return leg.protocol == "tcp" and leg.begun is not None and not leg.begun.first.flags & SYN


def ended(leg: Leg) -> bool:
    """Whether the far side ended the connection in good order."""
    return any(not t.forward and t.first.flags & FIN for t in leg.transits)


def what(stop: Stop) -> str:
    """The packet that got lost or is to be answered, in words, with how often it was sent."""
    packet = stop.packet
    if packet.flow.protocol == "udp":
        name = "a datagram" if stop.forward else "the datagram that answers"
    elif packet.flags & SYN:
        name = "a SYN-ACK" if packet.flags & ACK and not stop.forward else "a SYN"
    elif stop.forward:
        name = "the request" if stop.open else "a packet"
    else:
        name = "the answer"
    return name + (f", sent {stop.tries} times," if stop.tries > 1 else "")
