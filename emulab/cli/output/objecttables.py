"""Objects in kubectl's tables, with the columns that options add. Pure but for `now`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from emulab.cli.output.columns import rows
from emulab.cli.output.customcolumns import CustomColumns
from emulab.cli.output.table import GrowingTable
from emulab.kinds import cells
from emulab.kinds.cells import NONE, Raw
from emulab.kinds.kind import Kind


class Layout(NamedTuple):
    """What the tables have beside the columns of their kinds."""

    wide: bool = False
    headers: bool = True
    namespaces: bool = False  # a column for it
    kinds: bool = False  # names say the kind
    labels: Sequence[str] = ()  # a column for each of these
    all_labels: bool = False
    custom: CustomColumns | None = None  # columns in place of all others


class ObjectTables:
    """Prints objects as they come; a kind's header comes with the first of its objects."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._table = GrowingTable()
        self._kind: Kind | None = None

    def text(self, objects: Sequence[tuple[Kind, Raw]], now: float, events: Sequence[str] = ()) -> str:
        """The lines of objects; `events`: what each row begins with, what happened to the object."""
        if self._layout.custom is not None:
            return self._custom(self._layout.custom, [o for _, o in objects])
        return "".join(self._tables(objects, now, events))

    def _custom(self, columns: CustomColumns, objects: Sequence[Raw]) -> str:
        header = [columns.headers] if self._layout.headers and self._kind is None else []
        self._kind = _ANY
        return self._table.lines([*header, *map(columns.row, objects)])

    def _tables(
        self, objects: Sequence[tuple[Kind, Raw]], now: float, events: Sequence[str]
    ) -> Iterator[str]:
        at = 0
        for kind, group in groupby(objects, key=lambda pair: pair[0]):
            of_kind = [o for _, o in group]
            header, lines = self._columns(kind, of_kind, now)
            if events:
                header = ["EVENT", *header]
                lines = [[event, *line] for event, line in zip(events[at:], lines, strict=False)]
            at += len(of_kind)
            if kind == self._kind:
                yield self._table.lines(lines)
                continue
            if self._kind is not None:
                yield "\n"
                self._table = GrowingTable()
            self._kind = kind
            yield self._table.lines([header, *lines] if self._layout.headers else lines)

    def _columns(self, kind: Kind, objects: Sequence[Raw], now: float) -> tuple[list[str], list[list[str]]]:
        layout = self._layout
        header, lines = rows(kind, objects, now, layout.wide)
        with_namespace = layout.namespaces and kind.namespaced
        header += [label.rpartition("/")[2].upper() for label in layout.labels]
        header += ["LABELS"] if layout.all_labels else []
        for line, o in zip(lines, objects, strict=True):
            labels = o["metadata"].get("labels") or {}
            if layout.kinds:
                line[kind.definition.columns.narrow.index("NAME") if "NAME" in header else 0] = named(kind, o)
            line += [labels.get(label, NONE) for label in layout.labels]
            line += [cells.labels(labels)] if layout.all_labels else []
            if with_namespace:
                line.insert(0, o["metadata"]["namespace"])
        return (["NAMESPACE", *header] if with_namespace else header), lines


_ANY = Kind("v1", "Any", "any")


def named(kind: Kind, o: Raw) -> str:
    """An object as `-o name` prints it: `deployment.apps/web`."""
    return f"{kind.resource}/{o['metadata']['name']}"
