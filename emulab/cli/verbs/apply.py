"""`emulab apply`: creates or changes objects in a running lab."""

from __future__ import annotations

import argparse

from emulab.cli import manifests
from emulab.cli.output.progress import progress
from emulab.cli.usage import add_files, add_validate
from emulab.lab.client.client import connect

_DRY = {"none": "", "client": " (dry run)", "server": " (server dry run)"}


def configure(parser: argparse.ArgumentParser) -> None:
    add_files(parser, required=True)
    add_validate(parser)
    # Of a lab both are one: it is the lab that reads manifests, and knows what they change.
    parser.add_argument(
        "--dry-run", choices=("none", "client", "server"), default="none", help="say what would change"
    )


def run(options: argparse.Namespace) -> int:
    sources = manifests.read(options.files)
    dry = {"dry_run": True} if options.dry_run != "none" else {}
    with connect(options.lab) as client, progress(f"lab {options.lab}") as tell:
        asked = {"sources": manifests.pairs(sources), "validate": options.validate, "strict": options.strict}
        outcome = client.request("apply", tell, **asked, **dry)
    manifests.warn(outcome["warnings"], outcome["notes"])
    for name, verdict in outcome["applied"]:
        print(f"{name} {verdict}{_DRY[options.dry_run]}")
    return 0
