"""`emulab logs`: what a container wrote, as far as the newest file of its log has it, as with kubectl."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import BinaryIO

from emulab.cli.usage import add_namespace, natural
from emulab.lab.client.client import connect

CHUNK = 1 << 16
PAUSE = 0.1  # seconds between two looks at a log that is followed


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="POD", help="a pod's name, pod/NAME or deploy/NAME")
    add_namespace(parser)
    parser.add_argument(
        "-c", "--container", metavar="NAME", default="", help="container (default: the first)"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")
    parser.add_argument("--tail", type=natural, metavar="N", help="only the last N lines")


def run(options: argparse.Namespace) -> int:
    with connect(options.lab) as client:
        where = client.request(
            "logs", target=options.target, namespace=options.namespace, container=options.container
        )
    path = Path(where)
    while not path.exists():  # it has written nothing yet
        if not options.follow or not path.parent.exists():
            return 0
        time.sleep(PAUSE)
    log: BinaryIO = path.open("rb")
    try:
        if options.tail is not None:
            log.seek(tail_offset(log, options.tail))
        _copy(log)
        while options.follow and path.exists():
            time.sleep(PAUSE)
            log = _follow(log, path)
    finally:
        log.close()
    return 0


def _follow(log: BinaryIO, path: Path) -> BinaryIO:
    """Copies what has come since, and returns the log to go on with: as `kubectl logs -f`, the newest one.

    A log that is full makes room for a new one and isn't written to any more. The line in which it ended has moved to
    the new one; as much of it as is copied already is passed over there.
    """
    _copy(log)
    try:
        fresh = path.open("rb")
    except FileNotFoundError:
        return log
    if os.path.samestat(os.fstat(fresh.fileno()), os.fstat(log.fileno())):
        fresh.close()
        return log
    time.sleep(PAUSE)  # the moment in which the line is in both
    _copy(log)
    fresh.seek(max(0, log.tell() - os.fstat(log.fileno()).st_size))
    log.close()
    _copy(fresh)
    return fresh


def _copy(log: BinaryIO) -> None:
    while chunk := log.read(CHUNK):
        sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def tail_offset(log: BinaryIO, lines: int) -> int:
    """Where the last `lines` lines begin, read from the end."""
    end = log.seek(0, 2)
    if lines == 0:
        return end
    position, missing, last = end, lines, True
    while position > 0:
        start = max(0, position - CHUNK)
        log.seek(start)
        block = log.read(position - start)
        at = len(block)
        if last and block.endswith(b"\n"):
            at -= 1  # the newline that ends the last line begins none
        last = False
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            missing -= 1
            if missing == 0:
                return start + at + 1
        position = start
    return 0
