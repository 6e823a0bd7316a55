"""One GET as Go's net/http makes it for the kubelet: over a socket of the node, certificates unchecked.

Redirects are followed as http.Client follows them, but to the same host alone (pkg/probe/http, `RedirectChecker`).
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from emulab.errors import PeerError
from emulab.kernel import sockets
from emulab.kinds.core.probespec import HTTPGet
from emulab.model.addresses import socket_name

LIMIT = 10 << 10
"""Bytes that are read of an answer, or of what a command prints (maxRespBodyLength, maxReadLength)."""
_REDIRECTS = 10
_FOLLOWED = (301, 302, 303, 307, 308)
_PORTS = {"http": 80, "https": 443}


class GetResult(NamedTuple):
    """What came of a GET: a status, or why there is none, as Go says it."""

    status: int
    body: str = ""
    why: str = ""


class _Request(NamedTuple):
    url: str
    host: str  # the field Host
    referer: str = ""


async def get(action: HTTPGet, address: str, port: int, node: int, timeout: float, agent: str) -> GetResult:
    """Asks `address`, or the host that the action names, from the namespace of `node`. `agent`: who asks."""
    host = action.host or address
    authority = socket_name(host, port)
    own = next((value for name, value in action.headers if name.lower() == "host"), "")
    now = _Request(f"{action.scheme.lower()}://{authority}/{action.path.removeprefix('/')}", own or authority)
    deadline = asyncio.get_running_loop().time() + timeout
    for _ in range(_REDIRECTS):
        answer, location = await _ask(now, action, node, deadline, agent)
        if answer.status not in _FOLLOWED or not location:
            return answer
        url = urljoin(now.url, location)
        if urlsplit(url).hostname != urlsplit(now.url).hostname:
            return answer
        relative = not urlsplit(location).scheme
        # What the caller named the host stays the host's name where the redirect doesn't name one (http.Client.do).
        now = _Request(url, own if own and relative else urlsplit(url).netloc, now.url)
    return GetResult(0, why=f'Get "{now.url}": stopped after {_REDIRECTS} redirects')


async def _ask(
    request: _Request, action: HTTPGet, node: int, deadline: float, agent: str
) -> tuple[GetResult, str]:
    """One request, and where it is redirected to."""
    url = urlsplit(request.url)
    try:
        host, port = url.hostname or "", url.port or _PORTS[url.scheme]
    except (ValueError, KeyError) as error:
        return GetResult(0, why=f'Get "{request.url}": {error}'), ""
    fields = {"host": request.host, "user-agent": agent}
    fields |= {name.lower(): value for name, value in action.headers if name.lower() != "host"}
    if request.referer:
        fields["referer"] = request.referer
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    address, local = socket_name(host, port), ""
    try:
        async with asyncio.timeout_at(deadline):
            sock = await connect(node, host, port)
            local = socket_name(*sock.getsockname()[:2])
            secured = url.scheme == "https"
            return await _exchange(
                sock, target, list({**fields, "connection": "close"}.items()), host, secured
            )
    except TimeoutError:
        why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    except ConnectionAbortedError:
        why = "EOF"
    except OSError as error:
        operation = f"read tcp {local}->{address}: read" if local else f"dial tcp {address}: connect"
        why = f"{operation}: {reason(error)}" if error.errno and error.strerror else str(error)
    except (PeerError, ValueError) as error:
        why = str(error)
    return GetResult(0, why=f'Get "{request.url}": {why}'), ""


def reason(error: OSError) -> str:
    """As Go has it, whose syscall.Errno begins with a small letter."""
    return os.strerror(error.errno).lower() if error.errno else str(error)


async def connect(node: int, address: str, port: int) -> socket.socket:
    """A connection from a node. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = await asyncio.to_thread(sockets.open_socket, node, family, socket.SOCK_STREAM)
    try:
        await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except BaseException:
        sock.close()
        raise
    return sock


async def _exchange(
    sock: socket.socket, target: str, fields: Sequence[tuple[str, str]], name: str, secured: bool
) -> tuple[GetResult, str]:
    """The answer to one request, which came whole as far as `LIMIT`."""
    from emulab.lab.exchange import exchange  # few labs have such probes
    from emulab.servers.wire.http1.client import ResponseReader, as_target, request_bytes

    context = None
    if secured:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    asked, response = request_bytes("GET", as_target(target), fields), ResponseReader()
    body = await exchange(sock, asked, response, context, name, LIMIT)
    location = next((value for field, value in response.fields if field.lower() == "location"), "")
    return GetResult(response.status, body.decode(errors="replace")), location
