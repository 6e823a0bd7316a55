"""One HTTP request as `Lab.request` sends it: its fields, its connection, its TLS; and its answer."""

from __future__ import annotations

import asyncio
import json
import socket
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

from emulab.dataclass import dataclass
from emulab.errors import UserError
from emulab.observe.target import DEFAULT_PORTS
from emulab.servers.eyeballs import connected
from emulab.servers.stubquestions import OpenSocket, socket_family

if TYPE_CHECKING:
    import ssl

_WITHOUT_BODY = ("GET", "HEAD", "OPTIONS", "TRACE")


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer. Header names are in lower case; of repeated headers the last is in `headers`."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    duration: float  # seconds, name resolution included

    def text(self) -> str:
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """The body as JSON. Raises ValueError when it is none."""
        return json.loads(self.body)


def read_url(url: str) -> tuple[SplitResult, int]:
    """A URL of http or https, and the port that it leads to. Raises UserError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UserError(f"{url}: not a URL: {error}") from None
    if not parts.hostname or parts.scheme not in DEFAULT_PORTS:
        raise UserError(f"{url}: not a URL of http or https with a host")
    if port == 0:
        raise UserError(f"{url}: port 0 is out of range; ports are 1 to 65535")
    return parts, port or DEFAULT_PORTS[parts.scheme]


def request_fields(
    parts: SplitResult, method: str, given: Mapping[str, str], body: bytes | None
) -> list[tuple[str, str]]:
    """A request's fields: those that are given, and our own where these don't say otherwise."""
    host, port = parts.netloc.rpartition("@")[2].lower(), f":{DEFAULT_PORTS[parts.scheme]}"
    own = {"Accept": "*/*", "User-Agent": "emulab"}
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        own["Authorization"] = f"Basic {b64encode(user.encode()).decode()}"
    if body is not None or method not in _WITHOUT_BODY:
        own |= {"Content-Length": str(len(body or b"")), "Content-Type": "application/octet-stream"}
    own["Connection"] = "close"
    names = {name.lower() for name in given}
    first = [] if "host" in names else [("Host", host.removesuffix(port))]
    return [
        *first,
        *given.items(),
        *((name, value) for name, value in own.items() if name.lower() not in names),
    ]


async def connect_to_one(addresses: Sequence[str], port: int, open_socket: OpenSocket) -> socket.socket:
    """A connection to a host, by the first of its addresses that connects (RFC 8305). Raises the last OSError."""

    async def one(address: str) -> socket.socket:
        sock = await open_socket(socket_family(address), socket.SOCK_STREAM)
        await connect(sock, address, port)
        return sock

    return await connected(addresses, one)


async def connect(sock: socket.socket, address: str, port: int) -> None:
    try:
        await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except BaseException:
        sock.close()
        raise


def secured(verify: bool) -> ssl.SSLContext:
    import ssl

    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
