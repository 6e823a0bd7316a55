"""A target is well that answers a request for a path with an expected status, in the clear or over TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from functools import cache

from emulab.servers.health.config import HealthPolicy
from emulab.servers.health.state import CheckResult
from emulab.servers.wire.http1.client import ResponseReader, request_bytes


async def check(sock: socket.socket, address: str, policy: HealthPolicy) -> CheckResult:
    """Over HTTP. Nobody waits for a body."""
    loop, response = asyncio.get_running_loop(), ResponseReader()
    await loop.sock_sendall(sock, _request(address, policy))
    while not response.status:
        response.feed(await loop.sock_recv(sock, 4096))
    return _judged(response.status, policy)


async def check_secured(sock: socket.socket, address: str, policy: HealthPolicy) -> CheckResult:
    """Over HTTPS, whatever certificate is shown: who balances checks that somebody is there, not who."""
    response, own = ResponseReader(), sock.dup()  # the transport closes its own
    name = policy.host.partition(":")[0] or address
    reader, writer = await asyncio.open_connection(sock=own, ssl=_trusting(), server_hostname=name)
    try:
        writer.write(_request(address, policy))
        while not response.status:
            response.feed(await reader.read(4096))
    finally:
        writer.transport.abort()
    return _judged(response.status, policy)


@cache
def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _request(address: str, policy: HealthPolicy) -> bytes:
    host = policy.host or (f"[{address}]" if ":" in address else address)
    fields = [("Host", host), ("User-Agent", "emulab-health-check"), ("Connection", "close")]
    return request_bytes("GET", policy.path or "/", fields, version="1.0")


def _judged(status: int, policy: HealthPolicy) -> CheckResult:
    passed = any(first <= status <= last for first, last in ranges_of(policy.codes))
    return CheckResult(passed, "L7OK" if passed else "L7STS", str(status))


@cache
def ranges_of(codes: str) -> tuple[tuple[int, int], ...]:
    """The first and last of each range of `200,301-302`. Raises ValueError."""
    found = []
    for part in codes.split(","):
        first, _, last = part.strip().partition("-")
        found.append((int(first), int(last or first)))
        if not 100 <= found[-1][0] <= found[-1][1] <= 599:
            raise ValueError(f"{part} is no status of HTTP, and no range of them")
    return tuple(found)
