"""Annotations of paths and places, from an Ingress to what is on the wire."""

from __future__ import annotations

import pytest
from annotated import (
    SERVERS,
    answered,
    ask,
    forwarded,
    ingress,
    own,
    planned,
    served,
    server,
    values,
    warnings,
)
from tlspairs import pair, tls_secret

TLS = {"tls": [{"hosts": ["a.test"], "secretName": "pair"}]}

# --- slashes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paths", "asked", "answer"),
    [
        ([("/bar/", "web", "Exact")], "/bar?q=1", ("301", "http://a.test/bar/?q=1")),
        ([("/bar/", "web", "Exact"), ("/", "web", "Prefix")], "/bar", ("301", "http://a.test/bar/")),
        ([("/bar/", "web", "Exact"), ("/bar", "web", "Prefix")], "/bar", None),
        ([("/bar/", "web", "Exact"), ("/bar", "web", "Exact")], "/bar", None),
        ([("/bar/", "web", "Exact")], "/bar/x", ("404", None)),
    ],
)
def test_who_lacks_the_slash_of_an_exact_path_is_sent_there(
    paths: list[tuple[str, ...]], asked: str, answer: tuple[str, str | None] | None
) -> None:
    play = served(ingress(*paths))
    if answer is None:
        assert server(play, asked) == "web"
    else:
        status, fields = own(play, asked)
        assert (status, fields.get("Location")) == answer


def test_nobody_is_sent_to_a_path_that_is_denied() -> None:
    """Its location passes nothing on, as it has to for that; one that lets some in does. All else of the host is
    denied, too."""
    denied = served(ingress(("/bar/", "web", "Exact"), custom_headers="default/missing"))
    assert own(denied, "/bar")[0] == own(denied, "/bar/")[0] == "503"
    some = ingress(("/bar/", "web", "Exact"), allowlist_source_range="10.0.0.0/8")
    assert own(served(some), "/bar")[0] == "301" and own(served(some), "/bar/")[0] == "403"


# --- rewrite-target and use-regex ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "target", "asked", "becomes"),
    [
        ("/something(/|$)(.*)", "/$2", "/something/new?q=1", "/new?q=1"),
        ("/something(/|$)(.*)", "/$2", "/something", "/"),
        ("/something(/|$)(.*)", "/$2", "/SomeThing/New", "/New"),
        ("/old", "/new", "/old/x", "/new"),
        ("/v1/(.+)", "/$1/v1", "/v1/a%20b%3Fc", "/a%20b%3Fc/v1"),
        ("/v1/(.+)", "/$1", "/v1/x//y/../z", "/x/z"),
        ("/(?<lang>de|en)/(.*)", "/$2/$1", "/de/shop", "/shop/de"),
        ("/a", "/b/$http_x_tenant$args", "/a?t=1", "/b/met=1?t=1"),
        ("/foo.bar", "/x", "/fooXbar", "/x"),
        ("/p/[[:digit:]]+", "/n", "/p/7", "/n"),
    ],
)
def test_a_path_is_rewritten(path: str, target: str, asked: str, becomes: str) -> None:
    play = served(ingress((path, "web"), rewrite_target=target))
    assert forwarded(play, asked, "X-Tenant: me")[0] == f"GET {becomes} HTTP/1.1"


def test_a_field_that_is_there_twice_is_one_with_both_values() -> None:
    """nginx' variables join them since 1.23, and cookies always."""
    play = served(ingress(("/(.*)", "web"), rewrite_target="/$cookie_b/$http_x_a"))
    said = "Cookie: a=1", "X-A: x", "Cookie: b=2; c=3", "X-A: y"
    assert forwarded(play, "/", *said)[0] == "GET /2/x,%20y HTTP/1.1"
    canary = ingress(("/", "other", "Prefix"), name="canary", canary="true", canary_by_cookie="b")
    split = served(ingress(("/", "web", "Prefix")), canary)
    ask(split, "/", "Cookie: a=1", "Cookie: b=always")
    split.expect(("select", SERVERS["other"]))


def test_what_the_expression_does_not_take_is_not_served() -> None:
    play = served(ingress(("/old/(.*)", "web"), rewrite_target="/$1"))
    assert server(play, "/new") == "404"


def test_a_target_that_is_the_path_is_none() -> None:
    """But what no path takes is rewritten to it, so that all paths of the host are expressions."""
    play = served(ingress(("/a.b", "web", "Prefix"), rewrite_target="/a.b"))
    assert server(play, "/aXb") == "web"
    play = served(ingress(("/a.b", "web", "Prefix"), rewrite_target="/a.b"))
    assert forwarded(play, "/a.b/c")[0] == "GET /a.b/c HTTP/1.1"


def test_a_target_that_is_a_url_sends_the_client_there() -> None:
    play = served(ingress(("/old/(.*)", "web"), rewrite_target="https://b.test/$1"))
    assert own(play, "/old/x?q") == ("302", own(play, "/old/x?q")[1])
    assert own(play, "/old/x?q")[1]["Location"] == "https://b.test/x?q"


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("/a%20b", "/a%20b"),
        ("/a%0d%0ab", "/a%0D%0Ab"),
        ("/a+b", "/a+b"),
        ("/a%2Bb", "/a+b"),
        ("/a%3Fb%3Fc%20d", "/a?b%3Fc%20d"),
        ("/a%23b%25%22", "/a%23b%25%22"),
        ('/a"b', '/a"b'),
        ("/%C3%A9", "/%C3%A9"),
        ("/x%26y?q=%20", "/x&y?q=%20"),
        ("/%3C%3e%5e%60%7b%7c%7d%3b", "/<>^`{|};"),
        ("/a?b#c", "/a?b"),
        ("/a#b?c", "/a"),
        ("/a?", "/a"),
    ],
)
def test_where_a_client_is_sent_is_written_as_nginx_writes_it(target: str, place: str) -> None:
    """What nginx 1.22 says itself, beside which each was asked."""
    play = served(ingress(("/((?:.|\\s)*)", "web"), rewrite_target="https://b.test/$1"))
    assert own(play, target)[1]["Location"] == "https://b.test" + place


@pytest.mark.parametrize(
    ("target", "asked"), [("/a?b#c", "/x/a?b"), ("/a#b?c", "/x/a"), ("/a?#", "/x/a"), ("/a?", "/x/a")]
)
def test_a_fragment_is_no_part_of_a_query(target: str, asked: str) -> None:
    play = served(ingress(("/(.*)", "web"), rewrite_target="/x/$1"))
    assert forwarded(play, target)[0] == f"GET {asked} HTTP/1.1"


def test_a_rewritten_path_of_nothing_is_a_mistake() -> None:
    rewritten = ingress(("/a(.*)", "web"), rewrite_target="$1")
    assert own(served(rewritten), "/a")[0] == "500"
    assert forwarded(served(rewritten), "/a/b")[0] == "GET /b HTTP/1.1"


def test_nothing_that_was_decoded_ends_a_line() -> None:
    rewritten = ingress((r"/((?:.|\s)*)", "web"), rewrite_target="/x/$1", x_forwarded_prefix="/p/$1")
    start, lines = forwarded(served(rewritten), "/a%0d%0aX-Evil:%201")
    assert start == "GET /x/a%0D%0AX-Evil:%201 HTTP/1.1"
    assert values(lines, "X-Forwarded-Prefix") == ["/p/aX-Evil: 1"] and not values(lines, "X-Evil")


def test_one_ingress_makes_all_paths_of_its_host_expressions() -> None:
    """The longest first; those of other hosts stay as they are."""
    plain = ingress(
        ("/foo/bar", "other", "Prefix"), ("/exact", "other", "Exact"), ("/im", "other"), name="plain"
    )
    rewritten = ingress(("/foo/(x|y)", "web"), name="regular", use_regex="true")
    elsewhere = ingress(("/foo", "other", "Exact"), host="b.test", name="elsewhere")
    play = served(plain, rewritten, elsewhere)
    found = {
        path: server(play, path)
        for path in ("/foo/x", "/foo/BAR/1", "/foo/barn", "/exactly", "/image", "/foo", "/other")
    }
    assert found == {
        "/foo/x": "web",
        "/foo/BAR/1": "other",
        "/foo/barn": "other",
        "/exactly": "other",
        "/image": "other",
        "/foo": "404",
        "/other": "404",
    }
    assert server(play, "/foo", host="b.test") == "other"
    assert server(play, "/foo/", host="b.test") == "404"


def test_the_longest_expression_is_asked_first_whatever_it_takes() -> None:
    """As the documentation of ingress-nginx warns."""
    play = served(
        ingress(("/foo/bar/bar", "other", "Prefix"), ("/foo/bar/[A-Z0-9]{3}", "web"), use_regex="true")
    )
    assert server(play, "/foo/bar/bar") == "web"


def test_only_the_first_alternative_is_held_at_the_beginning() -> None:
    play = served(ingress(("/a|/b", "web"), use_regex="true"))
    assert [server(play, path) for path in ("/a", "/x/b", "/x/a")] == ["web", "web", "404"]


def test_the_first_of_two_ingresses_keeps_an_expression() -> None:
    play = served(
        ingress(("/a(.*)", "web"), name="one", use_regex="true"), ingress(("/a(.*)", "other"), name="two")
    )
    assert server(play, "/ab") == "web"


@pytest.mark.parametrize("path", ["/a(", "/a{99999999999}"])
def test_a_path_that_is_no_expression_is_left_out_with_a_word(path: str) -> None:
    wrong = ingress((path, "web"), ("/b", "other"), use_regex="true")
    assert server(served(wrong), "/b") == "other" and server(served(wrong), path) == "404"
    (said,) = warnings(wrong)
    assert (
        said.startswith(f"use-regex]: the path {path!r} is no regular expression") and "isn't served" in said
    )


@pytest.mark.parametrize("target", ["/$nonsense", "/a?b=1", "/a b", "/${host"])
def test_a_target_that_cannot_be_is_left_with_a_word(target: str) -> None:
    rewritten = ingress(("/a", "web", "Prefix"), rewrite_target=target)
    assert forwarded(served(rewritten), "/a/x")[0] == "GET /a/x HTTP/1.1"
    assert len(warnings(rewritten)) == 1


def test_the_prefix_that_was_taken_is_told() -> None:
    rewritten = ingress(("/(shop)/(.*)", "web"), rewrite_target="/$2", x_forwarded_prefix="/$1")
    _, lines = forwarded(served(rewritten), "/shop/a", "X-Forwarded-Prefix: /mine")
    assert values(lines, "X-Forwarded-Prefix") == ["/shop"]
    plain = ingress(("/shop", "web"), x_forwarded_prefix="/shop")
    assert values(forwarded(served(plain), "/shop/a")[1], "X-Forwarded-Prefix") == [], "without a rewrite"


# --- redirects ------------------------------------------------------------------------------------------------------


def test_redirects_of_all_requests() -> None:
    permanent = ingress(permanent_redirect="https://b.test/x")
    for scheme in ("http", "https"):
        status, fields = own(served(permanent, scheme=scheme), "/y?q")
        assert (status, fields["Location"]) == ("301", "https://b.test/x")
    both = ingress(permanent_redirect="https://b.test", temporal_redirect="http://c.test")
    status, fields = own(served(both), "/")
    assert (status, fields["Location"]) == ("302", "http://c.test")
    coded = ingress(permanent_redirect="https://b.test", permanent_redirect_code="308")
    assert own(served(coded), "/")[0] == "308"
    coded = ingress(temporal_redirect="https://b.test", temporal_redirect_code="307")
    assert own(served(coded), "/")[0] == "307"


def test_a_redirect_comes_before_the_one_to_tls() -> None:
    """As `return` is of the rewrite phase, at the end of which ingress-nginx looks at the scheme."""
    play = served(ingress(permanent_redirect="http://b.test", spec=TLS))
    assert own(play, "/")[1]["Location"] == "http://b.test"


@pytest.mark.parametrize(
    ("annotations", "name"),
    [
        ({"temporal_redirect": "ftp://b.test"}, "temporal-redirect"),
        ({"temporal_redirect": "/path"}, "temporal-redirect"),
        ({"permanent_redirect": "https://b.test/$x"}, "permanent-redirect"),
        (
            {"temporal_redirect": "http://b", "temporal_redirect_code": "308"},
            "temporal-redirect-code",
        ),
        ({"app_root": "https://b.test"}, "app-root"),
    ],
)
def test_redirects_that_cannot_be(annotations: dict[str, str], name: str) -> None:
    (said,) = warnings(ingress(**annotations))
    assert said.startswith(f"{name}]: ") and "as without it" in said


def test_a_wrong_temporal_redirect_takes_the_others_along() -> None:
    """As `Parse` of internal/ingress/annotations/redirect returns an error before it has them."""
    wrong = ingress(
        ("/", "web", "Prefix"), temporal_redirect="ftp://b.test", permanent_redirect="https://b.test",
        from_to_www_redirect="true", app_root="/start",
    )  # fmt: skip
    assert forwarded(served(wrong), "/x")[0] == "GET /x HTTP/1.1"
    assert own(served(wrong), "/")[1]["Location"] == "http://a.test/start", "which another parser reads"
    (said,) = warnings(wrong)
    assert said.endswith("as without it and permanent-redirect and from-to-www-redirect")


def test_the_root_of_a_host() -> None:
    play = served(
        ingress(("/", "web", "Prefix"), name="one", spec=TLS),
        ingress(("/app", "other", "Prefix"), name="two", app_root="/app/start"),
    )
    status, fields = own(play, "/", host="a.test:8080")
    assert (status, fields["Location"]) == ("302", "http://a.test:8080/app/start"), (
        "of all Ingresses of the host"
    )
    assert own(play, "//?q")[0] == "302"
    assert own(play, "/app")[0] == "308", "all else of a host with a certificate goes over TLS"
    believing = served(ingress(app_root="/x"), use_forwarded_headers="true")
    told = ("X-Forwarded-Proto: https", "X-Forwarded-Host: other.test")
    _, fields = own(believing, "/", *told, host="a.test:8080")
    assert fields["Location"] == "http://a.test:8080/x", "nginx' $scheme and $http_host, whoever is believed"
    https = served(ingress(app_root="/x"), scheme="https")
    assert own(https, "/")[1]["Location"] == "https://a.test/x" and server(https, "/y") == "web"


def test_the_name_with_www_leads_to_the_one_without() -> None:
    play = served(ingress(from_to_www_redirect="true"))
    status, fields = own(play, "/foo/?q=1", host="www.a.test")
    assert (status, fields["Location"]) == ("308", "http://a.test:80/foo/?q=1")
    assert own(play, "/foo/", host="www.a.test")[1]["Location"] == "http://a.test:80/foo"
    assert server(play, "/foo") == "web"
    back = served(
        ingress(host="www.a.test", from_to_www_redirect="true"), scheme="https", http_redirect_code="301"
    )
    status, fields = own(back, "/", host="a.test")
    assert (status, fields["Location"]) == ("301", "https://www.a.test:443")
    told = "X-Forwarded-Proto: https", "X-Forwarded-Port: 8443"
    assert own(play, "/foo", *told, host="www.a.test")[1]["Location"] == "http://a.test:80/foo"
    believing = served(ingress(from_to_www_redirect="true"), use_forwarded_headers="true")
    where = [own(believing, "/foo", *some, host="www.a.test")[1]["Location"] for some in (told, told[:1])]
    assert where == ["https://a.test:8443/foo", "https://a.test:80/foo"], "the port is the connection's, else"
    both = served(
        ingress(from_to_www_redirect="true"), ingress(("/", "other", "Prefix"), host="www.a.test", name="www")
    )
    assert server(both, "/", host="www.a.test") == "other", "who has rules of its own keeps them"


# --- TLS ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "annotations", "settings", "location"),
    [
        ("/", {}, {}, "https://a.test"),
        ("/x/", {}, {}, "https://a.test/x"),
        ("/x/?q=/", {}, {}, "https://a.test/x/?q="),
        ("/x/", {"preserve_trailing_slash": "true"}, {}, "https://a.test/x/"),
        ("/x/", {}, {"preserve_trailing_slash": "true"}, "https://a.test/x/"),
        ("/x", {"use_port_in_redirects": "true"}, {}, "https://a.test:443/x"),
        ("/x", {}, {"http_redirect_code": "302"}, "https://a.test/x"),
    ],
)
def test_where_the_redirect_to_tls_leads(
    target: str, annotations: dict[str, str], settings: dict[str, str], location: str
) -> None:
    play = served(ingress(spec=TLS, **annotations), **settings)
    status, fields = own(play, target, host="a.test:80")
    assert (status, fields["Location"]) == (settings.get("http_redirect_code", "308"), location)


def test_tls_is_forced_where_there_is_no_certificate() -> None:
    assert own(served(ingress(force_ssl_redirect="true")), "/x")[0] == "308"
    assert own(served(ingress(), force_ssl_redirect="true"), "/x")[0] == "308"
    assert server(served(ingress(force_ssl_redirect="true"), scheme="https"), "/x") == "web"
    off = ingress(spec=TLS, ssl_redirect="false")
    assert server(served(off), "/x") == "web"
    assert server(served(ingress(force_ssl_redirect="false"), force_ssl_redirect="true"), "/") == "web"


def test_some_paths_are_never_sent_to_tls() -> None:
    paths = ("/", "web", "Prefix"), ("/.well-known/acme-challenge/x", "other", "Exact")
    forced = ingress(*paths, force_ssl_redirect="true")
    assert server(served(forced), "/.well-known/acme-challenge/x") == "other"
    assert own(served(forced, no_tls_redirect_locations="/x"), "/.well-known/acme-challenge/x")[0] == "308"


# --- names ----------------------------------------------------------------------------------------------------------


def test_a_host_has_other_names() -> None:
    first = ingress(
        ("/", "web", "Prefix"), name="one", server_alias="b.test, *.c.test, ~^w\\d+\\.d\\.test$, e.test"
    )
    second = ingress(("/x", "other", "Prefix"), name="two", server_alias="f.test")
    taken = ingress(("/", "errors", "Prefix"), name="three", host="e.test")
    play = served(first, second, taken)
    for host in ("b.test", "x.c.test", "y.x.c.test", "w12.d.test"):
        assert server(play, "/", host=host) == "web" and server(play, "/x", host=host) == "other"
    assert server(play, "/", host="e.test") == "errors" and server(play, "/", host="f.test") == "404"
    assert server(play, "/", host="xw12.d.test") == "404"
    assert warnings(first, second, taken) == [
        "server-alias]: e.test is the host of another rule, which keeps it"
    ]


def test_what_is_wrong_in_a_name() -> None:
    (said,) = warnings(ingress(server_alias="~^("))
    assert "'~^(' has a name that nobody can have" in said
    assert {route.match.host for route in planned(ingress(server_alias="~^(")).routes} == {"a.test"}


# --- places in answers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("domain", "cookie", "becomes"),
    [
        ("b.test a.test", "id=1; Domain=b.test; Path=/", "id=1; Domain=a.test; Path=/"),
        ("b.test a.test", "id=1; domain=.B.test", "id=1; domain=.a.test"),
        (".b.test .a.test", "id=1;domain=b.test", "id=1;domain=a.test"),
        ("b.test a.test", "id=b.test; Domain=x.b.test", "id=b.test; Domain=x.b.test"),
        ("off", "id=1; Domain=b.test", "id=1; Domain=b.test"),
        ("~b. a.test", "id=1; Domain=x.b.test", "id=1; Domain=a.test"),
    ],
)
def test_domains_of_cookies(domain: str, cookie: str, becomes: str) -> None:
    for of_one, settings in (
        ({"proxy_cookie_domain": domain}, {}),
        ({}, {"proxy_cookie_domain": domain}),
    ):
        play = served(ingress(**of_one), **settings)
        forwarded(play, "/")
        _, lines, _ = answered(play, f"Set-Cookie: {cookie}", "Set-Cookie: other=1")
        assert values(lines, "Set-Cookie") == [becomes, "other=1"]


@pytest.mark.parametrize(
    ("path", "cookie", "becomes"),
    [
        ("/one/ /", "id=1; Path=/one/two; HttpOnly", "id=1; Path=/two; HttpOnly"),
        ("/one/ /", "id=/one/; Path=/", "id=/one/; Path=/"),
        ("/ /app/", "id=1; path=/", "id=1; path=/app/"),
    ],
)
def test_paths_of_cookies(path: str, cookie: str, becomes: str) -> None:
    play = served(ingress(proxy_cookie_path=path))
    forwarded(play, "/")
    assert values(answered(play, f"Set-Cookie: {cookie}")[1], "Set-Cookie") == [becomes]


@pytest.mark.parametrize(
    ("old", "new", "location", "becomes"),
    [
        ("http://in.test/", "https://a.test/", "http://in.test/x?q", "https://a.test/x?q"),
        ("http://in.test/", "https://a.test/", "http://else.test/", "http://else.test/"),
        ("http://in.test/", "/", "http://in.test/x", "http://a.test/x"),
        ("http://in.test/", "off", "http://in.test/x", "http://in.test/x"),
        ("default", "https://b.test/", "http://in.test/x", "http://in.test/x"),
        ("off", "https://b.test/", "http://in.test/x", "http://in.test/x"),
    ],
)
def test_places_that_upstreams_name(old: str, new: str, location: str, becomes: str) -> None:
    play = served(ingress(proxy_redirect_from=old, proxy_redirect_to=new))
    forwarded(play, "/", host="a.test:8080")
    _, lines, _ = answered(play, f"Location: {location}", f"Refresh: 5; url={location}", status="302 Found")
    assert values(lines, "Location") == [becomes]
    refreshed = becomes if new != "/" else "/x"
    assert values(lines, "Refresh") == [f"5; url={refreshed}"]


def test_a_place_without_a_host_stays_so() -> None:
    play = served(
        ingress(proxy_redirect_from="http://in.test/", proxy_redirect_to="/", relative_redirects="true")
    )
    forwarded(play, "/")
    _, lines, _ = answered(play, "Location: http://in.test/x", status="301 Moved Permanently")
    assert values(lines, "Location") == ["/x"]


def test_other_names_that_the_certificate_is_for() -> None:
    """They show it, and are sent to TLS; other ones aren't, and have the default certificate."""
    secret = tls_secret("pair", pair("a.test", "b.test", "www.a.test"))
    named = ingress(spec=TLS, server_alias="b.test,c.test", from_to_www_redirect="true")
    (shown,) = planned(named, secret).certificates
    assert sorted(shown.hosts) == ["a.test", "b.test", "www.a.test"]
    play = served(named, secret)
    assert own(play, "/", host="b.test")[1]["Location"] == "https://b.test"
    assert server(play, "/", host="c.test") == "web"
