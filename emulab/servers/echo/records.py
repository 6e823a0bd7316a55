"""What is told of a request: to who records, and in the log of the container that it was for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from emulab.servers.base import socket_name
from emulab.servers.wire.http1.requests import Request

if TYPE_CHECKING:
    from emulab.servers.echo.server import EchoListener


def record(
    listener: EchoListener, transport: asyncio.Transport, client: str, request: Request | None, status: int
) -> None:
    """Tells who records of a request, or of what couldn't be read as one."""
    arrived = request.arrived if request is not None else 0.0
    method, path = (request.method, request.target) if request is not None else ("", "")
    _tell(listener, transport, client, (method, path, status), arrived)


def _tell(
    listener: EchoListener,
    transport: asyncio.Transport,
    client: str,
    what: tuple[str, str, int],
    arrived: float = 0.0,
) -> None:
    method, path, status = what
    listener.hub.emit(
        {
            "event": "request",
            "namespace": listener.identity.namespace,
            "pod": listener.identity.pod,
            "client": client,
            "local": socket_name(transport.get_extra_info("sockname")),
            "method": method,
            "path": path,
            "status": status,
            "duration_us": round((time.perf_counter() - arrived) * 1e6, 1) if arrived else 0.0,
        }
    )


def log(listener: EchoListener, client: str, request: Request | None, status: int, size: int = 0) -> None:
    """Writes a request, or what can't be read as one, into the log of the container that it was for."""
    journal = listener.hub.journal
    if not journal.takes(listener.log):
        return
    line = f"{request.method} {request.target} {request.proto}" if request else "-"
    agent = request.first("User-Agent") if request else ""
    journal.request(listener.log, client, line, status, size, agent)


def told_calls(
    listener: EchoListener, transport: asyncio.Transport, client: str, calls: Sequence[tuple[str, int]]
) -> None:
    """Counts and tells of calls of gRPC, each with its path and status."""
    listener.hub.requests += len(calls)
    journal = listener.hub.journal
    for path, status in calls:
        if listener.hub.emit.wanted:
            _tell(listener, transport, client, ("POST", path, status))
        if journal.takes(listener.log):
            journal.request(listener.log, client, f"POST {path} HTTP/2.0", status, 0)


def told_exit(listener: EchoListener, status: int) -> None:
    """Tells that the program for which the stand-in answers has ended, as a request wanted it to."""
    identity = listener.identity
    container = identity.played.container if identity.played is not None else ""
    whose = {"namespace": identity.namespace, "pod": identity.pod, "container": container}
    listener.hub.emit({"event": "exit", **whose, "status": status})
