"""Asks one upstream server over asyncio: UDP first, TCP when the answer was cut (RFC 1035 section 4.2).

Each question has a socket, hence a source port, and an id of its own. The socket is connected, so the kernel
drops what comes from elsewhere; id and question are compared here (RFC 5452 section 9.1).
"""

from __future__ import annotations

import asyncio
import secrets
import socket

from emulab.errors import PeerError
from emulab.servers.dns import wire
from emulab.servers.dns.cache import Key
from emulab.servers.dns.config import Address
from emulab.servers.dns.wire import Response


def _verified(data: bytes, ident: int, key: Key) -> Response:
    """The response, if it is one to this question; only errors may come without a question."""
    response = wire.parse_response(data)
    same = response.question == (key.name, key.rtype, wire.CLASS_IN)
    if response.id != ident or not (same or (not response.question and response.rcode != wire.NOERROR)):
        raise PeerError("the answer is to another question")
    return response


async def ask(server: Address, key: Key, timeout: float, *, edns: bool = True) -> Response:
    """One recursive question to one server; `timeout` seconds for UDP, and as many again for TCP.

    Raises TimeoutError, OSError (nobody there) or PeerError (a broken answer over TCP).
    """
    ident = secrets.randbelow(0x10000)
    message = wire.pack_question(ident, key.name, key.rtype, do=key.do, edns=edns)
    async with asyncio.timeout(timeout):
        response = await _over_udp(server, message, ident, key)
    if response.flags & wire.TC:
        async with asyncio.timeout(timeout):
            response = await _over_tcp(server, message, ident, key)
    if edns and response.rcode in (wire.FORMERR, wire.NOTIMP) and not response.answer:
        return await ask(server, key, timeout, edns=False)  # older than EDNS (RFC 6891 section 6.2.2)
    return response


async def _over_udp(server: Address, message: bytes, ident: int, key: Key) -> Response:
    family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
    loop = asyncio.get_running_loop()
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.connect(server)
        await loop.sock_sendall(sock, message)
        while True:
            data = await loop.sock_recv(sock, wire.TCP_LIMIT)
            try:
                return _verified(data, ident, key)
            except PeerError:
                continue  # a forger may be first; the true answer may still come


async def _over_tcp(server: Address, message: bytes, ident: int, key: Key) -> Response:
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(len(message).to_bytes(2, "big") + message)
        length = int.from_bytes(await reader.readexactly(2), "big")
        return _verified(await reader.readexactly(length), ident, key)
    except asyncio.IncompleteReadError:
        raise PeerError("the server closed the connection before its answer") from None
    finally:
        writer.close()
