"""`emulab rollout`: how far a workload's rollout is, and a new one, in kubectl's words."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from emulab.cli.kinds import Reference, not_found, references
from emulab.cli.output.objecttables import named
from emulab.cli.selection import Selection, fetch
from emulab.cli.usage import ServerRefusal, UsageError, add_namespace, add_selector, duration, natural
from emulab.errors import EmulabError, UserError
from emulab.kinds.cells import NONE, Raw
from emulab.kinds.kind import Kind
from emulab.kinds.registry import DEPLOYMENT, REPLICA_SET
from emulab.lab.client.client import LabClient, connect
from emulab.lab.client.watching import LabWatch
from emulab.model.mergepatch import difference

RESTARTED = "kubectl.kubernetes.io/restartedAt"
_REVISION = "deployment.kubernetes.io/revision"
_CAUSE = "kubernetes.io/change-cause"
_HASH = "pod-template-hash"


class _Rolled(NamedTuple):
    """A workload that a command is about."""

    client: LabClient
    kind: Kind
    object: Raw
    options: argparse.Namespace

    def patch(self, spec: Mapping[str, Any]) -> None:
        group, kind = self.kind
        metadata = self.object["metadata"]
        key = {"group": group, "kind": kind, "namespace": metadata["namespace"], "name": metadata["name"]}
        self.client.request("patch", **key, spec=spec)

    def say(self, what: str) -> None:
        print(f"{named(self.kind, self.object)} {what}", flush=True)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = f"emulab rollout {'|'.join(_COMMANDS)} [-l LAB] [-n NS] KIND/NAME… | KIND NAME…"
    add = parser.add_argument
    add("action", choices=_COMMANDS, metavar="|".join(_COMMANDS), help="what to do")
    add("what", nargs="+", metavar="KIND/NAME", help="deploy/web, statefulset/db, daemonset/agent")
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


def run(options: argparse.Namespace) -> int:
    wanted = references(options.what, lab=options.lab)
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
                    _COMMANDS[options.action](_Rolled(client, reference.kind, o, options))
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
    rows = [("REVISION", "CHANGE-CAUSE")]
    rows += [
        (str(revision), str((rs["metadata"].get("annotations") or {}).get(_CAUSE) or NONE))
        for revision, rs in sorted(_revisions(rolled).items())
    ]
    width = max(len(revision) for revision, _ in rows) + 2
    rolled.say("")
    print("".join(f"{revision:<{width}}{cause}\n" for revision, cause in rows))


def _undo(rolled: _Rolled) -> None:
    revisions = _revisions(rolled)
    present = max(revisions, default=0)
    wanted = rolled.options.to_revision or max((r for r in revisions if r != present), default=0)
    if wanted not in revisions:
        asked = rolled.options.to_revision
        name = rolled.object["metadata"]["name"]
        raise UserError(
            f"unable to find specified revision {asked} in history"
            if asked
            else f'no rollout history found for deployment "{name}"'
        )
    template = revisions[wanted]["spec"]["template"]
    labels = {k: v for k, v in template["metadata"].get("labels", {}).items() if k != _HASH}
    template = {**template, "metadata": {**template["metadata"], "labels": labels}}
    change = difference(rolled.object["spec"]["template"], template)
    if not change:
        rolled.say(f"skipped rollback (current template already matches revision {wanted})")
        return
    rolled.patch({"template": change})
    rolled.say("rolled back")


def _revisions(rolled: _Rolled) -> dict[int, Raw]:
    """The ReplicaSets of a Deployment by their revisions. Raises UserError: of other workloads none are kept."""
    _refuse_others(rolled, "looking at the history of", DEPLOYMENT)
    uid = rolled.object["metadata"]["uid"]
    sets = fetch(rolled.client, Reference(REPLICA_SET, ""), rolled.object["metadata"]["namespace"])
    return {
        int((rs["metadata"].get("annotations") or {}).get(_REVISION, 0)): rs
        for rs in sets
        if any(owner["uid"] == uid for owner in rs["metadata"].get("ownerReferences") or ())
    }


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
