"""`emulab exec`: a command at a place of the lab or in a pod."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from emulab.cli.usage import add_namespace, require_command
from emulab.lab.client import programs
from emulab.lab.client.client import LabClient, connect


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = "emulab exec [-l LAB] [-n NS] [-c CONTAINER] TARGET -- CMD…"
    parser.add_argument(
        "target",
        metavar="TARGET",
        help="a place (client, dns, router, node1, public-lb, …), pod/NAME, deploy/NAME or svc/NAME",
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
        return execute(client, options.target, options.namespace, options.container, command)


def execute(client: LabClient, target: str, namespace: str, container: str, command: Sequence[str]) -> int:
    """Runs a command and returns its exit status.

    It is started by the lab, but for one of a place that has our terminal, which is our own descendant.
    """
    if client.request("contained", target=target, namespace=namespace):
        from emulab.lab.client import relay

        return relay.run(client, target, namespace, container, command)
    if not any(map(os.isatty, (0, 1, 2))):
        return programs.run(client, target, namespace, container, command)
    from emulab.kernel.processes import exec as with_terminal
    from emulab.kernel.processes.enter import Entry

    entry = client.request("describe-entry", target=target, namespace=namespace, container=container)
    client.close()
    return with_terminal.run(Entry.of(entry), command)
