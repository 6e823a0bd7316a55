"""Active checks: a TCP connection to each target, now and then, or a request by HTTP."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct

from emulab.servers.base import Emit, vital
from emulab.servers.l4.balance import Target
from emulab.servers.l4.config import HealthPolicy
from emulab.servers.l4.frontend import Frontend

RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger {1, 0}: close() sends RST (socket(7))


async def probe(address: str, port: int, timeout: float, path: str = "") -> bool:
    """Whether a TCP connection can be made within `timeout` seconds, and `path`, if given, is there by HTTP.

    It is reset afterwards, as HAProxy does: no TIME_WAIT for thousands of checks.
    """
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        try:
            async with asyncio.timeout(timeout):
                await _connect(sock, address, port)
                if path:
                    await loop.sock_sendall(sock, f"GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
                    return _is_ok(await loop.sock_recv(sock, 4096))
        except OSError:
            return False
    return True


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


def _is_ok(answer: bytes) -> bool:
    """Whether an HTTP response begins with a status line that says 200."""
    return answer[:9] in (b"HTTP/1.0 ", b"HTTP/1.1 ") and answer[9:13] in (b"200 ", b"200\r")


class Checker:
    """The checks of one frontend: a task for each of its targets."""

    def __init__(self, frontend: Frontend, emit: Emit) -> None:
        self._frontend = frontend
        self._emit = emit
        self._tasks: dict[Target, tuple[HealthPolicy, asyncio.Task[None]]] = {}

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

    async def _check(self, target: Target, policy: HealthPolicy) -> None:
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
