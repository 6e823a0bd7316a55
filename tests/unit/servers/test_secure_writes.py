"""How many packets TLS takes for an answer, without a network."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import Any, cast

import pytest

from emulab.servers.l7.shell.outbox import Outbox
from emulab.servers.l7.shell.tls import fake_certificate
from emulab.servers.selfsigned import make_context
from emulab.servers.streams.secure import SecureTransport


class Below:
    """The transport below: each write is a packet."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.closed = self.ended = False

    def write(self, data: bytes) -> None:
        assert not self.closed and not self.ended
        self.packets.append(data)

    def is_closing(self) -> bool:
        return self.closed

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.closed = True

    abort = close


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


def served(version: ssl.TLSVersion) -> tuple[Client, Below, SecureTransport, Answering, bytes]:
    """A client and what it says at the end of its handshake, to a server that waits for that."""
    client, below, above = Client(version), Below(), Answering(Outbox())
    transport = SecureTransport(above, make_context(*fake_certificate()))
    transport.connection_made(cast(Any, below))
    transport.data_received(client.shake())
    last = client.shake(*below.packets)
    below.packets.clear()
    return client, below, transport, above, last


async def test_tickets_an_answer_and_the_end_are_one_packet() -> None:
    client, below, transport, above, last = served(ssl.TLSVersion.TLSv1_3)
    client.tls.write(b"you")
    transport.data_received(last + client.out.read())
    assert len(below.packets) == 1 and below.closed
    assert client.read(*below.packets) == b"answer to you"
    session = client.tls.session
    assert session is not None and session.has_ticket
    assert client.tls.read() == b"", "the end was said, and nothing cut off"
    await asyncio.sleep(0)
    assert above.others == [b"another's"]


async def test_who_says_nothing_yet_gets_the_tickets_at_once() -> None:
    client, below, transport, _, last = served(ssl.TLSVersion.TLSv1_3)
    transport.data_received(last)
    assert len(below.packets) == 1 and not below.closed
    with pytest.raises(ssl.SSLWantReadError):
        client.read(*below.packets)
    session = client.tls.session
    assert session is not None and session.has_ticket
    transport.abort()


async def test_a_handshake_of_tls_1_2_ends_before_anything_is_said() -> None:
    client, below, transport, _, last = served(ssl.TLSVersion.TLSv1_2)
    transport.data_received(last)
    assert client.shake(*below.packets) == b"" and client.tls.version() == "TLSv1.2"
    below.packets.clear()
    client.tls.write(b"you")
    transport.data_received(client.out.read())
    assert len(below.packets) == 1 and client.read(*below.packets) == b"answer to you"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_our_side_ends_alone(version: ssl.TLSVersion) -> None:
    """What the client still sends is dropped, and is a sign that it is there."""
    client, below, transport, _, last = served(version)
    seen: list[bytes] = []

    class Counting(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            seen.append(data)

    transport.data_received(last)
    client.shake(*below.packets)
    below.packets.clear()
    transport.set_protocol(Counting())
    transport.write(b"the last word")
    transport.end()
    assert below.ended and not below.closed
    assert client.read(*below.packets) == b"the last word" and client.tls.read() == b""
    client.out.write(b"still here")
    transport.data_received(client.out.read())
    transport.write(b"nothing more")
    transport.write_last(b"nothing more")
    assert seen == [b""] and below.closed and len(below.packets) == 2
