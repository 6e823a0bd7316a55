"""Active checks: a TCP connection to each target, now and then, or a request by HTTP."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct

from emulab.errors import PeerError
from emulab.servers.base import Emit, vital
from emulab.servers.l4.balance import BalancedTarget
from emulab.servers.l4.config import HealthPolicy
from emulab.servers.l4.frontend import Frontend
from emulab.servers.wire.http1.client import ResponseReader, request_bytes

RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger {1, 0}: close() sends RST (socket(7))


async def probe(address: str, port: int, timeout: float, path: str = "") -> bool:
    """Whether a TCP connection can be made within `timeout` seconds, and `path`, if given, is there by HTTP.

    It is reset afterwards, as HAProxy does: no TIME_WAIT for thousands of checks.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        try:
            async with asyncio.timeout(timeout):
                await _connect(sock, address, port)
                return not path or await _status(sock, address, path) == 200
        except (OSError, PeerError, ValueError):
            return False


async def _connect(sock: socket.socket, address: str, port: int) -> None:
    """What `loop.sock_connect` does, which in uvloop has a thread look up even what is an address already."""
    code = sock.connect_ex((address, port))
    if code == errno.EINPROGRESS:
        loop = asyncio.get_running_loop()
        writable = asyncio.Event()
        loop.add_writer(sock, writable.set)
        try:
            await writable.wait()
        finally:
            loop.remove_writer(sock)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


async def _status(sock: socket.socket, address: str, path: str) -> int:
    """The status that is answered; nobody waits for a body."""
    loop, response = asyncio.get_running_loop(), ResponseReader()
    await loop.sock_sendall(sock, request_bytes("GET", path, [("Host", address)], version="1.0"))
    while not response.status:
        response.feed(await loop.sock_recv(sock, 4096))
    return response.status


class Checker:
    """The checks of one frontend: a task for each of its targets."""

    def __init__(self, frontend: Frontend, emit: Emit) -> None:
        self._frontend = frontend
        self._emit = emit
        self._tasks: dict[BalancedTarget, tuple[HealthPolicy, asyncio.Task[None]]] = {}

    def follow(self) -> None:
        """Makes the tasks those that the frontend's present configuration asks for."""
        policy = self._frontend.spec.policy
        wanted = set(self._frontend.targets) if policy else set()
        for target, (used, task) in list(self._tasks.items()):
            if target not in wanted or used != policy:
                task.cancel()
                del self._tasks[target]
        if policy is None:
            return
        loop = asyncio.get_running_loop()
        for target in self._frontend.targets:
            if target not in self._tasks:
                self._tasks[target] = (policy, vital(loop.create_task(self._check(target, policy))))

    def stop(self) -> None:
        """Ends all checks."""
        for _, task in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    async def _check(self, target: BalancedTarget, policy: HealthPolicy) -> None:
        loop = asyncio.get_running_loop()
        health, port = target.health, policy.port or target.port
        while True:
            health.begin(policy, loop.time())
            if health.record(policy, await probe(target.address, port, policy.timeout, policy.path)):
                self._emit(
                    {
                        "event": "health",
                        "frontend": self._frontend.key,
                        "target": target.name,
                        "address": target.endpoint,
                        "healthy": health.healthy,
                    }
                )
            await asyncio.sleep(max(0.0, health.due - loop.time()))
