"""`emulab graph`: how places are joined, with what their links have carried."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from emulab.cli.output.graphs import FORMATS
from emulab.cli.usage import duration
from emulab.errors import UserError
from emulab.lab.client.client import connect
from emulab.toolbox.graph import graph

_SUFFIXES = {".mmd": "mermaid", ".dot": "dot", ".gv": "dot", ".svg": "svg", ".json": "json"}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = "emulab graph [-l LAB] [--during TIME] [-o FORMAT] [-w FILE]"
    add = parser.add_argument
    add(
        "--during",
        type=duration,
        default=0.0,
        metavar="TIME",
        help="what passes in this time (default: since it is up)",
    )
    add("-o", "--output", choices=FORMATS, help="default: as FILE's name says it, else mermaid")
    add("-w", "--write", metavar="FILE", help="a file to write: lab.svg, lab.dot, lab.mmd, lab.json")


def run(options: argparse.Namespace) -> int:
    named = _SUFFIXES.get(Path(options.write).suffix, "") if options.write else ""
    render = FORMATS[options.output or named or "mermaid"]
    with connect(options.lab) as client:
        text = render(graph(client, options.during)) + "\n"
    if not options.write or options.write == "-":
        sys.stdout.write(text)
        return 0
    try:
        Path(options.write).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{options.write}: {error.strerror}") from None
    return 0
