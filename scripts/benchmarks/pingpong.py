"""Both ends of a TCP connection with blocking sockets, the same program wherever it runs.

    python pingpong.py serve PORT                       answers for ever
    python pingpong.py ask ADDRESS PORT COUNT BYTES     prints the median of COUNT round trips in µs, and MB/s

The two ends keep to different CPUs where there are two.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from statistics import median

MESSAGE = 64
CHUNK = 1 << 16
LENGTH = struct.Struct("!Q")


def pin(end: int) -> None:
    """Keeps this process to the first (0) or last (-1) CPU that it may use."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[end]})


def receive(sock: socket.socket, size: int) -> bytes:
    """Exactly that many bytes; fewer at the end of the stream."""
    data = b""
    while len(data) < size and (part := sock.recv(size - len(data))):
        data += part
    return data


def serve(port: int) -> None:
    """Echoes messages (a connection that begins with E) or counts what comes (one that begins with C)."""
    pin(0)
    listener = socket.create_server(("0.0.0.0", port))
    while True:
        sock, _ = listener.accept()
        with sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if receive(sock, 1) == b"E":
                while message := receive(sock, MESSAGE):
                    sock.sendall(message)
                continue
            count, buffer = 0, bytearray(CHUNK)
            while size := sock.recv_into(buffer):
                count += size
            sock.sendall(LENGTH.pack(count))


def connect(address: str, port: int, kind: bytes) -> socket.socket:
    sock = socket.create_connection((address, port), timeout=10)
    sock.settimeout(None)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(kind)
    return sock


def ask(address: str, port: int, count: int, size: int) -> None:
    """Measures and prints both."""
    pin(-1)
    message, taken = b"x" * MESSAGE, []
    with connect(address, port, b"E") as sock:
        for _ in range(count):
            begun = time.perf_counter_ns()
            sock.sendall(message)
            receive(sock, MESSAGE)
            taken.append(time.perf_counter_ns() - begun)
    chunk = b"x" * CHUNK
    with connect(address, port, b"C") as sock:
        started = time.perf_counter()
        for _ in range(size // CHUNK):
            sock.sendall(chunk)
        sock.shutdown(socket.SHUT_WR)
        (arrived,) = LENGTH.unpack(receive(sock, LENGTH.size))
        seconds = time.perf_counter() - started
    print(median(taken[count // 10 :]) / 1000, arrived / seconds / 1e6)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        ask(sys.argv[2], *(int(a) for a in sys.argv[3:6]))
