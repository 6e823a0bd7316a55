"""A policy that has the body of a request whole before an upstream is asked, by scripts of events."""

from __future__ import annotations

import pytest
from scripted import Script, contains, has, page, starts

from emulab.servers.configuration import from_json, to_json
from emulab.servers.l7.config import (
    Field,
    L7Config,
    Match,
    Policy,
    RequestHeaderModifier,
    RequestRoute,
    Upstream,
    WeightedUpstream,
)
from emulab.servers.l7.engine.exchange import KEEP_MAX
from emulab.servers.l7.engine.snapshot import take

A, B = "10.0.0.1:80", "10.0.0.2:80"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


def script(*servers: str, buffer: int = 1 << 20, told: bool = False, body_max: int = 1 << 20) -> Script:
    policy = Policy(request_buffer=buffer, body_max=body_max, body_timeout=3.0, read_timeout=7.0)
    filters = (RequestHeaderModifier(set=(Field("X-Filtered", "1"),)),)
    route = RequestRoute(Match(), (WeightedUpstream("up"),), filters=filters, policy=policy)
    config = L7Config((), routes=(route,), upstreams={"up": Upstream(servers or (A,))})
    assert from_json(L7Config, to_json(config)) == config
    play = Script(take(config, {}), told=told)
    play.skip()
    return play


def post(size: int, *fields: str, method: str = "POST") -> bytes:
    lines = [f"{method} / HTTP/1.1", "Host: h", f"Content-Length: {size}", *fields, "", ""]
    return "\r\n".join(lines).encode()


def test_no_upstream_is_asked_before_the_body_is_whole() -> None:
    play = script()
    play.client(post(6) + b"ab", b"cd")
    play.expect()
    assert play.deadline == 3, "the client's turn"
    play.wait(2)
    play.client(b"ef")
    play.expect(("select", A))
    play.connected(reused=True)
    play.expect(("forward", contains(b"Content-Length: 6\r\n", b"X-Filtered: 1\r\n", b"\r\n\r\nabcdef")))
    assert play.deadline == 7, "the upstream's turn"
    play.upstream(ANSWER)
    play.expect(("send", starts(b"HTTP/1.1 200")), ("release", 2.0))


def test_a_body_in_chunks_is_measured() -> None:
    play = script()
    play.client(CHUNKED, b"3\r\nabc\r\n", b"2\r\nde\r\n0\r\n")
    play.expect()
    play.client(b"\r\n")
    play.vacant()
    play.connected()
    (_, (_, request)) = [one for one in play.taken() if one[0] != "open"]
    assert b"Content-Length: 5\r\n" in request and b"Transfer-Encoding" not in request
    assert request.endswith(b"\r\n\r\nabcde")


def test_an_empty_body_in_chunks_is_a_length_of_nothing() -> None:
    play = script()
    play.client(CHUNKED + b"0\r\n\r\n")
    play.connected()
    play.expect(("select", A), ("forward", contains(b"Content-Length: 0\r\n")))


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", post(0)])
def test_a_request_without_a_body_has_nothing_to_wait_for(data: bytes) -> None:
    play = script()
    play.client(data)
    play.expect(("select", A))


def test_the_client_is_told_to_go_on_at_once() -> None:
    play = script()
    play.client(post(2, "Expect: 100-continue"))
    play.expect(("send", b"HTTP/1.1 100 Continue\r\n\r\n"))
    play.client(b"ab")
    play.expect(("select", A))


def test_a_length_that_does_not_fit_is_refused_before_the_body() -> None:
    play = script(body_max=5, told=True)
    play.client(post(6))
    why = "request body is larger than 5 bytes"
    play.expect(("send", page(413)), ("tell", has(status=413, upstream="", reason=why)), ("end", None))


def test_a_body_that_grows_too_large_is_refused_and_nobody_was_asked() -> None:
    play = script(body_max=5)
    play.client(CHUNKED + b"3\r\nabc\r\n")
    play.expect()
    play.client(b"3\r\ndef\r\n")
    play.expect(("send", page(413)), ("end", None))
    fits = script(body_max=5)
    fits.client(CHUNKED + b"5\r\nabcde\r\n0\r\n\r\n")
    fits.expect(("select", A))


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_that_is_larger_than_the_buffer_goes_on_as_it_comes(chunked: bool) -> None:
    """As much is gathered; what has gone upstream can be sent again while it is little enough."""
    play = script(A, B, buffer=5)
    first, more, last = (
        (CHUNKED + b"3\r\nabc\r\n", b"3\r\ndef\r\n", b"1\r\ng\r\n0\r\n\r\n")
        if chunked
        else (post(7, method="PUT") + b"abc", b"def", b"g")
    )
    play.client(first)
    play.expect()
    play.client(more)
    play.expect(("select", A))
    play.connected()
    framing = b"Transfer-Encoding: chunked\r\n" if chunked else b"Content-Length: 7\r\n"
    sent = b"\r\n\r\n6\r\nabcdef\r\n" if chunked else b"\r\n\r\nabcdef"
    play.expect(("forward", contains(framing, sent)))
    play.client(last)
    play.expect(("forward", last))


def test_a_large_body_waits_for_its_upstream() -> None:
    play = script(buffer=KEEP_MAX, body_max=0)
    play.client(post(3 * KEEP_MAX) + bytes(KEEP_MAX))
    play.expect()
    play.client(b"x")
    play.expect(("select", A), ("read", False))
    play.connected()
    play.expect(("forward", contains(bytes(KEEP_MAX) + b"x")), ("read", True))


def test_all_of_the_body_is_kept_for_another_try() -> None:
    """However large it is, as nothing of it has to be asked for again."""
    play, body = script(A, B), bytes(range(256)) * 512
    assert len(body) > KEEP_MAX
    play.client(post(len(body), method="PUT") + body)
    play.connected()
    play.skip()
    play.upstream_ended()
    play.connected()
    (_, (_, again)) = play.taken()
    assert again.endswith(b"\r\n\r\n" + body)


def test_a_client_that_sends_no_more_and_one_that_leaves() -> None:
    slow, gone = script(told=True), script(told=True)
    for play in (slow, gone):
        play.client(post(5) + b"ab")
    slow.wait(3)
    why = "client sent no more of the body for 3 s"
    slow.expect(("send", page(408)), ("tell", has(status=408, upstream="", reason=why)), ("end", None))
    gone.client_left()
    gone.expect(("tell", has(status=499, upstream="", reason="client closed the connection")))


def test_a_malformed_body_reaches_nobody() -> None:
    play = script()
    play.client(CHUNKED + b"3\r\nabc\r\n", b"zz\r\n")
    play.expect(("send", page(400)), ("end", None))


def test_what_is_pipelined_waits_behind_the_body() -> None:
    play = script()
    play.client(post(3) + b"abcGET /next HTTP/1.1\r\nHost: h\r\n\r\n")
    play.expect(("select", A), ("read", False))
    play.connected()
    play.upstream(ANSWER)
    play.skip()
    play.machine.settle(play.now)
    play.expect(("select", A), ("read", True))
