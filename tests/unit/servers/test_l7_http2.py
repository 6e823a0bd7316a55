"""A client's HTTP/2 by scripts of events: streams, windows, what is bounded, the end. Without sockets."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
)
from scripted import Script, has
from scripted_http2 import Http2Script
from test_ingress_harness import routed

from emulab.servers.configuration import from_json
from emulab.servers.l7.config import L7Config
from emulab.servers.l7.engine.snapshot import take

A = "10.0.0.1:80"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Thing: Value\r\n\r\nok"
PLAIN = [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "h")]
REFUSED, CANCEL, CALM, INTERNAL = 7, 8, 11, 2


def snapshot(*servers: str, **options: Any) -> Any:
    rule = {"path": "/", "path_type": "Prefix", "upstream": "up", "origin": "Ingress d/i"}
    upstreams = {"up": {"servers": list(servers or (A,))}}
    return take(from_json(L7Config, routed([rule], options, listen=[], upstreams=upstreams)), {})


def script(
    *, told: bool = False, lines: int = 0, window: int | None = None, acks: bool = True, **options: Any
) -> Http2Script:
    return Http2Script(snapshot(**options), told=told, lines=lines, window=window, acks=acks)


def words(commands: list[tuple[str, Any]]) -> list[str]:
    return [word for word, _ in commands]


def test_a_request_and_its_answer() -> None:
    play = script(told=True, lines=1)
    number = play.ask("/a?b", ("x-mine", "1"), ("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers"))
    assert words(play.taken(number)) == ["select"]
    written = play.connected(number)
    assert written.startswith(b"GET /a?b HTTP/1.1\r\nHost: h\r\nX-Request-ID: ffff")
    assert b"X-Forwarded-Proto: https\r\n" in written and b"x-mine: 1\r\n" in written
    assert b"cookie: a=1; b=2\r\n" in written and b"te:" not in written and b"onnection" not in written
    play.upstream(number, OK)
    answer = play.answers[number]
    assert (answer.status, answer.body, answer.ended) == ("200", b"ok", True)
    assert answer.head == {
        ":status": "200", "date": "now", "content-length": "2", "x-thing": "Value",
        "strict-transport-security": "max-age=31536000; includeSubDomains",
    }  # fmt: skip
    wanted = play.taken(number)
    assert words(wanted)[-1] == "release"
    assert [value for word, value in wanted if word == "tell"][-1] == has(
        event="request", version="2.0", path="/a?b", status=200, answered_by="upstream", rule="Ingress d/i"
    )
    (line,) = (value for word, value in wanted if word == "log")
    assert '"GET /a?b HTTP/2.0" 200' in line
    assert not play.machine.streams and play.machine.deadline == 75


def test_many_requests_at_once_are_answered_in_any_order() -> None:
    play = script()
    numbers = [play.ask(f"/{one}") for one in range(3)]
    for number in numbers:
        play.connected(number)
    for number in reversed(numbers):
        play.upstream(number, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n%d\r\n" % number)
    for number in numbers:
        play.upstream(number, b"0\r\nX-Trailer: 1\r\n\r\n")
        assert play.answers[number].body == b"%d" % number and play.answers[number].ended
        assert play.answers[number].trailers == {}, "nobody asked the upstream for them"


def test_fields_after_a_body_end_the_connection_as_with_nginx() -> None:
    play = script()
    number = play.ask(method="POST", body=None)
    play.connected(number)
    play.body(number, b"x")
    play.client.send_headers(number, [("x-end", "yes")], end_stream=True)
    play.sent()
    assert play.farewell == ErrorCodes.PROTOCOL_ERROR and not play.machine.streams


def test_a_body_goes_on_as_it_comes_and_waits_for_the_upstream() -> None:
    play = script()
    number = play.ask(method="POST", body=None)
    written = play.connected(number)
    assert b"Transfer-Encoding: chunked\r\n" in written
    play.taken(number)
    play.body(number, b"x" * 10)
    assert play.taken(number) == [("forward", b"a\r\nxxxxxxxxxx\r\n")]
    play.event(number, "upstream_filled", True)
    before = play.client.local_flow_control_window(number)
    play.body(number, b"y" * 16000)
    play.body(number, b"y" * 16000)
    play.body(number, b"y" * 16000)
    assert play.client.local_flow_control_window(number) == before - 48000, (
        "nothing is acknowledged meanwhile"
    )
    play.event(number, "upstream_filled", False)
    assert play.client.local_flow_control_window(number) > before - 48000
    play.body(number, b"", last=True)
    assert play.taken(number)[-1] == ("forward", b"0\r\n\r\n")
    play.upstream(number, OK)
    assert play.answers[number].ended


def test_a_client_that_opens_no_window_stops_the_upstream_and_is_reset_in_the_end() -> None:
    play = script(window=100, acks=False)
    number = play.ask()
    play.connected(number)
    play.upstream(number, b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + b"x" * 300)
    assert len(play.answers[number].body) == 100
    assert play.taken(number)[-1] == ("drain", False)
    play.client.increment_flow_control_window(250, number)
    play.sent()
    assert len(play.answers[number].body) == 300
    assert play.taken(number) == [("drain", True)]
    play.upstream(number, b"x" * 200)
    assert len(play.answers[number].body) == 350 and play.machine.deadline == 60
    play.wait(60)
    assert play.answers[number].reset == CANCEL and not play.machine.streams
    assert "release" in words(play.taken(number)), "the upstream had answered whole"


def test_a_client_that_opens_small_windows_has_all_of_its_answer() -> None:
    """As long as it takes something within the `send_timeout`, however long the whole takes."""
    play = script(window=100, acks=False)
    number = play.ask()
    play.connected(number)
    play.upstream(number, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000)
    for _ in range(9):
        play.wait(50)
        play.client.increment_flow_control_window(100, number)
        play.sent()
    assert play.answers[number].ended and play.answers[number].body == b"x" * 1000


def test_a_client_that_takes_no_bytes_stops_upstreams_and_is_not_read_from() -> None:
    play = script()
    number = play.ask()
    play.connected(number)
    play.machine.filled(0.0)
    play.upstream(number, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
    assert play.answers[number].body == b"" and play.taken(number)[-1] == ("drain", False)
    ping = PingFrame(0, opaque_data=b"12345678").serialize()
    for _ in range(5):
        play.machine.received(ping * 1000, 0.0)
        play.machine.output()
    assert ("read", False) in play.machine.commands, "answers to pings would pile up"
    play.machine.commands.clear()
    play.machine.drained(0.0)
    play.carry_out()
    assert play.commands[-1] == ("read", True)
    assert play.answers[number].body == b"ab"
    play.machine.filled(1.0)
    play.wait(61)
    assert ("abort", None) in play.commands


def test_a_client_that_leaves_a_stream_has_its_upstream_let_go() -> None:
    play = script(told=True)
    number, other = play.ask(), play.ask()
    play.connected(number)
    play.taken(number)
    play.client.reset_stream(number, CANCEL)
    play.sent()
    wanted = play.taken(number)
    assert ("drop", None) in wanted
    assert ("tell", has(event="request", status=499, answered_by="")) in wanted
    play.connected(other)
    play.upstream(other, OK)
    assert play.answers[other].ended


def test_pages_of_our_own_end_the_stream_alone() -> None:
    play = script(client_max_body=10)
    number = play.ask(method="POST", body=b"x" * 11)
    answer = play.answers[number]
    assert (answer.status, answer.ended, answer.head["content-type"]) == ("413", True, "text/html")
    assert b"<center>nginx</center>" in answer.body and "connection" not in answer.head
    late = play.ask(method="POST", body=None)
    play.body(late, b"x" * 11)
    assert play.answers[late].status == "413" and play.answers[late].reset == 0
    head = play.ask("/%00", method="HEAD")
    assert play.answers[head].status == "400" and play.answers[head].body == b"" and play.answers[head].ended
    assert play.farewell is None


def test_an_answer_that_is_cut_resets_the_stream() -> None:
    play = script()
    number = play.ask()
    play.connected(number)
    play.upstream(number, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
    play.event(number, "upstream_ended", True)
    assert play.answers[number].body == b"ab" and play.answers[number].reset == INTERNAL
    assert play.farewell is None and not play.machine.streams


def test_a_body_that_stays_away_is_a_408() -> None:
    play = script()
    number = play.ask(method="POST", body=None)
    play.connected(number)
    play.wait(60)
    assert play.answers[number].status == "408"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ([(":method", "GET"), (":path", "/")], "no :scheme"),
        ([(":method", "GET"), (":scheme", "https")], "no :path"),
        ([(":method", "GET"), (":scheme", "https"), (":path", "/")], "no Host"),
        ([(":method", "GET"), (":scheme", "https"), (":path", "a"), (":authority", "h")], "the request's target"),
        ([(":method", "GET"), (":scheme", "https"), (":path", "/ HTTP/1.1"), (":authority", "h")], "the request's"),
        ([(":method", "G T"), (":scheme", "https"), (":path", "/"), (":authority", "h")], "the request's method"),
        ([(":method", "GET"), (":scheme", "https"), (":path", "/"), ("a", "b"), (":authority", "h")], ":authority"),
        ([*PLAIN, (":x", "h")], ":x"),
        ([*PLAIN, ("host", "i")], ":authority"),
        ([*PLAIN, ("A", "b")], "a header"),
        ([*PLAIN, ("a", "b\r\nc: d")], "a header"),
        ([*PLAIN, ("a", "b\0")], "a header"),
        (
            [*PLAIN, ("transfer-encoding", "chunked")],
            "Transfer-Encoding",
        ),
        (
            [*PLAIN, ("content-length", "5")],
            "the request ends before",
        ),
    ],
)  # fmt: skip
def test_heads_that_are_refused(fields: list[tuple[str, str]], why: str) -> None:
    play = script(told=True)
    frame = HeadersFrame(1, data=play.client.encoder.encode(fields), flags=["END_STREAM", "END_HEADERS"])
    play.raw(frame.serialize())
    (told,) = (value for word, value in play.taken(1) if word == "tell")
    assert (told["status"], told["version"]) == (400, "2.0") and told["reason"].startswith(why), told
    assert play.commands == [("tell", has(event="proxy-accept"))], "the connection stays"


@pytest.mark.parametrize(("method", "status"), [("TRACE", "405"), ("BAN", "")])
def test_methods(method: str, status: str) -> None:
    play = script()
    assert play.answers[play.ask(method=method)].status == status


# --- what is bounded ------------------------------------------------------------------------------------------------


def test_one_stream_too_many_is_refused_and_no_other() -> None:
    play = script(http2_streams=3)
    play.client.remote_settings.max_concurrent_streams  # noqa: B018 - what the client was told it may not do
    play.client._open_streams = lambda remainder: 0  # type: ignore[method-assign]
    numbers = [play.ask() for _ in range(5)]
    assert [play.answers[one].reset for one in numbers] == [None, None, None, REFUSED, REFUSED]
    play.connected(numbers[0])
    play.upstream(numbers[0], OK)
    assert play.answers[play.ask()].reset is None
    assert play.farewell is None


def headers(play: Http2Script, number: int) -> bytes:
    fields = [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "h")]
    block = play.client.encoder.encode(fields)
    return HeadersFrame(number, data=block, flags=["END_STREAM", "END_HEADERS"]).serialize()


def test_rapid_reset_ends_the_connection_after_a_few_hundred_streams() -> None:
    play = script()
    reset = b"".join(
        headers(play, number) + RstStreamFrame(number, error_code=CANCEL).serialize()
        for number in range(1, 20000, 2)
    )
    play.raw(reset)
    assert play.farewell == 0 and ("end", None) in play.commands
    assert play.around.counters.requests <= 256
    assert play.machine.frames.highest_inbound_stream_id < 2000, "nobody reads what comes after it"
    assert all(words(play.taken(number))[-1:] in ([], ["drop"], ["log"]) for number in list(play.upstreams))
    assert not play.machine.streams


def test_a_connection_ends_in_good_order_after_its_last_request() -> None:
    play = script(keepalive_requests=2)
    first, second = play.ask(), play.ask()
    assert play.farewell == 0
    for number in (first, second):
        play.streams[number].exchange.vacant(0.0)
    # The client of the library takes nothing after a farewell, so its answers are looked at in the machine.
    for number in (first, second):
        play.connected(number)
        play.upstream(number, OK)
    assert play.commands[-1] == ("end", None)


def test_a_farewell_names_the_last_request_that_is_served_of_those_that_came_at_once() -> None:
    play = script(keepalive_requests=2)
    play.raw(b"".join(headers(play, number) for number in (1, 3, 5, 7)))
    assert (play.farewell, play.last) == (0, 3) and set(play.machine.streams) == {1, 3}


@pytest.mark.parametrize(
    "fields", [[("a", "x" * 8200)], [("a" * 8200, "x")], [(f"a{one}", "x" * 4000) for one in range(9)]]
)
def test_a_head_that_is_too_large_ends_the_connection(fields: list[tuple[str, str]]) -> None:
    play = script()
    play.ask("/", *fields)
    assert play.farewell == CALM


def test_a_header_bomb_is_not_even_decoded() -> None:
    play = script()
    encoder = play.client.encoder
    bomb = encoder.encode([("bomb", "x" * 4000)]) + b"\xbe" * 15000  # the same field, again and again
    play.raw(HeadersFrame(1, data=bomb[:16000], flags=["END_STREAM", "END_HEADERS"]).serialize())
    assert play.farewell == CALM and play.around.counters.requests == 0


def test_a_flood_of_continuations_ends_the_connection() -> None:
    play = script()
    play.raw(HeadersFrame(1, data=b"\x00", flags=[]).serialize())
    for _ in range(100):
        play.raw(ContinuationFrame(1, data=b"").serialize())
    assert play.farewell == 1 and play.around.counters.requests == 0


@pytest.mark.parametrize(
    "frame",
    [
        PingFrame(0, opaque_data=b"12345678").serialize(),
        SettingsFrame(0).serialize(),
        DataFrame(1, data=b"").serialize(),
    ],
    ids=["ping", "settings", "empty data"],
)
def test_a_flood_of_frames_ends_the_connection(frame: bytes) -> None:
    play = script()
    play.ask(method="POST", body=None)
    for _ in range(400):
        if play.farewell is None:
            play.raw(frame * 1000)
    assert play.farewell == 0


def test_a_client_s_table_of_fields_is_no_larger_than_ours() -> None:
    play = script()
    play.raw(SettingsFrame(0, {1: 1 << 30}).serialize())
    assert play.machine.frames.encoder.header_table_size == 4096
    play = script()
    number = play.ask()
    play.client.update_settings({1: 1 << 20})  # type: ignore[dict-item]
    play.sent()
    play.connected(number)
    play.upstream(number, OK)
    assert play.answers[number].head["x-thing"] == "Value"


def test_priorities_that_nothing_follows_are_few() -> None:
    play = script(http2_streams=1)
    for _ in range(101):
        play.raw(PriorityFrame(3, depends_on=0, stream_weight=1).serialize())
    assert play.farewell == CALM


def test_an_idle_connection_ends() -> None:
    play = script()
    play.wait(75)
    assert play.farewell == 0 and play.commands == [("close", None)]


def test_what_is_no_http2_ends_the_connection() -> None:
    play = script()
    play.raw(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" * 700)
    assert play.farewell == 6, "a frame that is too large is refused before it is there"
    assert play.commands[-1] == ("end", None) and play.machine.deadline == 5
    play.raw(b"x" * 1000)
    play.wait(5)
    assert play.commands[-1] == ("close", None)
    play.wait(60)
    assert play.commands[-1] == ("abort", None)


def test_the_end_of_the_server_lets_requests_end() -> None:
    play = script()
    number = play.ask()
    play.connected(number)
    play.machine.shut_down(play.now)
    play.around.closing = True
    play.carry_out()
    assert play.farewell == 0 and "close" not in words(play.commands)
    play.upstream(number, OK)
    assert play.commands == [("end", None)]


def test_a_client_that_says_goodbye_gets_what_is_owed() -> None:
    play = script()
    number = play.ask()
    play.connected(number)
    play.machine.received(b"\0\0\x08\x07" + b"\0" * 13, 0.0)
    later = play.ask()  # which is no contradiction: the client takes no more from us
    play.connected(later)
    for one in (number, later):
        play.upstream(one, OK)
        assert play.answers[one].ended
    assert play.commands == []


@pytest.mark.parametrize("body", [b"abc", b"abcdefg"])
def test_a_body_of_another_length_is_a_400_of_its_stream(body: bytes) -> None:
    play = script()
    number = play.ask("/", ("content-length", "5"), method="POST", body=None)
    play.connected(number)
    play.client.streams[number]._expected_content_length = None
    play.body(number, body, last=True)
    assert play.answers[number].status == "400" and "drop" in words(play.taken(number))
    assert play.farewell is None


# --- from HTTP/1 ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cuts", [[], [18], [5, 20]])
def test_the_preface_without_tls_is_http2(cuts: list[int]) -> None:
    play = Script(snapshot())
    data = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SettingsFrame(0).serialize()
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        if not play.machine.commands:
            play.client(data[start:end])
    ((word, begun),) = play.taken()
    assert word == "http2" and data.startswith(begun)


def test_the_preface_is_none_later_or_where_http2_is_off() -> None:
    data = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for play in (Script(snapshot(http2=False)), Script(snapshot(), scheme="https")):
        play.client(data)
        assert words(play.taken()) == ["send", "end"]
    late = Script(snapshot())
    late.client(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    late.vacant()
    late.connected()
    late.upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    late.skip()
    late.client(data)
    assert words(late.taken()) == ["send", "end"] and late.machine.deadline != inf
