"""`emulab events`: what happened to objects, in the order of time, as `kubectl events` has it."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence

from emulab.cli.kinds import Reference, references
from emulab.cli.output.formats import as_list, document
from emulab.cli.output.table import GrowingTable
from emulab.cli.selection import namespace_of
from emulab.cli.usage import UsageError, add_namespace, add_output
from emulab.kinds.cells import Raw
from emulab.kinds.core.event import last_seen, seen
from emulab.kinds.registry import EVENT
from emulab.lab.client.client import connect
from emulab.lab.client.watching import LabWatch

_TYPES = ("Normal", "Warning")


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_namespace(parser)
    add("-A", "--all-namespaces", action="store_true", help="events of all namespaces")
    add("--for", dest="about", metavar="KIND/NAME", default="", help="events of this object alone")
    add("--types", metavar="TYPES", default="", help="Normal, Warning, or both with a comma")
    add("-w", "--watch", action="store_true", help="go on until Ctrl-C")
    add("--no-headers", action="store_true", help="print rows only")
    add_output(parser, "json", "yaml")


def run(options: argparse.Namespace) -> int:
    admits = _admitting(options)
    printer = _Printer(options)
    with connect(options.lab) as client:
        watch = LabWatch(client, [EVENT])
        there = sorted(filter(admits, watch.objects), key=last_seen)
        if options.watch:
            printer.print(there)
            for changes in watch.until(None):
                printer.print([o for what, o in changes if what != "DELETED" and admits(o)])
            return 0
    if options.output:
        print(document(as_list(there), options.output))
    elif there:
        printer.print(there)
    else:
        place = "" if options.all_namespaces else f" in {options.namespace} namespace"
        print(f"No events found{place}.", file=sys.stderr)
    return 0


def _admitting(options: argparse.Namespace) -> Callable[[Raw], bool]:
    """Which Events are asked for. Raises UsageError."""
    types = [word.strip().lower() for word in options.types.split(",")] if options.types else []
    if not {*types} <= {*map(str.lower, _TYPES)}:
        raise UsageError("valid --types are Normal or Warning")
    about: Reference | None = None
    if options.about:
        if "/" not in options.about:
            raise UsageError("--for must be in resource/name form")
        (about,) = references([options.about], lab=options.lab)
    namespace = namespace_of(EVENT, options)

    def admits(o: Raw) -> bool:
        involved = o.get("involvedObject") or {}
        return (
            (not namespace or o["metadata"].get("namespace") == namespace)
            and (not types or str(o.get("type", "")).lower() in types)
            and (
                about is None or (involved.get("kind"), involved.get("name")) == (about.kind.kind, about.name)
            )
        )

    return admits


class _Printer:
    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._table = GrowingTable()
        self._begun = False

    def print(self, events: Sequence[Raw]) -> None:
        if not events:
            return
        if self._options.output:
            text = "".join(f"{document(o, self._options.output)}\n" for o in events)
        else:
            header = [["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]]
            rows = [self._row(o) for o in events]
            if self._options.all_namespaces:
                header[0].insert(0, "NAMESPACE")
            text = self._table.lines(rows if self._begun or self._options.no_headers else header + rows)
        self._begun = True
        sys.stdout.write(text)
        sys.stdout.flush()

    def _row(self, o: Raw) -> list[str]:
        involved = o.get("involvedObject") or {}
        about = f"{involved.get('kind', '')}/{involved.get('name', '')}"
        words = [str(o.get(field, "")) for field in ("type", "reason")]
        row = [seen(o, time.time()), *words, about, str(o.get("message", "")).strip()]
        return [o["metadata"]["namespace"], *row] if self._options.all_namespaces else row
