"""One request after the other over a few connections that stay: the latency alone, by blocking sockets."""

from __future__ import annotations

import gc
import os
import socket
import struct
import time
from collections.abc import Sequence
from itertools import cycle

from emulab.bench.inside.answers import WireAnswer
from emulab.bench.inside.wires import Goal

_HEAD = struct.Struct("!HHHHHH")
_A, _AAAA = 1, 28


def question(name: str, kind: int, number: int) -> bytes:
    """A question of DNS (RFC 1035, 4.1)."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.rstrip(".").split("."))
    return _HEAD.pack(number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


class NameAsker:
    """Asks a resolver for a name, again and again, over one socket."""

    def __init__(self, resolver: str, name: str, wait: float, six: bool) -> None:
        family = socket.AF_INET6 if ":" in resolver else socket.AF_INET
        self._sock = socket.socket(family, socket.SOCK_DGRAM)
        self._sock.settimeout(wait)
        self._sock.connect((resolver, 53))
        self._question = question(name, _AAAA if six else _A, 0)[2:]

    def ask(self) -> None:
        """Raises OSError when there is no answer, or none with an address."""
        number = os.urandom(2)
        self._sock.send(number + self._question)
        while (answer := self._sock.recv(4096))[:2] != number:
            pass
        if answer[3] & 15 or answer[6:8] == b"\0\0":
            raise OSError("the name has no address")

    def close(self) -> None:
        self._sock.close()


def connected(goal: Goal, wait: float) -> socket.socket:
    """A connection, ready for requests."""
    sock = socket.create_connection(goal.address, wait)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return goal.context.wrap_socket(sock, server_hostname=goal.host) if goal.context is not None else sock


def exchange(sock: socket.socket, goal: Goal, room: memoryview) -> WireAnswer:
    """One request. Raises OSError when it isn't answered whole."""
    answer = WireAnswer()
    sock.sendall(goal.request)
    while not answer.done:
        size = sock.recv_into(room)
        if not size and not answer.ended():
            raise OSError("the connection ended before the answer")
        if size:
            answer.feed(room[:size])
    return answer


def single(
    goal: Goal, connections: int, seconds: float, most: int, wait: float, names: Sequence[str]
) -> dict[str, object]:
    """Nanoseconds of each request. `names`: a resolver and the name it is asked for before each of them."""
    six = goal.family == socket.AF_INET6
    resolving = NameAsker(names[0], names[1], wait, six) if names else None
    room = memoryview(bytearray(1 << 16))
    taken: list[int] = []
    socks = [connected(goal, wait) for _ in range(connections)]
    gc.disable()
    try:
        for sock in socks:
            exchange(sock, goal, room)  # what a connection's first request costs more isn't of the way
        end = time.perf_counter_ns() + int(seconds * 1e9)
        for number in cycle(range(connections)):
            begun = time.perf_counter_ns()
            if begun >= end or len(taken) >= most:
                break
            if resolving is not None:
                resolving.ask()
            answer = exchange(socks[number], goal, room)
            taken.append(time.perf_counter_ns() - begun)
            if answer.status != 200:
                raise OSError(f"status {answer.status}")
            if answer.last:
                socks[number].close()
                socks[number] = connected(goal, wait)
                exchange(socks[number], goal, room)
    finally:
        gc.enable()
        for sock in socks:
            sock.close()
        if resolving is not None:
            resolving.close()
    return {"ns": taken}
