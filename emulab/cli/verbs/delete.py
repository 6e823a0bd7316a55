"""`emulab delete`: deletes objects from a running lab."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from emulab.cli import manifests
from emulab.cli.kinds import Reference, references
from emulab.cli.output.progress import progress
from emulab.cli.selection import Selection, fetch, namespace_of
from emulab.cli.usage import UsageError, add_files, add_namespace, add_selector, add_wait, duration
from emulab.errors import EmulabError
from emulab.kinds.registry import KINDS
from emulab.lab.client.client import LabClient, connect
from emulab.model.keys import GroupKind


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "emulab delete [-l LAB] [-n NS] [--ignore-not-found] [--now | --grace-period N | --force] [--wait=false] [-i]"
        " [--timeout TIME] -f FILE | KIND NAME… | KIND/NAME… | KIND --selector LABELS | KIND --all"
    )
    add = parser.add_argument
    add("what", nargs="*", metavar="KIND NAME", help="pod web, deploy/web, …")
    add_files(parser)
    add_namespace(parser)
    add("-A", "--all-namespaces", action="store_true", help="with --all or a selector: in all namespaces")
    add_selector(parser)
    add("--all", action="store_true", help="all objects of the kind")
    add("--now", action="store_true", help="Pods get one second to end")
    add(
        "--grace-period",
        type=int,
        default=-1,
        metavar="N",
        help="Pods get N seconds to end (default: their own)",
    )
    for how, (flags, what) in _CASCADES.items():
        add(*flags, dest="cascade", action="store_const", const=how, default="background", help=what)
    add("--force", action="store_true", help="Pods are gone at once, and end when they end")
    add("-i", "--interactive", action="store_true", help="list what would go, and ask before it does")
    add("--dry-run", choices=("none", "client", "server"), default="none", help="say what would go")
    add("-o", "--output", choices=("name",), help="print names")
    add("--ignore-not-found", action="store_true", help="what isn't there is no failure")
    add_wait(parser, "don't wait until they are gone, finalizers and Namespaces' contents included")
    add(
        *("--timeout",),
        type=duration,
        default=0.0,
        metavar="TIME",
        help="how long to wait until they are gone (default: 0, for ever)",
    )


def run(options: argparse.Namespace) -> int:
    if bool(options.what) == bool(options.files):
        raise UsageError("delete needs either -f FILE or KIND NAME")
    grace = _grace(options)
    many = options.all or any((options.selector, options.field_selector))
    named = [] if options.files else references(options.what, name_required=not many, lab=options.lab)
    selection = Selection.of(options, named)
    if options.all and any(selection):
        raise UsageError("setting 'all' parameter but found a non empty selector")
    if many and options.files:
        raise UsageError("-f FILE says which objects; --all and selectors don't go with it")
    if options.interactive and manifests.STDIN in options.files:
        raise UsageError("-i reads the answer from stdin: it can't go with -f -")
    asked: dict[str, Any] = {}
    if options.files:
        asked["sources"] = manifests.pairs(manifests.read(options.files))
        asked["namespace"] = options.enforced_namespace
    if options.force:
        print(_AT_ONCE, file=sys.stderr)
    with connect(options.lab) as client:
        if not options.files:
            asked = {"keys": _keys(client, named, selection, options) if many else _named(named, options)}
        if grace is not None:
            asked["grace"] = grace
        asked["cascade"] = options.cascade
        if many and not asked["keys"]:
            print("No resources found")
            return 0
        if options.interactive and not _is_wanted(client, options, asked):
            print("deletion is cancelled")
            return 0
        return _delete(client, options, asked)


_CASCADES = {
    "background": (("--cascade", "--cascade=background", "--cascade=true"), argparse.SUPPRESS),
    "foreground": (
        ("--cascade=foreground",),
        "what objects have made goes before them (default: after them)",
    ),
    "orphan": (("--cascade=orphan", "--cascade=false"), "what objects have made stays"),
}
"""What becomes of whom an object owns, by the flags that say so; a value stands behind `=` alone, as with kubectl's."""
_AT_ONCE = (
    "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. "
    "The resource may continue to run on the cluster indefinitely."
)


def _grace(options: argparse.Namespace) -> int | None:
    """The seconds that Pods get to end; None for their own. Raises UsageError.

    As with kubectl, 0 is 1 but with --force: that nobody waits for the end of what runs is to be said twice.
    """
    grace: int = options.grace_period
    if options.now and grace >= 0:
        raise UsageError("--now and --grace-period cannot be specified together")
    if options.force and grace > 0:
        raise UsageError("--force and --grace-period greater than 0 cannot be specified together")
    if options.force:
        return 0
    if options.now or grace == 0:
        return 1
    return None if grace < 0 else grace


def _named(named: Sequence[Reference], options: argparse.Namespace) -> list[list[str]]:
    return [[*r.kind, options.namespace if r.kind.namespaced else "", r.name] for r in named]


def _keys(
    client: LabClient, named: Sequence[Reference], selection: Selection, options: argparse.Namespace
) -> list[list[str]]:
    """The keys of all objects that a kind and selectors mean."""
    found = []
    for reference in named:
        admits = selection.filter(reference.kind).admits
        for o in fetch(client, reference, namespace_of(reference.kind, options)):
            if admits(o):
                metadata = o["metadata"]
                found.append([*reference.kind, metadata.get("namespace") or "", metadata["name"]])
    return found


def _is_wanted(client: LabClient, options: argparse.Namespace, asked: dict[str, Any]) -> bool:
    """Whether who is asked says yes, as kubectl asks; of nothing nobody is."""
    missing = {"ignore_missing": options.ignore_not_found}
    tried = client.request("delete", **missing, **asked, dry_run=True)["deleted"]
    if not tried or options.dry_run != "none":
        return True
    print(f"You are about to delete the following {len(tried)} resource(s):")
    for group, kind, _namespace, name, _uid in tried:
        print(f"{KINDS[GroupKind(group, kind)].resource}/{name}")
    print("Do you want to continue? (y/N): ", end="", flush=True)
    answer = sys.stdin.readline() if sys.stdin is not None else ""
    if not answer.endswith("\n"):
        print()
    return answer.strip().lower() == "y"


def _delete(client: LabClient, options: argparse.Namespace, asked: dict[str, Any]) -> int:
    """Deletes what it can, says so, and then what it can't and why; only where there is nothing of the latter it waits
    for the end of the former. That is kubectl's way."""
    dry = options.dry_run != "none"
    with progress(f"lab {options.lab}") as tell:
        outcome = client.request(
            "delete",
            tell,
            ignore_missing=options.ignore_not_found,
            **({"dry_run": True} if dry else {}),
            **asked,
        )
    how = "force deleted" if options.force else "deleted"
    tried = f" ({'server ' if options.dry_run == 'server' else ''}dry run)" if dry else ""
    for group, kind, namespace, name, _uid in outcome["deleted"]:
        resource = f"{kind.lower()}.{group}" if group else kind.lower()
        if options.output == "name":
            print(f"{resource}/{name}")
            continue
        print(f'{resource} "{name}" {how}{f" from {namespace} namespace" if namespace else ""}{tried}')
    manifests.warn([], outcome["notes"])
    for reason, message, file in outcome["refused"]:
        where = f'error when deleting "{file}": ' if file else ""
        print(f"Error from server ({reason}): {where}{message}", file=sys.stderr)
    if outcome["refused"]:
        return 1
    if options.wait and outcome["deleted"] and not dry:
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
