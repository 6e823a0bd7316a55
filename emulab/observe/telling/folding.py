"""What of a trace is told in full and what in one line. Pure.

A connection's packets go the same way again and again: the handshake's first packet shows the way, and of the
later ones only what they carry is new. So a flight whose crossings repeat those of an earlier flight of its
connection and direction becomes one row. What was decided, and evidence that wasn't shown yet, is never folded.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Hashable, Iterator, Sequence

from emulab.dataclass import dataclass
from emulab.observe.path import Hop

DECISIONS = frozenset({"dnat", "snat", "drop", "proxy-accept", "proxy-connect", "dns-query", "dns-answer"})
"""Events that are told in full each time."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the story: one hop, or a folded flight's hops.

    `delta` is microseconds since the latest moment that was told before; `meanwhile` are the connections that
    this one waited for in between.
    """

    hops: tuple[Hop, ...]
    delta: float
    meanwhile: tuple[int, ...] = ()

    @property
    def folded(self) -> bool:
        return len(self.hops) > 1

    @property
    def first(self) -> Hop:
        return self.hops[0]

    @property
    def took(self) -> float:
        """Microseconds from the first of its hops to the last."""
        return self.hops[-1].time - self.hops[0].time


def sections(hops: Sequence[Hop], every_packet: bool = False) -> dict[int, list[Row]]:
    """The rows of each connection, by its number and in its order."""
    numbers = sorted({h.connection for h in hops})
    return {number: _rows(hops, number, every_packet) for number in numbers}


def places_of(hops: Sequence[Hop]) -> list[str]:
    """The places that hops lead through, each as often as it is come to."""
    found: list[str] = []
    for hop in hops:
        if not found or found[-1] != hop.place:
            found.append(hop.place)
    return found


def evidence_of(hop: Hop) -> Hashable:
    """What a hop proves beyond the packet's having been there; None for nothing."""
    conntrack = tuple(hop.conntrack.items()) if hop.conntrack else ()
    shown = (hop.object, hop.rule, conntrack, hop.route, hop.encapsulation)
    return (hop.place, hop.interface, *shown) if any(shown) else None


def _rows(hops: Sequence[Hop], connection: int, every_packet: bool) -> list[Row]:
    positions = {id(h): i for i, h in enumerate(hops)}
    own = [h for h in hops if h.connection == connection]
    before = hops[: positions[id(own[0])]]
    moments = [max((h.time for h in before), default=own[0].time)]  # that were told, in order
    last = -1  # position of the hop told last
    rows: list[Row] = []
    for group in [(h,) for h in own] if every_packet else _folded(own):
        begun, at = group[0].time, positions[id(group[0])]
        earlier = bisect_right(moments, begun)
        delta = begun - moments[earlier - 1] if earlier else 0.0
        others = {h.connection for h in hops[last + 1 : at]} - {connection} if last >= 0 else set()
        rows.append(Row(group, delta, tuple(sorted(others))))
        for hop in group:
            insort(moments, hop.time)
        last = max(last, positions[id(group[-1])])
    return rows


def _folded(own: Sequence[Hop]) -> Iterator[tuple[Hop, ...]]:
    """The hops of a connection in rows, flights that bring nothing new in one."""
    flights: dict[tuple[str, int], list[Hop]] = {}
    for hop in own:
        flights.setdefault((hop.direction, hop.flight), []).append(hop)
    known: set[Hashable] = {None}
    ways: set[Hashable] = set()
    folds: dict[int, tuple[Hop, ...]] = {}  # what each hop is told with, by id
    for (direction, _), flight in flights.items():
        passing = [h for h in flight if h.event not in DECISIONS]
        way = (direction, tuple((h.place, h.interface, h.event) for h in passing))
        nothing_new = tuple(h for h in passing if evidence_of(h) in known)
        if way in ways and len(nothing_new) > 1:
            folds |= {id(h): nothing_new for h in nothing_new}
        ways.add(way)
        known |= {evidence_of(h) for h in flight}
    for hop in own:
        group = folds.get(id(hop), (hop,))
        if group[0] is hop:
            yield group
