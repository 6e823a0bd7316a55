"""`emulab apply`: creates or changes objects in a running lab."""

from __future__ import annotations

import argparse
import sys

from emulab.cli import manifests
from emulab.cli.output.formats import parse_format, printed
from emulab.cli.output.progress import progress
from emulab.cli.usage import (
    UsageError,
    add_files,
    add_format,
    add_namespace,
    add_switch,
    add_validate,
    require_files,
)
from emulab.lab.client.client import connect

_DRY = {"none": "", "client": " (dry run)", "server": " (server dry run)"}
_NO_MANAGERS = (
    "a lab keeps no managers of fields: --server-side merges as `apply` does without it,"
    " and is in conflict with nobody"
)


def configure(parser: argparse.ArgumentParser) -> None:
    add_files(parser)
    add_namespace(parser)
    add_validate(parser)
    # Of a lab both are one: it is the lab that reads manifests, and knows what they change.
    parser.add_argument("--dry-run", choices=tuple(_DRY), default="none", help="say what would change")
    add_format(parser)
    add_switch(parser, "--server-side", False)
    add_switch(parser, "--force-conflicts", False)
    parser.add_argument("--field-manager", metavar="NAME", default="", help=argparse.SUPPRESS)  # who applies


def _check(options: argparse.Namespace) -> None:
    """Raises UsageError for options that don't go with each other, as kubectl does."""
    require_files(options.files)
    if options.force_conflicts and not options.server_side:
        raise UsageError("--force-conflicts only works with --server-side")
    if options.server_side and options.dry_run == "client":
        raise UsageError(
            "--dry-run=client doesn't work with --server-side (did you mean --dry-run=server instead?)"
        )


def run(options: argparse.Namespace) -> int:
    _check(options)
    output = parse_format(options.output, options.template)
    sources = manifests.read(options.files)
    dry = {"dry_run": True} if options.dry_run != "none" else {}
    with connect(options.lab) as client, progress(f"lab {options.lab}") as tell:
        asked = {"sources": manifests.pairs(sources), "validate": options.validate, "strict": options.strict}
        asked |= {"namespace": options.enforced_namespace, "show": not output.is_table}
        outcome = client.request("apply", tell, **asked, **dry)
    managers = [_NO_MANAGERS] if options.server_side and not options.force_conflicts else []
    manifests.warn(outcome["warnings"], [*outcome["notes"], *managers])
    if not output.is_table:
        sys.stdout.write(printed(outcome["shown"], output))
        return 0
    for name, verdict in outcome["applied"]:
        print(f"{name} {'serverside-applied' if options.server_side else verdict}{_DRY[options.dry_run]}")
    return 0
