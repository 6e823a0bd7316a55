"""`emulab up`: builds a lab and leaves it running, or applies files to the one that runs."""

from __future__ import annotations

import argparse
import time
from typing import Any

from emulab.cli import manifests
from emulab.cli.building import DEFAULT_TIMEOUT, attach_to_lab, fill, leashed
from emulab.cli.output import hints
from emulab.cli.usage import add_given, add_output, add_validate, add_wait, duration, given
from emulab.errors import NotReady
from emulab.lab.client.client import LabClient
from emulab.lab.folders import rundir
from emulab.observe.telling.escapes import as_json


def configure(parser: argparse.ArgumentParser) -> None:
    add_given(parser)
    parser.add_argument(
        *("--timeout",),
        type=duration,
        default=DEFAULT_TIMEOUT,
        metavar="TIME",
        help="how long to wait until everything is Ready (default: 60s)",
    )
    add_wait(parser, "don't wait until everything is Ready")
    add_validate(parser)
    add_output(parser, "json")


def run(options: argparse.Namespace) -> int:
    begun = time.monotonic()
    sources = manifests.read(given(options))
    name = options.lab
    how = {"validate": options.validate, "strict": options.strict}
    running = attach_to_lab(name)
    if running is not None:
        with running as client:
            outcome = fill(client, name, sources, options.timeout, options.wait, **how)
            _report(client, options, outcome, time.monotonic() - begun)
        return 0
    with leashed(name) as lab:
        try:
            outcome = fill(lab.client, name, sources, options.timeout, options.wait, **how)
        except NotReady:
            lab.release()  # it may be Ready later, or show what it lacks
            raise
        lab.release()
        _report(lab.client, options, outcome, time.monotonic() - begun)
    return 0


def _report(client: LabClient, options: argparse.Namespace, outcome: dict[str, Any], seconds: float) -> None:
    summary = client.request("summary")
    if options.output == "json":
        info = rundir.read_info(rundir.folder(options.lab))
        report = {
            "lab": options.lab,
            "pid": info.pid if info else 0,
            "nodes": summary["nodes"],
            "pods": summary["pods"],
            "seconds": round(seconds, 3),
            "applied": outcome["applied"],
            "warnings": outcome["warnings"],
            "notes": outcome["notes"],
        }
        print(as_json(report))
        return
    ready = "all ready after" if options.wait else "built in"
    print(
        f"lab {options.lab} is up: {summary['nodes']} nodes, {summary['pods']} pods, {ready} {seconds:.1f} s"
    )
    print("\nTry:")
    ingresses = client.request("get", group="networking.k8s.io", kind="Ingress")
    nodes = client.request("get", group="", kind="Node")
    places, shown_by = list(summary["places"]), summary["rules_shown_by"]
    for hint in hints.hints(options.lab, ingresses, nodes, places, shown_by):
        print(f"  {hint}")
