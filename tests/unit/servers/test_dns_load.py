"""Much at once, and more than there is room for: a name server answers what it can, and nobody is silenced."""

from __future__ import annotations

import asyncio
import socket
import struct

import dnslib
import pytest
from patience import LONG, soon
from test_dns_server import RECORDS, ZONES, Running, message, read, running

from emulab.servers.dns import wire

MANY = 10_000
CLIENTS = 50
UNDER_WAY = 80
"""More than a server reads at once."""


def numbered(count: int) -> list[bytes]:
    """Queries for one name with ids of their own."""
    query = bytes(dnslib.DNSRecord.question("shop.example.com.").pack())
    return [struct.pack("!H", number) + query[2:] for number in range(count)]


def blast(port: int) -> list[socket.socket]:
    """Sends all queries from some sockets, without waiting for any answer."""
    clients = [
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) for _ in range(CLIENTS)
    ]
    for sock in clients:
        sock.connect(("127.0.0.1", port))
    for number, query in enumerate(numbered(MANY)):
        clients[number % CLIENTS].send(query)
    return clients


def drain(clients: list[socket.socket]) -> int:
    """How many answers are there."""
    count = 0
    for sock in clients:
        try:
            while sock.recv(4096):
                count += 1
        except BlockingIOError:
            continue
    return count


async def test_ten_thousand_datagrams_at_once():
    async with running(zones=ZONES) as server:
        room = next(iter(server.server._ports.values()))._sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        clients = blast(server.port)  # nobody reads meanwhile: the server has this loop
        found, before = 0, -1
        while found != before or found < 200:
            before = found
            await asyncio.sleep(0.05)
            found += drain(clients)
        # As many as the kernel lets wait for the server; who may have the room that it asks for has all.
        assert found == MANY or room < 8 << 20
        assert await soon(server.ask("shop.example.com")) == ["203.0.113.10"]
        for sock in clients:
            sock.close()


async def test_ten_thousand_queries_over_connections_at_once():
    async with running(zones=ZONES, tcp_idle=LONG) as server:
        opened = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(CLIENTS)]
        each = MANY // CLIENTS
        for _, writer in opened:
            writer.write(b"".join(struct.pack("!H", len(query)) + query for query in numbered(each)))
        for reader, _ in opened:
            assert [(await soon(read(reader))).header.id for _ in range(each)] == list(range(each))
        assert server.server.status()["queries"] == MANY
        for _, writer in opened:
            writer.close()


class Flood:
    """Queries for names that are not there, so many under way all the time: what is answered makes way for others.

    More would fill the socket's queue sooner or later, where the kernel drops whatever comes next, whoever sent it; and
    where nobody waits for answers, a slow machine has a queue that is as long as the room for it.
    """

    def __init__(self, port: int) -> None:
        query = bytes(dnslib.DNSRecord.question("xxxxxxxx.example.com.").pack())
        self._head, self._rest = query.split(b"xxxxxxxx")
        self.asked = self.answered = 0
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._sock.bind(("127.0.0.9", 0))
        self._sock.connect(("127.0.0.1", port))
        asyncio.get_running_loop().add_reader(self._sock, self._go_on)
        for _ in range(UNDER_WAY):
            self._ask()

    def _ask(self) -> None:
        self.asked += 1
        self._sock.send(self._head + b"%08d" % self.asked + self._rest)

    def _go_on(self) -> None:
        try:
            while self._sock.recv(4096):
                self.answered += 1
                self._ask()
        except BlockingIOError:
            return

    def end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()


async def test_a_flood_of_names_that_are_not_there_silences_nobody():
    """Each of them makes work: none has a finished answer. Who asks meanwhile waits for those before it, and for the
    turns of the loop in which it reads its answer itself."""
    async with running(zones=ZONES) as server:
        flood = Flood(server.port)
        try:
            for _ in range(20):
                before = flood.answered
                assert await soon(server.ask("shop.example.com")) == ["203.0.113.10"]
                assert flood.answered - before <= 5 * UNDER_WAY
            assert flood.answered > 10 * UNDER_WAY
        finally:
            flood.end()
        assert server.server.status()["rcodes"]["NXDOMAIN"] >= flood.answered


@pytest.mark.parametrize("rtype", ["ANY", "A", "TXT", "SRV"])
@pytest.mark.parametrize("edns", [None, 512, 4096, 65535])
async def test_an_answer_over_udp_amplifies_little(rtype: str, edns: int | None):
    """A forged sender gets 512 octets, or, where the query says that more is taken, what fits into any link."""
    records = [*RECORDS, *[["big.example.com.", "TXT", f"{i}" * 200, 30] for i in range(9)]]
    records += [["big.example.com.", "A", f"10.0.{i}.1", 30] for i in range(200)]
    query = dnslib.DNSRecord.question("big.example.com.", rtype)
    if edns is not None:
        query.add_ar(dnslib.EDNS0(udp_len=edns))
    async with running(zones=[{"origin": "example.com.", "records": records}]) as server:
        reply = await asyncio.to_thread(query.send, "127.0.0.1", server.port)
        assert len(reply) <= (512 if edns is None else max(512, min(edns, wire.UDP_LIMIT)))


@pytest.mark.parametrize("opcode", range(1, 16))
async def test_other_operations_than_queries_are_said_not_to_be_there(opcode: int):
    async with running(zones=ZONES) as server:
        query = dnslib.DNSRecord.question("shop.example.com.")
        query.header.opcode = opcode
        reply = dnslib.DNSRecord.parse(await asyncio.to_thread(query.send, "127.0.0.1", server.port))
        assert (reply.header.opcode, reply.header.rcode, reply.rr) == (opcode, wire.NOTIMP, [])


def named(wire_name: bytes) -> bytes:
    """A query for a name as it is on the wire."""
    return struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + wire_name + struct.pack("!2H", 1, 1)


@pytest.mark.parametrize(
    ("name", "rcode"),
    [
        (b"\xc0\x0c", wire.FORMERR),  # a pointer to itself
        (b"\x01a\xc0\x0c", wire.FORMERR),  # a name that leads to its own beginning
        (b"\xc0\x0e\xc0\x0c", wire.FORMERR),  # two that lead to each other
        (b"\x40" + b"a" * 64 + b"\0", wire.FORMERR),  # a label of 64 octets
        (b"".join(b"\x3f" + b"a" * 63 for _ in range(4)) + b"\0", wire.FORMERR),  # a name of 257 octets
        (
            b"".join(b"\x3f" + b"a" * 63 for _ in range(3)) + b"\x3d" + b"a" * 61 + b"\0",
            wire.REFUSED,
        ),  # of 255
        (b"\x01a" * 126 + b"\0", wire.REFUSED),  # as many labels as fit
        (b"\x07example", wire.FORMERR),  # one without an end
    ],
)
async def test_names_out_of_bounds(name: bytes, rcode: int):
    async with running(zones=ZONES) as server:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            sock.connect(("127.0.0.1", server.port))
            sock.send(named(name))
            reply = await soon(asyncio.get_running_loop().sock_recv(sock, 4096))
        assert reply[:2] == b"\0\x07" and reply[3] & 0xF == rcode
        assert await server.ask("shop.example.com") == ["203.0.113.10"]


async def test_types_that_nobody_knows_are_answered_like_others():
    async with running(zones=ZONES) as server:
        for number in (0, 3, 250, 1000, 65280, 65535):
            query = dnslib.DNSRecord(q=dnslib.DNSQuestion("shop.example.com.", number))
            reply = dnslib.DNSRecord.parse(await asyncio.to_thread(query.send, "127.0.0.1", server.port))
            assert (reply.header.rcode, reply.rr, len(reply.auth)) == (wire.NOERROR, [], 1)


async def test_kept_answers_are_counted():
    server = Running()
    await server.configure(zones=ZONES)
    for _ in range(50):
        assert await server.ask("shop.example.com") == ["203.0.113.10"]
    assert server.server.status()["queries"] == 50 and server.server.status()["rcodes"] == {"NOERROR": 50}
    assert server.server.status()["queries"] == 50
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(message("shop.example.com."))
    await read(reader)
    writer.close()
    assert server.server.status()["queries"] == 51
    await server.server.close()
