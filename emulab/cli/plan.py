"""`emulab plan`: prints what `up` would build."""

from __future__ import annotations

import argparse
import json

from emulab.cli import manifests
from emulab.cli.usage import add_output


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="a manifest, a folder of them, or - for stdin"
    )
    add_output(parser, "json")


def run(options: argparse.Namespace) -> int:
    from emulab.lab.offline import offline_world
    from emulab.plan import render

    _, world = offline_world(manifests.read(options.files))
    if options.output == "json":
        print(json.dumps(render.data(world), indent=2))
    else:
        print(render.render(world), end="")
    return 0
