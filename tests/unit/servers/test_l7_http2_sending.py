"""What a client's connection over HTTP/2 sends, and when: frames of one turn together, and all before it ends."""

from __future__ import annotations

import asyncio
from math import inf

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, Event, ResponseReceived, StreamEnded
from scripted import CLIENT, LOCAL, Audience
from test_ingress_harness import routed

from emulab.servers.configuration import from_json
from emulab.servers.l7.config import L7Config
from emulab.servers.l7.engine.snapshot import take
from emulab.servers.l7.shell.client import ClientConnection
from emulab.servers.l7.shell.context import Context
from emulab.servers.l7.shell.http2 import Http2Client
from emulab.servers.l7.shell.outbox import LARGE


class _Transport(asyncio.Transport):
    """Keeps what is done with it, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[str, bytes]] = []
        self.taken = -inf

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.done.append(("write", bytes(data)))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.done.append(("end", b""))

    def close(self) -> None:
        self.done.append(("close", b""))

    def abort(self) -> None:
        self.done.append(("abort", b""))

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    @property
    def words(self) -> list[str]:
        return [word for word, _ in self.done]


class _Talk:
    """A client at the other end of a connection, whose requests are all answered by a 404 of our own."""

    def __init__(self) -> None:
        self.transport = _Transport()
        nothing = routed([], {}, listen=[], upstreams={})
        self.context = context = Context(Audience(False), take(from_json(L7Config, nothing), {}))
        self.shell = Http2Client(context, self.transport, "https", (CLIENT, LOCAL, None, None))
        self.shell.machine.begun(context.clock(), 0, None)
        self.client = H2Connection(H2Configuration(header_encoding="utf-8"))
        self.client.initiate_connection()
        self.say()

    def say(self) -> None:
        self.shell.data_received(self.client.data_to_send())

    def ask(self) -> None:
        head = [(":method", "GET"), (":path", "/"), (":scheme", "https"), (":authority", "h")]
        self.client.send_headers(self.client.get_next_available_stream_id(), head, end_stream=True)
        self.say()

    def heard(self) -> list[Event]:
        return self.client.receive_data(b"".join(data for _, data in self.transport.done))


def _kinds(events: list[Event], *kinds: type[Event]) -> list[type[Event]]:
    return [type(event) for event in events if isinstance(event, kinds)]


async def test_answers_of_one_turn_go_out_together() -> None:
    talk = _Talk()
    await asyncio.sleep(0)
    greeted = len(talk.transport.done)
    for _ in range(3):
        talk.ask()
    assert len(talk.transport.done) == greeted  # the loop has more to tell
    await asyncio.sleep(0)
    assert talk.transport.words[greeted:] == ["write"]
    assert _kinds(talk.heard(), ResponseReceived, StreamEnded) == [ResponseReceived, StreamEnded] * 3


async def test_what_is_large_does_not_wait_for_the_turn_s_end() -> None:
    """A transport that is full has to say so before more is read."""
    talk = _Talk()
    await asyncio.sleep(0)
    greeted = len(talk.transport.done)
    while len(talk.transport.done) == greeted:
        talk.ask()
    assert len(talk.transport.done[-1][1]) > LARGE
    await asyncio.sleep(0)
    assert talk.transport.words == ["write"] * (greeted + 1)  # nothing twice


async def test_answers_and_the_farewell_go_out_before_the_connection_ends() -> None:
    talk = _Talk()
    await asyncio.sleep(0)
    talk.ask()
    talk.shell.shutdown()
    words = talk.transport.words
    assert words[-1] != "write" and "write" in words
    ended = words.index(next(word for word in words if word != "write"))
    assert "write" not in words[ended:]
    assert _kinds(talk.heard(), StreamEnded, ConnectionTerminated) == [StreamEnded, ConnectionTerminated]
    await asyncio.sleep(0)
    assert talk.transport.words == words


async def test_who_breaks_the_protocol_is_told_before_the_connection_ends() -> None:
    talk = _Talk()
    await asyncio.sleep(0)
    talk.shell.data_received(b"\0\0\1\6\0\0\0\0\0x")  # a PING of one octet
    assert _kinds(talk.heard(), ConnectionTerminated) == [ConnectionTerminated]
    assert talk.transport.words[-1] in ("end", "close", "abort")


async def test_when_the_client_last_took_something_is_looked_at() -> None:
    talk = _Talk()
    talk.shell.machine.filled(0.0)
    talk.transport.taken = 50.0
    talk.shell.expire(60.0)
    assert "abort" not in talk.transport.words and talk.shell.deadline == 110
    talk.shell.expire(110.0)
    assert talk.transport.words[-1] == "abort"


async def test_and_so_it_is_of_a_client_of_http_1() -> None:
    talk = _Talk()
    client, transport = ClientConnection(talk.context, False), _Transport()
    client.connection_made(transport)
    client.machine.filled(0.0)
    transport.taken = 50.0
    client.expire(60.0)
    assert "abort" not in transport.words and client.deadline == 110
    client.expire(110.0)
    assert transport.words[-1] == "abort"
