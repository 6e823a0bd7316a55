"""`emulab delete`: deletes objects from a running lab."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from emulab.cli import manifests
from emulab.cli.kinds import references
from emulab.cli.output.progress import progress
from emulab.cli.usage import UsageError, add_files, add_namespace, add_wait, duration
from emulab.errors import EmulabError
from emulab.kinds.registry import KINDS
from emulab.lab.client.client import LabClient, connect
from emulab.model.keys import GroupKind


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "emulab delete [-l LAB] [-n NS] [--ignore-not-found] [--wait=false] [--timeout TIME]"
        " -f FILE | KIND NAME… | KIND/NAME…"
    )
    parser.add_argument("what", nargs="*", metavar="KIND NAME", help="pod web, deploy/web, …")
    add_files(parser)
    add_namespace(parser)
    parser.add_argument("--ignore-not-found", action="store_true", help="what isn't there is no failure")
    add_wait(parser, "don't wait until they are gone, finalizers and Namespaces' contents included")
    parser.add_argument(
        *("--timeout",),
        type=duration,
        default=0.0,
        metavar="TIME",
        help="how long to wait until they are gone (default: 0, for ever)",
    )


def run(options: argparse.Namespace) -> int:
    if bool(options.what) == bool(options.files):
        raise UsageError("delete needs either -f FILE or KIND NAME")
    asked: dict[str, Any]
    if options.files:
        asked = {"sources": manifests.pairs(manifests.read(options.files))}
    else:
        named = references(options.what, name_required=True, lab=options.lab)
        asked = {"keys": [[*r.kind, options.namespace if r.kind.namespaced else "", r.name] for r in named]}
    with connect(options.lab) as client:
        return _delete(client, options, asked)


def _delete(client: LabClient, options: argparse.Namespace, asked: dict[str, Any]) -> int:
    """Deletes what it can, says so, and then what it can't and why; only where there is nothing of the latter it waits
    for the end of the former. That is kubectl's way."""
    with progress(f"lab {options.lab}") as tell:
        outcome = client.request("delete", tell, ignore_missing=options.ignore_not_found, **asked)
    for _group, kind, _namespace, name, _uid in outcome["deleted"]:
        print(f'{kind.lower()} "{name}" deleted')
    for reason, message, file in outcome["refused"]:
        where = f'error when deleting "{file}": ' if file else ""
        print(f"Error from server ({reason}): {where}{message}", file=sys.stderr)
    if outcome["refused"]:
        return 1
    if options.wait and outcome["deleted"]:
        sys.stdout.flush()
        _await_end(client, options, outcome["deleted"])
    return 0


def _await_end(client: LabClient, options: argparse.Namespace, objects: list[list[str]]) -> None:
    """Raises EmulabError when time is up."""
    with progress(f"lab {options.lab}") as tell:
        left = client.request("gone", tell, objects=objects, timeout=options.timeout or None)
    for group, kind, _namespace, name in left:
        plural = KINDS[GroupKind(group, kind)].plural
        raise EmulabError(f"timed out waiting for the condition on {plural}/{name}")
