"""`emulab monitor`: every packet of a lab on a line, while it happens."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from emulab.cli.usage import add_namespace, add_output, duration, natural

if TYPE_CHECKING:
    from emulab.observe.capture.packetdrops import PacketDrops

_LAST = 1.0  # seconds in which what has come is told, once it is to end
_TARGET = "a place, pod/NAME, deploy/NAME or svc/NAME; may be repeated"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "emulab monitor [-l LAB] [-n NS] [--from TARGET] [--to TARGET] [--pod POD] [--drops] [-f FILTER]"
        " [-c NUMBER] [--for TIME] [-o wide|json] [PLACE…]"
    )
    add = parser.add_argument
    add(
        "targets",
        nargs="*",
        metavar="PLACE",
        help="where: a place, pod/NAME, deploy/NAME or svc/NAME (default: everywhere)",
    )
    add(
        "--from",
        dest="sources",
        metavar="TARGET",
        action="append",
        default=[],
        help=f"packets from {_TARGET}",
    )
    add(
        "--to",
        dest="destinations",
        metavar="TARGET",
        action="append",
        default=[],
        help=f"packets to {_TARGET}",
    )
    add("--pod", dest="pods", metavar="POD", action="append", default=[], help="packets from or to a pod")
    add("--drops", action="store_true", help="only packets that the kernel drops, and why")
    add_namespace(parser)
    add(
        "-f",
        "--filter",
        metavar="FILTER",
        default="",
        help="only such packets, as tcpdump says it: 'tcp port 80'",
    )
    add("-c", "--count", type=natural, default=0, metavar="NUMBER", help="end after so many packets")
    add(
        "--for",
        dest="seconds",
        type=duration,
        metavar="TIME",
        help="end after so long (default: Ctrl-C ends it)",
    )
    add_output(parser, "wide", "json")


def run(options: argparse.Namespace) -> int:
    from emulab.cli.untilended import UntilEnded
    from emulab.cli.verbs.capture import told_lost
    from emulab.kernel.expressions import compiled
    from emulab.lab.client.client import connect
    from emulab.lab.client.tapping import LabTaps
    from emulab.observe.monitoring import PacketEvent, json_of, line_of
    from emulab.observe.telling.escapes import as_json, printable
    from emulab.toolbox.monitor import SNAP, Monitor

    program = compiled(options.filter, SNAP) if options.filter else b""
    with ExitStack() as closing:
        ending = closing.enter_context(UntilEnded(options.seconds))
        client = closing.enter_context(connect(options.lab))
        taps = closing.enter_context(
            LabTaps(client, options.targets, options.namespace, program=program, snap=SNAP)
        )
        drops = _drops(options.drops)
        if drops is not None:
            closing.callback(drops.close)
        monitor = Monitor(
            *(client, taps, options.namespace),
            sources=options.sources,
            destinations=options.destinations,
            pods=[p if "/" in p else f"pod/{p}" for p in options.pods],
            drops=drops,
            drops_alone=options.drops,
        )
        number, most = 0, options.count or sys.maxsize

        def tell(events: list[PacketEvent]) -> int:
            for event in events[: most - number]:
                if options.output == "json":
                    print(as_json(json_of(event, monitor.names.name)))
                else:
                    print(printable(line_of(event, monitor.names.name, options.output == "wide")))
            sys.stdout.flush()
            return number + len(events[: most - number])

        while not ending.ended and number < most:
            number = tell(monitor.look())
        last = time.monotonic() + _LAST
        for events in monitor.rest():
            number = tell(events)
            if number >= most or time.monotonic() >= last:
                break
        untold = taps.unread() if number < most else 0
        more = f", {untold} not told any more" if untold else ""
        print(f"{number} packets, {told_lost(taps.lost())}{more}", file=sys.stderr)
    return 0


def _drops(needed: bool) -> PacketDrops | None:
    """What tells of drops. Where the kernel tells nobody but the host's root, others go without; raises KernelError
    where nothing else is wanted."""
    from emulab.errors import KernelError
    from emulab.observe.capture.packetdrops import PacketDrops

    try:
        return PacketDrops()
    except KernelError:
        if needed:
            raise
        return None
