"""A trace as a Mermaid sequence diagram: who sent what to whom, in the order of time. Pure.

One arrow for each step from place to place of a flight of packets; notes where something was decided. Names are
aliases of plain identifiers: a place's own name may be a word of Mermaid's, or hold characters that it gives a
meaning to.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from emulab.observe.path import Hop, Path
from emulab.observe.telling.escapes import printable
from emulab.observe.telling.timespans import span

ARROWS = {"request": "->>", "response": "-->>"}
LOST = {"request": "-x", "response": "--x"}
NOTE = 48  # columns of a note; Mermaid itself breaks no lines

_SPECIAL = re.compile(r"[#;\"<>{}%\\]")


def render(path: Path, method: str = "") -> str:
    """The diagram's source."""
    return "\n".join(_Diagram(path, method).lines())


class _Diagram:
    def __init__(self, path: Path, method: str) -> None:
        self._path = path
        self._method = method
        named = [c for c in path.connections if c.number != 0]
        through = [p for c in named for p in (c.source_place, c.destination_place)]
        places = dict.fromkeys([*path.places, *through, *(h.place for h in path.hops)])
        if path.failure:
            places.setdefault(path.failure.place)
        self._ids = {place: f"p{number}" for number, place in enumerate(p for p in places if p)}
        self._arrows: list[list[str]] = []  # statements; an arrow's can still turn into a lost one

    def lines(self) -> list[str]:
        path = self._path
        ended = str(path.status or ("failed" if path.failure else "answered"))
        title = f"{self._method} {path.url} from {path.source}: {ended} in {span(path.duration)}".strip()
        lines = ["sequenceDiagram", f"title {escape(title)}", "autonumber"]
        for place, name in self._ids.items():
            lines.append(f"participant {name} as {escape_alias(place.removeprefix('default.'))}")
        lines += ["".join(statement) for statement in self._statements(path.hops)]
        if path.failure and path.failure.place:
            failure = path.failure
            lines.append(
                self._note([failure.place], f"FAILED: {failure.text}", failure.object, failure.remedy)
            )
        return [lines[0], *("    " + line for line in lines[1:])]

    def _statements(self, hops: Sequence[Hop]) -> list[list[str]]:
        """In the order of time: a heading for each connection, an arrow for each arrival, a note for each decision."""
        statements: list[list[str]] = []
        titles = {c.number: c for c in self._path.connections}
        at: dict[tuple[int, str, int], str] = {}  # where each flight has come to
        arrows: dict[tuple[int, str, int], list[str]] = {}  # and by which arrow
        for hop in hops:
            connection = titles.pop(hop.connection, None)
            if connection is not None:
                ends = [connection.source_place, connection.destination_place]
                statements.append([self._note(ends, f"[{connection.number}] {connection.title}")])
            flight = (hop.connection, hop.direction, hop.flight)
            before = at.get(flight, hop.place)
            at[flight] = hop.place
            if before != hop.place:
                arrows[flight] = self._arrow(before, hop)
                statements.append(arrows[flight])
            if hop.event == "drop":
                if flight not in arrows:  # it never left
                    arrows[flight] = self._arrow(hop.place, hop)
                    statements.append(arrows[flight])
                arrows[flight][1] = LOST.get(hop.direction, "-x")
            note = _decision(hop)
            if note:
                statements.append([self._note([hop.place], *note)])
        return statements

    def _arrow(self, start: str, hop: Hop) -> list[str]:
        tunnel = f" (in {hop.encapsulation.name})" if hop.encapsulation else ""
        text = escape((hop.detail or hop.protocol.upper()) + tunnel)
        return [self._ids[start], ARROWS.get(hop.direction, "->>"), f"{self._ids[hop.place]}: {text}"]

    def _note(self, places: Sequence[str], *texts: str) -> str:
        """A note over one place, or from one to another."""
        names = list(dict.fromkeys(self._ids[p] for p in places if p in self._ids)) or ["p0"]
        broken = [
            escape(line)
            for text in texts
            for line in textwrap.wrap(text, NOTE, break_long_words=False, break_on_hyphens=False)
        ]
        return f"Note over {','.join(names)}: {'<br/>'.join(broken)}"


def _decision(hop: Hop) -> list[str]:
    """What a note says of a hop: what was decided, and the object that it stands for."""
    if hop.event in ("dnat", "snat"):
        after = (hop.conntrack or {}).get("after", "")
        return [f"{hop.event.upper()}: {hop.object or hop.detail}", after]
    if hop.event == "drop":
        return [f"DROP: {hop.detail}", hop.object, hop.rule]
    if hop.event in ("proxy-accept", "proxy-connect", "dns-query", "dns-answer"):
        details = [hop.detail, hop.object] if hop.object not in hop.detail else [hop.detail]
        return [f"{hop.event}: {details[0] or hop.object}", *(details[1:] if details[0] else [])]
    return []


def escape(text: str) -> str:
    """A text that Mermaid shows as it is: what ends a statement, begins a comment or is HTML becomes an entity."""
    return _SPECIAL.sub(lambda m: f"#{ord(m[0])};", printable(text))


def escape_alias(text: str) -> str:
    """A participant's name, where a colon would begin a message."""
    return escape(text).replace(":", "#58;") or "#32;"
