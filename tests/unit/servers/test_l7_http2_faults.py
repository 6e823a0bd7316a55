"""What RFC 9113 and RFC 7541 have end a connection over HTTP/2, and what ends one stream of it and no other."""

from __future__ import annotations

import pytest
from h2.errors import ErrorCodes
from hpack import Encoder
from test_l7_http2 import OK, PLAIN, script

PROTOCOL, FLOW, SIZE = ErrorCodes.PROTOCOL_ERROR, ErrorCodes.FLOW_CONTROL_ERROR, ErrorCodes.FRAME_SIZE_ERROR
CLOSED, COMPRESSION = ErrorCodes.STREAM_CLOSED, ErrorCodes.COMPRESSION_ERROR
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
ACK = END = 1
WHOLE = 4
PADDED = 8


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return b"%b%c%c%b%b" % (len(payload).to_bytes(3, "big"), kind, flags, stream.to_bytes(4, "big"), payload)


def setting(name: int, value: int) -> bytes:
    return frame(SETTINGS, 0, 0, name.to_bytes(2, "big") + value.to_bytes(4, "big"))


BLOCK = Encoder().encode(PLAIN)
ASK = frame(HEADERS, WHOLE | END, 1, BLOCK)
POST = frame(HEADERS, WHOLE, 1, BLOCK)
MOST = (1 << 31) - 1


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(frame(DATA, END, 1, b"x"), PROTOCOL, id="data of an idle stream"),
        pytest.param(frame(DATA, END, 0, b"x"), PROTOCOL, id="data of the connection"),
        pytest.param(POST + frame(DATA, PADDED | END, 1, b"\x06xxxxx"), PROTOCOL, id="padding as long as data"),
        pytest.param(frame(HEADERS, WHOLE | END, 0, BLOCK), PROTOCOL, id="a head of the connection"),
        pytest.param(frame(HEADERS, WHOLE | END, 2, BLOCK), PROTOCOL, id="a head of an even number"),
        pytest.param(
            frame(HEADERS, WHOLE | END | PADDED, 1, b"\xff" + BLOCK), PROTOCOL, id="padding of a head"
        ),
        pytest.param(
            frame(HEADERS, WHOLE | END, 5, BLOCK) + frame(HEADERS, WHOLE | END, 3, BLOCK),
            PROTOCOL,
            id="a number that is lower",
        ),
        pytest.param(frame(HEADERS, END, 1, BLOCK[:5]) + frame(PING, 0, 0, b"8 octets"), PROTOCOL, id="head cut"),
        pytest.param(
            frame(HEADERS, END, 1, BLOCK[:5]) + frame(WINDOW, 0, 1, b"\0\0\0\0"), PROTOCOL, id="head cut by nought"
        ),
        pytest.param(ASK + frame(CONTINUATION, WHOLE, 1, b""), PROTOCOL, id="a continuation of nothing"),
        pytest.param(frame(RST, 0, 0, b"\0\0\0\x08"), PROTOCOL, id="a reset of the connection"),
        pytest.param(frame(RST, 0, 1, b"\0\0\0\x08"), PROTOCOL, id="a reset of an idle stream"),
        pytest.param(ASK + frame(RST, 0, 1, b"\0\0\x08"), SIZE, id="a reset of three octets"),
        pytest.param(frame(SETTINGS, 0, 1, b""), PROTOCOL, id="settings of a stream"),
        pytest.param(frame(SETTINGS, 0, 0, b"\0\0\1"), SIZE, id="settings of three octets"),
        pytest.param(frame(SETTINGS, ACK, 0, b"\0\3\0\0\0\1"), SIZE, id="settings acknowledged with a payload"),
        pytest.param(setting(2, 2), PROTOCOL, id="ENABLE_PUSH 2"),
        pytest.param(setting(4, 1 << 31), FLOW, id="INITIAL_WINDOW_SIZE too large"),
        pytest.param(setting(5, 16383), PROTOCOL, id="MAX_FRAME_SIZE too small"),
        pytest.param(setting(5, 1 << 24), PROTOCOL, id="MAX_FRAME_SIZE too large"),
        pytest.param(frame(PUSH, WHOLE, 1, b"\0\0\0\2" + BLOCK), PROTOCOL, id="a push by a client"),
        pytest.param(frame(PING, 0, 1, b"8 octets"), PROTOCOL, id="a ping of a stream"),
        pytest.param(frame(PING, 0, 0, b"6 oct."), SIZE, id="a ping of six octets"),
        pytest.param(frame(GOAWAY, 0, 1, b"\0" * 8), PROTOCOL, id="a goodbye of a stream"),
        pytest.param(frame(WINDOW, 0, 0, b"\0\0\0\0"), PROTOCOL, id="the connection's window and nought"),
        pytest.param(frame(WINDOW, 0, 1, b"\0\0\0\1"), PROTOCOL, id="the window of an idle stream"),
        pytest.param(frame(WINDOW, 0, 1, b"\0\0\0\0"), PROTOCOL, id="the window of an idle stream and nought"),
        pytest.param(frame(WINDOW, 0, 0, b"\0\0\1"), SIZE, id="a window of three octets"),
        pytest.param(frame(WINDOW, 0, 0, MOST.to_bytes(4, "big")), FLOW, id="the connection's window too large"),
        pytest.param(ASK + setting(4, 2) + frame(WINDOW, 0, 1, (MOST - 2).to_bytes(4, "big")) + setting(4, 9),
                     FLOW, id="windows too large by a setting"),
        pytest.param(frame(PING, 0, 0, b"x" * 16385), SIZE, id="a frame that is too large"),
    ],
)  # fmt: skip
def test_what_ends_the_connection(sent: bytes, code: int) -> None:
    play = script()
    play.raw(sent)
    assert play.farewell == code
    assert play.commands[-1] == ("end", None) and not play.machine.streams


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(b"\x80", id="index nought"),
        pytest.param(b"\xff\x50", id="an index beyond the table"),
        pytest.param(b"\x7f\x50\x01v", id="the name of an index beyond the table"),
        pytest.param(BLOCK + b"\x3f\xe1\x1f" + b"\x20", id="a table's size at the end"),
        pytest.param(b"\x3f\xe2\x1f" + BLOCK, id="a table larger than was said"),
        pytest.param(
            BLOCK + b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff", id="padding of a code too long"
        ),
        pytest.param(BLOCK + b"\x00\x83\x49\x50\x90\x01v", id="padding of noughts"),
        pytest.param(BLOCK + b"\x00\x84\xff\xff\xff\xfc\x01v", id="the end of strings within one"),
        pytest.param(BLOCK + b"\x00\x0aabc", id="a string that is cut"),
    ],
)
def test_heads_that_cannot_be_decoded(block: bytes) -> None:
    play = script()
    play.raw(frame(HEADERS, WHOLE | END, 1, block))
    assert play.farewell == COMPRESSION and play.around.counters.requests == 0


@pytest.mark.parametrize(
    ("kind", "payload", "code"),
    [
        pytest.param(WINDOW, b"\0\0\0\0", PROTOCOL, id="its window and nought"),
        pytest.param(WINDOW, MOST.to_bytes(4, "big"), FLOW, id="its window too large"),
        pytest.param(DATA, b"x", CLOSED, id="data after the end"),
        pytest.param(PRIORITY, b"\0\0\0\1\x10", PROTOCOL, id="it depends on itself"),
    ],
)
def test_what_ends_a_stream_alone(kind: int, payload: bytes, code: int) -> None:
    play = script()
    bad, good = play.ask(), play.ask()
    play.connected(bad)
    play.connected(good)
    play.machine.received(frame(kind, 0, bad, payload), play.now)
    play.carry_out()
    assert play.answers[bad].reset == code and play.farewell is None
    assert set(play.machine.streams) == {good}
    play.upstream(good, OK)
    assert play.answers[good].body == b"ok" and play.answers[good].ended
    later = frame(WINDOW, 0, bad, b"\0\0\0\1") + frame(WINDOW, 0, good, b"\0\0\0\0")
    play.machine.received(later, play.now)
    play.carry_out()
    assert play.farewell is None, "they were on their way when the streams ended"


def test_a_request_that_depends_on_itself_is_one_that_is_refused() -> None:
    play = script()
    good = play.ask()
    play.connected(good)
    bad = frame(HEADERS, WHOLE | END | 0x20, 3, b"\0\0\0\3\x10" + Encoder().encode(PLAIN))
    play.machine.received(bad + frame(PRIORITY, 0, 9, b"\0\0\0\x09\x10"), play.now)
    said = play.machine.output()
    assert said == frame(RST, 0, 3, b"\0\0\0\1") + frame(RST, 0, 9, b"\0\0\0\1")
    assert play.around.counters.requests == 1 and set(play.machine.streams) == {good}
    play.upstream(good, OK)
    assert play.answers[good].ended and play.farewell is None
