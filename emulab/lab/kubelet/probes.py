"""Probes as the kubelet runs them: from the node into the pod.

The counting is pure (`ProbeCounter`); `attempt` makes one try over a socket that belongs to the node.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable

from emulab.dataclass import dataclass
from emulab.errors import PeerError
from emulab.kernel import sockets
from emulab.kinds.core.podspec import HTTPGet, Probe
from emulab.model.families import socket_name

_BODY = 10 << 10  # bytes of an answer that are read (maxRespBodyLength of pkg/probe/http/http.go)


@dataclass(slots=True)
class ProbeCounter:
    """Turns single results into a state: it flips after so many equal ones in a row."""

    success_threshold: int
    failure_threshold: int
    state: bool
    run: int = 0
    last: bool | None = None

    def note(self, success: bool) -> bool:
        """Takes one result and returns whether the state flipped."""
        self.run = self.run + 1 if success == self.last else 1
        self.last = success
        enough = self.success_threshold if success else self.failure_threshold
        if success != self.state and self.run >= enough:
            self.state = success
            return True
        return False

    @property
    def failing(self) -> bool:
        """Whether the last results are enough failures in a row."""
        return self.last is False and self.run >= self.failure_threshold


@dataclass(frozen=True, slots=True)
class Aim:
    """Where a probe goes: the pod's address, seen from the node's namespace."""

    node_fd: int
    address: str
    port_of: Callable[[int | str], int | None]  # resolves named ports
    run_command: Callable[[tuple[str, ...]], Awaitable[int]]


async def attempt(probe: Probe, aim: Aim) -> bool:
    """One try; False for any failure, a timeout included."""
    try:
        async with asyncio.timeout(probe.timeout):
            if probe.command is not None:
                return await aim.run_command(probe.command) == 0
            if probe.tcp_port is not None:
                (await _connect(aim, probe.tcp_port, "")).close()
                return True
            if probe.http is not None:
                return 200 <= await _http_status(probe.http, aim) < 400
    except (OSError, PeerError, ValueError):
        return False
    return False


async def _connect(aim: Aim, port: int | str, host: str) -> socket.socket:
    number = aim.port_of(port)
    if number is None:
        raise OSError(f"no container port is named {port}")
    address = host or aim.address
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = await asyncio.to_thread(sockets.open_socket, aim.node_fd, family, socket.SOCK_STREAM)
    try:
        await asyncio.get_running_loop().sock_connect(sock, (address, number))
    except BaseException:
        sock.close()
        raise
    return sock


async def _http_status(get: HTTPGet, aim: Aim) -> int:
    """The status of one GET whose answer came whole, as far as `_BODY`; redirects aren't followed.

    Certificates aren't checked, as the kubelet doesn't either.
    """
    from emulab.lab.exchange import exchange  # few labs have such probes
    from emulab.servers.wire.client import ResponseReader, as_target, request

    context = None
    if get.scheme == "HTTPS":
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    host = get.host or aim.address
    headers = {"host": socket_name(host, aim.port_of(get.port) or 0), "user-agent": "kube-probe/1.34"}
    headers |= {name.lower(): value for name, value in get.headers} | {"connection": "close"}
    asked, response = request("GET", as_target(get.path or "/"), headers.items()), ResponseReader()
    await exchange(await _connect(aim, get.port, get.host), asked, response, context, host, _BODY)
    return response.status
