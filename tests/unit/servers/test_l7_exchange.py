"""The request machine by scripts of events: tries, bodies, limits, deadlines, records, the end. No socket is here."""

from __future__ import annotations

import subprocess
import sys
from math import inf
from typing import Any

import pytest
from scripted import SOURCE, Script, contains, has, page, starts
from test_ingress_harness import routed

from emulab.servers.configuration import from_json
from emulab.servers.l7.config import L7Config
from emulab.servers.l7.engine.snapshot import take

A, B = "10.0.0.1:80", "10.0.0.2:80"
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def script(*servers: str, told: bool = False, scheme: str = "http", lines: int = 0, **options: Any) -> Script:
    """A proxy that sends everything to these servers."""
    rule = {"path": "/", "path_type": "Prefix", "upstream": "up", "origin": "Ingress d/i"}
    upstreams = {"up": {"servers": list(servers)}}
    config = from_json(L7Config, routed([rule], options, listen=[], upstreams=upstreams))
    return Script(take(config, {}), told=told, scheme=scheme, lines=lines)


def post(size: int, body: bytes = b"", *fields: str) -> bytes:
    lines = ["POST / HTTP/1.1", "Host: h", f"Content-Length: {size}", *fields, "", ""]
    return "\r\n".join(lines).encode() + body


def asked(play: Script, data: bytes = GET) -> None:
    """The request is with the upstream, over a fresh connection."""
    play.client(data)
    play.vacant()
    play.connected()
    play.skip()


def test_one_request_over_a_kept_connection() -> None:
    play = script(A)
    play.client(GET)
    play.expect(("select", A))
    play.connected(reused=True)
    play.expect(("forward", starts(b"GET / HTTP/1.1\r\nHost: h\r\nX-Request-ID: ffff")))
    assert play.deadline == 60
    play.upstream(ANSWER)
    play.expect(
        ("send", b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok"),
        ("release", 0.0),
    )
    assert play.deadline == 75 and play.machine.exchange is None
    play.wait(75)
    play.expect(("close", None))


def test_a_request_is_a_line_of_the_log_as_long_as_there_is_room() -> None:
    play = script(A, lines=2)
    agent = b'GET /a"b HTTP/1.0\r\nHost: h\r\nUser-Agent: curl/8\r\nConnection: keep-alive\r\n\r\n'
    asked(play, agent)
    play.now += 0.25
    play.upstream(ANSWER)
    (line,) = (value for word, value in play.taken() if word == "log")
    assert line == (
        '192.0.2.7 - - [28/Nov/2026:12:00:00 +0000] "GET /a\\x22b HTTP/1.0" 200 2 "-" "curl/8" 74 0.250 [up] []'
        f" {A} 2 0.250 200 {'f' * 32}"
    )
    play = script(lines=1)
    play.client(GET)
    own = [value for word, value in play.taken() if word == "log"]
    assert len(own) == 1 and own[0].endswith(
        '"GET / HTTP/1.1" 503 190 "-" "-" 27 0.000 [up] [] - - - - ' + "f" * 32
    )
    play.client(GET)
    assert (
        not [value for word, value in play.taken() if word == "log"]
        and sum(play.around.log.missed.values()) == 1
    )


def test_a_connection_is_opened_when_none_is_kept() -> None:
    play = script(A)
    play.client(GET)
    play.vacant()
    play.expect(("select", A), ("open", (A, 5.0)))
    assert play.deadline == inf, "the shell watches the time that connecting takes"
    play.connected()
    play.expect(("forward", starts(b"GET / ")))


def test_an_answer_in_pieces_goes_on_as_it_comes() -> None:
    play = script(A)
    asked(play)
    play.upstream(b"HTTP/1.1 200 OK\r\nTransfer-Enc", b"oding: chunked\r\n\r\n2\r\nab\r\n")
    play.expect(("send", contains(b"Transfer-Encoding: chunked\r\n", b"\r\n\r\n2\r\nab\r\n")))
    play.wait(59)
    play.upstream(b"1\r\nc\r\n0\r\n\r\n")
    play.expect(("send", b"1\r\nc\r\n0\r\n\r\n"), ("release", 59.0))


def test_the_end_of_the_upstream_ends_an_unmeasured_answer() -> None:
    play = script(A)
    asked(play)
    play.upstream(b"HTTP/1.0 200 OK\r\n\r\nall")
    play.skip()
    play.upstream_ended()
    play.expect(("send", b"0\r\n\r\n"))
    assert play.deadline == 75


def test_three_tries_and_then_a_page() -> None:
    play = script(A, B, told=True)
    play.client(GET)
    for server, then in ((A, "another try"), (B, "another try"), (A, "answers 502")):
        play.vacant()
        play.skip()
        play.refused()
        error = ("tell", has(event="upstream-error", upstream=server, upstream_source="", next=then))
        if then == "another try":
            play.expect(error, ("select", B if server == A else A))
    play.expect(
        error,
        ("send", page(502)),
        ("tell", has(event="request", status=502, answered_by="ingress", upstream=A)),
    )
    assert play.around.counters.retries == 2


@pytest.mark.parametrize(("timed_out", "status"), [(False, 502), (True, 504)])
def test_a_connection_that_is_not_to_be_had(timed_out: bool, status: int) -> None:
    play = script(A)
    play.client(GET)
    for _ in range(3):
        play.vacant()
        play.skip()
        play.refused("why", timed_out)
    play.expect(("send", page(status)))


def test_a_stale_connection_costs_no_try() -> None:
    play = script(A, told=True)
    play.client(GET)
    play.connected(reused=True)
    play.skip()
    play.upstream_ended(reset=True)
    why = "upstream reset the connection before it answered"
    play.expect(
        ("tell", has(event="upstream-error", reason=why, next="a new connection", upstream_source=SOURCE)),
        ("tell", has(event="proxy-try", attempt=2)),
        ("open", (A, 5.0)),
    )
    play.connected()
    play.expect(("forward", starts(b"GET")), ("tell", has(event="proxy-connect", attempt=2, reused=False)))


def test_a_post_that_was_sent_is_not_sent_again() -> None:
    play = script(A, B)
    play.client(post(1, b"x"))
    play.connected(reused=True)
    play.skip()
    play.upstream_ended()
    play.expect(("send", page(502)))


def test_a_body_goes_on_as_it_comes_and_is_kept_for_another_try() -> None:
    play = script(A, B)
    play.client(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab")
    play.connected()
    play.expect(("select", A), ("forward", contains(b"Content-Length: 4", b"\r\n\r\nab")))
    play.client(b"cd")
    play.expect(("forward", b"cd"))
    play.upstream_ended()
    play.connected()
    play.expect(("select", B), ("forward", contains(b"\r\n\r\nabcd")))


def test_a_body_beyond_what_is_kept_is_not_sent_again() -> None:
    play = script(A, B)
    play.client(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n")
    play.connected()
    play.client(bytes(70_000))
    play.skip()
    play.upstream_ended()
    play.expect(("send", page(502)))
    play.client(bytes(30_000))
    play.expect()
    assert play.deadline == 75, "the rest of the body was dropped, and the connection goes on"


def test_who_cannot_take_more_stops_the_one_who_sends() -> None:
    play = script(A)
    asked(play, b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n")
    play.upstream_full(True)
    play.expect(("read", False))
    play.upstream_full(False)
    play.expect(("read", True))
    play.client(bytes(100))
    play.skip()
    play.upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    play.skip()
    play.client_full(True)
    play.expect(("drain", False))
    play.client_full(False)
    play.expect(("drain", True))
    play.client_full(True)
    play.skip()
    play.wait(60)
    play.expect(("abort", None))


def test_what_is_pipelined_waits() -> None:
    play = script(A)
    asked(play, GET + GET)
    play.client(GET)
    play.expect()
    play.upstream(ANSWER)
    play.expect(("send", starts(b"HTTP/1.1 200")), ("release", 0.0), ("settle", None))
    play.machine.settle(play.now)
    play.expect(("select", A))


def test_reading_stops_while_something_waits() -> None:
    play = script(A)
    play.client(GET + GET)
    play.expect(("select", A), ("read", False))


@pytest.mark.parametrize(
    ("data", "status", "ends"),
    [
        (b"nonsense\r\n\r\n", 400, True),
        (b"TRACE / HTTP/1.1\r\nHost: h\r\n\r\n", 405, True),
        (b"GET /%00 HTTP/1.1\r\nHost: h\r\n\r\n", 400, True),
        (post(2 << 20), 413, True),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", 501, True),
        (GET, 503, False),
    ],
)
def test_answers_of_its_own(data: bytes, status: int, ends: bool) -> None:
    play = script()
    play.client(data)
    play.expect(("send", page(status)), *([("end", None)] if ends else []))
    assert play.deadline == (5 if ends else 75)


def test_a_body_that_grows_too_large() -> None:
    play = script(A, client_max_body=3)
    asked(play, b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    play.client(b"1\r\nd\r\n")
    play.expect(("drop", None), ("send", page(413)), ("end", None))


def test_what_was_selected_for_a_request_that_failed_meanwhile_is_dropped() -> None:
    play = script(A)
    play.client(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    play.connected(reused=True)
    play.expect(("select", A), ("drop", None), ("send", page(400)), ("end", None))


@pytest.mark.parametrize(("sent", "status"), [(b"", 504), (b"ab", 408)])
def test_deadlines_of_a_request(sent: bytes, status: int) -> None:
    """A whole request waits for its answer, one that isn't for the rest of its body."""
    play = script(A, read_timeout=7.0, body_timeout=3.0)
    asked(play, post(5, sent) if sent else post(0))
    assert play.deadline == (3 if sent else 7)
    play.wait(7)
    play.expect(("drop", None), ("send", page(status)), *([("end", None)] if sent else []))


def test_a_head_that_does_not_come() -> None:
    play = script(A)
    assert play.deadline == 60
    play.wait(30)
    play.client(b"GET / HT")
    assert play.deadline == 60
    play.wait(60)
    play.expect(("close", None))


def test_an_early_answer_ends_the_connection() -> None:
    play = script(A)
    asked(play, post(10, b"abc"))
    play.upstream(ANSWER)
    play.expect(("send", starts(b"HTTP/1.1 200")), ("drop", None), ("end", None))
    for _ in range(6):
        play.client(b"more")
        play.wait(4.9)
    play.client(b"more")
    play.expect()
    play.wait(0.6)  # half a minute is enough
    play.expect(("close", None))


def test_a_client_that_takes_the_last_bytes_never_is_left() -> None:
    """Its connection isn't full, but what is left doesn't go out either."""
    play = script(A)
    play.wait(60)
    play.expect(("close", None))
    play.wait(59)
    play.expect()
    play.wait(1)
    play.expect(("abort", None))


def test_a_cut_answer_is_told_by_the_end_of_the_connection() -> None:
    play = script(A, told=True)
    asked(play)
    play.upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    play.skip()
    play.upstream_ended()
    why = "upstream ended the connection in its answer"
    play.expect(
        ("tell", has(event="upstream-error", reason=why, next="the answer stays cut")),
        ("tell", has(event="request", status=200, answered_by="upstream", reason=why)),
        ("close", None),
    )


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0\r\n", b"HTTP/1.1 101 Go\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"a" * 5000]
)
def test_nonsense_is_a_502_without_another_try(answer: bytes) -> None:
    play = script(A, B)
    asked(play)
    play.upstream(answer)
    play.expect(("drop", None), ("send", page(502)))


def test_a_changed_protocol_is_a_tunnel() -> None:
    play = script(A, told=True)
    asked(play, b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\nearly")
    play.upstream(b"HTTP/1.1 101 Go\r\nUpgrade: chat\r\nConnection: upgrade\r\n\r\nhello")
    play.expect(
        ("send", contains(b"HTTP/1.1 101 Go\r\n", b"Upgrade: chat\r\n\r\nhello")),
        ("tell", has(event="request", status=101)),
        ("forward", b"early"),
        ("tunnel", 60.0),
        ("read", True),
    )


def test_a_client_that_left() -> None:
    play = script(A, told=True)
    asked(play)
    play.client_left()
    play.expect(("tell", has(event="request", status=499, answered_by="")), ("drop", None))


def test_continue_is_ours_to_say() -> None:
    play = script(A)
    play.client(post(3, b"", "Expect: 100-continue"))
    play.expect(("send", b"HTTP/1.1 100 Continue\r\n\r\n"), ("select", A))


def test_the_end_of_the_server_waits_for_a_request() -> None:
    idle, busy = script(A), script(A)
    asked(busy)
    for play in (idle, busy):
        play.around.closing = True
        play.machine.shut_down(play.now)
    idle.expect(("close", None))
    busy.expect()
    busy.upstream(ANSWER)
    busy.expect(("send", contains(b"Connection: close")), ("release", 0.0), ("close", None))


def test_nothing_is_told_when_nobody_listens() -> None:
    play = script(A)
    play.client(GET)
    play.connected()
    play.upstream(ANSWER)
    assert "tell" not in [word for word, _ in play.machine.commands]


def test_what_is_told_of_one_request() -> None:
    play = script(A, told=True)
    play.expect(("tell", has(event="proxy-accept", client="192.0.2.7:4000", local="192.0.2.1:80", tls=False)))
    play.client(GET)
    play.vacant()
    play.connected()
    play.now = 0.25
    play.upstream(ANSWER)
    rule = {"rule": "Ingress d/i", "rule_host": "", "rule_path": "/", "rule_type": "Prefix"}
    told = [record for word, record in play.machine.commands if word == "tell"]
    assert [record["event"] for record in told] == ["proxy-try", "proxy-connect", "request"]
    assert told == [has(client="192.0.2.7:4000", upstream=A, upstream_name="up", **rule)] * 3
    assert told[2] == has(method="GET", host="h", path="/", status=200, duration_us=250_000.0, reason="")


def test_the_machines_load_no_event_loop() -> None:
    script = "import sys, emulab.servers.l7.engine.connection; print({'asyncio', 'ssl'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
