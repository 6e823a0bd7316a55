"""`emulab watch`: each change of endpoints or other objects on a line, with its time."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import datetime

from emulab.cli.kinds import Reference, not_found, references
from emulab.cli.selection import Selection, in_order, namespace_of
from emulab.cli.usage import UsageError, add_namespace, add_output, add_selector, duration, natural
from emulab.kinds.cells import Raw
from emulab.kinds.registry import ENDPOINT_SLICE, ENDPOINTS
from emulab.lab.client.client import connect
from emulab.lab.client.watching import LabWatch, ObjectChange
from emulab.observe.telling.escapes import as_json, printable
from emulab.toolbox.changes import EndpointState, endpoint_changes, endpoints_of, field_changes, service_of


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "emulab watch [-l LAB] [-n NS | -A] [--selector LABELS] [-c NUMBER] [--for TIME] [-o json]"
        " KIND [NAME] | KIND/NAME"
    )
    add = parser.add_argument
    add("what", nargs="+", metavar="KIND [NAME]", help="endpoints/web, pods, deploy/web, …")
    add_namespace(parser)
    add("-A", "--all-namespaces", action="store_true", help="objects of all namespaces")
    add_selector(parser)
    add("-c", "--count", type=natural, default=0, metavar="NUMBER", help="end after so many lines")
    add(
        "--for",
        dest="seconds",
        type=duration,
        metavar="TIME",
        help="end after so long (default: Ctrl-C ends it)",
    )
    add_output(parser, "json")


def run(options: argparse.Namespace) -> int:
    wanted = references(options.what, lab=options.lab)
    if len({reference.kind for reference in wanted}) > 1:
        raise UsageError("you may only specify a single resource type")
    until = None if options.seconds is None else time.monotonic() + options.seconds
    told = _Endpoints if wanted[0].kind == ENDPOINTS else _Objects
    with connect(options.lab) as client:
        teller = told(wanted, Selection.of(options, wanted), options)
        watch = LabWatch(client, [ENDPOINT_SLICE if told is _Endpoints else wanted[0].kind])
        if missing := teller.begin(in_order(watch.objects)):
            print(not_found(missing), file=sys.stderr)
            return 1
        following = watch.until(until)
        while not teller.is_full and (changes := next(following, None)):
            teller.tell(changes)
    return 0


class _Teller:
    """Says what changes of objects that are meant."""

    def __init__(
        self, wanted: Sequence[Reference], selection: Selection, options: argparse.Namespace
    ) -> None:
        self._wanted, self._options = wanted, options
        self._names = [reference.name for reference in wanted if reference.name]
        self._namespace = namespace_of(wanted[0].kind, options)
        self._filter = selection.filter(wanted[0].kind)
        self._left = options.count or sys.maxsize  # lines

    @property
    def is_full(self) -> bool:
        """Whether as many lines are told as are wanted."""
        return self._left <= 0

    def _is_meant(self, o: Raw, name: str) -> bool:
        metadata = o["metadata"]
        return (
            (not self._names or name in self._names)
            and (not self._namespace or metadata.get("namespace") == self._namespace)
            and self._filter.admits(o)
        )

    def _print(self, namespace: str, name: str, what: str) -> None:
        if self.is_full:
            return
        self._left -= 1
        moment = datetime.now().astimezone()
        kind = self._wanted[0].kind
        if self._options.output == "json":
            told = {"time": moment.isoformat(), "kind": kind.kind, "namespace": namespace, "name": name}
            print(as_json({**told, "change": what}))
        else:
            inside = f"{namespace}/" if self._options.all_namespaces and namespace else ""
            clock = moment.strftime("%H:%M:%S.%f")[:-3]
            print(printable(f"{clock} {inside}{kind.plural}/{name} {what}"))
        sys.stdout.flush()


class _Objects(_Teller):
    def begin(self, there: Iterable[Raw]) -> Reference | None:
        """Says what is there; returns what isn't."""
        self._known: dict[str, Raw] = {}
        for o in there:
            if self._is_meant(o, o["metadata"]["name"]):
                self._known[o["metadata"]["uid"]] = o
                self._say(o, "is there")
        names = {o["metadata"]["name"] for o in self._known.values()}
        return next(
            (reference for reference in self._wanted if reference.name and reference.name not in names), None
        )

    def tell(self, changes: Iterable[ObjectChange]) -> None:
        for what, o in changes:
            uid, before = o["metadata"]["uid"], self._known.get(o["metadata"]["uid"])
            if what == "DELETED" or not self._is_meant(o, o["metadata"]["name"]):
                if self._known.pop(uid, None) is not None:
                    self._say(o, "is gone")
            elif before is None:
                self._known[uid] = o
                self._say(o, "is new")
            else:
                self._known[uid] = o
                if changed := ", ".join(field_changes(before, o)):
                    self._say(o, changed)

    def _say(self, o: Raw, what: str) -> None:
        self._print(o["metadata"].get("namespace", ""), o["metadata"]["name"], what)


class _Endpoints(_Teller):
    """Endpoints by the Service's name, of every family: what its EndpointSlices say, taken together."""

    def begin(self, there: Iterable[Raw]) -> Reference | None:
        """Says what is there; returns what isn't."""
        self._slices: dict[str, Raw] = {o["metadata"]["uid"]: o for o in there if service_of(o)}
        self._known = self._now()
        for (namespace, name), endpoints in self._known.items():
            for where, one in sorted(endpoints.items()):
                self._print(namespace, name, f"= {where} ({one.whose}), {one.state}")
            if not endpoints:
                self._print(namespace, name, "has no endpoints")
        names = {name for _, name in self._known}
        return next(
            (reference for reference in self._wanted if reference.name and reference.name not in names), None
        )

    def _now(self) -> dict[tuple[str, str], dict[str, EndpointState]]:
        """The endpoints of each Service, by its namespace and name."""
        slices: dict[tuple[str, str], list[Raw]] = {}
        for o in self._slices.values():
            if self._is_meant(o, service_of(o)):
                slices.setdefault((o["metadata"]["namespace"], service_of(o)), []).append(o)
        return {service: endpoints_of(own) for service, own in slices.items()}

    def tell(self, changes: Iterable[ObjectChange]) -> None:
        for what, o in changes:
            if what == "DELETED":
                self._slices.pop(o["metadata"]["uid"], None)
            elif service_of(o):
                self._slices[o["metadata"]["uid"]] = o
            before, self._known = self._known, self._now()
            for service in before.keys() | self._known.keys():
                for line in endpoint_changes(before.get(service, {}), self._known.get(service, {})):
                    self._print(*service, line)
