"""`emulab down`: removes a lab and every trace of it, also after a crash."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from emulab.cli import ending
from emulab.errors import EmulabError
from emulab.lab.folders import lastlog, rundir


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="remove all labs of this user")


def run(options: argparse.Namespace) -> int:
    paths = _all_folders() if options.all else [rundir.folder(options.lab)]
    status = 0
    for path in paths:
        ended = lastlog.how_it_ended(path)
        try:
            if ending.end(path):
                print(f"lab {path.name} is down")
            elif ended:
                print(f"lab {path.name} is down: {ended.partition(' (log: ')[0]}")
            else:
                print(f"lab {path.name} is not up: nothing to do")
        except EmulabError as error:  # the others go all the same
            print(f"emulab: {error}", file=sys.stderr)
            status = 1
    if not paths:
        print("no lab is up: nothing to do")
    return status


def _all_folders() -> list[Path]:
    """The folders of all labs, and of those of which a last log is kept."""
    there = {path.name for path in rundir.labs()}
    return [rundir.folder(name) for name in sorted(there.union(lastlog.kept(rundir.base())))]
