"""One name server is asked for a name's addresses, as glibc's stub resolver asks (res_send.c), over given sockets."""

from __future__ import annotations

import asyncio
import errno
import random
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from emulab.dataclass import dataclass
from emulab.errors import PeerError

if TYPE_CHECKING:
    from dnslib import DNSRecord

_REFUSALS = {2: "SERVFAIL", 4: "NOTIMP", 5: "REFUSED"}
"""Codes of answers that say nothing about a name: another server may know it."""
_PORT = 53
_LARGEST = 65535

OpenSocket = Callable[[int, int], Awaitable[socket.socket]]
"""Gives a socket of a family and a kind."""


class CannotTell(Exception):
    """A server has answered that it can't tell."""


class AskedServer(NamedTuple):
    """A server, and the seconds for which it is waited for."""

    server: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Manner:
    """How records of several types are asked for: at once or `in_turn`, and then from other sockets (`reopens`); over
    TCP alone with `stream`."""

    in_turn: bool = False
    reopens: bool = False
    stream: bool = False

    def others(self) -> Iterator[Manner]:
        """This one, and those that are tried where half of the answers came: some servers, and rules in front of them,
        lose the second of two questions from one port."""
        yield self
        if not self.in_turn:
            yield replace(self, in_turn=True)
        if not self.reopens:
            yield replace(self, in_turn=True, reopens=True)


def socket_family(address: str) -> int:
    """The family of an address, as sockets have it."""
    return int(socket.AF_INET6 if ":" in address else socket.AF_INET)


async def ask_server(
    name: str, records: Sequence[str], asked: AskedServer, manner: Manner, open_socket: OpenSocket
) -> list[str]:
    """The addresses that a server has. Half an answer is one, in the end.

    Each question is over a socket of its own, so that a trace tells them apart. Raises TimeoutError when it is silent,
    OSError when there is no way to it, CannotTell when it can't tell, and PeerError for what is no DNS message.
    """
    found: list[list[str] | BaseException] = []
    for one in manner.others():
        found = await _all(name, records, asked, one, open_socket)
        answered = [answer for answer in found if isinstance(answer, list)]
        if not answered or not any(isinstance(answer, TimeoutError) for answer in found):
            break
    for answer in found:
        # Half an answer is one: some servers, and rules in front of them, never answer for AAAA, or refuse it.
        if isinstance(answer, BaseException) and not (answered and isinstance(answer, Exception)):
            raise answer
    return [address for answer in answered for address in answer]


async def _all(
    name: str, records: Sequence[str], asked: AskedServer, manner: Manner, open_socket: OpenSocket
) -> list[list[str] | BaseException]:
    """What became of each question. All of them have the server's time together."""
    at_a_time = asyncio.Semaphore(1 if manner.in_turn else len(records))
    until = asyncio.get_running_loop().time() + asked.seconds

    async def ask(record: str) -> list[str]:
        async with at_a_time:
            return await _ask(name, record, asked.server, manner.stream, until, open_socket)

    return await asyncio.gather(*map(ask, records), return_exceptions=True)


async def _ask(
    name: str, record: str, server: str, stream: bool, until: float, open_socket: OpenSocket
) -> list[str]:
    """The addresses in the server's answer, which is asked for again over TCP where it was cut."""
    import dnslib

    question = dnslib.DNSRecord.question(name, record)
    question.header.id = random.randrange(1 << 16)
    try:
        answer = None if stream else await _over_udp(question, server, until, open_socket)
        if answer is None or answer.header.tc:
            answer = await _over_tcp(question, server, until, open_socket)
    except dnslib.DNSError as error:
        raise PeerError(f"{server} answered {name} with no DNS message: {error}") from None
    if refusal := _REFUSALS.get(answer.header.rcode):
        raise CannotTell(refusal)
    return [str(r.rdata) for r in answer.rr if dnslib.QTYPE[r.rtype] == record]


async def _over_udp(question: DNSRecord, server: str, until: float, open_socket: OpenSocket) -> DNSRecord:
    from dnslib import DNSRecord

    loop = asyncio.get_running_loop()
    with await open_socket(socket_family(server), socket.SOCK_DGRAM) as sock:
        await loop.sock_connect(sock, (server, _PORT))
        async with asyncio.timeout_at(until):
            await loop.sock_sendall(sock, question.pack())
            while True:
                answer = DNSRecord.parse(await loop.sock_recv(sock, _LARGEST))
                if answer.header.id == question.header.id:
                    return answer


async def _over_tcp(question: DNSRecord, server: str, until: float, open_socket: OpenSocket) -> DNSRecord:
    from dnslib import DNSRecord

    loop, message = asyncio.get_running_loop(), question.pack()
    with await open_socket(socket_family(server), socket.SOCK_STREAM) as sock:
        async with asyncio.timeout_at(until):
            await loop.sock_connect(sock, (server, _PORT))
            await loop.sock_sendall(sock, len(message).to_bytes(2, "big") + message)
            size = int.from_bytes(await _received(sock, 2), "big")
            return DNSRecord.parse(await _received(sock, size))


async def _received(sock: socket.socket, size: int) -> bytes:
    """So many octets of a connection."""
    found = b""
    while len(found) < size:
        more = await asyncio.get_running_loop().sock_recv(sock, size - len(found))
        if not more:
            raise ConnectionResetError(errno.ECONNRESET, "the server closed the connection before its answer")
        found += more
    return found
