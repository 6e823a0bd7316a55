"""Probes as the kubelet runs them: from the node into the pod.

The counting is pure (`ProbeCounter`); `attempt` makes one try over a socket that belongs to the node. What it says of a
failure are the words of the kubelet's probers (pkg/probe), which are those of Go's net and net/http.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from emulab.dataclass import dataclass
from emulab.errors import EmulabError, PeerError
from emulab.kernel import sockets
from emulab.kinds.core.probespec import HTTPGet, Probe
from emulab.lab.kubelet.telling import in_go
from emulab.model.addresses import socket_name

LIMIT = 10 << 10
"""Bytes that are read of an answer, or of what a command prints (maxRespBodyLength, maxReadLength)."""


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
    run_command: Callable[
        [tuple[str, ...]], Awaitable[tuple[int, str]]
    ]  # its exit status, and what it printed


class Verdict(NamedTuple):
    """What one try came to: a success, a failure, or None for one that couldn't be made, which counts as neither."""

    success: bool | None
    output: str = ""


async def attempt(probe: Probe, aim: Aim) -> Verdict:
    """One try. One that takes longer than the probe's timeout is a failure."""
    try:
        if probe.command is not None:
            return await _run(probe.command, probe.timeout, aim)
        if probe.http is None and probe.port is not None:
            return await _dial(_port(aim, probe.port), probe.timeout, aim)
        assert probe.http is not None
        return await _get(probe.http, _port(aim, probe.http.port), probe.timeout, aim)
    except (EmulabError, OSError) as error:
        return Verdict(None, str(error))


def _port(aim: Aim, port: int | str) -> int:
    number = aim.port_of(port)
    if number is None:  # findPortByName, and what pkg/probe/util.go tries then
        raise EmulabError(f'strconv.Atoi: parsing "{port}": invalid syntax')
    return number


async def _run(command: tuple[str, ...], timeout: float, aim: Aim) -> Verdict:
    try:
        async with asyncio.timeout(timeout):
            status, output = await aim.run_command(command)
    except TimeoutError:
        words = " ".join(command)
        return Verdict(False, f'command timed out: "{words}" timed out after {in_go(timeout)}')
    return Verdict(status == 0, output)


async def _dial(port: int, timeout: float, aim: Aim) -> Verdict:
    try:
        async with asyncio.timeout(timeout):
            (await _connect(aim, aim.address, port)).close()
    except TimeoutError:
        return Verdict(False, f"dial tcp {socket_name(aim.address, port)}: i/o timeout")
    except OSError as error:
        return Verdict(False, f"dial tcp {socket_name(aim.address, port)}: connect: {_why(error)}")
    return Verdict(True)


async def _get(get: HTTPGet, port: int, timeout: float, aim: Aim) -> Verdict:
    host = get.host or aim.address
    address, local = socket_name(host, port), ""
    try:
        async with asyncio.timeout(timeout):
            sock = await _connect(aim, host, port)
            local = socket_name(*sock.getsockname()[:2])
            status = await _status(get, sock, host, address)
    except TimeoutError:
        why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    except ConnectionAbortedError:
        why = "EOF"
    except OSError as error:
        operation = f"read tcp {local}->{address}: read" if local else f"dial tcp {address}: connect"
        why = f"{operation}: {_why(error)}" if error.errno and error.strerror else str(error)
    except (PeerError, ValueError) as error:
        why = str(error)
    else:
        if 200 <= status < 400:
            return Verdict(True)
        return Verdict(False, f"HTTP probe failed with statuscode: {status}")
    return Verdict(False, f'Get "{get.scheme.lower()}://{address}/{get.path.removeprefix("/")}": {why}')


def _why(error: OSError) -> str:
    """As Go has it, whose syscall.Errno begins with a small letter."""
    return os.strerror(error.errno).lower() if error.errno else str(error)


async def _connect(aim: Aim, address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = await asyncio.to_thread(sockets.open_socket, aim.node_fd, family, socket.SOCK_STREAM)
    try:
        await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except BaseException:
        sock.close()
        raise
    return sock


async def _status(get: HTTPGet, sock: socket.socket, host: str, address: str) -> int:
    """The status of one GET whose answer came whole, as far as `LIMIT`; redirects aren't followed.

    Certificates aren't checked, as the kubelet doesn't either.
    """
    from emulab.lab.exchange import exchange  # few labs have such probes
    from emulab.servers.wire.http1.client import ResponseReader, as_target, request_bytes

    context = None
    if get.scheme == "HTTPS":
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    headers = {"host": address, "user-agent": "kube-probe/1.34"}
    headers |= {name.lower(): value for name, value in get.headers} | {"connection": "close"}
    asked, response = request_bytes("GET", as_target(get.path or "/"), headers.items()), ResponseReader()
    await exchange(sock, asked, response, context, host, LIMIT)
    return response.status
