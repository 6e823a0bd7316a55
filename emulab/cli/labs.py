"""`emulab labs`: the labs of this user on this machine."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from emulab.cli.ages import age
from emulab.cli.escapes import as_json
from emulab.cli.table import table
from emulab.cli.usage import add_output
from emulab.cli.waiting import at_most
from emulab.errors import EmulabError
from emulab.lab import rundir
from emulab.lab.client import LabClient

ANSWER = 2.0  # seconds a lab has to say how it is: one that hangs must not hide the others


def configure(parser: argparse.ArgumentParser) -> None:
    add_output(parser, "json")


def run(options: argparse.Namespace) -> int:
    found = [lab for path in rundir.labs() if (lab := _lab(path)) is not None]
    if options.output == "json":
        print(as_json(found))
        return 0
    if not found:
        print("No labs are up; start one with: emulab up FILE…")
        return 0
    rows = [
        [
            lab["name"],
            str(lab["pid"]),
            lab["state"],
            str(lab["nodes"]),
            str(lab["pods"]),
            age(lab["started"], time.time()),
        ]
        for lab in found
    ]
    print(table(["NAME", "PID", "STATE", "NODES", "PODS", "AGE"], rows))
    return 0


def _lab(path: Path) -> dict[str, Any] | None:
    info = rundir.read_info(path)
    if info is None or not rundir.is_alive(path):
        return None
    summary = _summary(path)
    return {
        "name": info.name,
        "pid": info.pid,
        "state": summary.get("state", "NotReady"),
        "nodes": summary.get("nodes", 0),
        "pods": summary.get("pods", 0),
        "started": info.started,
    }


def _summary(path: Path) -> dict[str, Any]:
    """What the lab says of itself; nothing when it doesn't answer."""
    try:
        with at_most(ANSWER), LabClient(path) as client:
            summary: dict[str, Any] = client.request("summary")
            return summary
    except (EmulabError, OSError, ValueError):
        return {}
