"""The ingress' server alone, between wrk and an upstream that always says the same: prints what it takes.

    PYTHONPATH=CHECKOUT python proxied.py SECONDS CONNECTIONS IDLE <PLAN

In a network namespace that may be spoilt. PLAN is what the checkout's `emulab plan -o json` says: its server of kind
`ingress` is started with the configuration that is there, at the addresses that it names, which become the loopback's.
Prints requests a second, their p99 latency in µs, CPU µs of the server for a request, and the server's bytes for each
of IDLE connections that have had an answer and are kept.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import socket
import subprocess
import sys
import time
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any

HOST, UPSTREAM = "shop.test", ("10.96.100.100", 80)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n" + b"x" * 100
THREADS = 2
SETTLED = 0.5  # seconds after which a server's memory is looked at
TICKS = os.sysconf("SC_CLK_TCK")
DECIMAL = {"us": 1, "ms": 1e3, "s": 1e6}


def main(seconds: int, connections: int, idle: int) -> None:
    """Measures and prints."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    config = next(s["config"] for s in json.load(sys.stdin)["servers"].values() if s["kind"] == "ingress")
    keys = config["listen"]
    address, port = next(key for key in keys if key.endswith("/80")).split("/")[1:]
    for command in ("link set lo up", f"addr add {address}/32 dev lo", f"addr add {UPSTREAM[0]}/32 dev lo"):
        subprocess.run(["ip", *command.split()], check=True)
    context = get_context("fork")
    listener = socket.create_server(UPSTREAM, backlog=1024)
    upstream = context.Process(target=_upstream, args=(listener,), daemon=True)
    upstream.start()
    control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server = context.Process(target=serve_ingress, args=(theirs, control), daemon=True)
    server.start()
    theirs.close()
    assert server.pid is not None
    configure(control, config, keys)
    _load(address, port, 1, connections)  # memos are filled, connections to the upstream are there
    before, requests = cpu_of(server.pid), 0
    rate, latency, requests = _load(address, port, seconds, connections)
    cpu = (cpu_of(server.pid) - before) / requests
    print(rate, latency, cpu, idle_bytes(server.pid, (address, int(port)), idle), flush=True)
    control.close()  # which ends the server
    server.join()
    upstream.terminate()


def serve_ingress(control: socket.socket, parents: socket.socket) -> None:
    """Is the server, on the first CPU, until `control` closes."""
    from emulab.servers.host import serve

    parents.close()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # its log of requests is no figure
    pin(0)
    serve("ingress", control)


class _Constant(asyncio.Protocol):
    """Answers whatever comes; a request of wrk's through the proxy is one piece."""

    transport: Any

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(ANSWER)


def _upstream(listener: socket.socket) -> None:
    import uvloop

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(_Constant, sock=listener)
        await server.serve_forever()

    pin(-1)
    uvloop.run(run())


def pin(end: int) -> None:
    """Keeps this process to the first (0) or last (-1) CPU that it may use."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[end]})


_NUMBERS = count()


def ask(control: socket.socket, op: str, descriptors: list[int], **arguments: Any) -> None:
    """Gives the server a command, and waits for it (see `emulab.servers.host`)."""
    message = json.dumps({"id": next(_NUMBERS), "op": op, **arguments}).encode()
    socket.send_fds(control, [message], descriptors)
    answer = json.loads(control.recv(1 << 16))
    if "error" in answer:
        sys.exit(f"{op}: {answer['error']}")


def configure(control: socket.socket, config: dict[str, Any], keys: list[str]) -> None:
    """Says to the server what a lab would; `keys` are its new listeners."""
    listeners = [socket.create_server((key.split("/")[1], int(key.split("/")[2]))) for key in keys]
    for listener in listeners:
        listener.setblocking(False)
    if keys:
        ask(control, "sockets", [listener.fileno() for listener in listeners], keys=keys)
    tell(control, "configure", json.dumps(config).encode())


def tell(control: socket.socket, op: str, content: bytes) -> None:
    """Gives the server a command with a memory file."""
    with open(os.memfd_create("config"), "wb") as file:
        file.write(content)
        file.flush()
        ask(control, op, [file.fileno()])


def _load(address: str, port: str, seconds: int, connections: int) -> tuple[float, float, int]:
    """Requests a second, p99 latency in µs, number of requests. Exits when one isn't answered with 200."""
    wrk = ["wrk", f"-t{THREADS}", f"-c{connections}", f"-d{seconds}s", "--latency", "-H", f"Host: {HOST}"]
    last = {sorted(os.sched_getaffinity(0))[-1]}
    done = subprocess.run(
        [*wrk, f"http://{address}:{port}/"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, last),
    )
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        sys.exit(done.stdout)
    rate = re.search(r"Requests/sec: +([0-9.]+)", done.stdout)
    tail = re.search(r"99% +([0-9.]+)(us|ms|s)", done.stdout)
    total = re.search(r"([0-9]+) requests in", done.stdout)
    assert rate and tail and total, done.stdout
    return float(rate[1]), float(tail[1]) * DECIMAL[tail[2]], int(total[1])


def cpu_of(pid: int) -> float:
    """CPU time that a process has taken, in µs."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS * 1e6


def idle_bytes(pid: int, address: tuple[str, int], number: int) -> float:
    """Bytes by which the server grows for each of so many connections, of which each has had an answer."""
    before = memory_of(pid)
    clients = []
    for _ in range(number):
        client = socket.create_connection(address)
        client.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        if not client.recv(1 << 16).startswith(b"HTTP/1.1 200"):
            sys.exit("the server doesn't answer a new connection")
        clients.append(client)
    time.sleep(SETTLED)
    grown = memory_of(pid) - before
    for client in clients:
        client.close()
    return grown / number


def memory_of(pid: int) -> int:
    """Bytes of memory that are a process' own."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    own = ("Private_Clean:", "Private_Dirty:")
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(own))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
