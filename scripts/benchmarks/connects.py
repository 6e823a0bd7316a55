"""How long connecting takes: both ends, each run inside a pod.

    python connects.py serve PORT     accepts and forgets, for ever
    python connects.py ask            reads commands, one a line, and answers each with one line:
        targets ADDRESS:PORT …        what to choose from: answers with their number
        connect COUNT                 so many connections, each to a random target: nanoseconds of each

A connection is timed from the system call that sends the SYN to its return, which the SYN-ACK brings about. On one
machine all of that is one piece of work in the kernel of one CPU: nobody is woken. So the server doesn't wait in
accept() either, but looks in from time to time, on another CPU.

Each connection is a fresh socket on the next source port, reset at its end: no port is used again for as long as the
kernel remembers the connection that had it (10 s), so NAT never has to look for another one.
"""

from __future__ import annotations

import gc
import os
import random
import socket
import struct
import sys
import time

BACKLOG = 4096  # the most by default (net.core.somaxconn); between two looks come a thousand at the most
LOOK = 0.05  # seconds
FIRST_PORT, LAST_PORT = 10_000, 65_000  # above those that servers listen on
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends RST
SETTLING = 5  # connections that come before those that count, while caches fill again
RETRIES = 2  # of the SYN: what is lost shows as an outlier, and what doesn't work ends soon


def pin(end: int) -> None:
    """Keeps this process to the first (0) or last (-1) CPU that it may use."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[end]})


def serve(port: int) -> None:
    pin(0)
    listener = socket.create_server(("0.0.0.0", port), backlog=BACKLOG)
    listener.setblocking(False)
    while True:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            time.sleep(LOOK)
        except OSError:
            continue  # reset before it was accepted


class Asker:
    """The end that connects."""

    def __init__(self) -> None:
        self._targets: list[tuple[str, int]] = []
        self._port = FIRST_PORT

    def command(self, line: str) -> str:
        word, *arguments = line.split()
        if word == "targets":
            parts = (a.rpartition(":") for a in arguments)
            self._targets = [(address, int(port)) for address, _, port in parts]
            return str(len(self._targets))
        times = [self._connect() for _ in range(int(arguments[0]) + SETTLING)]
        return " ".join(map(str, times[SETTLING:]))

    def _connect(self) -> int:
        target = random.choice(self._targets)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, RETRIES)
            sock.bind(("0.0.0.0", self._port))
            self._port = self._port + 1 if self._port < LAST_PORT else FIRST_PORT
            begun = time.perf_counter_ns()
            sock.connect(target)
            return time.perf_counter_ns() - begun


def ask() -> None:
    pin(-1)
    gc.disable()
    asker = Asker()
    for line in sys.stdin:
        print(asker.command(line), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        ask()
