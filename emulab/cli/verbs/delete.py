"""`emulab delete`: deletes objects from a running lab."""

from __future__ import annotations

import argparse
import sys

from emulab.cli import manifests
from emulab.cli.kinds import Reference, not_found, references
from emulab.cli.output.progress import progress
from emulab.cli.usage import UsageError, add_files, add_namespace
from emulab.lab.client.client import LabClient, connect


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = "emulab delete [-l LAB] [-n NS] [--ignore-not-found] -f FILE | KIND NAME… | KIND/NAME…"
    parser.add_argument("what", nargs="*", metavar="KIND NAME", help="pod web, deploy/web, …")
    add_files(parser)
    add_namespace(parser)
    parser.add_argument("--ignore-not-found", action="store_true", help="what isn't there is no failure")


def run(options: argparse.Namespace) -> int:
    if bool(options.what) == bool(options.files):
        raise UsageError("delete needs either -f FILE or KIND NAME")
    if options.files:
        sources = manifests.pairs(manifests.read(options.files))
        with connect(options.lab) as client:
            return _delete_files(client, options, sources)
    asked = references(options.what, name_required=True)
    with connect(options.lab) as client:
        return _delete_named(client, options, asked)


def _delete_files(client: LabClient, options: argparse.Namespace, sources: list[list[str]]) -> int:
    with progress(f"lab {options.lab}") as tell:
        gone = client.request("delete", tell, sources=sources, ignore_missing=options.ignore_not_found)
    _tell(gone)
    return 0


def _delete_named(client: LabClient, options: argparse.Namespace, asked: list[Reference]) -> int:
    """Deletes what is there, and then says what isn't, as kubectl does."""
    keys = [[*r.kind, options.namespace if r.kind.namespaced else "", r.name] for r in asked]
    with progress(f"lab {options.lab}") as tell:
        gone = client.request("delete", tell, keys=keys, ignore_missing=True)
    _tell(gone)
    missing = [reference for reference, key in zip(asked, keys, strict=True) if key not in gone]
    if options.ignore_not_found:
        return 0
    for reference in missing:
        print(not_found(reference), file=sys.stderr)
    return 1 if missing else 0


def _tell(gone: list[list[str]]) -> None:
    for _group, kind, _namespace, name in gone:
        print(f'{kind.lower()} "{name}" deleted')
