"""HTTP/2 with clients as chance has it: however frames are cut and windows open, each answer is right and whole."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_http2 import Http2Script
from test_l7_http2 import snapshot

SIZES = st.integers(0, 70_000)
EXCHANGES = st.lists(st.tuples(SIZES, SIZES), min_size=1, max_size=6)


def _answer(size: int, chunked: bool) -> bytes:
    body = bytes(index % 251 for index in range(size))
    if not chunked:
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (size, body)
    chunks = b"%x\r\n%b\r\n" % (size, body) if size else b""
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def _body(wanted: list[tuple[str, Any]]) -> bytes:
    """What an upstream got after the head, out of its chunks."""
    data = b"".join(value for word, value in wanted if word == "forward")
    body = b""
    while data and not data.startswith(b"0\r\n"):
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        body, data = body + data[:length], data[length + 2 :]
    return body


@settings(max_examples=20, deadline=None)
@given(
    exchanges=EXCHANGES,
    window=st.integers(1, 100_000),
    cut=st.integers(1, 20_000),
    order=st.randoms(use_true_random=False),
)
def test_every_answer_is_whole(exchanges: list[tuple[int, int]], window: int, cut: int, order: Any) -> None:
    play = Http2Script(snapshot(client_max_body=0), window=window)
    numbers = [play.ask(f"/{index}", method="POST", body=None) for index in range(len(exchanges))]
    for number in numbers:
        play.connected(number)
    left = {number: b"u" * exchanges[index][0] for index, number in enumerate(numbers)}
    got = dict.fromkeys(numbers, b"")
    while left:
        number = order.choice(sorted(left))
        room = min(cut, play.client.local_flow_control_window(number), 16384)
        piece, rest = left[number][:room], left[number][room:]
        play.body(number, piece, last=not rest)
        got[number] += _body(play.taken(number))
        if rest:
            left[number] = rest
        else:
            del left[number]
    for index, number in enumerate(numbers):
        assert got[number] == b"u" * exchanges[index][0]
    for index, number in sorted(enumerate(numbers), key=lambda _: order.random()):
        data = _answer(exchanges[index][1], order.random() < 0.5)
        pieces = [data[start : start + cut] for start in range(0, len(data), cut)]
        for piece in pieces:
            play.upstream(number, piece)
    for index, number in enumerate(numbers):
        answer = play.answers[number]
        assert answer.ended and answer.reset is None
        assert answer.body == bytes(at % 251 for at in range(exchanges[index][1]))
    assert not play.machine.streams and not play.machine.blocked and play.farewell is None


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(1, 60), min_size=1, max_size=30))
def test_frames_are_read_however_they_are_cut(cuts: list[int]) -> None:
    play = Http2Script(snapshot())
    client, numbers = play.client, []
    for index in range(4):
        number = client.get_next_available_stream_id()
        head = [(":method", "POST"), (":path", f"/{index}"), (":scheme", "https"), (":authority", "h")]
        client.send_headers(number, [*head, ("x", "y" * 30 * index)])
        client.send_data(number, b"b" * 50 * index, end_stream=True)
        numbers.append(number)
    data = client.data_to_send()
    while data:
        size = cuts[len(data) % len(cuts)]
        play.machine.received(data[:size], 0.0)
        play.carry_out()
        data = data[size:]
    assert [play.streams[number].exchange is not None for number in numbers] == [True] * 4
    for index, number in enumerate(numbers):
        written = play.connected(number)
        assert written.startswith(b"POST /%d HTTP/1.1\r\n" % index)
        if index:
            assert b"b" * 50 * index in written
