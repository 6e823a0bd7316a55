"""`emulab apply`: creates or changes objects in a running lab."""

from __future__ import annotations

import argparse

from emulab.cli import manifests
from emulab.cli.output.progress import progress
from emulab.cli.usage import add_files, add_validate
from emulab.lab.client.client import connect


def configure(parser: argparse.ArgumentParser) -> None:
    add_files(parser, required=True)
    add_validate(parser)


def run(options: argparse.Namespace) -> int:
    sources = manifests.read(options.files)
    with connect(options.lab) as client, progress(f"lab {options.lab}") as tell:
        asked = {"sources": manifests.pairs(sources), "validate": options.validate, "strict": options.strict}
        outcome = client.request("apply", tell, **asked)
    manifests.warn(outcome["warnings"], outcome["notes"])
    for name, verdict in outcome["applied"]:
        print(f"{name} {verdict}")
    return 0
