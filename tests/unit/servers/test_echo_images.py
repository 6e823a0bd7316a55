"""What stand-ins say that play an image's program: the words of the images' own sources."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from emulab.servers.echo.answers import EchoAnswer, Played, answer_bytes
from emulab.servers.echo.config import PodConfig, PortConfig
from emulab.servers.echo.identities import identity_of
from emulab.servers.echo.images import DATAGRAMS, SAYS
from emulab.servers.echo.images.gohttp import duration
from emulab.servers.echo.tls import go_suite
from emulab.servers.wire.http1.requests import Request

CLIENT = "10.244.2.9:40000"


def played(says: str, began: float = 0.0, **options: str) -> Played:
    ways = PortConfig("svc", "ing", says, options, "c", began)
    pod = PodConfig("app", "web-0", "node1", "10.244.1.5", {"80": ways, "udp/80": ways}, "host-of-it")
    found = identity_of("10.244.1.5", 80, pod).played
    assert found is not None
    return found


def say(
    says: str, target: str, method: str = "GET", headers: dict[str, list[str]] | None = None, **options: Any
) -> EchoAnswer:
    request = Request(method, target, "HTTP/1.1", {"Host": ["web.test"], **(headers or {})})
    return SAYS[says](request, played(says, **options), CLIENT)


def head(what: EchoAnswer) -> str:
    return answer_bytes(what).partition(b"\r\n\r\n")[0].decode()


@pytest.mark.parametrize(
    ("target", "status", "body"),
    [
        ("/hostname", 200, "host-of-it"),
        ("/hostName", 200, "host-of-it"),
        ("/clientip", 200, CLIENT),
        ("/echo?msg=hello%20you", 200, "hello you"),
        ("/echo?msg=gone&code=404", 404, "gone"),
        ("/echo?msg=x&code=y", 200, "argument 'code' must be an integer or empty, got \"y\"\n"),
        ("/healthz", 200, ""),
        ("/shell?cmd=id", 200, '{"error":"a stand-in runs no programs: emulab exec does"}'),
        ("/dial?host=10.0.0.1&port=80", 400, "request parameter not specified. <nil>\n"),
        ("/dial?request=x&host=10.0.0.1&port=80&protocol=sctp", 400, "unsupported protocol. sctp\n"),
    ],
)
def test_netexec(target: str, status: int, body: str) -> None:
    what = say("netexec", target)
    assert (what.status, what.body.decode()) == (status, body)
    assert "Server:" not in head(what) and "\r\nDate: " in head(what)


def test_netexec_at_other_paths_says_when_it_is() -> None:
    assert re.match(
        r"NOW: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{9} \+0000 UTC m=\+", say("netexec", "/x").body.decode()
    )


def test_netexec_redirects() -> None:
    what = say("netexec", "/redirect?location=/echo%3Fmsg=foobar&code=307")
    assert what.status == 307 and "\r\nLocation: /echo?msg=foobar" in head(what)
    assert what.body == b'<a href="/echo?msg=foobar">Temporary Redirect</a>.\n\n'


def test_netexec_always_answers_its_override() -> None:
    assert say("netexec", "/hostname", override="/echo?msg=over&code=201")[:2] == (201, b"over")


def test_netexec_exits_and_dials() -> None:
    assert say("netexec", "/exit?code=3").exits == 3 and say("netexec", "/shutdown").exits == 0
    assert say("netexec", "/dial?request=hostname&host=10.0.0.1&port=80&tries=2").work is not None


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"hostname\n", b"host-of-it"),
        (b"hostName", b"host-of-it"),
        (b"clientip", CLIENT.encode()),
        (b"echo ME too", b"me too"),
        (b"what", None),
    ],
)
def test_netexec_by_udp(sent: bytes, answered: bytes | None) -> None:
    assert DATAGRAMS["netexec"](sent, played("netexec"), CLIENT) == answered


def test_texts() -> None:
    assert say("text", "/any", text="eighty").body == b"eighty"
    assert json.loads(say("text", "/", "POST", text="x", json="true").body) == {"Method": "POST", "Body": "x"}
    assert DATAGRAMS["text"](b"?", played("text", text="eighty"), CLIENT) == b"eighty"
    assert say("hostname", "/any").body == b"host-of-it" and say("hostname", "/", close="true").close
    raw = PodConfig(pod="web-0", ports={"80": PortConfig(says="hostname-raw")})
    assert identity_of("10.0.0.1", 80, raw).greeting == b"web-0"


def test_http_echo() -> None:
    what = say("http-echo", "/any", text="hello", status="418")
    assert what[:2] == (418, b"hello\n") and "\r\nX-App-Name: http-echo" in head(what)
    assert say("http-echo", "/health", text="hello", status="418")[:2] == (200, b'{"status":"ok"}\n')


def test_whoami() -> None:
    headers = {"User-Agent": ["curl/8"], "X-One": ["1"], "Accept": ["*/*"]}
    options = {"name": "me", "env.A": "b"}
    assert say("whoami", "/path?env=true", headers=headers, **options).body.decode() == (
        "Name: me\nHostname: host-of-it\nIP: 127.0.0.1\nIP: ::1\nIP: 10.244.1.5\n"
        f"RemoteAddr: {CLIENT}\nGET /path?env=true HTTP/1.1\r\nHost: web.test\r\nUser-Agent: curl/8\r\n"
        "Accept: */*\r\nX-One: 1\r\n\r\nA=b\n"
    )
    api = json.loads(say("whoami", "/api", headers=headers).body)
    assert (api["hostname"], api["ip"][-1], api["url"]) == ("host-of-it", "10.244.1.5", "/api")
    assert api["headers"] == {"Accept": ["*/*"], "User-Agent": ["curl/8"], "X-One": ["1"]}
    assert say("whoami", "/?wait=1m1.5s").delay == 61.5
    assert say("whoami", "/data?size=2&unit=KB").stream == 2048
    assert say("whoami", "/health")[:2] == (200, b"")


def test_nginx() -> None:
    what = say("nginx", "/")
    assert what.status == 200 and b"<h1>Welcome to nginx!</h1>" in what.body
    assert re.search(
        r"\r\nServer: nginx/1\.\d+\.\d+\r\nContent-Type: text/html\r\nContent-Length: 615\r\n", head(what)
    )
    absent = say("nginx", "/app")
    assert absent.status == 404 and b"<center><h1>404 Not Found</h1></center>" in absent.body
    refused = say("nginx", "/", "POST")
    assert head(refused).startswith("HTTP/1.1 405 Not Allowed\r\n")
    etag = dict(what.fields)["ETag"]
    assert say("nginx", "/", headers={"If-None-Match": [etag]}).status == 304
    for path in ("/", "/index.html"):
        assert say("nginx", path, index="<p>mine</p>").body == b"<p>mine</p>"
    assert say("nginx", "/app", index="<p>mine</p>").status == 404


def test_echo_basic() -> None:
    headers = {"X-Echo-Set-Header": ["X-A:1, X-B: 2", "X-A:3"], "X-Some": ["y"]}
    what = say("echo-basic", "/p?q=1", headers=headers, port="3000", service="from-env")
    assert json.loads(what.body) == {
        "path": "/p?q=1",
        "host": "web.test",
        "method": "GET",
        "proto": "HTTP/1.1",
        "headers": headers,
        "httpPort": "3000",
        "namespace": "app",
        "ingress": "ing",
        "service": "from-env",
        "pod": "web-0",
    }
    assert "\r\nX-A: 1,3\r\nX-B:  2\r\n" in head(what)
    assert say("echo-basic", "/health").body == b"OK"
    assert say("echo-basic", "/status/503")[:2] == (503, b"") and say("echo-basic", "/status/x").status == 400
    assert say("echo-basic", "/?delay=10s").delay == 10.0 and say("echo-basic", "/?delay=x").status == 500


def test_echo_basic_tells_of_tls() -> None:
    request = Request("GET", "/", "HTTP/1.1", {"Host": ["a"]})
    request.secured = {"version": "TLSv1.3", "serverName": "a", "cipherSuite": "TLS_AES_128_GCM_SHA256"}
    told = json.loads(SAYS["echo-basic"](request, played("echo-basic"), CLIENT).body)
    assert told["tls"] == request.secured


def test_liveness_is_well_for_ten_seconds() -> None:
    assert say("liveness", "/healthz", began=time.time() - 5)[:2] == (200, b"ok")
    ill = say("liveness", "/healthz", began=time.time() - 20)
    assert ill.status == 500 and ill.body.startswith(b"error: 2")


def test_names_as_go_has_them() -> None:
    assert go_suite("TLS_AES_128_GCM_SHA256") == "TLS_AES_128_GCM_SHA256"
    assert go_suite("ECDHE-ECDSA-AES128-GCM-SHA256") == "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
    assert go_suite("ECDHE-RSA-CHACHA20-POLY1305") == "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"
    assert (duration("1h2m3.5s"), duration("10ms"), duration("5"), duration("x")) == (
        3723.5,
        0.01,
        None,
        None,
    )
