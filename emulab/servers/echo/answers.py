"""What is answered to a request: pure, from the request, the pod's identity and the client's address."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple

from emulab.servers.wire.http1.requests import Request

BYTES_LIMIT = 10 * 2**30  # bytes of one /bytes/N answer
DELAY_LIMIT = 3600.0  # seconds

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
BINARY = "application/octet-stream"

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+")
_encode = json.JSONEncoder().encode

# Headers that Go's server moves out of the map into fields of their own; the conformance suites' echo
# server is written in Go and its clients expect them to be absent.
HIDDEN = ("Host", "Transfer-Encoding", "Trailer")


SERVER = "emulab-echo"


class EchoAnswer(NamedTuple):
    """An answer before it is written."""

    status: int
    body: bytes = b""
    kind: str = JSON
    delay: float = 0.0  # seconds to wait first
    stream: int = 0  # bytes to send after the head in place of `body`
    interim: int = 0  # an informational status to send first
    server: str = SERVER  # what the field Server says; there is none if it is empty
    fields: tuple[tuple[str, str], ...] = ()
    close: bool = False  # the connection ends with it
    reason: str = ""  # the words behind the status, where they aren't the usual ones
    exits: int | None = None  # there is no answer: the container ends with this status
    work: Callable[[socket.socket], Awaitable[EchoAnswer]] | None = None
    """What makes the answer, over the network of the pod to which the connection's socket belongs."""


class Played(NamedTuple):
    """Whom a socket plays: a container's program (`images`), and what that would know."""

    says: str
    hostname: str
    addresses: tuple[str, ...]
    facts: Mapping[str, str]  # namespace, ingress, service and pod
    options: Mapping[str, str]
    began: float = 0.0  # when the container's life did; Unix time, 0 where it isn't known
    container: str = ""

    @property
    def all_addresses(self) -> tuple[str, ...]:
        """Those of all interfaces of the pod."""
        return ("127.0.0.1", "::1", *self.addresses)


class Identity(NamedTuple):
    """Whom a listening socket stands in for."""

    namespace: str
    pod: str
    facts: str  # the part of the JSON that is the same in every answer: `"namespace": …, "port": 80`
    played: Played | None = None  # without any it has no image's manners
    speak: Callable[[Request, Played, str], EchoAnswer] | None = None
    greeting: bytes | None = None  # what is said at once to whoever connects, and nothing else


def answer(request: Request, identity: Identity, client: str) -> EchoAnswer:
    """The answer to a whole request from `client` (`ip:port`)."""
    parts = request.path.split("/", 2)
    if len(parts) == 3:
        route = _WITH_ARGUMENT.get(parts[1])
        if route is not None:
            return route(parts[2], request, identity, client)
    elif len(parts) == 2:
        if parts[1] == "hostname":
            return EchoAnswer(200, identity.pod.encode(), TEXT)
        if parts[1] == "clientip":
            return EchoAnswer(200, client.encode(), TEXT)
        if parts[1] == "healthz":
            return EchoAnswer(200, b"ok", TEXT)
    return EchoAnswer(200, received_json(request, identity, client))


def received_json(request: Request, identity: Identity, client: str) -> bytes:
    """The JSON that tells what was received, by whom and from whom."""
    head = _encode(
        {
            "path": request.target,
            "host": request.host,
            "method": request.method,
            "proto": request.proto,
            "headers": {name: values for name, values in request.headers.items() if name not in HIDDEN},
            **({} if request.secured is None else {"tls": request.secured}),
        }
    )
    size = f', "bodyBytes": {request.body_bytes}' if request.body_bytes else ""
    return f'{head[:-1]}, {identity.facts}, "client": "{client}"{size}}}\n'.encode()


def refusal(status: int, why: str = "") -> EchoAnswer:
    """An answer that tells of a mistake of the client's."""
    return EchoAnswer(status, f"{why or _REASONS.get(status, '')}\n".encode(), TEXT)


def _status(argument: str, request: Request, identity: Identity, client: str) -> EchoAnswer:
    if not re.fullmatch("[1-5][0-9][0-9]", argument):
        return refusal(400, "a status is a number from 100 to 599")
    status = int(argument)
    if status == 101:
        return refusal(400, "101 needs an upgrade that was asked for")
    body = received_json(request, identity, client)
    if status < 200:
        # An informational status never ends an exchange (RFC 9110 §15.2), and HTTP/1.0 has none.
        return EchoAnswer(200, body, interim=status if request.proto == "HTTP/1.1" else 0)
    return EchoAnswer(status, b"" if status in (204, 205, 304) else body)


def _delay(argument: str, request: Request, identity: Identity, client: str) -> EchoAnswer:
    if not _SECONDS.fullmatch(argument):
        return refusal(400, "a delay is a number of seconds")
    return EchoAnswer(200, received_json(request, identity, client), delay=min(float(argument), DELAY_LIMIT))


def _bytes(argument: str, request: Request, identity: Identity, client: str) -> EchoAnswer:
    if not (argument.isascii() and argument.isdigit()):
        return refusal(400, "a size is a number of bytes")
    # 19 digits are beyond the limit already, and int() refuses thousands of them.
    return EchoAnswer(
        200, kind=BINARY, stream=min(int(argument[-19:]) if len(argument) < 20 else BYTES_LIMIT, BYTES_LIMIT)
    )


_WITH_ARGUMENT: dict[str, Callable[[str, Request, Identity, str], EchoAnswer]] = {
    "status": _status,
    "delay": _delay,
    "bytes": _bytes,
}


def answer_bytes(
    what: EchoAnswer, method: str = "GET", proto: str = "HTTP/1.1", close: bool = False
) -> bytes:
    """The answer's bytes: the head, and the body unless it is streamed or the method is HEAD.

    `proto` is the request's: HTTP/1.0 has to be told when the connection stays open.
    """
    status = what.status
    lines = [f"HTTP/1.1 {what.interim} {_REASONS.get(what.interim, '')}\r\n\r\n"] if what.interim else []
    lines.append(f"HTTP/1.1 {status} {what.reason or _REASONS.get(status, '')}\r\n")
    if what.server:
        lines.append(f"Server: {what.server}\r\n")
    if status not in (204, 304):
        if what.kind:
            lines.append(f"Content-Type: {what.kind}\r\n")
        lines.append(f"Content-Length: {what.stream or len(what.body)}\r\n")
    for name, value in what.fields:
        lines.append(f"{name}: {value}\r\n")
    if status == 426:
        lines.append("Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n")
    if status == 405:
        lines.append("Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n")
    if close:
        lines.append("Connection: close\r\n")
    elif status == 426:
        lines.append("Connection: Upgrade\r\n")
    elif proto == "HTTP/1.0":
        lines.append("Connection: keep-alive\r\n")
    lines.append("\r\n")
    head = "".join(lines).encode("latin-1")
    return head if method == "HEAD" else head + what.body
