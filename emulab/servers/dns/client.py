"""Asks one upstream server over asyncio: UDP first, TCP when the answer was cut (RFC 1035 section 4.2).

Each question has a socket, hence a source port, and an id of its own. The socket is connected, so the kernel
drops what comes from elsewhere; id and question are compared here (RFC 5452 section 9.1).
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from typing import Any

from emulab.errors import PeerError
from emulab.servers.dns import names, rdata, wire
from emulab.servers.dns.cache import Key
from emulab.servers.dns.config import Address, parse_address
from emulab.servers.dns.wire import Response


class _Asking(asyncio.DatagramProtocol):
    """Waits for the one datagram that answers the question; anything else is passed over."""

    def __init__(self, ident: int, question: bytes) -> None:
        self._ident = ident
        self._question = question
        self.answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        try:
            response = _verified(data, self._ident, self._question)
        except PeerError:
            return  # a forger may be first; the true answer may still come
        if not self.answer.done():
            self.answer.set_result(response)

    def error_received(self, exc: Exception) -> None:
        # An ICMP error: nobody listens there, so there is nothing to wait for.
        if not self.answer.done():
            self.answer.set_exception(exc)


def _verified(data: bytes, ident: int, question: bytes) -> Response:
    """The response, if it is one to this question; only errors may come without a question."""
    response = wire.parse_response(data)
    same = response.question == question or (not response.question and response.rcode != wire.NOERROR)
    if response.id != ident or not same:
        raise PeerError("the answer is to another question")
    return response


async def ask(server: Address, key: Key, timeout: float, *, edns: bool = True) -> Response:
    """One recursive question to one server; `timeout` seconds for UDP, and as many again for TCP.

    Raises TimeoutError, OSError (nobody there) or PeerError (a broken answer over TCP).
    """
    question = key.name.lower() + key.rtype.to_bytes(2, "big") + b"\0\x01"
    ident = secrets.randbelow(0x10000)
    message = wire.pack_question(ident, key.name, key.rtype, do=key.do, edns=edns)
    async with asyncio.timeout(timeout):
        response = await _over_udp(server, message, ident, question)
    if response.truncated:
        async with asyncio.timeout(timeout):
            response = await _over_tcp(server, message, ident, question)
    if edns and response.rcode in (wire.FORMERR, wire.NOTIMP) and not response.answer:
        return await ask(server, key, timeout, edns=False)  # older than EDNS (RFC 6891 section 6.2.2)
    return response


async def _over_udp(server: Address, message: bytes, ident: int, question: bytes) -> Response:
    family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        sock.connect(server)
        loop = asyncio.get_running_loop()
        transport, asking = await loop.create_datagram_endpoint(lambda: _Asking(ident, question), sock=sock)
    except BaseException:
        sock.close()
        raise
    try:
        transport.sendto(message)
        return await asking.answer
    finally:
        transport.close()


async def _over_tcp(server: Address, message: bytes, ident: int, question: bytes) -> Response:
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(len(message).to_bytes(2, "big") + message)
        length = int.from_bytes(await reader.readexactly(2), "big")
        return _verified(await reader.readexactly(length), ident, question)
    except asyncio.IncompleteReadError:
        raise PeerError("the server closed the connection before its answer") from None
    finally:
        writer.close()


async def query(server: str, name: str, type: str, timeout: float = 2.0) -> Response:
    """Asks `server` (`ADDRESS` or `ADDRESS:PORT`) for the records of a name, over UDP and if need be TCP.

    `timeout` is in seconds. `Response.texts()` shows the answer. Raises ValueError for a name or type that
    can't be, TimeoutError, OSError or PeerError when no usable answer came.
    """
    key = Key(names.from_text(name), rdata.type_number(type), do=False)
    return await ask(parse_address(server), key, timeout)
