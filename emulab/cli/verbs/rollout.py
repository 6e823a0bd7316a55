"""`emulab rollout`: how far a workload's rollout is, and a new one, in kubectl's words."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from emulab.cli import infiles
from emulab.cli.kinds import not_found
from emulab.cli.output.formats import Format, parse_format, printed
from emulab.cli.output.objecttables import named
from emulab.cli.rollouthistory import (
    details,
    restored_annotations,
    revisions,
    table,
    to_go_back_to,
    without_hash,
)
from emulab.cli.selection import Selection, fetch
from emulab.cli.usage import (
    ServerRefusal,
    UsageError,
    add_dry_run,
    add_files,
    add_format,
    add_namespace,
    add_selector,
    duration,
    natural,
)
from emulab.errors import EmulabError, UserError
from emulab.kinds.cells import Raw
from emulab.kinds.kind import Kind
from emulab.kinds.registry import DEPLOYMENT
from emulab.lab.client.client import LabClient, connect
from emulab.lab.client.watching import LabWatch
from emulab.model.mergepatch import difference

RESTARTED = "kubectl.kubernetes.io/restartedAt"
_DRY = {"none": "", "client": " (dry run)", "server": " (server dry run)"}


class _Rolled(NamedTuple):
    """A workload that a command is about."""

    client: LabClient
    kind: Kind
    object: Raw
    options: argparse.Namespace
    output: Format = Format()

    def patch(self, spec: Mapping[str, Any], annotations: Mapping[str, str] | None = None) -> None:
        """Changes the spec by a JSON Merge Patch, and has these annotations in place of all; not where it is tried."""
        if self.options.dry_run != "none":
            return
        group, kind = self.kind
        metadata = self.object["metadata"]
        key = {"group": group, "kind": kind, "namespace": metadata["namespace"], "name": metadata["name"]}
        more: dict[str, Any] = {} if annotations is None else {"annotations": annotations}
        self.client.request("patch", **key, spec=spec, **more)

    def say(self, what: str) -> None:
        print(f"{named(self.kind, self.object)} {what}{_DRY[self.options.dry_run]}", flush=True)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = f"emulab rollout {'|'.join(_COMMANDS)} [-l LAB] [-n NS] KIND/NAME… | KIND NAME…"
    add = parser.add_argument
    add("action", choices=_COMMANDS, metavar="|".join(_COMMANDS), help="what to do")
    add("what", nargs="*", metavar="KIND/NAME", help="deploy/web, statefulset/db, daemonset/agent")
    add_files(parser)
    add_namespace(parser)
    add_selector(parser)
    add(
        "--timeout",
        type=duration,
        default=0.0,
        metavar="TIME",
        help="of status: give up after (default: never)",
    )
    add("-w", "--watch", "--watch=true", action="store_true", default=True, help=argparse.SUPPRESS)
    add("--watch=false", dest="watch", action="store_false", help="of status: say how it is, and don't wait")
    add(
        "--to-revision",
        type=natural,
        default=0,
        metavar="N",
        help="of undo: the revision (default: the last)",
    )
    add("--revision", type=natural, default=0, metavar="N", help="of history: the template of this revision")
    add_dry_run(parser, "say what would be done")
    add_format(parser, "of history: name, json, yaml, jsonpath={…}, …: print what each revision was")


def run(options: argparse.Namespace) -> int:
    wanted = infiles.named(options)
    output = parse_format(options.output, options.template)
    selection = Selection.of(options, wanted)
    if not (any(selection) or all(reference.name for reference in wanted)):
        raise UsageError("required resource not specified")
    failed = False
    with connect(options.lab) as client:
        for reference in wanted:
            admits = selection.filter(reference.kind).admits
            objects = [o for o in fetch(client, reference, options.namespace) if admits(o)]
            if reference.name and not objects:
                raise ServerRefusal(not_found(reference))
            for o in objects:
                try:
                    _COMMANDS[options.action](_Rolled(client, reference.kind, o, options, output))
                except UserError as error:
                    failed = True
                    print(f"emulab: {error}", file=sys.stderr)
    return 1 if failed else 0


def _status(rolled: _Rolled) -> None:
    """Raises EmulabError when time is up."""
    rollout = rolled.kind.definition.rollout
    if rollout is None:
        raise UserError(f"no status viewer has been implemented for {rolled.kind.kind}")
    options, uid = rolled.options, rolled.object["metadata"]["uid"]
    watch = LabWatch(rolled.client, [rolled.kind])
    deadline = time.monotonic() + options.timeout if options.timeout else None
    told = ""
    while True:
        now = next((o for o in watch.objects if o["metadata"]["uid"] == uid), None)
        if now is None:
            raise UserError("object has been deleted")
        status = rollout(now)
        if status.text != told:
            print(status.text, flush=True)
        told = status.text
        if status.done or not options.watch:
            return
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise EmulabError("timed out waiting for the condition")
        watch.changes(left)


def _restart(rolled: _Rolled) -> None:
    _refuse_others(rolled, "restarting")
    if rolled.object["spec"].get("paused"):
        raise UserError(
            f'{rolled.kind.resources} "{rolled.object["metadata"]["name"]}" can\'t restart paused deployment '
            "(run rollout resume first)"
        )
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    rolled.patch({"template": {"metadata": {"annotations": {RESTARTED: now}}}})
    rolled.say("restarted")


def _pause(rolled: _Rolled) -> None:
    _set_paused(rolled, True, "pausing", "paused")


def _resume(rolled: _Rolled) -> None:
    _set_paused(rolled, False, "resuming", "resumed")


def _set_paused(rolled: _Rolled, paused: bool, doing: str, done: str) -> None:
    _refuse_others(rolled, doing, DEPLOYMENT)
    if bool(rolled.object["spec"].get("paused")) == paused:
        name = rolled.object["metadata"]["name"]
        raise UserError(f'{rolled.kind.resources} "{name}" is {"already" if paused else "not"} paused')
    rolled.patch({"paused": True if paused else None})
    rolled.say(done)


def _history(rolled: _Rolled) -> None:
    found = revisions(rolled.client, rolled.kind, rolled.object, "history viewer")
    asked, output = rolled.options.revision, rolled.output
    if asked and asked not in found:
        raise UserError("unable to find the specified revision")
    if not output.is_table:
        texts = [printed([one.object], output) for one in ([found[asked]] if asked else found.values())]
        sys.stdout.write(("---\n" if rolled.options.output == "yaml" else "").join(texts))
        return
    if asked:
        rolled.say(f"with revision #{asked}\n{details(found[asked])}")
    else:
        rolled.say(f"\n{table(found)}")


def _undo(rolled: _Rolled) -> None:
    options, o = rolled.options, rolled.object
    found = revisions(rolled.client, rolled.kind, o, "rollbacker")
    wanted = to_go_back_to(found, options.to_revision, rolled.kind, o["metadata"]["name"])
    revision = found[wanted]
    if options.dry_run == "client":
        rolled.say(f"will roll back to {details(revision)}")
        return
    if o["spec"].get("paused"):
        raise UserError(
            "you cannot rollback a paused deployment; resume it first with 'emulab rollout resume' and try again"
        )
    change = difference(o["spec"]["template"], without_hash(revision.template))
    if not change:
        rolled.say(f"skipped rollback (current template already matches revision {wanted})")
        return
    annotations = restored_annotations(o, revision) if rolled.kind == DEPLOYMENT else None
    rolled.patch({"template": change}, annotations)
    rolled.say("rolled back")


def _refuse_others(rolled: _Rolled, doing: str, kind: Kind | None = None) -> None:
    """Raises UserError unless a workload can be rolled, or is of that kind."""
    if rolled.kind.definition.rollout is None or kind not in (None, rolled.kind):
        name = rolled.object["metadata"]["name"]
        raise UserError(f'{rolled.kind.resources} "{name}" {doing} is not supported')


_COMMANDS: dict[str, Callable[[_Rolled], None]] = {
    "status": _status,
    "restart": _restart,
    "pause": _pause,
    "resume": _resume,
    "history": _history,
    "undo": _undo,
}
