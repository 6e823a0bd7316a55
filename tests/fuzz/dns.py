"""Hostile DNS: messages that are nearly good, to each of the three kinds of servers, over UDP and TCP.

The servers are the real ones on sockets of loopback: an authoritative one, a resolver whose upstream mangles
some answers, and a cluster's with zones and that upstream. After each volley a good question must be answered well.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from random import Random

import dnslib
import uvloop

from emulab.servers.base import Server
from emulab.servers.dns.server import create

_UDP, _TCP = "udp/127.0.0.1/53", "tcp/127.0.0.1/53"
_PATIENCE = 60.0  # seconds after which an answer is missing, also on a machine with little time
_VOLLEY = 40  # hostile messages between good questions
_NAMES = [
    "good.example.com.",
    "none.example.com.",
    "x.upstream.test.",
    "evil.upstream.test.",
    ".",
    "a.",
    "a" * 63 + ".",
]
_TYPES = [1, 2, 5, 6, 12, 15, 16, 28, 33, 35, 41, 43, 46, 47, 48, 64, 250, 251, 252, 255, 257, 65280]
_ZONE = {
    "origin": "example.com.",
    "records": [
        ["good.example.com.", "A", "192.0.2.7", 30],
        ["loop.example.com.", "CNAME", "loop.example.com.", 30],
        *[["many.example.com.", "TXT", "t" * 200 + str(i), 30] for i in range(40)],
    ],
}


class _Quiet:
    """Where servers tell what happens, and nobody listens."""

    wanted = False

    def __call__(self, record: dict[str, object], /) -> None:
        return


class _Upstream(asyncio.DatagramProtocol):
    """Answers what is asked of it below `upstream.test.`: `evil` names with mangled answers, others well."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        query = dnslib.DNSRecord.parse(data)
        reply = query.reply()
        reply.add_answer(dnslib.RR(query.q.qname, 1, rdata=dnslib.A("192.0.2.7"), ttl=0))
        message = bytes(reply.pack())
        if not str(query.q.qname).startswith("good."):
            message = message[:2] + mangled(self._random, message)[2:]
        self._transport.sendto(message[:60_000], address)  # type: ignore[attr-defined]


def mangled(random: Random, message: bytes) -> bytes:
    """A message with a few octets changed, sections that aren't there or are too many, or a part missing."""
    changed = bytearray(message)
    for _ in range(random.randrange(4)):
        if changed:
            changed[random.randrange(len(changed))] = random.randrange(256)
    match random.randrange(7):
        case 0:
            del changed[random.randrange(len(changed) + 1) :]
        case 1 if len(changed) >= 12:
            struct.pack_into("!4H", changed, 4, *(random.choice([0, 1, 2, 3, 0xFFFF]) for _ in range(4)))
        case 2:
            changed += random.randbytes(random.choice([1, 11, 500, 4000]))
        case 3 if len(changed) >= 12:  # records that lead about
            pointers = b"".join(
                _record(random, len(changed) + 12 * i) for i in range(random.choice([1, 300, 5000]))
            )
            struct.pack_into("!H", changed, random.choice([6, 8, 10]), min(0xFFFF, len(pointers) // 12))
            changed += pointers
    return bytes(changed[:0xFFFF])


def _record(random: Random, at: int) -> bytes:
    target = random.choice([12, max(0, at - 12), at, random.randrange(0x4000)]) & 0x3FFF
    return struct.pack("!HHHIH", 0xC000 | target, random.choice(_TYPES), 1, random.getrandbits(32), 0)


def hostile(random: Random) -> bytes:
    """A message that is nearly a good query, or nothing of the kind."""
    if random.random() < 0.1:
        return random.randbytes(random.choice([0, 1, 11, 12, 13, 100, 4096]))
    header = dnslib.DNSHeader(
        id=random.getrandbits(16), bitmap=random.choice([0x0100, 0x0100, random.getrandbits(16)])
    )
    query = dnslib.DNSRecord(header, q=dnslib.DNSQuestion(random.choice(_NAMES), random.choice(_TYPES)))
    if random.random() < 0.5:
        option = dnslib.EDNSOption(random.getrandbits(16), random.randbytes(random.choice([0, 8, 400])))
        query.add_ar(
            dnslib.EDNS0(
                udp_len=random.choice([0, 512, 1232, 65535]),
                version=random.choice([0, 0, 1, 255]),
                flags=random.choice(["", "do"]),
                opts=[option] * random.randrange(3),
            )
        )
    return mangled(random, bytes(query.pack()))


class _Target:
    """One server, and how it is attacked and asked."""

    def __init__(self, kind: str, port: int, good: str) -> None:
        self.kind = kind
        self.port = port
        self._good = good

    async def attack(self, messages: list[bytes], random: Random) -> None:
        """Sends the messages, by datagrams or as one stream, cut anywhere; the server may close that."""
        if random.random() < 0.5:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                for message in messages:
                    sock.sendto(message[:60_000], ("127.0.0.1", self.port))
            return
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        with contextlib.suppress(OSError):
            stream = b"".join(len(m).to_bytes(2, "big") + m for m in messages)
            for at in range(0, len(stream), step := random.choice([1000, 100_000])):
                if writer.is_closing():
                    break
                writer.write(stream[at : at + step])
                await asyncio.wait_for(writer.drain(), _PATIENCE)
        writer.transport.abort()

    async def ask(self, stream: bool, ident: int) -> bytes:
        """The answer to a good question."""
        question = bytes(
            dnslib.DNSRecord(dnslib.DNSHeader(id=ident), q=dnslib.DNSQuestion(self._good)).pack()
        )
        if not stream:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
                sock.connect(("127.0.0.1", self.port))
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(sock, question)
                return await loop.sock_recv(sock, 4096)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(len(question).to_bytes(2, "big") + question)
            return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        finally:
            writer.close()

    async def check(self, messages: list[bytes], random: Random) -> None:
        """Raises AssertionError, showing the messages, when a good question isn't answered as ever."""
        stream, ident = random.random() < 0.5, random.getrandbits(16)
        after = f"after these messages to the {self.kind}: {[m.hex() for m in messages]}"
        try:
            answer = dnslib.DNSRecord.parse(await asyncio.wait_for(self.ask(stream, ident), _PATIENCE))
        except (OSError, EOFError, dnslib.DNSError) as error:  # TimeoutError is an OSError
            raise AssertionError(f"a good question: {error!r} {after}") from None
        assert answer.header.id == ident and [str(rr.rdata) for rr in answer.rr] == ["192.0.2.7"], (
            f"{answer} {after}"
        )


def _listeners() -> tuple[int, dict[str, socket.socket]]:
    while True:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20
        )  # a volley with room for a question behind it
        udp.bind(("127.0.0.1", 0))
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            tcp.bind(udp.getsockname())
        except OSError:
            udp.close()
            tcp.close()
            continue
        tcp.listen()
        for sock in (udp, tcp):
            sock.setblocking(False)
        return udp.getsockname()[1], {_UDP: udp, _TCP: tcp}


@contextlib.asynccontextmanager
async def _targets(random: Random) -> AsyncIterator[list[_Target]]:
    upstream, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Upstream(random), local_addr=("127.0.0.1", 0)
    )
    forward = {"forward": ["127.0.0.1:{}".format(upstream.get_extra_info("sockname")[1])]}
    asking = {"upstream": {"timeout": _PATIENCE / 4, "tries": 3}, "tcp_idle": _PATIENCE}
    kinds = {
        "authoritative server": ({"zones": [_ZONE]}, "good.example.com."),
        "resolver": (forward, "good.upstream.test."),
        "cluster's server": ({"zones": [_ZONE], **forward}, "good.upstream.test."),
    }
    servers: list[Server] = []
    targets = []
    try:
        for kind, (config, good) in kinds.items():
            servers.append(create(_Quiet()))
            port, sockets = _listeners()
            await servers[-1].configure({"listen": list(sockets), **asking, **config}, sockets)
            targets.append(_Target(kind, port, good))
        yield targets
    finally:
        for server in servers:
            await server.close()
        upstream.close()


async def _run(random: Random, going: Callable[[], bool]) -> int:
    sent = 0
    faults: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(repr(context)))
    async with _targets(random) as targets:
        while going():
            target = random.choice(targets)
            messages = [hostile(random) for _ in range(_VOLLEY)]
            await target.attack(messages, random)
            sent += _VOLLEY
            await target.check(messages, random)
            assert not faults, (
                f"{faults} after these messages to the {target.kind}: {[m.hex() for m in messages]}"
            )
    return sent


def run(random: Random, going: Callable[[], bool]) -> int:
    """Sends hostile messages for as long as `going()`; returns how many.

    Raises AssertionError with the messages after which a good question wasn't answered.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(random, going))
