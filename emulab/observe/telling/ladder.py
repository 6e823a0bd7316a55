"""A trace as people read it: one connection after the other, one line a hop, the evidence below it. Pure.

    time since the start · since the line above · direction · place and interface · event · what it was

The head says how it ended, the places that it went through in full, and the end what the time went to. A place's
name is shortened in its column alone. What doesn't fit in a line goes on in the next: nothing is cut away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from emulab.observe.path import Connection, Encapsulation, Hop, Path
from emulab.observe.telling.escapes import cleaned, printable
from emulab.observe.telling.folding import Row, places_of, sections
from emulab.observe.telling.texts import ellipsis, short_place, wrap
from emulab.observe.telling.timespans import span, totals_line

MINIMUM = 60  # columns; below, nothing can be aligned
NARROW = 80  # from here on there is room for continuation lines below the place
EVENT = 13  # the longest event, proxy-connect
TEXT = 16  # columns that are worth beginning a text in
LABEL = 10  # of evidence
WAITED = 0.05  # of the duration: a pause long enough to say what was waited for

ARROWS = {"request": "→", "response": "←"}
STYLES = {
    "title": "1",
    "quiet": "2",
    "request": "36",
    "response": "32",
    "decision": "33",
    "tunnel": "34",
    "server": "35",
    "good": "1;32",
    "bad": "1;31",
}
EVENT_STYLES = {
    "dnat": "decision",
    "snat": "decision",
    "drop": "bad",
    "encapsulate": "tunnel",
    "decapsulate": "tunnel",
    "proxy-accept": "server",
    "proxy-connect": "server",
    "dns-query": "server",
    "dns-answer": "server",
}

Paint = Callable[[str, str], str]
LabelledText = tuple[str, str]  # a label or "", and a text


def render(
    path: Path, *, width: int = 100, colour: bool = False, every_packet: bool = False, method: str = ""
) -> str:
    """The whole ladder, no line longer than `width` columns (60 at the least)."""

    def paint(style: str, text: str) -> str:
        code = STYLES.get(style) if colour and text.strip() else None
        return f"\x1b[{code}m{text}\x1b[0m" if code else text

    path = cleaned(path)  # from here on an escape is a colour, and nothing else
    ladder = _Ladder(path, max(width, MINIMUM), paint, sections(path.hops, every_packet))
    lines = [*ladder.head(method), *ladder.body(), "", *ladder.end()]
    return "\n".join(line.rstrip() for line in lines)


class _Ladder:
    def __init__(self, path: Path, width: int, paint: Paint, rows: Mapping[int, Sequence[Row]]) -> None:
        self.path, self.width, self.paint, self.rows = path, width, paint, rows
        every = [row for section in rows.values() for row in section]
        self.time = max((len(span(r.first.time)) for r in every), default=0)
        self.delta = max((len(span(r.delta)) + 1 for r in every), default=0)
        self.lead = self.time + self.delta + 4
        room = max(width - self.lead - EVENT - 34, 24)
        self.names = _short_names(path.hops, room)
        self.indent = self.lead + 2 if width >= NARROW else 6
        self.where = self.event = self.text = 0  # columns of the section that is told

    # --- above and below ----------------------------------------------------------------------------------

    def head(self, method: str) -> list[str]:
        path, failure = self.path, self.path.failure
        asked = f"{method} {path.url}".strip()
        ended = []
        if path.status is not None or failure is None:
            ended.append(f"{path.status or 'answered'} in {span(path.duration)}")
        if failure is not None:
            after = "" if ended else f" after {span(path.duration)}"
            ended.append(f"failed at {failure.place}{after} ({failure.reason})")
        text = f"{printable(asked)} from {path.source}: {', '.join(ended)}"
        style = "bad" if failure else "good" if (path.status or 200) < 400 else "title"
        lines = [self.paint(style, line) for line in wrap(text, self.width, 4)]
        lines += [self.paint("quiet", line) for line in wrap(" → ".join(path.places), self.width, 4)]
        if path.tls:
            lines += [self.paint("quiet", line) for line in wrap(_tls(path.tls), self.width, 4)]
        return lines

    def body(self) -> list[str]:
        titles = {c.number: c for c in self.path.connections}
        lines: list[str] = []
        for number, rows in self.rows.items():
            title = _title(number, titles.get(number))
            lines += ["", *(self.paint("title", line) for line in wrap(title, self.width, 4))]
            lines += self._section(rows, title)
        return lines

    def end(self) -> list[str]:
        lines: list[str] = []
        spent = totals_line(self.path)
        if spent:
            lines += wrap(f"time  {spent}", self.width, 6)
        for note in self.path.notes:
            lines += wrap(f"note  {printable(note)}", self.width, 6)
        if self.path.failure is not None:
            lines += self._failure()
        return lines

    def _failure(self) -> list[str]:
        failure = self.path.failure
        assert failure is not None
        text = f"FAILED at {failure.place}: {failure.text}"
        lines = [self.paint("bad", line) for line in wrap(printable(text), self.width, 4)]
        items = [
            ("reason", failure.reason),
            ("object", failure.object),
            ("kernel", failure.kernel_reason),
            ("mend", failure.remedy),
        ]
        for label, value in items:
            if value:
                lines += self._below((label, value), 2)
        return ["", *lines]

    # --- rows ---------------------------------------------------------------------------------------------

    def _section(self, rows: Sequence[Row], title: str) -> list[str]:
        shown = [row.first for row in rows if not row.folded]
        self.where = max((len(self._where(hop)) for hop in shown), default=0)
        self.event = max((len(hop.event) for hop in shown), default=0)
        self.text = self.width - self.lead - self.where - self.event - 2
        lines: list[str] = []
        teller = _Teller(title)
        for row in rows:
            if row.meanwhile and row.delta >= WAITED * self.path.duration:
                waited = " ".join(f"[{number}]" for number in row.meanwhile)
                lines.append(self.paint("quiet", " " * self.lead + f"⋮ meanwhile {waited}"))
            lines += self._folded(row) if row.folded else self._hop(row, teller.items(row.first))
            if row.folded:
                teller.folded(row)
        return lines

    def _lead(self, row: Row) -> str:
        times = f"{span(row.first.time):>{self.time}} {'+' + span(row.delta):>{self.delta}} "
        direction = row.first.direction
        return self.paint("quiet", times) + self.paint(direction, ARROWS.get(direction, "·")) + " "

    def _hop(self, row: Row, items: list[LabelledText]) -> list[str]:
        hop = row.first
        line = self._lead(row) + f"{self._where(hop):<{self.where}} "
        line += self.paint(EVENT_STYLES.get(hop.event, ""), f"{hop.event:<{self.event}}")
        inline = ""
        while items and self.text >= TEXT:
            label, text = items[0]
            longer = " · ".join(filter(None, [inline, f"{label} {text}".strip()]))
            if len(longer) > self.text or (label and inline and len(items) > 1):
                break
            inline = longer
            items = items[1:]
        lines = [f"{line} {inline}"]
        for item in items:
            lines += self._below(item, self.indent)
        return lines

    def _folded(self, row: Row) -> list[str]:
        """One line: what the flight carried, and that it went as one before it."""
        detail = _detail(row.first)
        same = f"same way, {len(row.hops)} hops in {span(row.took)}"
        names = [self.names[place] for place in places_of(row.hops)]
        room = self.width - self.lead
        for way in (" → ".join(names), f"{names[0]} → … → {names[-1]}", ""):
            tail = ", ".join(filter(None, [way, same]))
            if len(detail) + 3 + len(tail) <= room:
                return [self._lead(row) + self.paint("title", detail) + "   " + self.paint("quiet", tail)]
        first, *rest = [*wrap(detail, room, 2), *wrap(same, room, 2)]
        return [self._lead(row) + first, *(" " * self.lead + line for line in rest)]

    def _below(self, item: LabelledText, indent: int) -> list[str]:
        """Continuation lines: a labelled text, which goes on below itself."""
        label, text = item
        column = indent + (LABEL if label else 0)
        first, *rest = wrap(printable(text), self.width - column, 0) or [""]
        head = " " * indent + (self.paint("quiet", f"{label:<{LABEL}}") if label else "")
        return [head + first, *(" " * column + line for line in rest)]

    def _where(self, hop: Hop) -> str:
        return f"{self.names[hop.place]} {ellipsis(hop.interface or '', 15)}".rstrip()


class _Teller:
    """What is to be said of each hop of a section: what its flight carries, addresses and routes once, and evidence."""

    def __init__(self, title: str) -> None:
        self._known: set[frozenset[str]] = set()  # pairs of addresses that were shown
        self._routes: set[tuple[str, str]] = set()  # and the places' routes
        self._title = title
        self._flight: tuple[str, int] | None = None
        self._said: set[str] = set()
        self._pair: tuple[str, str] | None = None
        self._tunnel: Encapsulation | None = None

    def items(self, hop: Hop) -> list[LabelledText]:
        flight = (hop.direction, hop.flight)
        if flight != self._flight:
            self._flight, self._said, self._pair, self._tunnel = flight, set(), None, None
        items: list[LabelledText] = []
        if hop.detail and hop.detail not in self._said:
            items.append(("", _detail(hop)))
            self._said.add(hop.detail)
        items += self._addresses(hop)
        items += self._encapsulation(hop)
        if hop.object and hop.object not in hop.detail:
            # A translation's numbers say less than whose they are.
            items.insert(0 if hop.event in ("dnat", "snat") else len(items), ("", hop.object))
        if hop.rule:
            items.append(("rule", hop.rule))
        items += _conntrack(hop.conntrack or {})
        if hop.route and (hop.place, hop.route) not in self._routes:
            items.append(("route", hop.route))
            self._routes.add((hop.place, hop.route))
        return [(label, printable(text)) for label, text in items]

    def folded(self, row: Row) -> None:
        """A flight was told in one line; what comes next has to say again what it is about."""
        self._flight = None

    def _addresses(self, hop: Hop) -> list[LabelledText]:
        """The addresses, where they aren't those that were shown last. The other evidence may show them too."""
        pair = (hop.source, hop.destination)
        shown = " ".join([hop.detail, *(hop.conntrack or {}).values()])
        told = frozenset(pair) in self._known or all(address in self._title for address in pair)
        told = told if self._pair is None else pair == self._pair
        self._pair = pair
        self._known.add(frozenset(pair))
        for text in (hop.conntrack or {}).values():
            self._known.add(frozenset(text.split(" → ")))
        if told or not any(pair) or all(address in shown for address in pair):
            return []
        return [("", f"{hop.source} → {hop.destination}")]

    def _encapsulation(self, hop: Hop) -> list[LabelledText]:
        tunnel, before = hop.encapsulation, self._tunnel
        self._tunnel = tunnel
        if tunnel is None:
            return []
        name = f"in {tunnel.name}"
        same = tunnel == before
        return [("", name if same else f"{name}, {tunnel.outer_source} → {tunnel.outer_destination}")]


# --- texts ------------------------------------------------------------------------------------------------


def _short_names(hops: Sequence[Hop], room: int) -> dict[str, str]:
    """Each place's name as its column shows it, beside its longest interface's name; no two alike."""
    longest: dict[str, int] = {}
    for hop in hops:
        longest[hop.place] = max(longest.get(hop.place, 0), min(len(hop.interface or ""), 15))
    names: dict[str, str] = {}
    for place, interface in longest.items():
        limit = max(room - interface - 1, 8)
        name = short = short_place(place, limit)
        number = 2
        while short in names.values():
            short = f"{name[: limit - 2]}~{number}"
            number += 1
        names[place] = short
    return names


def _title(number: int, connection: Connection | None) -> str:
    if connection is None:
        return f"[{number}] {'name resolution' if number == 0 else 'connection'}"
    return printable(f"[{number}] {connection.title}")


def _detail(hop: Hop) -> str:
    packets = f" ({hop.packets} packets)" if hop.packets > 1 and "packets" not in hop.detail else ""
    return printable(hop.detail) + packets


def _conntrack(tuples: Mapping[str, str]) -> Iterable[LabelledText]:
    """Before, after, and how the answers come, one below the other as they are compared."""
    labels = {"before": "conntrack", "after": "becomes"}
    return [(labels.get(name, name), text) for name, text in tuples.items()]


def _tls(tls: Mapping[str, Any]) -> str:
    """The handshake and the certificate in one sentence."""
    parts = [" ".join(str(tls[k]) for k in ("version", "cipher") if tls.get(k))]
    if tls.get("server_name"):
        parts.append(f"server name {tls['server_name']}")
    if tls.get("subject") or tls.get("names"):
        certificate = f"certificate {tls.get('subject', '')}".rstrip()
        if tls.get("names"):
            certificate += f" for {' '.join(map(str, tls['names']))}"
        if tls.get("issuer"):
            certificate += f" by {tls['issuer']}"
        parts.append(certificate)
    since, until = _day(tls.get("not_before")), _day(tls.get("not_after"))
    if since and until:
        parts.append(f"valid {since} to {until}")
    return printable(f"TLS: {', '.join(p for p in parts if p)}")


def _day(moment: Any) -> str:
    if not isinstance(moment, int | float):
        return str(moment or "")
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")
