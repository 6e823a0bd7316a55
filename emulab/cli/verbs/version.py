"""`emulab version`: this program's version, and that of the Kubernetes which it follows."""

from __future__ import annotations

import argparse

from emulab.cli.output.formats import document
from emulab.cli.usage import add_output, version
from emulab.model.kubernetes import VERSION


def configure(parser: argparse.ArgumentParser) -> None:
    # kubectl's; there is nothing to ask of a server that the client doesn't know.
    parser.add_argument("--client", action="store_true", help=argparse.SUPPRESS)
    add_output(parser, "json", "yaml")


def run(options: argparse.Namespace) -> int:
    own = version()
    if options.output:
        print(
            document(
                {"clientVersion": {"gitVersion": f"v{own}"}, "followedVersion": f"v{VERSION}"}, options.output
            )
        )
    else:
        print(f"Client Version: v{own}\nFollowed Kubernetes Version: v{VERSION}")
    return 0
