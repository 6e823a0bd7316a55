"""`emulab cp`: copies files and folders to and from containers, as kubectl does."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from emulab.cli.usage import UsageError, add_namespace
from emulab.lab.client.client import connect
from emulab.lab.client.copying import Copier, Inside


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = "emulab cp [-l LAB] [-n NS] [-c CONTAINER] SOURCE TARGET"
    parser.add_argument("source", metavar="SOURCE", help="a path, or [NAMESPACE/]POD:PATH")
    parser.add_argument("target", metavar="TARGET", help="a path, or [NAMESPACE/]POD:PATH; one of the two")
    add_namespace(parser)
    parser.add_argument(
        "-c", "--container", metavar="NAME", default="", help="container (default: the first)"
    )
    parser.add_argument(
        "--no-preserve", action="store_true", help="don't keep owners and modes of what is copied into a pod"
    )


def run(options: argparse.Namespace) -> int:
    source, target = (_meant(options, text) for text in (options.source, options.target))
    copier = Copier(lambda: connect(options.lab), lambda what: print(f"warning: {what}", file=sys.stderr))
    match source, target:
        case Inside(), Path():
            copier.fetch(source, target)
        case Path(), Inside():
            copier.send(source, target, preserve=not options.no_preserve)
        case _:
            raise UsageError("one of SOURCE and TARGET must be a local path, and one a pod's: POD:PATH")
    return 0


def _meant(options: argparse.Namespace, text: str) -> Inside | Path:
    """What an argument means: a colon is of a pod, unless a slash of a path stands before it."""
    pod, colon, path = text.partition(":")
    if not colon or text.startswith((".", "/")):
        return Path(text)
    namespace, slash, name = pod.rpartition("/")
    if not name or not path or namespace.count("/"):
        raise UsageError(f"{text}: a path of a pod is [NAMESPACE/]POD:PATH")
    return Inside(f"pod/{name}", namespace if slash else options.namespace, options.container, path)
