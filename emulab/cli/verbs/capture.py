"""`emulab capture`: the packets of many places, as a file or straight into Wireshark."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from emulab.cli.usage import UsageError, add_namespace, duration, natural
from emulab.errors import UserError

if TYPE_CHECKING:
    from emulab.observe.events import Frame
    from emulab.observe.pcapng import ByteSink


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "emulab capture [-l LAB] [-n NS] -w FILE|- [-f FILTER] [-s BYTES] [-c NUMBER] [--for TIME] [PLACE…]"
    )
    add = parser.add_argument
    add(
        "targets",
        nargs="*",
        metavar="PLACE",
        help="where: a place, pod/NAME, deploy/NAME or svc/NAME (default: everywhere)",
    )
    add_namespace(parser)
    add(
        "-w",
        "--write",
        metavar="FILE",
        help="where to (pcapng); - is standard output, for a pipe to Wireshark",
    )
    add(
        "-f",
        "--filter",
        metavar="FILTER",
        default="",
        help="only such packets, as tcpdump says it: 'tcp port 80'",
    )
    add("-s", "--snap", type=natural, default=0, metavar="BYTES", help="of each packet (default: all)")
    add("-c", "--count", type=natural, default=0, metavar="NUMBER", help="end after so many packets")
    add(
        "--for",
        dest="seconds",
        type=duration,
        metavar="TIME",
        help="end after so long (default: Ctrl-C ends it)",
    )


def run(options: argparse.Namespace) -> int:
    if not options.write:
        raise UsageError("capture needs -w FILE, or -w - for a pipe: emulab capture -w - | wireshark -k -i -")
    if options.write == "-" and sys.stdout.isatty():
        raise UsageError("a capture is no text for a terminal; write it to a file (-w FILE) or into a pipe")
    from emulab.cli.untilended import UntilEnded
    from emulab.kernel import expressions
    from emulab.lab.client.client import connect
    from emulab.lab.client.tapping import LabTaps
    from emulab.observe.pcapng import SNAPLEN, CaptureStream

    snap = min(options.snap or SNAPLEN, SNAPLEN)
    program = expressions.compiled(options.filter, snap) if options.filter else expressions.everything(snap)
    with ExitStack() as closing:
        ending = closing.enter_context(UntilEnded(options.seconds))
        client = closing.enter_context(connect(options.lab))
        taps = closing.enter_context(LabTaps(client, options.targets, options.namespace, program=program))
        stream = CaptureStream(_opened(options.write, closing))
        print(f"capturing at {_told(taps.places)}; Ctrl-C ends it", file=sys.stderr, flush=True)
        number, most = 0, options.count or sys.maxsize

        def keep(frames: list[Frame]) -> int:
            stream.write(frames[: most - number])
            return number + len(frames[: most - number])

        while not ending.ended and number < most:
            number = keep(taps.look())
        for frames in taps.rest():
            number = keep(frames)
        lost = taps.lost()
        stream.end(time.time_ns(), lost)
        print(f"{number} packets captured, {told_lost(lost)}", file=sys.stderr)
    return 0


def _opened(name: str, closing: ExitStack) -> ByteSink:
    if name == "-":
        return sys.stdout.buffer
    try:
        return closing.enter_context(Path(name).open("wb"))
    except OSError as error:
        raise UserError(f"{name}: {error.strerror}") from None


def _told(places: list[str]) -> str:
    return ", ".join(places) if len(places) <= 6 else f"{len(places)} places"


def told_lost(lost: dict[str, int]) -> str:
    """How many packets found no room, and where."""
    if not lost:
        return "none lost"
    return f"{sum(lost.values())} lost ({', '.join(f'{n} at {place}' for place, n in sorted(lost.items()))})"
