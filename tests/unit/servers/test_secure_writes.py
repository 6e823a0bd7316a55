"""How many packets TLS takes for an answer, without a network."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from time import monotonic
from typing import cast

import pytest
import pytest_asyncio
from patience import until

from emulab.servers.l7.shell.outbox import Outbox
from emulab.servers.l7.shell.tls import fake_certificate
from emulab.servers.selfsigned import make_context
from emulab.servers.streams.epollset import EpollSet
from emulab.servers.streams.handshakes import Handshakes
from emulab.servers.streams.plain import StreamTransport
from emulab.servers.streams.secure import SecureTransport


class Below:
    """What arrives of the transport below: each of its writes is a packet."""

    def __init__(self, streams: EpollSet, layer: SecureTransport) -> None:
        ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._theirs.setblocking(False)
        self.transport = StreamTransport(streams, ours, layer, {})
        self.closed = False

    def packets(self) -> list[bytes]:
        """Those that have come since the last time."""
        found: list[bytes] = []
        with suppress(BlockingIOError):
            while data := self._theirs.recv(1 << 16):
                found.append(data)
            self.closed = True
        return found

    def close(self) -> None:
        self.transport.abort()
        self._theirs.close()


class Answering(asyncio.Protocol):
    """Answers whatever comes, by an outbox, and ends."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.others: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(SecureTransport, transport)

    def data_received(self, data: bytes) -> None:
        self._outbox.put(self.others.append, b"another's")
        for part in (b"answer to ", data):
            self._outbox.put(self._transport.write, part)
        self._transport.write_last(self._outbox.take(self._transport.write))


class Client:
    def __init__(self, version: ssl.TLSVersion) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = version
        self._in, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self.out)

    def shake(self, *packets: bytes) -> bytes:
        """What it says next."""
        self._in.write(b"".join(packets))
        with suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.out.read()

    def read(self, *packets: bytes) -> bytes:
        self._in.write(b"".join(packets))
        return self.tls.read()


@pytest_asyncio.fixture
async def streams() -> AsyncIterator[EpollSet]:
    found = EpollSet()
    yield found
    found.close()


def served(
    streams: EpollSet, version: ssl.TLSVersion
) -> tuple[Client, Below, SecureTransport, Answering, bytes]:
    """A client and what it says at the end of its handshake, to a server that waits for that."""
    client, above = Client(version), Answering(Outbox())
    transport = SecureTransport(above, Handshakes(make_context(*fake_certificate())))
    below = Below(streams, transport)
    transport.connection_made(below.transport)
    transport.data_received(client.shake())
    return client, below, transport, above, client.shake(*below.packets())


async def test_tickets_an_answer_and_the_end_are_one_packet(streams: EpollSet) -> None:
    client, below, transport, above, last = served(streams, ssl.TLSVersion.TLSv1_3)
    client.tls.write(b"you")
    transport.data_received(last + client.out.read())
    packets = below.packets()
    assert len(packets) == 1 and below.closed
    assert client.read(*packets) == b"answer to you"
    session = client.tls.session
    assert session is not None and session.has_ticket
    assert client.tls.read() == b"", "the end was said, and nothing cut off"
    await asyncio.sleep(0)
    assert above.others == [b"another's"]
    below.close()


async def test_who_says_nothing_yet_gets_the_tickets_at_once(streams: EpollSet) -> None:
    client, below, transport, _, last = served(streams, ssl.TLSVersion.TLSv1_3)
    transport.data_received(last)
    packets = below.packets()
    assert len(packets) == 1 and not below.closed
    with pytest.raises(ssl.SSLWantReadError):
        client.read(*packets)
    session = client.tls.session
    assert session is not None and session.has_ticket
    below.close()


async def test_a_handshake_of_tls_1_2_ends_before_anything_is_said(streams: EpollSet) -> None:
    client, below, transport, _, last = served(streams, ssl.TLSVersion.TLSv1_2)
    transport.data_received(last)
    assert client.shake(*below.packets()) == b"" and client.tls.version() == "TLSv1.2"
    client.tls.write(b"you")
    transport.data_received(client.out.read())
    packets = below.packets()
    assert len(packets) == 1 and client.read(*packets) == b"answer to you"
    below.close()


async def test_who_takes_too_long_with_a_handshake_is_cut_off(streams: EpollSet) -> None:
    """By what is said at the time: each in its turn, and nobody who is through."""
    seconds = 0.2
    handshakes = Handshakes(make_context(*fake_certificate()), lambda: seconds)
    ends: list[tuple[Client, Below, SecureTransport]] = []
    for _ in range(3):
        transport = SecureTransport(Answering(Outbox()), handshakes)
        below, client = Below(streams, transport), Client(ssl.TLSVersion.TLSv1_3)
        transport.connection_made(below.transport)
        transport.data_received(client.shake())
        ends.append((client, below, transport))
    client, below, transport = ends[1]
    transport.data_received(client.shake(*below.packets()))
    began = monotonic()
    await until(lambda: all(one.transport.is_closing() for _, one, _ in (ends[0], ends[2])))
    assert monotonic() - began > 0.1 and not below.transport.is_closing()
    for _, one, _ in ends:
        one.close()
