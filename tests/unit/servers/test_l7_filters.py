"""What filters do, by scripts of events: the tables of the Gateway API, and what is wrong to say."""

from __future__ import annotations

from typing import Any
from unittest.mock import ANY

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import CLIENT, Script, has, page

from emulab.errors import PeerError
from emulab.servers.configuration import BadConfiguration, from_json, to_json
from emulab.servers.l7.config import (
    Field,
    Filter,
    L7Config,
    Match,
    Options,
    Policy,
    ReplaceFullPath,
    ReplacePrefixMatch,
    RequestHeaderModifier,
    RequestRedirect,
    RequestRoute,
    ResponseHeaderModifier,
    Upstream,
    URLRewrite,
    WeightedUpstream,
)
from emulab.servers.l7.engine.filters import FILTERS, Filters
from emulab.servers.l7.engine.filters.effect import Asked
from emulab.servers.l7.engine.snapshot import take
from emulab.servers.l7.messages.targets import escaped, normalise_path

A = "10.0.0.1:80"


def script(
    *filters: Filter,
    path: str = "/",
    scheme: str = "http",
    told: bool = False,
    policy: Policy | None = None,
    options: Options | None = None,
) -> Script:
    """A proxy with one route, which has these filters and all paths below one."""
    match, backends = Match("", path, "Prefix"), (WeightedUpstream("up"),)
    route = RequestRoute(match, backends, "HTTPRoute d/r", filters, policy or Policy())
    config = L7Config((), routes=(route,), upstreams={"up": Upstream((A,))}, options=options or Options())
    assert from_json(L7Config, to_json(config)) == config
    play = Script(take(config, {}), scheme=scheme, told=told)
    play.skip()
    return play


def forwarded(play: Script, target: str, *fields: str, host: str = "shop.example") -> tuple[str, list[str]]:
    """The request line and the fields that the upstream gets."""
    play.client("\r\n".join([f"GET {target} HTTP/1.1", f"Host: {host}", *fields, "", ""]).encode())
    play.connected()
    (data,) = (argument for word, argument in play.taken() if word == "forward")
    start, *lines = data.decode().removesuffix("\r\n\r\n").split("\r\n")
    return start, lines


def sent(play: Script, *fields: str, status: str = "200 OK") -> list[str]:
    """The fields that the client gets of an answer with these."""
    play.upstream("\r\n".join([f"HTTP/1.1 {status}", *fields, "", ""]).encode())
    (data,) = (argument for word, argument in play.taken() if word == "send")
    return data.decode().removesuffix("\r\n\r\n").split("\r\n")[1:]


def location(play: Script, target: str, host: str = "shop.example", *fields: str) -> tuple[int, str]:
    """Status and Location of an answer of the proxy's own; no upstream is asked."""
    play.client("\r\n".join([f"GET {target} HTTP/1.1", f"Host: {host}", *fields, "", ""]).encode())
    ((word, data),) = play.taken()
    assert word == "send" and b"<center>nginx</center>" in data
    start, *lines = data.decode().partition("\r\n\r\n")[0].split("\r\n")
    return int(start.split()[1]), dict(line.split(": ", 1) for line in lines)["Location"]


# --- fields -------------------------------------------------------------------------------------------------


def test_fields_of_requests_are_removed_set_and_added() -> None:
    play = script(
        RequestHeaderModifier(
            ("x-gone",), (Field("X-Mine", "2"),), (Field("X-More", "3"), Field("X-Mine", "4"))
        )
    )
    _, lines = forwarded(play, "/", "X-Mine: 1", "x-mine: 1", "X-GONE: 1", "X-More: 1")
    assert [line for line in lines if line.lower().startswith(("x-mine", "x-gone", "x-more"))] == [
        "X-More: 1",
        "X-Mine: 2",
        "X-More: 3",
        "X-Mine: 4",
    ]


def test_what_the_proxy_says_of_the_client_can_be_changed() -> None:
    """The filter has the last word, and what it sets is there once."""
    play = script(RequestHeaderModifier(("X-Real-IP",), (Field("X-Forwarded-Proto", "https"),)))
    _, lines = forwarded(play, "/")
    names = [line.partition(":")[0] for line in lines]
    assert "X-Real-IP" not in names and names.count("X-Forwarded-Proto") == 1
    assert "X-Forwarded-Proto: https" in lines and f"X-Forwarded-For: {CLIENT[0]}" in lines


def test_fields_of_responses_are_changed() -> None:
    hsts = (Field("Strict-Transport-Security", "max-age=1"), Field("X-Mine", "2"))
    play = script(ResponseHeaderModifier(("x-gone",), hsts, (Field("X-Mine", "3"),)), scheme="https")
    forwarded(play, "/")
    lines = sent(play, "X-Gone: 1", "X-Mine: 1", "X-Kept: 1", "Content-Length: 0")
    assert lines == [
        "Date: now",
        "X-Kept: 1",
        "Strict-Transport-Security: max-age=1",
        "X-Mine: 2",
        "X-Mine: 3",
        "Content-Length: 0",
        "Connection: keep-alive",
    ]


def test_fields_of_a_change_of_protocol_are_changed() -> None:
    play = script(ResponseHeaderModifier(("X-Gone",), (Field("X-Mine", "2"),)))
    forwarded(play, "/", "Connection: upgrade", "Upgrade: websocket")
    lines = sent(
        play, "X-Gone: 1", "Connection: upgrade", "Upgrade: websocket", status="101 Switching Protocols"
    )
    assert lines == ["Date: now", "X-Mine: 2", "Connection: upgrade", "Upgrade: websocket"]


def test_a_page_of_our_own_is_no_response_of_an_upstream() -> None:
    play = script(ResponseHeaderModifier(set=(Field("X-Mine", "2"),)))
    play.client(b"TRACE / HTTP/1.1\r\nHost: h\r\n\r\n")
    (_, data), _ = play.taken()
    assert data == page(405) and b"X-Mine" not in data


# --- rewriting ----------------------------------------------------------------------------------------------

# https://gateway-api.sigs.k8s.io/reference/spec/#httppathmodifier, row by row: path, prefix, replacement, becomes
PREFIXES = [
    ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
    ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
    ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
    ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
    ("/foo", "/foo", "/xyz", "/xyz"),
    ("/foo/", "/foo", "/xyz", "/xyz/"),
    ("/foo/bar", "/foo", "", "/bar"),
    ("/foo/", "/foo", "", "/"),
    ("/foo", "/foo", "", "/"),
    ("/foo/", "/foo", "/", "/"),
    ("/foo", "/foo", "/", "/"),
]


@pytest.mark.parametrize(("target", "prefix", "replacement", "becomes"), PREFIXES)
def test_a_prefix_is_replaced(target: str, prefix: str, replacement: str, becomes: str) -> None:
    change = ReplacePrefixMatch(replacement)
    for query in ("", "?q=/foo&r=%20"):
        play = script(URLRewrite(path=change), path=prefix)
        assert forwarded(play, target + query)[0] == f"GET {becomes}{query} HTTP/1.1"
        play = script(RequestRedirect(path=change), path=prefix)
        assert location(play, target + query) == (302, f"http://shop.example{becomes}{query}")


@pytest.mark.parametrize(
    ("target", "becomes"),
    [
        ("/a/../foo/b", "/new/b"),
        ("//foo//b", "/new/b"),
        ("/%66oo/a%20b%3Fc%25%0d%0a", "/new/a%20b%3Fc%25%0D%0A"),
        ("/foo/%2e%2e/foo/x", "/new/x"),
        ("/foo/é", "/new/%C3%A9"),
    ],
)
def test_it_is_the_normalised_path_whose_prefix_is_replaced(target: str, becomes: str) -> None:
    play = script(URLRewrite(path=ReplacePrefixMatch("/new")), path="/foo")
    assert forwarded(play, target)[0] == f"GET {becomes} HTTP/1.1"


@pytest.mark.parametrize(
    ("path", "becomes"), [("/", "/"), ("/a/b", "/a/b"), ("/a b?", "/a%20b%3F"), ("/a%20b", "/a%20b")]
)
def test_a_whole_path_is_replaced_and_the_query_stays(path: str, becomes: str) -> None:
    play = script(URLRewrite(path=ReplaceFullPath(path)))
    assert forwarded(play, "/x/y?q=1?2")[0] == f"GET {becomes}?q=1?2 HTTP/1.1"


def test_the_upstream_is_told_another_host() -> None:
    play = script(URLRewrite(hostname="internal.example"), told=True)
    start, lines = forwarded(play, "/x", host="shop.example:8080")
    assert start == "GET /x HTTP/1.1"
    assert [line for line in lines if line.lower().startswith("host:")] == ["Host: internal.example"]
    assert "X-Forwarded-Host: shop.example:8080" in lines


def test_records_tell_what_the_client_asked_for() -> None:
    play = script(URLRewrite("other", ReplaceFullPath("/other")), told=True)
    forwarded(play, "/mine?x")
    play.upstream(b"HTTP/1.1 204 No Content\r\n\r\n")
    asked = has(event="request", path="/mine?x", host="shop.example", status=204)
    assert play.taken() == [("send", ANY), ("tell", asked), ("release", 0.0)]


def test_what_is_rewritten_is_sent_again_as_it_was() -> None:
    play = script(URLRewrite(path=ReplacePrefixMatch("/new")), path="/foo")
    first = forwarded(play, "/foo/foo")
    play.upstream_ended()
    play.connected()
    (data,) = (argument for word, argument in play.taken() if word == "forward")
    assert first[0] == "GET /new/foo HTTP/1.1" and data.startswith(b"GET /new/foo HTTP/1.1\r\n")


def test_filters_work_one_after_the_other() -> None:
    play = script(
        RequestHeaderModifier(set=(Field("X-A", "1"),)),
        URLRewrite("other", ReplaceFullPath("/p")),
        RequestHeaderModifier(("X-A",), (Field("X-B", "2"),)),
        ResponseHeaderModifier(set=(Field("X-C", "3"),)),
    )
    start, lines = forwarded(play, "/")
    assert start == "GET /p HTTP/1.1"
    assert "Host: other" in lines and "X-B: 2" in lines and "X-A: 1" not in lines
    assert "X-C: 3" in sent(play, "Content-Length: 0")


# --- redirecting --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("redirect", "scheme", "host", "found"),
    [
        (RequestRedirect(), "http", "a.b:8080", "http://a.b/x?q"),
        (RequestRedirect(), "https", "a.b", "https://a.b/x?q"),
        (RequestRedirect("https"), "http", "a.b:8080", "https://a.b/x?q"),
        (RequestRedirect("http"), "https", "a.b", "http://a.b/x?q"),
        (RequestRedirect(hostname="c.d"), "http", "a.b", "http://c.d/x?q"),
        (RequestRedirect(port=8443), "https", "a.b", "https://a.b:8443/x?q"),
        (RequestRedirect(port=80), "http", "a.b", "http://a.b/x?q"),
        (RequestRedirect("https", port=80), "http", "a.b", "https://a.b:80/x?q"),
        (RequestRedirect("https", port=443), "http", "a.b", "https://a.b/x?q"),
        (RequestRedirect(path=ReplaceFullPath("/y")), "http", "a.b", "http://a.b/y?q"),
        (RequestRedirect(), "http", "[fd00::1]:80", "http://[fd00::1]/x?q"),
        (RequestRedirect(hostname="[fd00::2]", port=1), "http", "a", "http://[fd00::2]:1/x?q"),
    ],
)
def test_where_a_redirect_leads(redirect: RequestRedirect, scheme: str, host: str, found: str) -> None:
    assert location(script(redirect, scheme=scheme), "/x?q", host) == (302, found)


def test_the_port_of_the_listener_is_said_where_it_is_not_the_usual_one() -> None:
    play = script(RequestRedirect(hostname="c.d"))
    play.machine.port = "8080"
    assert location(play, "/") == (302, "http://c.d:8080/")


def test_the_scheme_is_the_one_in_front_where_that_is_trusted() -> None:
    play = script(RequestRedirect(hostname="c.d"), options=Options(trust_forwarded=True))
    play.machine.port = "8080"
    assert location(play, "/", "a.b", "X-Forwarded-Proto: https") == (302, "https://c.d/")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_needs_no_upstream_and_the_connection_goes_on(status: int) -> None:
    play = script(RequestRedirect("https", status=status), told=True)
    play.client(b"HEAD /x HTTP/1.1\r\nHost: h\r\n\r\n")
    told = {
        "status": status,
        "answered_by": "ingress",
        "reason": "the rule redirects to https",
        "upstream": "",
    }
    (_, answer), tell = play.taken()
    assert tell == ("tell", has(event="request", **told))
    assert answer.startswith(b"HTTP/1.1 %d " % status) and answer.endswith(b"Location: https://h/x\r\n\r\n")
    assert play.deadline == 75


def test_tls_that_the_policy_wants_comes_before_the_filters() -> None:
    """And over TLS the filters are asked."""
    filters, policy = (RequestRedirect(hostname="other", status=301),), Policy(ssl_redirect=True)
    assert location(script(*filters, policy=policy), "/") == (308, "https://shop.example")
    assert location(script(*filters, policy=policy, scheme="https"), "/") == (301, "https://other/")


# --- what is wrong to say -----------------------------------------------------------------------------------

NAMED = {"name": "X-A", "value": "1"}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            {"type": "Nonsense"},
            '.type: "Nonsense" is not one of RequestHeaderModifier, ResponseHeaderModifier, ',
        ),
        ({"type": "RequestRedirect", "stauts": 301}, ': unknown field "stauts"'),
        ({"type": "RequestRedirect", "status": 200}, ".status: 200 is not one of 301, 302, 303, 307, 308"),
        ({"type": "RequestRedirect", "scheme": "ftp"}, ".scheme: 'ftp' is not one of http, https"),
        ({"type": "RequestRedirect", "port": 65536}, ".port: 65536 is no number of a port"),
        ({"type": "RequestRedirect", "hostname": "a/b"}, ".hostname: 'a/b' is no name of a host"),
        ({"type": "URLRewrite", "hostname": "a\r\nb"}, ".hostname: 'a\\r\\nb' is no name of a host"),
        ({"type": "URLRewrite", "path": {"type": "ReplaceFullPath"}}, '.path: missing field "path"'),
        (
            {"type": "URLRewrite", "path": {"type": "ReplaceFullPath", "path": "x"}},
            ".path.path: 'x' does not begin with a slash",
        ),
        (
            {"type": "URLRewrite", "path": {"type": "ReplacePrefixMatch", "prefix": "x"}},
            ".path: the route's path is of type 'Exact', of which no prefix is left",
        ),
        (
            {"type": "RequestHeaderModifier", "remove": ["a b"]},
            ".remove[0]: 'a b' is no name of a header field",
        ),
        (
            {"type": "RequestHeaderModifier", "set": [NAMED, {"name": "Host", "value": "x"}]},
            ".set[1].name: 'Host' is a field that the proxy alone writes",
        ),
        (
            {"type": "ResponseHeaderModifier", "add": [{"name": "Content-length", "value": "1"}]},
            ".add[0].name: 'Content-length' is a field that the proxy alone writes",
        ),
        (
            {"type": "ResponseHeaderModifier", "add": [{"name": "X", "value": "1\r\nY: 2"}]},
            ".add[0].value: '1\\r\\nY: 2' is no value of a header field",
        ),
    ],
)
def test_what_no_filter_can_do_is_refused_at_load(wrong: dict[str, Any], words: str) -> None:
    good = {"type": "RequestHeaderModifier", "set": [NAMED]}
    route = {"match": {"path_type": "Exact"}, "backends": [], "filters": [good, wrong]}
    with pytest.raises(BadConfiguration) as caught:
        take(from_json(L7Config, {"listen": [], "routes": [route]}), {})
    assert f"config.routes[0].filters[1]{words}" in str(caught.value)


def test_a_request_is_redirected_or_rewritten() -> None:
    with pytest.raises(BadConfiguration, match=r"config\.routes\[0\]\.filters: who redirects a request"):
        script(RequestRedirect("https"), URLRewrite("other"))


def test_every_filter_has_a_line_in_the_table() -> None:
    assert set(FILTERS) == set(Filter.__args__)
    assert all(any(effect) for effect in FILTERS.values())


@given(st.binary(max_size=40), st.sampled_from(["", "/", "/new", "/n%20w/"]))
def test_whatever_is_rewritten_is_a_target(given_target: bytes, prefix: str) -> None:
    """Nothing of a path that was decoded can end a line, begin a query or be decoded twice."""
    target = b"/foo/" + given_target.translate(None, bytes(range(33)) + b"\x7f")
    filters = Filters((URLRewrite(path=ReplacePrefixMatch(prefix)),), Match("", "/foo", "Prefix"))
    try:
        path = normalise_path(target)
    except PeerError:
        return  # refused before it has a route
    if not path.startswith(b"/foo/"):
        return
    written = filters.request(
        b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % target, Asked("http", b"h", "80", target)
    )
    method, rewritten, version = written.removesuffix(b"\r\nHost: h\r\n\r\n").split(b" ")
    assert (method, version) == (b"GET", b"HTTP/1.1") and b"\r" not in rewritten and b"\n" not in rewritten
    beginning = normalise_path(prefix.rstrip("/").encode())
    assert normalise_path(rewritten) == beginning.rstrip(b"/") + path.removeprefix(b"/foo")
    assert rewritten.partition(b"?")[2] == target.partition(b"#")[0].partition(b"?")[2]


def test_paths_are_escaped_as_nginx_does() -> None:
    plain = b"/az-AZ_09.~!$&'()*+,;=:@[]"
    assert escaped(plain) == plain
    assert escaped(b' "#%<>?\\^`{|}\x00\x7f\xff') == b"%20%22%23%25%3C%3E%3F%5C%5E%60%7B%7C%7D%00%7F%FF"
