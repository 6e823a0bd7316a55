"""After which failures another server is asked, as nginx decides it: by scripts of events."""

from __future__ import annotations

from typing import Any

import pytest
from scripted import Script, contains, page
from test_ingress_harness import routed

from emulab.servers.configuration import from_json
from emulab.servers.l7.config import L7Config
from emulab.servers.l7.engine.snapshot import take

A, B = "10.0.0.1:80", "10.0.0.2:80"
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def answer(status: int) -> bytes:
    return b"HTTP/1.1 %d Whatever\r\nContent-Length: 0\r\n\r\n" % status


def script(*servers: str, canary: Any = None, upstreams: Any = None, **policy: Any) -> Script:
    rule: dict[str, Any] = {"path": "/", "path_type": "Prefix", "upstream": "up"}
    config = routed(
        [rule], {}, listen=[], upstreams=upstreams or {"up": {"servers": list(servers or (A, B))}}
    )
    config["routes"][0]["policy"] |= policy
    if canary:
        config["routes"][0]["canary"] = canary
    return Script(take(from_json(L7Config, config), {}))


def asked(play: Script, data: bytes = GET) -> None:
    play.client(data)
    play.vacant()
    play.connected()
    play.skip()


FAILURES = {
    "error": lambda play: play.upstream_ended(),
    "timeout": lambda play: play.wait(60),
    "invalid_header": lambda play: play.upstream(b"HTTP/1.1 what\r\n\r\n"),
    **{
        f"http_{status}": lambda play, status=status: play.upstream(answer(status))
        for status in (403, 404, 429, 500, 502, 503, 504)
    },
}
ALONE = {"error": 502, "timeout": 504, "invalid_header": 502}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("wanted", [(), ("off",), ("this",), ("error", "timeout", "http_504")])
def test_after_a_failure_that_is_listed(failure: str, wanted: tuple[str, ...]) -> None:
    words = [failure if word == "this" else word for word in wanted]
    play = script(next_upstream=words)
    asked(play)
    FAILURES[failure](play)
    if failure in words:
        assert play.taken()[-1] == ("select", B)
    else:
        status = ALONE.get(failure) or int(failure.removeprefix("http_"))
        assert ("send", contains(b"HTTP/1.1 %d " % status)) in play.taken()


def test_by_default_errors_and_silence_are() -> None:
    play = script()
    asked(play)
    play.upstream(answer(502))
    assert ("send", contains(b"HTTP/1.1 502 Whatever")) in play.taken()
    asked(play)
    play.wait(60)
    assert play.taken()[-1][0] == "select"


def test_the_last_answer_is_passed_on() -> None:
    play = script(next_upstream=["http_503"], tries=2)
    asked(play)
    play.upstream(answer(503))
    play.expect(("drop", None), ("select", B))
    play.connected()
    play.skip()
    play.upstream(b"HTTP/1.1 503 Mine\r\nContent-Length: 4\r\n\r\nbody")
    assert play.taken()[0] == ("send", contains(b"503 Mine", b"body"))


@pytest.mark.parametrize(
    ("policy", "again"),
    [
        ({}, False),
        ({"next_upstream": ["error", "non_idempotent"]}, True),
        ({"retry_non_idempotent": True}, True),
        ({"next_upstream": ["non_idempotent"]}, False),
    ],
)
def test_what_is_not_idempotent_is_sent_once(policy: Any, again: bool) -> None:
    play = script(**policy)
    asked(play, POST)
    play.upstream_ended()
    assert (play.taken()[-1] == ("select", B)) is again
    play = script(**policy)
    play.client(POST)
    play.vacant()
    play.skip()
    play.refused()  # it hasn't been sent
    assert (play.taken()[-1] == ("select", B)) is ("error" in policy.get("next_upstream", ("error",)))


def test_a_head_that_is_not_whole_is_no_answer() -> None:
    play = script()
    asked(play)
    play.upstream(b"HTTP/1.1 200 OK\r\nContent-Le")
    play.upstream_ended()
    play.expect(("select", B))


def test_so_many_tries() -> None:
    for tries, asked_servers in ((1, 1), (2, 2), (5, 5), (0, 2)):
        play = script(tries=tries)
        play.client(GET)
        for _ in range(asked_servers):
            assert [word for word, _ in play.taken()] == ["select"]
            play.vacant()
            play.skip()
            play.refused()
        play.expect(("send", page(502)))


def test_for_so_long() -> None:
    play = script(tries=10, next_upstream_timeout=3.0, read_timeout=2.0)
    asked(play)
    play.wait(2)
    assert play.taken()[-1] == ("select", B)
    play.connected()
    play.skip()
    play.wait(2)
    assert ("send", page(504)) in play.taken()


@pytest.mark.parametrize("policy", [{"connect_timeout": 0.0}, {"read_timeout": 0.0}])
def test_no_time_is_too_little_for_anybody(policy: Any) -> None:
    """As with nginx, whose timer is over before the other end is heard of; 0 isn't for ever."""
    play = script(tries=2, **policy)
    play.client(GET)
    for server in (A, B):
        assert play.taken()[-1] == ("select", server)
        play.vacant()
        if "read_timeout" in policy:
            play.connected()
    assert ("send", contains(b"HTTP/1.1 504 ")) in play.taken()


def test_a_kept_connection_that_is_closed_counts_as_an_error() -> None:
    play = script(next_upstream=["off"])
    play.client(GET)
    play.connected(reused=True)
    play.skip()
    play.upstream_ended()
    play.expect(("send", page(502)))


# --- canaries

BOTH = {"up": {"servers": [A]}, "new": {"servers": [B]}, "none": {}}


def goes_to(canary: Any, *fields: str, drawn: int = 99) -> str:
    play = script(canary=canary, upstreams=BOTH)
    play.around.draw = lambda among: drawn
    play.client("\r\n".join(("GET / HTTP/1.1", "Host: h", *fields, "", "")).encode())
    (server,) = (argument for word, argument in play.taken() if word == "select")
    return str(server)


@pytest.mark.parametrize(
    ("canary", "fields", "drawn", "server"),
    [
        ({"weight": 30}, (), 29, B),
        ({"weight": 30}, (), 30, A),
        ({"weight": 0}, (), 0, A),
        ({"weight": 300, "weight_total": 1000}, (), 299, B),
        ({"weight": 50, "weight_total": 10}, (), 60, A),  # 100 is the least
        ({"header": "X-New"}, ("X-New: always",), 99, B),
        ({"header": "X-New", "weight": 100}, ("x-new: never",), 0, A),
        ({"header": "X-New", "weight": 100}, ("X-New: maybe",), 0, B),
        ({"header": "X-New", "header_value": "beta"}, ("X-New: beta",), 99, B),
        ({"header": "X-New", "header_value": "beta"}, ("X-New: always",), 99, A),
        ({"header": "X-New", "header_value": "b", "header_pattern": "a"}, ("X-New: a",), 99, A),
        ({"header": "X-New", "header_pattern": "^b.ta"}, ("X-New: beta2",), 99, B),
        ({"header": "X-New", "header_pattern": "^b.ta$"}, ("X-New: beta2",), 99, A),
        ({"header_value": "beta"}, ("X-New: beta",), 99, A),
        ({"cookie": "new"}, ("Cookie: a=b; new=always",), 99, B),
        ({"cookie": "new", "weight": 100}, ("Cookie: new=never",), 0, A),
        ({"cookie": "new", "weight": 100}, ("Cookie: new=1",), 0, B),
        ({"header": "X-New", "cookie": "new"}, ("X-New: never", "Cookie: new=always"), 0, A),
        ({"header": "X-New", "cookie": "new"}, ("X-New: always", "Cookie: new=never"), 0, B),
        ({"header": "X-New", "cookie": "new"}, ("X-New: other", "Cookie: new=always"), 99, B),
    ],
)
def test_header_then_cookie_then_weight(
    canary: Any, fields: tuple[str, ...], drawn: int, server: str
) -> None:
    assert goes_to({"upstream": "new", **canary}, *fields, drawn=drawn) == server


def test_a_canary_without_a_server_takes_nobody() -> None:
    assert goes_to({"upstream": "none", "weight": 100}, drawn=0) == A


def test_a_page_of_our_own_brings_the_cookie_too() -> None:
    upstreams = {"up": {"servers": [A, B], "balance": {"type": "CookieAffinity"}}}
    play = script(upstreams=upstreams, affinity_cookie=True, tries=1)
    play.client(GET)
    play.vacant()
    play.skip()
    play.refused()
    play.expect(("send", contains(b"502 Bad Gateway", b"Set-Cookie: INGRESSCOOKIE=")))


def test_who_has_a_cookie_stays_with_its_upstream() -> None:
    affinity = {"type": "CookieAffinity"}
    upstreams = {
        "up": {"servers": [A], "balance": affinity},
        "new": {"servers": [B], "balance": affinity},
    }
    play = script(canary={"upstream": "new", "weight": 50}, upstreams=upstreams, affinity_cookie=True)
    cookies = {}
    for drawn, server in ((0, B), (99, A)):
        play.around.draw = lambda among, drawn=drawn: min(drawn, among - 1)  # type: ignore[misc]
        play.client(GET)
        play.expect(("select", server))
        play.connected(reused=True)
        play.upstream(OK)
        sent = next(data for word, data in play.taken() if word == "send")
        cookies[server] = sent.partition(b"Set-Cookie: ")[2].partition(b";")[0]
    for server, cookie in cookies.items():
        drawn = 99 if server == B else 0  # who has no cookie would go to the other one
        play.around.draw = lambda among, drawn=drawn: min(drawn, among - 1)  # type: ignore[misc]
        play.client(b"GET / HTTP/1.1\r\nHost: h\r\nCookie: %b\r\n\r\n" % cookie)
        play.expect(("select", server))
        play.connected(reused=True)
        play.upstream(OK)
        assert b"Set-Cookie" not in next(data for word, data in play.taken() if word == "send")
