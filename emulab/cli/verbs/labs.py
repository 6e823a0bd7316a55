"""`emulab labs`: the labs of this user on this machine."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from emulab.cli.output.table import table
from emulab.cli.usage import add_output
from emulab.errors import EmulabError
from emulab.kinds.ages import age
from emulab.lab.client.client import LabClient
from emulab.lab.client.hung import NoAnswer
from emulab.lab.folders import rundir
from emulab.observe.telling.escapes import as_json


def configure(parser: argparse.ArgumentParser) -> None:
    add_output(parser, "json")


def run(options: argparse.Namespace) -> int:
    silent: list[EmulabError] = []  # of labs that don't answer: they mustn't hide the others
    found = [lab for path in rundir.labs() if (lab := _lab(path, silent)) is not None]
    _print(found, options)
    for error in silent:
        print(f"emulab: {error}", file=sys.stderr)
    return 1 if silent else 0


def _print(found: list[dict[str, Any]], options: argparse.Namespace) -> None:
    if options.output == "json":
        print(as_json(found))
        return
    if not found:
        print("No labs are up; start one with: emulab up FILE…")
        return
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


def _lab(path: Path, silent: list[EmulabError]) -> dict[str, Any] | None:
    """What is to be told of a lab, None when it isn't up; one that doesn't answer is added to `silent`."""
    info = rundir.read_info(path)
    if info is None or not rundir.is_alive(path):
        return None
    summary = _summary(path, silent)
    return {
        "name": info.name,
        "pid": info.pid,
        "state": summary.get("state", "NotReady"),
        "nodes": summary.get("nodes", 0),
        "pods": summary.get("pods", 0),
        "started": info.started,
    }


def _summary(path: Path, silent: list[EmulabError]) -> dict[str, Any]:
    """What the lab says of itself; nothing when it doesn't answer."""
    try:
        with LabClient(path) as client:
            summary: dict[str, Any] = client.request("summary")
            return summary
    except NoAnswer as error:
        silent.append(error)
        return {}
    except (EmulabError, OSError, ValueError):
        return {}
