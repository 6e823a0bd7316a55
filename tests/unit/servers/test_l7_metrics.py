"""What is told of requests that are over: lines of the access log by a format, and metrics as Prometheus reads them."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import NOW, Script

from emulab.kinds.networking.logformat import PREFIXES
from emulab.kinds.networking.logformat import VARIABLES as KNOWN
from emulab.kinds.networking.logformat import log_format as checked
from emulab.servers.configuration import BadConfiguration
from emulab.servers.exposition import Histogram, sample
from emulab.servers.l7.config import (
    Canary,
    Certificate,
    L7Config,
    Match,
    MeasuredAs,
    Options,
    RequestRoute,
    Upstream,
    WeightedUpstream,
)
from emulab.servers.l7.engine.snapshot import take
from emulab.servers.l7.personalities.ingress_nginx import accesslines
from emulab.servers.l7.personalities.ingress_nginx.metrics import ROWS, IngressMetrics
from emulab.servers.l7.personalities.personality import Connections, ProcessUse

A, B = "10.0.0.1:80", "10.0.0.2:80"
LABELS = {
    "controller_class": "k8s.io/ingress-nginx",
    "controller_namespace": "ingress-nginx",
    "controller_pod": "p",
}


def script(*servers: str, log_format: str = "", escape: str = "default") -> tuple[Script, IngressMetrics]:
    route = RequestRoute(
        Match("a.test", "/shop", "Prefix"), (WeightedUpstream("shop/web/80"),), "Ingress shop/front"
    )
    options = Options(log_format=log_format, log_escape=escape, keepalive_requests=2 * ROWS)
    config = L7Config((), routes=(route,), upstreams={"shop/web/80": Upstream(servers)}, options=options)
    play = Script(take(config, {}), lines=5)
    metrics = IngressMetrics()
    metrics.configure(MeasuredAs(LABELS), ["a.test"], [route.origin])
    play.around.measure = metrics.add
    return play, metrics


def asked(
    play: Script,
    answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    head: str = "GET /shop?n=1",
) -> None:
    play.client(
        f"{head} HTTP/1.1\r\nHost: A.test:80\r\nUser-Agent: curl/8\r\nCookie: id=7; x=y\r\n\r\n".encode()
    )
    play.vacant()
    play.now += 0.002
    play.connected()
    play.now += 0.003
    play.upstream(answer)


def lines(play: Script) -> list[str]:
    return [value for word, value in play.taken() if word == "log"]


def samples(metrics: IngressMetrics, *certificates: Certificate) -> dict[str, str]:
    figures = metrics.figures(Connections(3, 5, 2, 1), ProcessUse(1, 0.5, 4096, 8192, 100.0))
    text = metrics.text(figures, certificates, 7.5)
    found = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    assert len({name for name, _, _ in found}) == len(found), "a sample twice"
    return {name.removeprefix("nginx_ingress_controller_"): value for name, _, value in found}


OWN = 'controller_class="k8s.io/ingress-nginx",controller_namespace="ingress-nginx",controller_pod="p"'


def labels(status: int, **more: str) -> str:
    return (
        f'{{canary="",{OWN},host="a.test",ingress="front",method="GET",namespace="shop",path="/shop",service="web",'
        f'status="{status}"}}'
    )


def test_the_format_of_ingress_nginx() -> None:
    play, _ = script(A)
    asked(play)
    assert lines(play) == [
        '192.0.2.7 - - [28/Nov/2026:12:00:00 +0000] "GET /shop?n=1 HTTP/1.1" 200 2 "-" "curl/8" 82 0.005'
        f" [shop-web-80] [] {A} 2 0.005 200 {'f' * 32}"
    ]


def test_what_a_canary_gets_is_of_the_service_that_it_is_an_alternative_of() -> None:
    route = RequestRoute(
        Match("a.test", "/shop", "Prefix"),
        (WeightedUpstream("shop/web/80"),),
        "Ingress shop/front",
        canary=Canary("shop/next/80", 100),
    )
    config = L7Config(
        (), routes=(route,), upstreams={"shop/web/80": Upstream((A,)), "shop/next/80": Upstream((B,))}
    )
    play, metrics = Script(take(config, {}), lines=5), IngressMetrics()
    metrics.configure(MeasuredAs(LABELS), ["a.test"], [route.origin])
    play.around.measure = metrics.add
    asked(play)
    (line,) = lines(play)
    assert f" [shop-web-80] [shop-next-80] {B} " in line
    assert samples(metrics)["requests" + labels(200).replace('canary=""', 'canary="shop-next-80"')] == "1"


def test_what_comes_to_no_location_is_of_no_upstream() -> None:
    play, _ = script(A)
    play.client(b"GET / HTTP/1.1\r\n\r\n")
    assert [line.split('"-" "-" ')[1].split(" ")[2:4] for line in lines(play)] == [["[]", "[]"]]
    play, _ = script(A)
    play.client(b"GET / HTTP/1.1\r\nHost: b.test\r\n\r\n")
    assert "[upstream-default-backend] []" in lines(play)[0]


@pytest.mark.parametrize(
    ("asked_for", "is_logged"),
    [
        ("GET / HTTP/1.1\r\nHost: b.test", False),
        ("GET / HTTP/1.1\r\nHost: a.test.else", False),
        ("GET / HTTP/1.0", False),
        ("GET /else HTTP/1.1\r\nHost: a.test", True),
        ("GET / HTTP/1.1\r\nHost: a..test", True),
        ("GET / HTTP/1.1", True),
    ],
)
@pytest.mark.parametrize("default", [None, "shop/web/80"])
def test_what_comes_to_nobodys_host_may_have_no_line(
    asked_for: str, is_logged: bool, default: str | None
) -> None:
    """As of the location of ingress-nginx' default backend; not of what comes to no location."""
    route = RequestRoute(
        Match("a.test", "/shop", "Prefix"), (WeightedUpstream("shop/web/80"),), "Ingress s/f"
    )
    config = L7Config((), routes=(route,), upstreams={"shop/web/80": Upstream()}, default_upstream=default)
    for options, there in ((Options(), True), (Options(log_default=False), is_logged)):
        play = Script(take(replace(config, options=options), {}), lines=5)
        play.client(f"{asked_for}\r\n\r\n".encode())
        assert bool(lines(play)) is there


def test_each_try_is_told() -> None:
    play, metrics = script(
        A, B, log_format="$upstream_addr|$upstream_status|$upstream_connect_time|$upstream_header_time"
    )
    play.client(b"GET /shop HTTP/1.1\r\nHost: a.test\r\n\r\n")
    play.vacant()
    play.refused()
    play.vacant()
    play.now += 0.002
    play.connected()
    play.now += 0.003
    play.upstream(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    assert lines(play) == [f"{A}, {B}|502, 404|-, 0.002|-, 0.005"]
    assert samples(metrics)[f"requests{labels(404)}"] == "1"


def test_a_format_of_the_users() -> None:
    text = (
        '{"host": "$host", "uri": "${uri}", "n": "$arg_n", "id": "$cookie_id", "who": "$remote_user", "at": $msec, '
        '"ingress": "$namespace/$ingress_name", "service": "$service_name:$service_port", "agent": "$http_user_agent"}'
    )
    play, _ = script(A, log_format=text, escape="json")
    asked(play)
    assert json.loads(lines(play)[0]) == {
        "host": "a.test", "uri": "/shop", "n": "1", "id": "7", "who": "", "at": NOW, "ingress": "shop/front",
        "service": "web:80", "agent": "curl/8",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("escape", "agent"),
    [
        ("default", r"q\x22\xC3\xA4\xFF\x09\x7F"),
        ("json", 'q\\"ä\udcff\\t\x7f'),
        ("none", 'q"ä\udcff\t\x7f'),
    ],
)
def test_bytes_that_are_no_ascii_are_logged_as_nginx_does(escape: str, agent: str) -> None:
    """Of its formats in JSON and without escapes they are as they came."""
    play, _ = script(A, log_format="$http_x_y", escape=escape)
    play.client(b'GET /nowhere HTTP/1.1\r\nHost: a.test\r\nX-Y: q"\xc3\xa4\xff\t\x7f\r\n\r\n')
    assert lines(play) == [agent]


@pytest.mark.parametrize("first", ["GARBAGE", "\\x16\\x03\\x01", "get / HTTP/1.1", "GET / HTTP/9"])
def test_a_first_line_that_is_wrong_is_logged_as_it_came(first: str) -> None:
    play, _ = script(A)
    play.client(first.encode().decode("unicode_escape").encode("latin-1") + b"\r\nHost: a.test\r\n\r\n")
    (line,) = lines(play)
    assert f'"{first}" 4' in line or f'"{first}" 5' in line


@given(st.text(max_size=20))
def test_no_field_can_end_a_line_or_a_string(text: str) -> None:
    """Whatever a client sends, a line stays one line, and in JSON a string (as `escape=json` is for)."""
    raw = text.encode().translate(None, b"\r\n\0")
    for escape in ("default", "json"):
        play, _ = script(A, log_format='"$http_x_y"', escape=escape)
        play.client(
            b"GET /nowhere HTTP/1.1\r\nHost: a.test\r\nX-Y: a"
            + raw.replace(b"\x7f", b"").translate(None, bytes(range(32)))
            + b"\r\n\r\n"
        )
        (line,) = lines(play)
        assert "\n" not in line
        if escape == "json":
            assert json.loads(line).startswith("a")
        else:
            assert line.count('"') == 2


def test_variables_are_those_that_are_said_to_be_there() -> None:
    assert frozenset(accesslines.VARIABLES) == KNOWN
    assert tuple(accesslines._FAMILIES) == PREFIXES
    with pytest.raises(ValueError, match=r"\$nonsense"):
        checked("$status $nonsense")
    with pytest.raises(BadConfiguration, match="nonsense"):
        accesslines.log_format("$nonsense")
    with pytest.raises(BadConfiguration, match="yaml"):
        accesslines.log_format("", "yaml")
    assert checked("costs 5$ of ${status}") and accesslines.log_format(
        "costs 5$"
    )  # no name: it stands for itself


def test_a_request_is_counted_by_its_route_and_status() -> None:
    play, metrics = script(A)
    for _ in range(ROWS + 1):  # beyond what waits in rows
        play.client(b"GET /shop HTTP/1.1\r\nHost: a.test\r\n\r\n")
        play.connected(reused=True)
        play.now += 0.03
        play.upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    found = samples(metrics)
    assert found[f"requests{labels(200)}"] == str(ROWS + 1)
    bucket = labels(200).removesuffix("}")
    assert found[f'request_duration_seconds_bucket{bucket},le="0.025"}}'] == "0"
    assert found[f'request_duration_seconds_bucket{bucket},le="0.05"}}'] == str(ROWS + 1)
    assert found[f'connect_duration_seconds_bucket{bucket},le="0.005"}}'] == str(
        ROWS + 1
    )  # a kept connection takes none
    assert found[f"request_size_sum{labels(200)}"] == str(36 * (ROWS + 1))
    assert float(found[f"response_size_sum{labels(200)}"]) == len(
        b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok"
    ) * (ROWS + 1)


def test_strangers_hosts_are_not_counted_unless_that_is_asked_for() -> None:
    play, metrics = script()
    play.client(b"GET / HTTP/1.1\r\nHost: stranger.test\r\n\r\n")
    assert not [name for name in samples(metrics) if name.startswith("requests")]
    metrics.configure(MeasuredAs(LABELS, per_undefined_host=True, status_classes=True), [], [])
    play.client(b"GET / HTTP/1.1\r\nHost: stranger.test\r\n\r\n")
    (name,) = (name for name in samples(metrics) if name.startswith("requests"))
    assert 'host="stranger.test",ingress="-"' in name and 'status="4xx"' in name


def test_what_was_counted_of_an_ingress_goes_with_it() -> None:
    play, metrics = script(A)
    asked(play)
    metrics.configure(MeasuredAs(LABELS), ["a.test"], ["Ingress shop/front"])
    assert f"requests{labels(200)}" in samples(metrics)
    metrics.configure(MeasuredAs(LABELS), ["a.test"], ["Ingress shop/other"])
    assert f"requests{labels(200)}" not in samples(metrics)


def test_what_is_told_of_the_controller() -> None:
    metrics = IngressMetrics()
    metrics.configure(MeasuredAs(LABELS, excluded=("requests",)), [], [])
    ends = Certificate(("a.test", "b.test"), "", "", "shop/tls", 1.8e9)
    found = samples(metrics, ends, Certificate(("c.test",), "", ""))
    assert found[f"config_last_reload_successful{{{OWN}}}"] == "1" and found[f"success{{{OWN}}}"] == "1"
    assert found[f"config_last_reload_successful_timestamp_seconds{{{OWN}}}"] == "7"
    host = '{class="k8s.io/ingress-nginx",host="%s",namespace="shop",secret_name="tls"}'
    assert {name: value for name, value in found.items() if name.startswith("ssl_")} == {
        f"ssl_expire_time_seconds{host % 'a.test'}": "1.8e+09",
        f"ssl_expire_time_seconds{host % 'b.test'}": "1.8e+09",
    }
    states = {name: value for name, value in found.items() if name.startswith("nginx_process_connections{")}
    assert sorted(states.values()) == ["0", "1", "1", "2"]
    assert found[f"nginx_process_resident_memory_bytes{{{OWN}}}"] == "4096"
    text = metrics.text(metrics.figures(Connections(0, 0, 0, 0), ProcessUse(1, 0, 0, 0, 0)), [], 0)
    assert not re.search(r"^nginx_ingress_controller_requests", text, re.MULTILINE)


def test_labels_may_be_anything() -> None:
    assert sample("x", (("path", 'a"b\\c\nd'),), 1) == 'x{path="a\\"b\\\\c\\nd"} 1'
    histogram = Histogram((1.0, 2.0))
    histogram.observe_all([0.5, 1.5, 7])
    assert list(histogram.lines("h", ()))[:3] == [
        'h_bucket{le="1"} 1',
        'h_bucket{le="2"} 2',
        'h_bucket{le="+Inf"} 3',
    ]
