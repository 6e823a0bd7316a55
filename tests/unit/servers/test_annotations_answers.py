"""Annotations of what upstreams are told and of answers, and keys of the ConfigMap, from an Ingress to the wire."""

from __future__ import annotations

import gzip

import pytest
from annotated import (
    FLAGS,
    SERVERS,
    answered,
    ask,
    config_map,
    forwarded,
    ingress,
    own,
    planned,
    sent,
    served,
    server,
    values,
    warnings,
)
from scripted import has, page

from emulab.cluster.system import system_objects
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.networking.controllerkeys import DEFAULTED
from emulab.kinds.networking.controllersettings import unknown_keys, unreadable_keys
from emulab.model.collection import Objects
from emulab.plan.l7.annotations.buffering import HELD
from emulab.plan.l7.configmap import settings as configured
from emulab.plan.l7.unread import unread
from emulab.servers.l7.engine.aside import MirroredRequest

WEB, ERRORS = SERVERS["web"], SERVERS["errors"]
PREFLIGHT = ("Access-Control-Allow-", "Access-Control-Max-Age", "Access-Control-Expose-")


def allowed(lines: list[str]) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in lines if line.startswith(PREFLIGHT))


# --- CORS -----------------------------------------------------------------------------------------------------------

DEFAULTS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Allow-Methods": "GET, PUT, POST, DELETE, PATCH, OPTIONS",
    "Access-Control-Allow-Headers": (
        "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization"
    ),
    "Access-Control-Max-Age": "1728000",
}


def test_a_preflight_is_answered() -> None:
    play = served(ingress(enable_cors="true"))
    status, fields = own(play, "/", "Origin: https://x.test", method="OPTIONS")
    assert status == "204" and allowed([f"{k}: {v}" for k, v in fields.items()]) == DEFAULTS
    assert "Content-Length" not in fields


def test_other_requests_are_allowed_whoever_answers() -> None:
    """The fields of the upstream's own of those names give way."""
    play = served(ingress(("/", "web", "Prefix"), ("/none", "empty", "Prefix"), enable_cors="true"))
    forwarded(play, "/", "Origin: https://x.test")
    _, lines, _ = answered(play, "Access-Control-Allow-Origin: mine", "access-control-max-age: 1")
    assert allowed(lines) == DEFAULTS
    status, fields = own(play, "/none")
    assert status == "503" and fields["Access-Control-Allow-Origin"] == "*"


def test_all_that_can_be_said_of_origins() -> None:
    play = served(
        ingress(
            enable_cors="true",
            cors_allow_origin="https://b.test:8443, https://*.c.test, null",
            cors_allow_methods="GET, PUT",
            cors_allow_headers="X-A, X-B",
            cors_allow_credentials="false",
            cors_expose_headers="*, X-C",
            cors_max_age="600",
        )
    )
    status, fields = own(play, "/", "Origin: https://b.test:8443", method="OPTIONS")
    assert status == "204" and allowed([f"{k}: {v}" for k, v in fields.items()]) == {
        "Access-Control-Allow-Origin": "https://b.test:8443",
        "Access-Control-Allow-Methods": "GET, PUT",
        "Access-Control-Allow-Headers": "X-A, X-B",
        "Access-Control-Expose-Headers": "*, X-C",
        "Access-Control-Max-Age": "600",
    }


@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [
        ("https://b.test", True),
        ("HTTPS://B.test", True),
        ("http://b.test", False),
        ("https://b.test:1", False),
        ("https://x.c.test", True),
        ("https://y.x.c.test", False),
        ("https://c.test", False),
        ("null", True),
        ("", False),
    ],
)
def test_whose_requests_are_allowed(origin: str, is_allowed: bool) -> None:
    """A preflight of another origin is the upstream's to answer."""
    allow = "https://b.test,https://*.c.test,null"
    play = served(ingress(enable_cors="true", cors_allow_origin=allow))
    fields = [f"Origin: {origin}"] if origin else []
    forwarded(play, "/", *fields)
    _, lines, _ = answered(play)
    assert values(lines, "Access-Control-Allow-Origin") == ([origin] if is_allowed else [])
    if is_allowed:
        assert own(play, "/", *fields, method="OPTIONS")[0] == "204"
    else:
        assert forwarded(play, "/", *fields, method="OPTIONS")[0] == "OPTIONS / HTTP/1.1"


def test_a_preflight_comes_before_tls_and_redirects() -> None:
    play = served(ingress(enable_cors="true", force_ssl_redirect="true", permanent_redirect="http://b.test"))
    assert own(play, "/", method="OPTIONS")[0] == "204"
    status, fields = own(play, "/")
    assert status == "301" and fields["Access-Control-Allow-Origin"] == "*"


def test_what_is_wrong_to_say_of_origins() -> None:
    wrong = {"cors_allow_origin": "b.test/x", "cors_allow_methods": "GET;", "cors_max_age": "long"}
    play = served(ingress(enable_cors="true", **wrong))
    assert allowed([f"{k}: {v}" for k, v in own(play, "/", method="OPTIONS")[1].items()]) == DEFAULTS
    assert len(warnings(ingress(enable_cors="true", **wrong))) == 3
    one = ingress(enable_cors="true", cors_allow_origin="b.test, http://a.test,", cors_max_age="-1")
    fields = own(served(one), "/", "Origin: http://a.test", method="OPTIONS")[1]
    assert (
        fields["Access-Control-Allow-Origin"] == "http://a.test" and fields["Access-Control-Max-Age"] == "-1"
    )
    (said,) = warnings(one)
    assert "has 'b.test', which is no origin" in said and said.endswith("it isn't allowed")
    off = served(ingress(enable_cors="false", cors_allow_origin="*"))
    assert forwarded(off, "/", method="OPTIONS")[0].startswith("OPTIONS")


# --- what upstreams are told ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vhost", "host"),
    [
        ("in.test", "in.test"),
        ("$service_name.$namespace.svc", "web.default.svc"),
        ("${host}", "a.test"),
        ("$http_host", "A.test:80"),
        ("$http_x_tenant.test", "me.test"),
    ],
)
def test_the_host_that_the_upstream_is_told(vhost: str, host: str) -> None:
    _, lines = forwarded(served(ingress(upstream_vhost=vhost)), "/", "X-Tenant: me", host="A.test:80")
    assert values(lines, "Host") == [host] and values(lines, "X-Forwarded-Host") == ["A.test:80"]


@pytest.mark.parametrize("believed", ["true", "false"])
def test_the_host_that_came_is_told_as_the_original_one(believed: str) -> None:
    play = served(ingress(), use_forwarded_headers=believed)
    _, lines = forwarded(play, "/", "X-Forwarded-Host: a.test", "X-Original-Forwarded-Host: mine")
    assert values(lines, "X-Original-Forwarded-Host") == ["a.test"]
    sent_back = served(ingress())
    _, lines = forwarded(sent_back, "/", "X-Original-Forwarded-Host: mine")
    assert values(lines, "X-Original-Forwarded-Host") == []


def test_the_connection_that_the_upstream_is_told() -> None:
    play = served(ingress(connection_proxy_header="close"))
    _, lines = forwarded(play, "/", "Connection: upgrade", "Upgrade: websocket")
    assert values(lines, "Connection") == ["close"]
    assert warnings(ingress(connection_proxy_header="upgrade"))


def test_fields_of_a_config_map_are_told() -> None:
    fields = config_map("more", X_Mine="$remote_addr-$host", X_Gone="", Content_Length="7")
    play = served(ingress(), fields, proxy_set_headers="default/more")
    _, lines = forwarded(play, "/", "X-Mine: theirs", "X-Gone: 1")
    assert values(lines, "X-Mine") == ["192.0.2.7-a.test"] and values(lines, "X-Gone") == []
    assert values(lines, "Content-Length") == []


@pytest.mark.parametrize(
    ("target", "address", "secure", "asked"),
    [
        ("https://m.test/$request_uri", "m.test:443", True, "/" + "/x?q=1"),
        ("http://m.test:81$request_uri", "m.test:81", False, "/x?q=1"),
        ("http://m.test/fixed", "m.test:80", False, "/fixed?q=1"),
        ("http://m.test", "m.test:80", False, "/_mirror-default-shop?q=1"),
        ("http://m.test/$service_name$request_uri", "m.test:80", False, "/web/x?q=1"),
    ],
)
def test_a_mirror_gets_each_request(target: str, address: str, secure: bool, asked: str) -> None:
    play = served(ingress(mirror_target=target))
    ask(play, "/x?q=1", "X-Mine: 1", method="POST", body=b"hello")
    (mirror, select) = play.taken()
    assert select == ("select", WEB) and mirror[0] == "mirror"
    sent_there = mirror[1]
    assert isinstance(sent_there, MirroredRequest)
    assert (sent_there.address, sent_there.secure) == (address, secure)
    head, _, body = sent_there.data.partition(b"\r\n\r\n")
    start, *lines = head.decode().split("\r\n")
    assert (start, body) == (f"POST {asked} HTTP/1.1", b"hello")
    assert values(lines, "Content-Length") == ["5"] and values(lines, "X-Mine") == ["1"]
    host = target.partition("//")[2].partition("$")[0].partition("/")[0].partition(":")[0]
    assert values(lines, "Host") == [host]


def test_a_mirror_may_have_another_host_and_no_bodies() -> None:
    mirrored = ingress(mirror_target="http://m.test/", mirror_host="n.test", mirror_request_body="off")
    play = served(mirrored, proxy_request_buffering="off")
    ask(play, "/", method="POST", body=b"hello")
    data = next(argument.data for word, argument in play.taken() if word == "mirror")
    assert b"\r\nHost: n.test\r\n" in data and data.endswith(b"\r\n\r\n") and b"Content-Length" not in data


def test_a_mirror_of_bodies_has_them_gathered() -> None:
    play = served(ingress(mirror_target="http://m.test", proxy_request_buffering="off"))
    play.client(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nab")
    play.expect()
    play.client(b"cd")
    assert [word for word, _ in play.taken()] == ["mirror", "select"]


@pytest.mark.parametrize("target", ["m.test", "ftp://m.test", "http://$nonsense", "http://m.test/ x"])
def test_mirrors_that_cannot_be(target: str) -> None:
    (said,) = warnings(ingress(mirror_target=target))
    assert said.startswith("mirror-target]: ")


# --- fields of answers ----------------------------------------------------------------------------------------------


def test_fields_of_a_config_map_are_in_all_answers() -> None:
    fields = config_map("fields", X_Frame_Options="DENY", X_Mine="2 $x")
    custom = ingress(("/", "web", "Prefix"), ("/none", "empty", "Prefix"), custom_headers="default/fields")
    play = served(custom, fields, global_allowed_response_headers="X-Mine, X-Frame-Options")
    forwarded(play, "/")
    _, lines, _ = answered(play, "x-mine: 1")
    assert values(lines, "X-Mine") == ["2 $x"] and values(lines, "X-Frame-Options") == ["DENY"]
    assert own(play, "/none")[1]["X-Mine"] == "2 $x"


@pytest.mark.parametrize(
    ("fields", "allowed_ones", "why"),
    [
        (None, "X-Mine", 'unable to find configMap "default/fields"'),
        ({"X-Mine": "1"}, "X-Other", "header X-Mine is not allowed"),
        ({"X Mine": "1"}, "X-Mine", "invalid header name in configmap"),
        ({"X-Mine": "1\n"}, "X-Mine", "invalid header value in configmap"),
    ],
)
def test_fields_that_may_not_be_deny_requests(
    fields: dict[str, str] | None, allowed_ones: str, why: str
) -> None:
    custom = ingress(custom_headers="default/fields")
    there = [config_map("fields", **fields)] if fields is not None else []
    settings = {"global_allowed_response_headers": allowed_ones}
    assert own(served(custom, *there, **settings), "/")[0] == "503"
    controller = config_map("ingress-nginx-controller", "ingress-nginx", **settings)
    (said,) = warnings(custom, *there, controller)
    assert said.startswith(f"custom-headers]: {why}") and said.endswith("answered with 503")


def test_fields_of_all_answers_of_the_controller() -> None:
    fields = config_map("all", X_All="1", Date="never")
    play = served(
        ingress(), fields, add_headers="default/all", server_tokens="true", hide_headers="X-In, Vary"
    )
    forwarded(play, "/")
    _, lines, _ = answered(play, "X-All: theirs", "X-In: 1", "vary: x", "Server: in", "X-Out: 1")
    assert values(lines, "X-All") == ["1"] and values(lines, "Server") == ["nginx/1.27.1"]
    assert values(lines, "X-In") + values(lines, "Vary") == [] and values(lines, "X-Out") == ["1"]
    status, found = own(play, "/", host="unknown.test")
    assert status == "404" and found["X-All"] == "1" and found["Server"] == "nginx/1.27.1"
    shut = ingress(whitelist_source_range="9.9.9.9")
    hiding = served(shut, fields, add_headers="default/all", server_tokens="true", hide_headers="X-In")
    for one, host in ((play, "unknown.test"), (hiding, "a.test")):
        ask(one, "/", host=host)
        assert b"<hr><center>nginx/1.27.1</center>" in sent(one)[2], "the page says another name"


def test_they_may_name_variables_and_those_of_an_ingress_may_not() -> None:
    told = config_map("all", X_Request_ID="$req_id", X_Host="at $host")
    own_fields = config_map("own", X_Own="$host")
    asking = {"add_headers": "default/all", "global_allowed_response_headers": "X-Own"}
    play = served(ingress(custom_headers="default/own"), told, own_fields, **asking)
    _, lines = forwarded(play, "/")
    (request_id,) = values(lines, "X-Request-ID")
    _, lines, _ = answered(play, "X-Host: theirs")
    assert values(lines, "X-Request-ID") == [request_id] and values(lines, "X-Host") == ["at a.test"]
    assert values(lines, "X-Own") == ["$host"]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_they_are_once_in_answers_of_our_own(scheme: str) -> None:
    shut = ingress(whitelist_source_range="9.9.9.9")
    play = served(shut, config_map("all", X_All="1"), scheme=scheme, add_headers="default/all", hsts="true")
    ask(play, "/")
    status, lines, _ = sent(play)
    assert status == "403" and values(lines, "X-All") == ["1"]
    assert len(values(lines, "Strict-Transport-Security")) == (scheme == "https")


@pytest.mark.parametrize(
    ("scheme", "hsts", "told"),
    [
        ("https", "true", "max-age=31536000; includeSubDomains"),
        ("https", "false", "own"),
        ("http", "true", "own"),
    ],
)
def test_what_an_upstream_says_of_transport_is_replaced(scheme: str, hsts: str, told: str) -> None:
    play = served(ingress(), scheme=scheme, hsts=hsts)
    forwarded(play, "/")
    _, lines, _ = answered(play, "Strict-Transport-Security: own")
    assert values(lines, "Strict-Transport-Security") == [told]


# --- gzip -----------------------------------------------------------------------------------------------------------

TEXT = b"0123456789" * 100
TAKES = ("Accept-Encoding: br, gzip;q=0.5",)


def test_answers_are_compressed_for_who_takes_it() -> None:
    play = served(ingress(), use_gzip="true", gzip_level="6")
    forwarded(play, "/", *TAKES)
    _, lines, body = answered(play, "Content-Type: text/plain; charset=utf-8", 'ETag: "1"', body=TEXT)
    assert values(lines, "Content-Encoding") == ["gzip"] and values(lines, "Transfer-Encoding") == ["chunked"]
    assert values(lines, "Content-Length") == [] and values(lines, "ETag") == ['W/"1"']
    assert values(lines, "Vary") == ["Accept-Encoding"]
    size, _, rest = body.partition(b"\r\n")
    assert gzip.decompress(rest[: int(size, 16)]) == TEXT and rest.endswith(b"\r\n0\r\n\r\n")


def test_a_body_is_compressed_as_it_comes() -> None:
    play = served(ingress(), use_gzip="true")
    forwarded(play, "/", *TAKES)
    play.upstream(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"
    )
    first = sent(play)[2]
    play.upstream(b"3\r\nsec\r\n0\r\n\r\n")
    data, rest = b"", first + b"".join(argument for word, argument in play.taken() if word == "send")
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        data, rest = data + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    assert gzip.decompress(data) == b"firstsec" and len(first) > 10, "what has come goes on at once"


@pytest.mark.parametrize(
    ("asked", "fields", "status", "size"),
    [
        ((), ("Content-Type: text/plain",), "200 OK", 1000),
        (("Accept-Encoding: gzip;q=0",), ("Content-Type: text/plain",), "200 OK", 1000),
        (TAKES, ("Content-Type: image/png",), "200 OK", 1000),
        (TAKES, ("Content-Type: text/plain",), "200 OK", 255),
        (TAKES, ("Content-Type: text/plain",), "500 Internal Server Error", 1000),
        (TAKES, ("Content-Type: text/plain", "Content-Encoding: br"), "200 OK", 1000),
    ],
)
def test_what_is_not_compressed(
    asked: tuple[str, ...], fields: tuple[str, ...], status: str, size: int
) -> None:
    play = served(ingress(), use_gzip="true")
    forwarded(play, "/", *asked)
    _, lines, body = answered(play, *fields, status=status, body=bytes(size))
    assert "gzip" not in values(lines, "Content-Encoding") and body == bytes(size)


def test_which_answers_are_compressed() -> None:
    play = served(ingress(), use_gzip="true", gzip_types="application/x-mine", gzip_min_length="10")
    forwarded(play, "/", *TAKES)
    assert values(answered(play, "Content-Type: application/x-mine", body=bytes(10))[1], "Content-Encoding")
    forwarded(play, "/", *TAKES)
    assert not values(answered(play, "Content-Type: text/css", body=bytes(99))[1], "Content-Encoding")
    forwarded(play, "/", *TAKES, method="HEAD")
    play.upstream(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 99\r\n\r\n")
    lines = sent(play)[1]
    assert values(lines, "Content-Encoding") == ["gzip"] and values(lines, "Vary") == ["Accept-Encoding"]
    assert not values(lines, "Content-Length"), "which nobody knows"


# --- errors ---------------------------------------------------------------------------------------------------------

TOLD = (
    "X-Code",
    "X-Format",
    "X-Original-URI",
    "X-Namespace",
    "X-Ingress-Name",
    "X-Service-Name",
    "X-Service-Port",
)


def told(lines: list[str]) -> list[str]:
    return [value for name in TOLD for value in values(lines, name)]


def asked_instead(play: object) -> tuple[str, list[str], bytes]:
    """The request that an upstream gets in the place of another one that failed."""
    play.connected()  # type: ignore[attr-defined]
    (data,) = (argument for word, argument in play.taken() if word == "forward")  # type: ignore[attr-defined]
    head, _, body = data.partition(b"\r\n\r\n")
    start, *lines = head.decode().split("\r\n")
    return start, lines, body


def test_another_service_answers_for_errors() -> None:
    play = served(
        ingress(custom_http_errors="404,503", default_backend="errors", enable_cors="true"), told=True
    )
    _, lines = forwarded(play, "/x?q=1", "Accept: text/html", "X-Mine: 1")
    (request_id,) = values(lines, "X-Request-ID")
    play.upstream(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno")
    play.expect(("release", 0.0), ("select", ERRORS))
    start, lines, _ = asked_instead(play)
    assert start == "GET /?q=1 HTTP/1.1" and values(lines, "Host") == ["a.test"]
    assert told(lines) == ["404", "text/html", "/x?q=1", "default", "shop", "web", "80"]
    assert values(lines, "X-Request-ID") == [request_id] and values(lines, "X-Mine") == ["1"]
    assert values(lines, "X-Forwarded-For") == ["192.0.2.7"] and values(lines, "X-Real-IP") == []
    play.upstream(b"HTTP/1.1 418 Teapot\r\nContent-Length: 3\r\n\r\ntea")
    ((_, out), record, _) = play.taken()
    assert out.startswith(b"HTTP/1.1 418 Teapot\r\n") and out.endswith(b"\r\n\r\ntea")
    assert b"Access-Control" not in out, "the fields of the location aren't those of who answers for it"
    why = "the upstream answered 404; answered as the error 404"
    assert record == ("tell", has(status=418, upstream=ERRORS, reason=why, answered_by="upstream"))


def test_who_answers_for_errors_may_have_turns_of_its_own() -> None:
    """A client stays with its server of that Service, too; here the cookie's first."""
    sticky = ingress(("/sticky", "errors", "Prefix"), name="sticky", affinity="cookie")
    shut = ingress(custom_http_errors="403,404", default_backend="errors", denylist_source_range="0.0.0.0/0")
    play = served(sticky, shut)
    ask(play, "/x")
    play.expect(("select", ERRORS))
    start, lines, _ = asked_instead(play)
    assert start == "GET / HTTP/1.1" and told(lines)[0] == "403"
    play.upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert sent(play)[::2] == ("200", b"ok")


def test_errors_of_our_own_are_answered_so_too() -> None:
    play = served(ingress(("/", "empty", "Prefix"), custom_http_errors="503", default_backend="errors"))
    ask(play, "/x")
    play.expect(("select", ERRORS))
    _, lines, _ = asked_instead(play)
    assert told(lines) == ["503", "default", "shop", "empty", "80"], (
        "nothing is there to ask in the first place"
    )


def test_a_failed_try_is_answered_so_with_the_body() -> None:
    play = served(ingress(custom_http_errors="502", default_backend="errors"))
    ask(play, "/x", method="POST", body=b"hello")
    play.vacant()
    play.skip()
    play.refused()
    play.refused()
    play.refused()
    assert ("select", ERRORS) in play.taken()
    start, lines, body = asked_instead(play)
    assert (start, body) == ("POST / HTTP/1.1", b"hello") and values(lines, "Content-Length") == ["5"]
    play.upstream(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\noops")
    assert sent(play)[2] == b"oops"


def test_a_body_that_is_too_large_goes_nowhere() -> None:
    play = served(ingress(custom_http_errors="413", default_backend="errors", proxy_body_size="4"))
    ask(play, "/x", method="POST", body=b"hello")
    play.expect(("select", ERRORS))
    start, lines, body = asked_instead(play)
    assert (start, body) == ("POST / HTTP/1.1", b"") and told(lines)[0] == "413"
    assert values(lines, "Content-Length") == []
    play.upstream(b"HTTP/1.1 413 Large\r\nContent-Length: 0\r\n\r\n")
    status, lines, _ = sent(play)
    assert status == "413" and values(lines, "Connection") == ["close"]


def test_who_answers_for_errors_may_fail_too() -> None:
    play = served(
        ingress(custom_http_errors="502,504", default_backend="errors", proxy_next_upstream_tries="1")
    )
    for timed_out, status in ((False, 502), (True, 504)):
        ask(play, "/")
        play.vacant()
        play.refused()
        play.skip()
        play.vacant()
        play.skip()
        play.refused(timed_out=timed_out)
        play.expect(("send", page(status)))


def test_without_a_default_backend_an_error_is_a_404() -> None:
    play = served(ingress(custom_http_errors="500"))
    forwarded(play, "/")
    play.upstream(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")
    assert sent(play)[0] == "404"


def test_the_default_backend_of_the_controller_answers_for_all() -> None:
    from dataclasses import replace

    flags = replace(FLAGS, default_backend="default/errors")
    play = served(ingress(), flags=flags, custom_http_errors="404,500")
    forwarded(play, "/")
    play.upstream(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")
    assert ("select", ERRORS) in play.taken()
    mine = served(ingress(custom_http_errors="404"), flags=flags, custom_http_errors="500")
    forwarded(mine, "/")
    assert answered(mine, status="500 Internal Server Error")[0] == "500", "an Ingress' own are all of them"


def test_upstreams_errors_may_stay_theirs() -> None:
    apart = {"custom_http_errors": "404,503", "default_backend": "errors"}
    play = served(ingress(**apart, disable_proxy_intercept_errors="true"))
    forwarded(play, "/")
    assert answered(play, status="404 Not Found", body=b"mine")[0::2] == ("404", b"mine")


@pytest.mark.parametrize(
    ("annotations", "keys", "status"),
    [
        ({}, {"custom_http_errors": "500"}, "404"),
        ({"disable_proxy_intercept_errors": "true"}, {"custom_http_errors": "500"}, "404"),
        ({}, {"custom_http_errors": "500", "disable_proxy_intercept_errors": "true"}, "500"),
        ({"custom_http_errors": "500"}, {"disable_proxy_intercept_errors": "true"}, "404"),
        ({"custom_http_errors": "500", "disable_proxy_intercept_errors": "true"}, {}, "500"),
        (
            {"custom_http_errors": "500", "disable_proxy_intercept_errors": "true"},
            {"custom_http_errors": "503"},
            "404",
        ),
        ({"custom_http_errors": "x"}, {"custom_http_errors": "500"}, "404"),
    ],
)
def test_whose_errors_are_looked_at(annotations: dict[str, str], keys: dict[str, str], status: str) -> None:
    """nginx' `proxy_intercept_errors` is said for all, or for a location, which takes nothing back."""
    play = served(ingress(**annotations), **keys)
    forwarded(play, "/")
    play.upstream(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")
    assert sent(play)[0] == status


def test_a_default_backend_stands_in_for_a_service_without_endpoints() -> None:
    play = served(ingress(("/x", "empty", "Prefix"), default_backend="errors"))
    start, lines = forwarded(play, "/x/y", "Accept: a/b")
    assert start == "GET /x/y HTTP/1.1"
    assert told(lines) == ["503", "a/b", "default", "shop", "empty", "80"]
    assert server(served(ingress(default_backend="errors")), "/") == "web"
    assert server(served(ingress(("/", "empty", "Prefix"), default_backend="none")), "/") == "503"
    assert warnings(ingress(default_backend="none")) == [
        "default-backend]: there is no Service default/none with a port; requests are served as without it"
    ]


def test_that_a_time_of_0_is_not_for_ever_is_told() -> None:
    for said in ({"proxy_connect_timeout": "0"}, {"proxy_read_timeout": "0"}):
        (line,) = warnings(ingress(**said))
        assert line.endswith("0 is no time at all, not for ever: clients get 504")
    assert warnings(ingress(proxy_send_timeout="0", proxy_next_upstream_timeout="0")) == []


# --- what is held back, and what is written -------------------------------------------------------------------------


def test_bodies_are_gathered_unless_that_is_off() -> None:
    def buffers(**annotations: str) -> int:
        (route,) = planned(ingress(**annotations)).routes
        return route.policy.request_buffer

    assert buffers() == 1 << 20 and buffers(proxy_body_size="5m") == 5 << 20
    assert buffers(proxy_body_size="0") == buffers(proxy_body_size="1g") == HELD
    assert buffers(proxy_request_buffering="off") == 0
    (route,) = planned(ingress(), proxy_request_buffering="off").routes
    assert route.policy.request_buffer == 0
    (route,) = planned(ingress(proxy_request_buffering="on"), proxy_request_buffering="off").routes
    assert route.policy.request_buffer == 1 << 20


def test_an_answer_waits_for_a_slow_client_in_buffers() -> None:
    sizes = {"proxy_buffers_number": "2", "proxy_buffer_size": "4k", "proxy_max_temp_file_size": "0"}
    play = served(ingress(proxy_buffering="on", **sizes))
    forwarded(play, "/")
    play.upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + bytes(1000))
    play.client_full(True)
    play.upstream(bytes(8000))
    assert ("drain", False) not in play.taken(), "there is room for it"
    play.upstream(bytes(1000))
    assert ("drain", False) in play.taken()
    play.client_full(False)
    assert ("drain", True) in play.taken()
    plain = served(ingress())
    forwarded(plain, "/")
    plain.upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n")
    plain.client_full(True)
    assert ("drain", False) in plain.taken()


def test_requests_that_leave_no_line() -> None:
    quiet = ingress(("/quiet", "empty", "Prefix"), name="quiet", enable_access_log="false")
    play = served(ingress(("/", "empty", "Prefix")), quiet, lines=9)
    ask(play, "/quiet")
    ask(play, "/loud")
    lines = [argument for word, argument in play.taken() if word == "log"]
    assert len(lines) == 1 and "/loud" in lines[0]
    silent = served(ingress(("/", "empty", "Prefix")), lines=9, disable_access_log="true")
    ask(silent, "/")
    assert "log" not in {word for word, _ in silent.taken()}


def test_snippets_are_refused_with_a_word() -> None:
    names = ("configuration", "server", "auth", "modsecurity", "stream")
    said = warnings(ingress(**{f"{name}_snippet": "return 200;" for name in names}))
    assert len(said) == 5 and all("allow-snippet-annotations" in line for line in said)
    assert warnings(ingress(enable_rewrite_log="true", client_body_buffer_size="16k")) == []


# --- keys of the ConfigMap ------------------------------------------------------------------------------------------


def test_how_many_requests_a_connection_serves() -> None:
    play = served(ingress(("/", "empty", "Prefix")), keep_alive_requests="2")
    assert [own(play, "/")[1]["Connection"] for _ in range(2)] == ["keep-alive", "close"]


@pytest.mark.parametrize(
    ("settings", "field", "status"),
    [
        ({}, 8000, "503"),
        ({}, 9000, "400"),
        ({"large_client_header_buffers": "4 16k"}, 9000, "503"),
        ({"large_client_header_buffers": "1 4k"}, 3000, "503"),
        ({"large_client_header_buffers": "1 2k"}, 3000, "400"),
        ({"large_client_header_buffers": "1 2k", "client_header_buffer_size": "4k"}, 3000, "503"),
    ],
)
def test_how_large_a_head_may_be(settings: dict[str, str], field: int, status: str) -> None:
    play = served(ingress(("/", "empty", "Prefix")), **settings)
    assert own(play, "/", f"X: {'x' * field}")[0] == status


def test_what_is_said_of_the_controllers_config_map() -> None:
    """Whether the controller comes with it or every lab has it."""
    settings = config_map(
        "ingress-nginx-controller", "ingress-nginx", of_tomorrow="x", proxy_stream_timeout="3s",
        limit_req_status_cod="429", use_gzip="maybe",
        add_headers="default/none", proxy_set_headers="default/fields",
    )  # fmt: skip
    fields = config_map("fields", Content_Length="1", X_Fine="$host", X_Wrong="$nonsense")
    there = Objects([*system_objects(Cluster()), settings, fields])
    assert [(finding.path[-1], finding.message) for finding in unread([settings, fields], there)] == [
        ("use-gzip", "'maybe' is neither true nor false; the default holds"),
        ("of-tomorrow", "isn't followed: requests are served as without it"),
        ("proxy-stream-timeout", "isn't followed: requests are served as without it"),
        (
            "limit-req-status-cod",
            "isn't followed: requests are served as without it; did you mean limit-req-status-code?",
        ),
        ("add-headers", "there is no ConfigMap default/none"),
        ("Content-Length", "'1' can't be the value of this header field"),
        ("X-Wrong", "'$nonsense' can't be the value of this header field"),
    ]
    assert [*unread([config_map("other", use_gzip="maybe")], there)] == []


def test_keys_that_are_known() -> None:
    data = {
        "server-name-hash-max-size": "1",
        "gzip-level": "10",
        "proxy-buffering": "maybe",
        "proxy-read-timeout": "30s",
        "hsts": "yes",
        "custom-http-errors": "404, 299, x",
        "of-tomorrow": "x",
        "enable-brotli": "true",
        "use-geoip2": "false",
    }
    assert unknown_keys(data) == ["of-tomorrow", "enable-brotli"], "what is done anyway is followed"
    assert unreadable_keys(data) == {
        "custom-http-errors": "has '299', which is no status from 300 to 599; it is left",
        "gzip-level": "is no level from 1 to 9; the default holds",
        "hsts": "is neither true nor false; the default holds",
        "proxy-buffering": "is neither on nor off; the default holds",
        "proxy-read-timeout": "is no number of seconds, which has no unit here; the default holds",
    }
    assert DEFAULTED["custom-http-errors"]("404, 299, x") == (404,)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({}, "max-age=31536000; includeSubDomains"),
        ({"hsts": "yes", "hsts-preload": "1", "hsts-include-subdomains": "F"}, "max-age=31536000; preload"),
        ({"hsts": "0"}, ""),
    ],
)
def test_strict_transport_security(data: dict[str, str], told: str) -> None:
    assert configured(data)[1].hsts == told


def test_names_of_fields_with_underscores_and_others() -> None:
    asked = ("X_Mine: 1", "X.Mine: 2", "X-Mine: 3")

    def passed(**settings: str) -> list[str]:
        _, lines = forwarded(served(ingress(), **settings), "/", *asked)
        return [line for line in lines if line in asked]

    assert passed() == ["X-Mine: 3"]
    assert passed(enable_underscores_in_headers="true") == ["X_Mine: 1", "X-Mine: 3"]
    assert passed(ignore_invalid_headers="false") == [*asked]


def test_a_servers_own_name_and_the_uri_that_was_asked() -> None:
    settings = {"allow_backend_server_header": "true", "proxy_add_original_uri_header": "true"}
    play = served(ingress(("/a", "web"), rewrite_target="/b"), **settings)
    start, lines = forwarded(play, "/a?q=1")
    assert start == "GET /b?q=1 HTTP/1.1" and values(lines, "X-Original-URI") == ["/a?q=1"]
    assert values(answered(play, "Server: inner")[1], "Server") == ["inner"]
    plain = served(ingress())
    forwarded(plain, "/")
    assert values(answered(plain, "Server: inner")[1], "Server") == []


def test_targets_that_leave_no_line() -> None:
    play = served(ingress(("/", "empty", "Prefix")), lines=9, skip_access_log_urls="/quiet, /q?x")
    for target in ("/quiet", "/q?x", "/q", "/loud"):
        ask(play, target)
    lines = [argument for word, argument in play.taken() if word == "log"]
    assert [
        target for target in ("/quiet ", "/q?x ", "/q ", "/loud ") if any(target in line for line in lines)
    ] == [
        "/q ",
        "/loud ",
    ]


def test_whose_clients_are_sent_nothing_compressed() -> None:
    play = served(ingress(), use_gzip="true", gzip_disable="oldie [1-6]")
    for agent, coding in (("OLDIE 4", []), ("newer", ["gzip"])):
        forwarded(play, "/", *TAKES, f"User-Agent: {agent}")
        assert values(answered(play, "Content-Type: text/plain", body=TEXT)[1], "Content-Encoding") == coding
