"""A server that is asked over HTTP/2: what is written as of HTTP/1 reaches it, and its answers are read, by scripts."""

from __future__ import annotations

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, StreamEnded
from h2.settings import SettingCodes, Settings
from hypothesis import given, settings
from hypothesis import strategies as st

from emulab.errors import PeerError
from emulab.servers.l7.messages.http2response import Http2Response
from emulab.servers.l7.messages.response import fields_by
from emulab.servers.l7.personalities.ingress_nginx import fields

FIELDS = fields_by(fields.response_actions(False, False))
GET = b"GET /a?b HTTP/1.1\r\nHost: h:1\r\nX-Request-ID: f\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
HEAD_MAX = 4096
ANSWER = [(":status", "200"), ("content-type", "application/grpc"), ("server", "s"), ("x-a", "b")]


class Play:
    """Both ends of one connection."""

    def __init__(self, window: int | None = None) -> None:
        self.reader = Http2Response("http")
        self.server = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        if window is not None:
            self.server.local_settings = Settings(
                client=False, initial_values={SettingCodes.INITIAL_WINDOW_SIZE: window}
            )
        self.server.initiate_connection()
        self.events: list[Event] = []
        self.begin()

    def begin(self, to_head: bool = False) -> None:
        self.reader.begin(to_head, FIELDS)

    def write(self, data: bytes) -> None:
        self.reader.write(data)
        self.pump()

    def pump(self) -> None:
        """Has both hear of each other, until nobody has anything to say."""
        while True:
            there = self.reader.output()
            if there:
                self.events += self.server.receive_data(there)
            back = self.server.data_to_send()
            if back:
                self.reader.feed(back, HEAD_MAX)
            if not there and not back:
                return

    @property
    def body(self) -> bytes:
        return b"".join(event.data for event in self.events if isinstance(event, DataReceived))

    @property
    def ended(self) -> bool:
        return any(isinstance(event, StreamEnded) for event in self.events)


def test_a_request_and_its_answer_with_trailers() -> None:
    play = Play()
    play.write(GET)
    (request,) = (event for event in play.events if isinstance(event, RequestReceived))
    assert dict(request.headers) == {
        ":method": "GET",
        ":path": "/a?b",
        ":scheme": "http",
        ":authority": "h:1",
        "x-request-id": "f",
        "te": "trailers",
    }
    assert play.ended
    play.server.send_headers(1, ANSWER)
    play.pump()
    reader = play.reader
    assert reader.head_done and reader.status == 200 and not reader.complete
    assert reader.lines == [b"content-type: application/grpc\r\n", b"x-a: b\r\n"]
    play.server.send_data(1, b"hello")
    play.server.send_headers(1, [("grpc-status", "0"), ("server", "s")], end_stream=True)
    play.pump()
    assert reader.pieces == [b"hello"] and reader.trailers == [b"grpc-status: 0\r\n"]
    assert reader.complete and reader.reusable
    play.begin()
    assert not reader.complete and not reader.trailers
    play.write(GET)
    play.server.send_headers(3, [(":status", "404"), ("grpc-status", "5")], end_stream=True)
    play.pump()
    assert reader.complete and reader.status == 404 and reader.head.start == b"HTTP/1.1 404 Not Found\r\n"


@pytest.mark.parametrize(
    ("head", "pieces"),
    [
        (POST, [b"3\r\nabc\r\n", b"2\r\nde\r\n0\r\n\r\n"]),
        (POST, [b"3\r\nab", b"c\r\n2\r\nde\r\n", b"0\r\n\r\n"]),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n", [b"abc", b"de"]),
    ],
)
def test_a_body_is_taken_out_of_its_framing(head: bytes, pieces: list[bytes]) -> None:
    play = Play()
    play.write(head + pieces[0])
    for piece in pieces[1:]:
        assert not play.ended
        play.write(piece)
    assert play.body == b"abcde" and play.ended
    (request,) = (event for event in play.events if isinstance(event, RequestReceived))
    assert "transfer-encoding" not in dict(request.headers)


def test_a_request_of_length_nought_ends_at_once() -> None:
    play = Play()
    play.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
    assert play.ended and play.body == b""


def test_a_server_that_opens_no_window_holds_the_body_up() -> None:
    play = Play(window=1000)
    play.pump()
    play.write(POST + b"bb8\r\n" + b"x" * 3000 + b"\r\n0\r\n\r\n")
    assert len(play.body) == 1000 and play.reader.blocked
    play.server.increment_flow_control_window(1500, 1)
    play.pump()
    assert len(play.body) == 2500 and play.reader.blocked
    play.server.increment_flow_control_window(1500, 1)
    play.pump()
    assert len(play.body) == 3000 and play.ended and not play.reader.blocked


def test_an_answer_before_the_body_is_whole_ends_the_connection_s_use() -> None:
    play = Play(window=10)
    play.pump()
    play.write(POST + b"20\r\n" + b"x" * 32 + b"\r\n")
    play.server.send_headers(1, ANSWER, end_stream=True)
    play.pump()
    assert play.reader.complete and not play.reader.reusable


def test_a_reset_is_an_error_unless_the_answer_is_whole() -> None:
    play = Play()
    play.write(GET)
    play.server.reset_stream(1, 11)
    with pytest.raises(PeerError, match="it reset the stream with error 11"):
        play.pump()
    play = Play()
    play.write(POST)
    play.server.send_headers(1, ANSWER, end_stream=True)
    play.server.reset_stream(1, 0)
    play.pump()
    assert play.reader.complete and not play.reader.reusable


def test_a_farewell_counts_for_streams_after_the_last() -> None:
    play = Play()
    play.write(GET)
    goodbye = b"\0\0\x08\x07\0\0\0\0\0\0\0\0%c\0\0\0\0"
    play.reader.feed(goodbye % 1, HEAD_MAX)
    play.server.send_headers(1, ANSWER, end_stream=True)
    play.pump()
    assert play.reader.complete and not play.reader.reusable
    play = Play()
    play.write(GET)
    with pytest.raises(PeerError, match="it ended the connection with error 0"):
        play.reader.feed(goodbye % 0, HEAD_MAX)


@pytest.mark.parametrize(
    ("head", "why"),
    [
        ([(":status", "20")], "the status is malformed"),
        ([(":status", "200"), ("transfer-encoding", "chunked")], "transfer-encoding"),
        ([(":status", "200"), ("a", "x" * 5000)], "the response's head is too large"),
        ([("a", "b")], ":status"),
    ],
)
def test_answers_that_are_malformed(head: list[tuple[str, str]], why: str) -> None:
    play = Play()
    play.write(GET)
    play.server.config.validate_outbound_headers = play.server.config.normalize_outbound_headers = False
    play.server.send_headers(1, head)
    with pytest.raises(PeerError, match=why):
        play.pump()


@settings(max_examples=200, deadline=None)
@given(
    frames=st.lists(
        st.tuples(
            st.integers(0, 10), st.integers(0, 255), st.sampled_from((0, 1, 2, 3, 5)), st.binary(max_size=20)
        ),
        max_size=8,
    )
)
def test_any_frames_are_read_or_refused(frames: list[tuple[int, int, int, bytes]]) -> None:
    play = Play()
    play.write(POST)
    for kind, flags, stream, payload in frames:
        head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
        try:
            play.reader.feed(head + payload, HEAD_MAX)
        except PeerError:
            return
