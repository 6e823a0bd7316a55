"""Host and path matching: the tables of the Kubernetes documentation, and what nginx adds to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulab.errors import PeerError
from emulab.servers.l7.config import (
    REGULAR_EXPRESSION,
    FieldMatch,
    Match,
    Policy,
    RequestRoute,
    WeightedUpstream,
)
from emulab.servers.l7.engine.routes import ReadyRoute, RouteTable, default_route
from emulab.servers.l7.messages.request import RequestHead
from emulab.servers.l7.messages.targets import normalise_host, normalise_path
from emulab.servers.l7.personalities.ingress_nginx.heads import DIALECT
from emulab.servers.l7.personalities.ingress_nginx.paths import locations


def routed(*routes: RequestRoute, default: str | None = None) -> RouteTable:
    rules = [ReadyRoute(route, {}) for route in routes]
    return RouteTable(rules, default_route(default, {}, Policy()) if default else None, locations)


def table(*rules: tuple[str, str, str], default: str | None = None) -> RouteTable:
    """Rules as (host, path type, path); the upstream's name is `type path`, after the host, if any."""
    routes = [RequestRoute(Match(h, p, t), (WeightedUpstream(f"{h} {t} {p}".strip()),)) for h, t, p in rules]
    return routed(*routes, default=default)


def to(target: bytes) -> RequestHead:
    head = RequestHead()
    head.target = target
    return head


def upstream(routes: RouteTable, target: str, host: str = "any.example") -> str | None:
    rule = routes.match(host.encode(), to(target.encode()))
    return rule.upstream if rule else None


# https://kubernetes.io/docs/concepts/services-networking/ingress/#examples, row by row
DOCUMENTED = [
    ([("Prefix", "/")], "/", "Prefix /"),
    ([("Prefix", "/")], "/any/path", "Prefix /"),
    ([("Exact", "/foo")], "/foo", "Exact /foo"),
    ([("Exact", "/foo")], "/bar", None),
    ([("Exact", "/foo")], "/foo/", None),
    ([("Exact", "/foo/")], "/foo", None),
    ([("Prefix", "/foo")], "/foo", "Prefix /foo"),
    ([("Prefix", "/foo")], "/foo/", "Prefix /foo"),
    ([("Prefix", "/foo/")], "/foo", "Prefix /foo/"),
    ([("Prefix", "/foo/")], "/foo/", "Prefix /foo/"),
    ([("Prefix", "/aaa/bb")], "/aaa/bbb", None),
    ([("Prefix", "/aaa/bbb")], "/aaa/bbb", "Prefix /aaa/bbb"),
    ([("Prefix", "/aaa/bbb/")], "/aaa/bbb", "Prefix /aaa/bbb/"),
    ([("Prefix", "/aaa/bbb")], "/aaa/bbb/", "Prefix /aaa/bbb"),
    ([("Prefix", "/aaa/bbb")], "/aaa/bbb/ccc", "Prefix /aaa/bbb"),
    ([("Prefix", "/aaa/bbb")], "/aaa/bbbxyz", None),
    ([("Prefix", "/"), ("Prefix", "/aaa")], "/aaa/ccc", "Prefix /aaa"),
    ([("Prefix", "/"), ("Prefix", "/aaa"), ("Prefix", "/aaa/bbb")], "/aaa/bbb", "Prefix /aaa/bbb"),
    ([("Prefix", "/"), ("Prefix", "/aaa"), ("Prefix", "/aaa/bbb")], "/ccc", "Prefix /"),
    ([("Prefix", "/aaa")], "/ccc", None),
    ([("Prefix", "/foo"), ("Exact", "/foo")], "/foo", "Exact /foo"),
]


@pytest.mark.parametrize(("paths", "request_path", "expected"), DOCUMENTED)
def test_documented_paths(paths: list[tuple[str, str]], request_path: str, expected: str | None) -> None:
    assert upstream(table(*(("", kind, path) for kind, path in paths)), request_path) == expected
    backwards = table(*(("", kind, path) for kind, path in reversed(paths)), default="fallback")
    assert upstream(backwards, request_path) == (expected or "fallback")


@pytest.mark.parametrize(
    ("host", "matches"),
    [("bar.foo.com", True), ("BAR.Foo.com:8080", True), ("baz.bar.foo.com", False), ("foo.com", False)],
)
def test_documented_wildcards(host: str, matches: bool) -> None:
    assert (upstream(table(("*.foo.com", "Prefix", "/")), "/", host) is not None) == matches


def test_a_host_that_is_known_never_falls_back_to_a_vaguer_one() -> None:
    routes = table(
        ("a.foo.com", "Prefix", "/a"), ("*.foo.com", "Prefix", "/"), ("", "Prefix", "/"), default="fallback"
    )
    assert upstream(routes, "/a", "a.foo.com") == "a.foo.com Prefix /a"
    assert upstream(routes, "/b", "a.foo.com") == "fallback"
    assert upstream(routes, "/b", "b.foo.com") == "*.foo.com Prefix /"
    assert upstream(routes, "/b", "elsewhere") == "Prefix /"


def test_implementation_specific_is_a_character_prefix() -> None:
    routes = table(("", "ImplementationSpecific", "/foo"), ("", "Prefix", "/foo"), ("", "Exact", "/foobar"))
    assert upstream(routes, "/foobarbaz") == "ImplementationSpecific /foo"
    assert upstream(routes, "/foo/x") == "Prefix /foo"
    assert upstream(routes, "/foo") == "Prefix /foo"
    assert upstream(routes, "/foobar") == "Exact /foobar"
    assert upstream(routes, "/FOO") is None


def test_the_first_of_two_equal_rules_stays() -> None:
    match = Match("h", "/x", "Prefix")
    routes = routed(
        RequestRoute(match, (WeightedUpstream("one"),)), RequestRoute(match, (WeightedUpstream("two"),))
    )
    assert upstream(routes, "/x/y", "h") == "one"


@pytest.mark.parametrize(
    ("request_line", "fields", "expected"),
    [
        ("GET /x", "", "plain"),
        ("POST /x", "", "post"),
        ("GET /x", "X-Canary: always", "canary"),
        ("GET /x", "x-canary: never", "plain"),
        ("GET /x", "X-Canary: always\r\nX-Beta: 1", "both"),
        ("GET /x?v=2", "", "query"),
        ("GET /x?v=1&v=2", "", "plain"),
        ("POST /x/y?v=2", "X-Canary: always", "canary"),
        ("GET /x/only", "", "plain"),
        ("GET /x/only", "X-Beta: 1", "below"),
    ],
)
def test_conditions_of_one_place_and_of_vaguer_ones(request_line: str, fields: str, expected: str) -> None:
    """Most conditions first, whatever the order; where none holds the next place is asked."""
    canary, beta = FieldMatch("X-Canary", "always"), FieldMatch("X-Beta", "1")
    routes = routed(
        *(
            RequestRoute(Match("", path, "Prefix", **conditions), (WeightedUpstream(name),))
            for name, path, conditions in (
                ("plain", "/x", {}),
                ("post", "/x", {"methods": ("POST", "PUT")}),
                ("query", "/x", {"query": (FieldMatch("v", "2"),)}),
                ("canary", "/x", {"headers": (canary,)}),
                ("both", "/x", {"headers": (canary, beta)}),
                ("below", "/x/only", {"headers": (beta,)}),
            )
        )
    )
    lines = "\r\n".join([f"{request_line} HTTP/1.1", "Host: h", *([fields] if fields else [])])
    rule = routes.match(b"h", DIALECT.parse(lines.encode()))
    assert rule is not None and rule.upstream == expected


@pytest.mark.parametrize(
    ("request_line", "fields", "expected"),
    [
        ("GET /x", "X-User: ann42", "user"),
        ("GET /x", "X-User: ann", "plain"),
        ("GET /x", "X-User: Mary-ann42", "plain"),
        ("GET /x", "X-User: ann42\r\nX-User: bob", "user"),
        ("GET /x", "X-User: bob\r\nX-User: ann42", "plain"),
        ("GET /x?v=1&w=", "", "version"),
        ("GET /x?v=10", "", "plain"),
        ("GET /x?w=1", "", "plain"),
        ("GET /x?v=%31", "X-User: bob", "version"),
        ("GET /x?v=1", "X-User: ann1", "user"),
    ],
)
def test_conditions_by_regular_expressions(request_line: str, fields: str, expected: str) -> None:
    """They take the whole value, of the first field or parameter of that name."""
    user = FieldMatch("x-user", "[a-z]+[0-9]+", REGULAR_EXPRESSION)
    version = FieldMatch("v", "[12]", REGULAR_EXPRESSION)
    routes = routed(
        RequestRoute(Match("", "/x", "Prefix"), (WeightedUpstream("plain"),)),
        RequestRoute(Match("", "/x", "Prefix", query=(version,)), (WeightedUpstream("version"),)),
        RequestRoute(Match("", "/x", "Prefix", headers=(user,)), (WeightedUpstream("user"),)),
    )
    lines = "\r\n".join([f"{request_line} HTTP/1.1", "Host: h", *([fields] if fields else [])])
    rule = routes.match(b"h", DIALECT.parse(lines.encode()))
    assert rule is not None and rule.upstream == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/users", "RegularExpression /v[0-9]+/users"),
        ("/V1/Users/ann", "RegularExpression /v[0-9]+/users"),
        ("/v2/orders/7", "RegularExpression /v[0-9]"),
        ("/v2/orders", "Prefix /v2/orders"),
        ("/v2/exact", "Exact /v2/exact"),
        ("/v/users", "Prefix /v"),
        ("/v", "Prefix /v"),
        ("/a/v1/users", None),
        ("/x/../v1//users", "RegularExpression /v[0-9]+/users"),
    ],
)
def test_paths_by_regular_expressions(path: str, expected: str | None) -> None:
    """As in nginx: exact paths, of which a `Prefix` has one, expressions, prefixes; the longest expression first."""
    kinds = [
        ("Prefix", "/v"),
        ("Prefix", "/v2/orders"),
        (REGULAR_EXPRESSION, "/v[0-9]"),
        (REGULAR_EXPRESSION, "/v[0-9]+/users"),
        ("Exact", "/v2/exact"),
    ]
    for order in (kinds, kinds[::-1]):
        assert upstream(table(*(("", kind, where) for kind, where in order)), path) == expected


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/a/../b?c=/../d", "/b"),
        ("/a//b///c", "/a/b/c"),
        ("/a/./b/.", "/a/b/"),
        ("/a/b/..", "/a/"),
        ("/%61%2Fb", "/a/b"),
        ("/a%2f%2e%2e/b", "/b"),
        ("/a%3Fb", "/a?b"),
        ("/a#b", "/a"),
        ("/.well-known/x", "/.well-known/x"),
        ("/%2561", "/%61"),
    ],
)
def test_paths_are_normalised_as_nginx_does(target: str, expected: str) -> None:
    assert normalise_path(target.encode()) == expected.encode()


@pytest.mark.parametrize("target", ["/..", "/a/../../b", "/%", "/%4", "/%zz", "/%00", "/%2e%2e/"])
def test_paths_that_nginx_refuses(target: str) -> None:
    with pytest.raises(PeerError):
        normalise_path(target.encode())


@pytest.mark.parametrize("host", [b"", b"a b", b"a/b", b"a..b", b":80", b"a\x00", b".", b"a\x7f"])
def test_hosts_that_nginx_refuses(host: bytes) -> None:
    with pytest.raises(PeerError):
        normalise_host(host)


def test_hosts_are_normalised() -> None:
    assert normalise_host(b"Shop.Example.COM.:443") == "shop.example.com"
    assert normalise_host(b"[FD00::1]:80") == "[fd00::1]"


def test_an_unknown_path_type_is_refused() -> None:
    with pytest.raises(ValueError, match="Regex"):
        table(("", "Regex", "/x"))


elements = st.lists(st.text("ab", min_size=1, max_size=2), max_size=4)


@given(elements, elements, st.booleans(), st.booleans())
def test_prefix_compares_whole_elements(rule: list[str], path: list[str], slash: bool, tail: bool) -> None:
    prefix = "/" + "/".join(rule) + ("/" if slash and rule else "")
    target = "/" + "/".join(path) + ("/" if tail and path else "")
    matches = upstream(table(("", "Prefix", prefix)), target) is not None
    assert matches == (path[: len(rule)] == rule)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_arbitrary_hosts_and_targets_match_or_are_refused(host: bytes, target: bytes) -> None:
    routes = table(("*.a", "Prefix", "/"), ("", "Exact", "/"))
    try:
        first = routes.match(host, to(b"/" + target))
    except PeerError:
        return
    assert routes.match(host, to(b"/" + target)) is first
    assert normalise_path(b"/" + target).startswith(b"/")
