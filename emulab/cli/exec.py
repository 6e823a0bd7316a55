"""`emulab exec`: a command at a place of the lab or in a pod."""

from __future__ import annotations

import argparse
from typing import Any

from emulab.cli.usage import add_namespace, require_command
from emulab.kernel import exec as kernel_exec
from emulab.lab.client import LabClient, connect


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = "emulab exec [-l LAB] [-n NS] [-c CONTAINER] TARGET -- CMD…"
    parser.add_argument(
        "target",
        metavar="TARGET",
        help="a place (client, dns, router, node1, public-lb, …), pod/NAME or deploy/NAME",
    )
    add_namespace(parser)
    parser.add_argument(
        "-c", "--container", metavar="NAME", default="", help="container (default: the first)"
    )
    # kubectl's; stdin and a terminal are passed on anyway.
    parser.add_argument("-i", "--stdin", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("-t", "--tty", action="store_true", help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    command = require_command(options, "exec")
    with connect(options.lab) as client:
        entry = describe(client, options.target, options.namespace, options.container)
    return kernel_exec.run(entry, command)


def describe(
    client: LabClient, target: str, namespace: str = "default", container: str = ""
) -> kernel_exec.Entry:
    """What it takes to enter a target. Raises UserError."""
    entry: dict[str, Any] = client.request(
        "describe-entry", target=target, namespace=namespace, container=container
    )
    return kernel_exec.Entry(**entry)
