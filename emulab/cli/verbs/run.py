"""`emulab run`: one command in a lab of its own, which is gone afterwards."""

from __future__ import annotations

import argparse
import os

from emulab.cli import manifests
from emulab.cli.building import DEFAULT_TIMEOUT, fill, leashed
from emulab.cli.usage import add_given, add_namespace, add_validate, duration, given, require_command
from emulab.cli.verbs.exec import execute

PLACE = "client"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "emulab run [-l LAB] [--timeout TIME] [--from TARGET] [--validate=…] [--strict] FILE… | -k DIR"
        " -- CMD…"
    )
    add_given(parser, required=True)
    parser.add_argument(
        *("--timeout",),
        type=duration,
        default=DEFAULT_TIMEOUT,
        metavar="TIME",
        help="how long to wait until everything is Ready (default: 60s)",
    )
    parser.add_argument(
        *("--from",),
        dest="place",
        default=PLACE,
        metavar="TARGET",
        help="where the command runs (default: client)",
    )
    add_namespace(parser)
    add_validate(parser)


def run(options: argparse.Namespace) -> int:
    command = require_command(options, "run")
    sources = manifests.read(given(options))
    name = options.lab_given or f"run-{os.getpid()}"  # a lab of its own: EMULAB_LAB is another
    with leashed(name) as lab:
        fill(lab.client, name, sources, options.timeout, validate=options.validate, strict=options.strict)
        return execute(lab.client, options.place, options.namespace, "", command)
