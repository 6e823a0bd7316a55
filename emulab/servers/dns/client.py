"""Asks one upstream server over asyncio: UDP first, TCP when the answer was cut (RFC 1035 section 4.2).

Each question has a socket, hence a source port, and an id of its own. The socket is connected, so the kernel
drops what comes from elsewhere; id and question are compared here (RFC 5452 section 9.1). Where that is asked for the
letters of the name have random case (draft-vixie-dnsext-dns0x20): an answer that is right but for these is from a
server that doesn't keep them, or from a forger, so the question is asked again over TCP, where nobody forges.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Sequence

from emulab.errors import PeerError
from emulab.servers.dns import wire
from emulab.servers.dns.cache import CacheKey
from emulab.servers.dns.names import Name
from emulab.servers.dns.reporter import Reporter, UpstreamQuestion
from emulab.servers.dns.upstreams import ServerAddress
from emulab.servers.dns.wire import Response

_LARGEST_DATAGRAM = 4096
"""Octets; more than we say that we take (`wire.UDP_LIMIT`), for servers that don't listen."""


class _Question:
    """One question to one server, which may be asked over UDP and then over TCP."""

    def __init__(self, server: ServerAddress, key: CacheKey, edns: bool, mixed_case: bool = False) -> None:
        self._server = server
        self._key = key
        self.ident = secrets.randbelow(0x10000)
        self._asked = mixed(key.name) if mixed_case else key.name
        self._message = wire.pack_question(self.ident, self._asked, key.rtype, do=key.do, edns=edns)

    async def ask(self, stream: bool, timeout: float, exchange: UpstreamQuestion | None) -> Response:
        """The answer within `timeout` seconds. Raises TimeoutError, OSError or PeerError."""
        try:
            async with asyncio.timeout(timeout):
                response = await (self._over_tcp(exchange) if stream else self._over_udp(exchange))
        except (OSError, PeerError) as error:  # TimeoutError is an OSError
            if exchange is not None:
                exchange.failed(_reason(error, timeout))
            raise
        if exchange is not None:
            exchange.answered(response)
        return response

    async def _over_udp(self, exchange: UpstreamQuestion | None) -> Response:
        family = socket.AF_INET6 if ":" in self._server[0] else socket.AF_INET
        loop = asyncio.get_running_loop()
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            sock.connect(self._server)
            if exchange is not None:
                exchange.sent(sock.getsockname())
            await loop.sock_sendall(sock, self._message)
            while True:
                data = await loop.sock_recv(sock, _LARGEST_DATAGRAM)
                try:
                    response = self._verified(data)
                    if response.asked in (self._asked, ()):
                        return response
                    return Response(response.id, response.flags | wire.TC, response.rcode, response.question)
                except PeerError:
                    # A forger may be first; the true answer may still come. Others have their turn before it:
                    # the loop gives none away for data that is there already.
                    await asyncio.sleep(0)

    async def _over_tcp(self, exchange: UpstreamQuestion | None) -> Response:
        reader, writer = await asyncio.open_connection(*self._server)
        try:
            if exchange is not None:
                exchange.sent(writer.get_extra_info("sockname"))
            writer.write(len(self._message).to_bytes(2, "big") + self._message)
            length = int.from_bytes(await reader.readexactly(2), "big")
            return self._verified(await reader.readexactly(length))
        except asyncio.IncompleteReadError:
            raise PeerError("the server closed the connection before its answer") from None
        finally:
            writer.close()

    def _verified(self, data: bytes) -> Response:
        """The response, if it is one to this question; only errors may come without a question."""
        if data[:2] != self.ident.to_bytes(2, "big"):  # before any work is made of it
            raise PeerError("the answer is to another question")
        response = wire.parse_response(data)
        same = response.question == (self._key.name, self._key.rtype, wire.CLASS_IN)
        if not same and (response.question or response.rcode == wire.NOERROR):
            raise PeerError("the answer is to another question")
        return response


async def ask_server(
    server: ServerAddress,
    key: CacheKey,
    timeout: float,
    clients: Sequence[str] = (),
    *,
    reporter: Reporter | None = None,
    edns: bool = True,
    mixed_case: bool = False,
    stream: bool = False,
) -> Response:
    """One recursive question to one server; `timeout` seconds for UDP, and as many again for TCP, which is all with
    `stream`.

    `reporter` tells of it, and of the `clients` that wait for it. Raises TimeoutError, OSError (nobody there)
    or PeerError (a broken answer over TCP).
    """
    question = _Question(server, key, edns, mixed_case)
    for over_tcp in (True,) if stream else (False, True):
        exchange = reporter.exchange(server, key, question.ident, over_tcp, clients) if reporter else None
        response = await question.ask(over_tcp, timeout, exchange)
        if not response.flags & wire.TC:
            break
    if edns and response.rcode in (wire.FORMERR, wire.NOTIMP) and not response.answer:
        # older than EDNS (RFC 6891 section 6.2.2)
        return await ask_server(
            *(server, key, timeout, clients),
            reporter=reporter,
            edns=False,
            mixed_case=mixed_case,
            stream=stream,
        )
    return response


def mixed(name: Name) -> Name:
    """A name in letters of random case."""
    return tuple(bytes(map(_either_case, label)) for label in name)


def _either_case(letter: int) -> int:
    return letter ^ (secrets.randbits(1) << 5) if letter < 0x80 and chr(letter).isalpha() else letter


def _reason(error: OSError | PeerError, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} s"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error)
