"""Probes as the kubelet runs them: from the node into the pod.

The counting is pure (`ProbeCounter`); `attempt` makes one try over a socket that belongs to the node. What it says of a
failure are the words of the kubelet's probers (pkg/probe), which are those of Go's net and net/http.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from emulab.dataclass import dataclass
from emulab.errors import EmulabError
from emulab.kinds.core.probespec import HTTPGet, Probe
from emulab.lab.kubelet import health, httpget
from emulab.lab.kubelet.telling import in_go
from emulab.model.addresses import socket_name
from emulab.model.kubernetes import VERSION

AGENT = f"kube-probe/{VERSION}"


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
    run_command: Callable[[tuple[str, ...]], Awaitable[tuple[int, str]]]
    """Runs it in the container: its exit status, and what it printed."""


class Verdict(NamedTuple):
    """What one try came to: a success, a failure, or None for one that couldn't be made, which counts as neither."""

    success: bool | None
    output: str = ""


class Warned(Verdict):
    """A success of which a warning is told."""


async def attempt(probe: Probe, aim: Aim) -> Verdict:
    """One try. One that takes longer than the probe's timeout is a failure."""
    try:
        if probe.command is not None:
            return await _run(probe.command, probe.timeout, aim)
        if probe.http is not None:
            return await _get(probe.http, _port(aim, probe.http.port), probe.timeout, aim)
        if probe.grpc_port is not None:
            return await _check(probe.grpc_port, probe.grpc_service, probe.timeout, aim)
        assert probe.tcp_port is not None
        return await _dial(probe.tcp_host or aim.address, _port(aim, probe.tcp_port), probe.timeout, aim)
    except (EmulabError, OSError) as error:
        return Verdict(None, str(error))


def failing(probe: Probe, aim: Aim) -> Verdict:
    """What a try comes to that a program without time lets fail."""
    if probe.command is not None:
        said = f'command timed out: "{" ".join(probe.command)}" timed out after {in_go(probe.timeout)}'
    elif probe.http is not None:
        said = "HTTP probe failed with statuscode: 503"
    elif probe.grpc_port is not None:
        said = 'service unhealthy (responded with "NOT_SERVING")'
    else:
        port = aim.port_of(probe.tcp_port) if probe.tcp_port is not None else None
        said = f"dial tcp {socket_name(probe.tcp_host or aim.address, port or 0)}: i/o timeout"
    return Verdict(False, said)


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


async def _dial(host: str, port: int, timeout: float, aim: Aim) -> Verdict:
    try:
        async with asyncio.timeout(timeout):
            (await httpget.connect(aim.node_fd, host, port)).close()
    except TimeoutError:
        return Verdict(False, f"dial tcp {socket_name(host, port)}: i/o timeout")
    except OSError as error:
        return Verdict(False, f"dial tcp {socket_name(host, port)}: connect: {httpget.reason(error)}")
    return Verdict(True)


async def _get(get: HTTPGet, port: int, timeout: float, aim: Aim) -> Verdict:
    answer = await httpget.get(get, aim.address, port, aim.node_fd, timeout, AGENT)
    if answer.why:
        return Verdict(False, answer.why)
    if 300 <= answer.status < 400:  # a redirect that wasn't followed
        return Warned(True, f"Probe terminated redirects, Response body: {answer.body}")
    if 200 <= answer.status < 300:
        return Verdict(True)
    return Verdict(False, f"HTTP probe failed with statuscode: {answer.status}")


async def _check(port: int, service: str, timeout: float, aim: Aim) -> Verdict:
    address, connected = socket_name(aim.address, port), False
    try:
        async with asyncio.timeout(timeout):
            sock = await httpget.connect(aim.node_fd, aim.address, port)
            connected = True
            found = await health.check(sock, address, service, AGENT, in_go(timeout))
            return Verdict(found.well, found.said)
    except TimeoutError:
        if connected:
            return Verdict(False, health.late(in_go(timeout)).said)
    except OSError as error:
        if connected:
            why = f"error: health rpc probe failed: rpc error: code = Unavailable desc = {httpget.reason(error)}"
            return Verdict(False, why)
    # gRPC's client goes on trying to connect until the time is over, whatever the reason (grpc.WithBlock).
    why = f'timeout: failed to connect service "{address}" within {in_go(timeout)}: context deadline exceeded'
    return Verdict(False, why)
