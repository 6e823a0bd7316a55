"""`get --watch`: objects as they are, and again whenever they change."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from emulab.cli.kinds import Reference, not_found
from emulab.cli.output.formats import Format
from emulab.cli.output.objecttables import Layout, ObjectTables, named
from emulab.cli.selection import Selection, in_order, namespace_of
from emulab.cli.usage import UsageError
from emulab.kinds.cells import Raw
from emulab.lab.client.client import LabClient
from emulab.lab.client.watching import LabWatch, ObjectChange


def follow(
    client: LabClient,
    wanted: Sequence[Reference],
    selection: Selection,
    output: Format,
    layout: Layout,
    options: argparse.Namespace,
) -> int:
    """Prints objects of one kind until it is interrupted. Raises UsageError."""
    if len(wanted) > 1:
        raise UsageError("you may only specify a single resource type")
    if options.sort_by:
        which = "--watch" if options.watch else "--watch-only"
        when = " for watch events received" if options.watch else ""
        print(f"warning: {which} requested, --sort-by will be ignored{when}", file=sys.stderr)
    meant = _Meant(wanted[0], selection, options)
    watch = LabWatch(client, [wanted[0].kind])
    there = in_order([o for o in watch.objects if meant.admits(o)])
    if wanted[0].name and not there:
        print(not_found(wanted[0]), file=sys.stderr)
        return 1
    printer = _Printer(wanted[0], output, layout, options.output_watch_events)
    if not options.watch_only:
        printer.print([ObjectChange("ADDED", o) for o in there])
    for changes in watch.until(None):
        printer.print(meant.seen(changes))
    return 0


class _Meant:
    """The objects that are asked for. One that ceases to be one of them is told as deleted, as API servers do."""

    def __init__(self, reference: Reference, selection: Selection, options: argparse.Namespace) -> None:
        self._name = reference.name
        self._namespace = reference.namespace or namespace_of(reference.kind, options)
        self._filter = selection.filter(reference.kind)
        self._told: set[str] = set()

    def admits(self, o: Raw) -> bool:
        metadata = o["metadata"]
        admitted = (
            (not self._name or metadata["name"] == self._name)
            and (not self._namespace or metadata.get("namespace") == self._namespace)
            and self._filter.admits(o)
        )
        if admitted:
            self._told.add(metadata["uid"])
        return admitted

    def seen(self, changes: Sequence[ObjectChange]) -> list[ObjectChange]:
        """Changes as they look to somebody who sees these objects alone."""
        found = []
        for what, o in changes:
            uid = o["metadata"]["uid"]
            known = uid in self._told
            if what != "DELETED" and self.admits(o):
                found.append(ObjectChange("MODIFIED" if known else "ADDED", o))
            elif known:
                self._told.discard(uid)
                found.append(ObjectChange("DELETED", o))
        return found


class _Printer:
    def __init__(self, reference: Reference, output: Format, layout: Layout, events: bool) -> None:
        self._kind = reference.kind
        self._output = output
        self._events = events
        self._tables = ObjectTables(layout)

    def print(self, changes: Sequence[ObjectChange]) -> None:
        if changes:
            sys.stdout.write(self._text(changes))
            sys.stdout.flush()

    def _text(self, changes: Sequence[ObjectChange]) -> str:
        write = self._output.write
        if write is not None:
            return "".join(write({"type": what, "object": o} if self._events else o) for what, o in changes)
        if self._output.names:
            return "".join(f"{named(self._kind, o)}\n" for _, o in changes)
        events = [what for what, _ in changes] if self._events else []
        return self._tables.text([(self._kind, o) for _, o in changes], time.time(), events)
