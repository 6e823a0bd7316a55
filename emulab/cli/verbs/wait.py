"""`emulab wait`: until objects have come to be, or are gone, or are as they shall be."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from emulab.cli.kinds import Reference, not_found, references
from emulab.cli.output.objecttables import named
from emulab.cli.selection import Selection, group_kind, in_order, namespace_of
from emulab.cli.usage import ServerRefusal, UsageError, add_namespace, add_selector, signed_duration
from emulab.errors import EmulabError, UserError
from emulab.kinds.cells import Raw
from emulab.kinds.registry import KINDS
from emulab.lab.client.client import LabClient, connect
from emulab.lab.client.conditions import CREATION, Awaited, parse_awaited
from emulab.lab.client.watching import LabWatch

_FOR_EVER = 7 * 24 * 3600.0  # what a negative time means, as for kubectl


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "emulab wait [-l LAB] [-n NS] --for=CONDITION [--timeout TIME]"
        " KIND/NAME… | KIND NAME… | KIND --selector LABELS | KIND --all"
    )
    add = parser.add_argument
    add("what", nargs="+", metavar="KIND/NAME", help="pod/web, deploy/web, pods --all, …")
    add(
        "--for",
        dest="condition",
        required=True,
        metavar="CONDITION",
        help="condition=Ready[=False], delete, create, jsonpath={.status.phase}[=Running]",
    )
    add_namespace(parser)
    add("-A", "--all-namespaces", action="store_true", help="objects of all namespaces")
    add_selector(parser)
    add("--all", action="store_true", help="all objects of the kind")
    add(
        "--timeout",
        type=signed_duration,
        default=30.0,
        metavar="TIME",
        help="how long to wait (default: 30s; 0: look once; negative: a week)",
    )


def run(options: argparse.Namespace) -> int:
    try:
        awaited = parse_awaited(options.condition)
    except UserError as error:
        raise UsageError(str(error)) from None
    wanted = references(options.what, lab=options.lab)
    selection = Selection.of(options, wanted)
    if not (any(selection) or options.all or all(reference.name for reference in wanted)):
        raise UsageError("resource(s) were provided, but no name was specified")
    with connect(options.lab) as client:
        return _Waiting(client, wanted, selection, awaited, options).run()


class _Waiting:
    """Objects that are waited for, together, up to one time."""

    def __init__(
        self,
        client: LabClient,
        wanted: Sequence[Reference],
        selection: Selection,
        awaited: Awaited,
        options: argparse.Namespace,
    ) -> None:
        self._wanted = wanted
        self._filters = {reference.kind: selection.filter(reference.kind) for reference in wanted}
        self._awaited = awaited
        self._options = options
        self._watch = LabWatch(client, list(self._filters))
        self._failed = False

    def run(self) -> int:
        timeout = _FOR_EVER if self._options.timeout < 0 else self._options.timeout
        deadline = time.monotonic() + timeout
        if self._awaited == CREATION:
            self._await_creation(deadline)
            return 1 if self._failed else 0
        left = {o["metadata"]["uid"]: o for reference in self._wanted for o in self._found(reference)}
        if not left and not self._awaited.deletion and not self._failed:
            raise UserError("no matching resources found")
        self._settle(left)
        for _ in self._watch.until(deadline) if left else ():
            self._settle(left)
            if not left:
                break
        for o in left.values():
            self._fail(
                EmulabError(f"timed out waiting for the condition on {_plural(o)}/{o['metadata']['name']}")
            )
        return 1 if self._failed else 0

    def _found(self, reference: Reference) -> list[Raw]:
        """The objects that a reference means, of those that are there."""
        found = self._meant(reference)
        if reference.name and not found and not self._awaited.deletion:
            self._fail(ServerRefusal(not_found(reference)))
        return found

    def _meant(self, reference: Reference) -> list[Raw]:
        namespace = namespace_of(reference.kind, self._options)
        return [
            o
            for o in in_order(self._watch.objects)
            if group_kind(o) == reference.kind
            and (not namespace or o["metadata"].get("namespace") == namespace)
            and (not reference.name or o["metadata"]["name"] == reference.name)
            and self._filters[reference.kind].admits(o)
        ]

    def _settle(self, left: dict[str, Raw]) -> None:
        """Takes out what needs no more waiting: it is as it shall be, or can't be any more."""
        there = {o["metadata"]["uid"]: o for o in self._watch.objects}
        for uid, o in list(left.items()):
            now = there.get(uid)
            try:
                if not self._is_done(o, now):
                    continue
                print(f"{named(KINDS[group_kind(o)], o)} condition met", flush=True)
            except UserError as error:
                self._fail(error)
            del left[uid]

    def _is_done(self, before: Raw, now: Raw | None) -> bool:
        """Raises UserError where there is nothing left to wait for."""
        if self._awaited.met is None:
            return now is None
        if now is None:
            raise ServerRefusal(not_found(Reference(KINDS[group_kind(before)], before["metadata"]["name"])))
        return self._awaited.met(now)

    def _await_creation(self, deadline: float) -> None:
        missing = [reference for reference in self._wanted if not self._created(reference)]
        for _ in self._watch.until(deadline) if missing else ():
            missing = [reference for reference in missing if not self._created(reference)]
            if not missing:
                break
        for reference in missing:
            self._fail(
                EmulabError(
                    f"timed out waiting for the condition on {reference.kind.plural}/{reference.name}"
                )
            )

    def _created(self, reference: Reference) -> bool:
        found = self._meant(reference)
        for o in found:
            print(f"{named(reference.kind, o)} condition met", flush=True)
        return bool(found)

    def _fail(self, error: EmulabError) -> None:
        self._failed = True
        print(error if isinstance(error, ServerRefusal) else f"emulab: {error}", file=sys.stderr)


def _plural(o: Raw) -> str:
    return KINDS[group_kind(o)].plural
