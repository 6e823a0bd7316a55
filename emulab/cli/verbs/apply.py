"""`emulab apply`: creates or changes objects in a running lab."""

from __future__ import annotations

import argparse
import sys

from emulab.cli import manifests
from emulab.cli.output.formats import parse_format, printed
from emulab.cli.output.progress import progress
from emulab.cli.usage import add_files, add_format, add_namespace, add_validate
from emulab.lab.client.client import connect

_DRY = {"none": "", "client": " (dry run)", "server": " (server dry run)"}


def configure(parser: argparse.ArgumentParser) -> None:
    add_files(parser, required=True)
    add_namespace(parser)
    add_validate(parser)
    # Of a lab both are one: it is the lab that reads manifests, and knows what they change.
    parser.add_argument("--dry-run", choices=tuple(_DRY), default="none", help="say what would change")
    add_format(parser)


def run(options: argparse.Namespace) -> int:
    output = parse_format(options.output, options.template)
    sources = manifests.read(options.files)
    dry = {"dry_run": True} if options.dry_run != "none" else {}
    with connect(options.lab) as client, progress(f"lab {options.lab}") as tell:
        asked = {"sources": manifests.pairs(sources), "validate": options.validate, "strict": options.strict}
        asked |= {"namespace": options.enforced_namespace, "show": not output.is_table}
        outcome = client.request("apply", tell, **asked, **dry)
    manifests.warn(outcome["warnings"], outcome["notes"])
    if not output.is_table:
        sys.stdout.write(printed(outcome["shown"], output))
        return 0
    for name, verdict in outcome["applied"]:
        print(f"{name} {verdict}{_DRY[options.dry_run]}")
    return 0
