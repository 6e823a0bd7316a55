"""How it is found out whether a target is well: a kind of check a module, and a line in `CHECKS`."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Awaitable, Callable

from emulab.errors import PeerError
from emulab.servers.health.checks import http, tcp
from emulab.servers.health.config import HealthPolicy
from emulab.servers.health.state import CheckResult
from emulab.servers.wire.proxyheader import proxy_header

RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger {1, 0}: close() sends RST (socket(7))

_Check = Callable[[socket.socket, str, HealthPolicy], Awaitable[CheckResult]]
"""What is asked over a connection that is there: the target's address, and what is expected."""

CHECKS: dict[str, _Check] = {
    "tcp": tcp.check,
    "http": http.check,
    "https": http.check_secured,
}


def kind_of(policy: HealthPolicy) -> str:
    """Which of `CHECKS` a policy asks for."""
    return policy.protocol or ("http" if policy.path else "tcp")


async def probe(address: str, port: int, policy: HealthPolicy, proxy_protocol: int = 0) -> CheckResult:
    """What a check of a target comes to. `proxy_protocol`: the version that the target's port wants a header of.

    Its connection is reset afterwards, as HAProxy does: no TIME_WAIT for thousands of checks.
    """
    loop, layer = asyncio.get_running_loop(), "L4"
    begun = loop.time()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        try:
            async with asyncio.timeout(policy.timeout):
                await _connect(sock, address, port)
                layer = "L4" if kind_of(policy) == "tcp" else "L7"
                if proxy_protocol and layer == "L7":
                    await loop.sock_sendall(sock, proxy_header(proxy_protocol))
                result = await CHECKS[kind_of(policy)](sock, address, policy)
        except TimeoutError:
            result = CheckResult(False, f"{layer}TOUT", "timed out")
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            result = CheckResult(False, "L4CON" if layer == "L4" else "L7RSP", why)
        except (PeerError, ValueError) as error:
            result = CheckResult(False, "L7RSP", str(error))
    return result._replace(seconds=loop.time() - begun)


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
