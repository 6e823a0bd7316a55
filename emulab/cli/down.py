"""`emulab down`: removes a lab and every trace of it, also after a crash."""

from __future__ import annotations

import argparse
import sys

from emulab.cli import ending
from emulab.errors import EmulabError
from emulab.lab import rundir


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="remove all labs of this user")


def run(options: argparse.Namespace) -> int:
    paths = list(rundir.labs()) if options.all else [rundir.folder(options.lab)]
    status = 0
    for path in paths:
        try:
            print(
                f"lab {path.name} is down"
                if ending.end(path)
                else f"lab {path.name} is not up: nothing to do"
            )
        except EmulabError as error:  # the others go all the same
            print(f"emulab: {error}", file=sys.stderr)
            status = 1
    if not paths:
        print("no lab is up: nothing to do")
    return status
