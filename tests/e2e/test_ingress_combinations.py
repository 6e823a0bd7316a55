"""What annotations and keys do together, and what clients say twice or in another's name: as ingress-nginx has it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from emulab import Lab

from .engine_differences import expected, served_by
from .test_ingress import certificate, secret
from .test_ingress_access import authority, opaque, settings
from .test_ingress_annotations import document, ingress, pod, service
from .tools import VIP, connect, eventually, output, program

__all__ = ["authority"]

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASKED = "http://asked.default.svc.cluster.local"
FORGED = ("ssl-client-verify: SUCCESS", "ssl-client-subject-dn: CN=root", "ssl-client-cert: forged")


def secured(host: str, **annotations: str) -> str:
    made = json.loads(ingress(host, **annotations, auth_tls_secret="default/authority"))
    made["spec"]["tls"] = [{"hosts": [host], "secretName": host.replace(".", "-")}]
    return json.dumps(made)


def asked() -> str:
    container = {
        "name": "asked",
        "image": "asked",
        "command": json.loads(program("asked.py")),
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    return document("Pod", "asked", metadata={"labels": {"app": "asked"}}, spec={"containers": [container]})


WORLD = [
    *pod("web"),
    *pod("other"),
    *pod("canary"),
    asked(),
    service("asked"),
    settings(use_forwarded_headers="true", compute_full_forwarded_for="true"),
    ingress("asking.test", auth_url=f"{ASKED}/in", auth_response_headers="X-Seen"),
    document(
        "Service", "named", spec={"type": "ExternalName", "externalName": "web.default.svc.cluster.local"}
    ),
    ingress("named.test", ("/", "named"), auth_url=f"{ASKED}/in"),
    ingress("signin.test", auth_url=f"{ASKED}/401", auth_signin="https://in.test/start"),
    ingress("www.names.test", from_to_www_redirect="true"),
    ingress("mirrored.test", mirror_target=ASKED, mirror_host="copy.test", mirror_request_body="off"),
    ingress("cookies.test", ("/", "other")),
    document(
        "Ingress",
        "canary",
        "networking.k8s.io/v1",
        metadata=json.loads(ingress("c.test", canary="true", canary_by_cookie="go"))["metadata"]
        | {"name": "canary"},
        spec=json.loads(ingress("cookies.test", ("/", "canary")))["spec"],
    ),
    ingress("rewritten.test", ("/in/(.*)", "web"), kind="ImplementationSpecific", rewrite_target="/out/$1"),
    ingress("denied.test", ("/x/", "web"), kind="Exact", custom_headers="default/missing"),
    ingress("shut.test", denylist_source_range="0.0.0.0/0,::/0"),
    ingress("small.test", proxy_body_size="10"),
    ingress("one.test", limit_connections="1"),
    secured(
        "certified.test",
        auth_url=f"{ASKED}/certified",
        auth_response_headers="X-Seen",
        auth_tls_verify_client="optional",
        auth_tls_pass_certificate_to_upstream="true",
    ),
    secured("sorry.test", auth_tls_error_page="/sorry"),
]


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=["builtin", "nginx", "haproxy"])
async def lab(
    request: pytest.FixtureRequest, authority: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Lab]:
    folder = tmp_path_factory.mktemp("tls")
    texts = [
        *WORLD,
        opaque("authority", ca_crt=(authority / "ca.crt").read_bytes()),
        *(
            secret(host.replace(".", "-"), certificate(folder, host))
            for host in ("certified.test", "sorry.test")
        ),
    ]
    async with Lab.from_text(served_by(request.param), "\n---\n".join(texts)) as made:
        made.engine = request.param  # type: ignore[attr-defined]
        yield made


async def curl(
    lab: Lab, url: str, *words: str, options: Sequence[str] = ()
) -> tuple[str, dict[str, str], str]:
    """The status, the fields by their names in lower case, one that is there several times with all, and the body."""
    said = [word for field in words for word in ("-H", field)]
    text = await output(lab, "client", "curl", "-ski", "--max-time", "20", *said, *options, url)
    head, _, body = text.partition("\r\n\r\n")
    start, *lines = head.split("\r\n")
    fields: dict[str, str] = {}
    for name, _, value in (one.partition(": ") for one in lines):
        fields[name.lower()] = f"{fields[name.lower()]}, {value}" if name.lower() in fields else value
    return start.split()[1], fields, body


async def told(lab: Lab, url: str, *fields: str, options: Sequence[str] = ()) -> dict[str, str]:
    """What a stand-in was told: fields by their names in lower case, and `path` and `service`."""
    status, _, body = await curl(lab, url, *fields, options=options)
    assert status == "200", (url, status, body)
    seen = json.loads(body)
    lower = {name.lower(): ", ".join(values) for name, values in seen["headers"].items()}
    return {**lower, "path": seen["path"], "service": seen["service"]}


async def test_who_is_asked_is_told_of_all_who_were_in_front(lab: Lab) -> None:
    fields = "X-Forwarded-For: 198.51.100.9", "X-Forwarded-Host: asking.test, else.test", "X-Seen: forged"
    seen = json.loads((await told(lab, "http://asking.test/", *fields))["x-seen"])
    assert seen["x-forwarded-for"].startswith("198.51.100.9, "), seen
    assert seen["x-forwarded-host"] == "asking.test, else.test", "what the client said, as it said it"


async def test_who_is_asked_is_not_who_serves(lab: Lab) -> None:
    """Where the server has a name, too, which nginx looks up by a variable: a question shares those of its request.
    HAProxy asks for names once a second, and has none yet where nobody answered when it began."""

    async def answered() -> bool:
        return (await curl(lab, "http://named.test/"))[0] != "502"

    await eventually(answered)
    assert (await told(lab, "http://named.test/"))["service"] == "web"


async def test_who_is_asked_is_told_of_the_clients_certificate(lab: Lab, authority: Path) -> None:
    """What clients say of it themselves reaches nobody."""
    seen = json.loads((await told(lab, "https://certified.test/", *FORGED))["x-seen"])
    assert {name: seen[name] for name in seen if name.startswith("ssl-")} == {"ssl-client-verify": "NONE"}
    mine = ("--cert", f"{authority}/ann.crt", "--key", f"{authority}/ann.key")
    seen = json.loads((await told(lab, "https://certified.test/", *FORGED, options=mine))["x-seen"])
    assert (seen["ssl-client-verify"], seen["ssl-client-subject-dn"]) == ("SUCCESS", "CN=ann,O=Shop")
    assert seen["ssl-client-cert"].startswith("-----BEGIN%20CERTIFICATE-----")


async def test_the_page_for_who_has_no_certificate_is_asked_for_without_one(lab: Lab) -> None:
    if lab.engine == "haproxy":  # type: ignore[attr-defined]
        assert (await curl(lab, "https://sorry.test/", *FORGED))[0] == "400", "it asks for no other path"
        return
    seen = await told(lab, "https://sorry.test/", *FORGED)
    assert seen["path"] == "/sorry"
    assert {name: seen[name] for name in seen if name.startswith("ssl-")} == {"ssl-client-verify": "NONE"}


async def test_who_is_sent_to_sign_in_has_the_challenge_too(lab: Lab) -> None:
    status, fields, _ = await curl(lab, "http://signin.test/")
    assert status == "302" and fields["location"].startswith("https://in.test/start?rd=http://signin.test")
    challenges = expected(
        lab.engine, "several challenges of a service that is asked", 'Bearer, Basic realm="in"'
    )  # type: ignore[attr-defined]
    assert fields["www-authenticate"] == challenges


async def test_the_name_with_www_is_of_the_scheme_and_port_in_front(lab: Lab) -> None:
    front = "X-Forwarded-Proto: https", "X-Forwarded-Port: 8443"
    url, host = "http://www.names.test/x/", "Host: names.test"
    where = [(await curl(lab, url, host, *fields))[1]["location"] for fields in ((), front)]
    assert where == ["http://www.names.test:80/x", "https://www.names.test:8443/x"]
    status, _, _ = await curl(lab, "http://www.names.test/", "X-Forwarded-Proto: https, http")
    assert status == "200"


async def test_a_mirror_is_told_another_host_and_the_clients_own_words(lab: Lab) -> None:
    await told(lab, "http://mirrored.test/x?y=1", "X-Forwarded-For: 198.51.100.9", "X-Word: 1")

    async def seen() -> list[dict[str, str]]:
        lines = (await output(lab, "pod/asked", "curl", "-s", "http://localhost:8080/seen")).splitlines()
        return [one for one in map(json.loads, lines) if one["host"] == "copy.test"]

    [copy] = await eventually(seen)
    assert copy["path"] == "/_mirror-default-mirrored-test?y=1"
    assert (copy["x-forwarded-for"], copy["x-word"]) == ("198.51.100.9", "1")
    assert "x-real-ip" not in copy and "x-forwarded-proto" not in copy


async def test_cookies_may_be_in_several_fields(lab: Lab) -> None:
    for version in ("--http1.1", "--http2-prior-knowledge"):
        if version != "--http1.1" and not expected(lab.engine, "HTTP/2 without TLS", True):  # type: ignore[attr-defined]
            continue
        seen = await told(lab, "http://cookies.test/", "Cookie: a=1", "Cookie: go=always", options=[version])
        assert seen["service"] == "canary", version
        assert (await told(lab, "http://cookies.test/", "Cookie: a=1", options=[version]))[
            "service"
        ] == "other"


async def test_who_is_in_front_may_say_a_thing_twice_and_nothing(lab: Lab) -> None:
    twice = await told(lab, "http://cookies.test/", "X-Forwarded-Proto: https", "X-Forwarded-Proto: http")
    known = expected(lab.engine, "a scheme that is there several times", "https, http")  # type: ignore[attr-defined]
    assert twice["x-forwarded-proto"] == known
    hosts = await told(lab, "http://cookies.test/", "X-Forwarded-Host: a.test", "X-Forwarded-Host: b.test")
    known = expected(lab.engine, "a host that is there several times", "a.test, b.test")  # type: ignore[attr-defined]
    assert (hosts["x-forwarded-host"], hosts["x-original-forwarded-host"]) == ("a.test", known)
    assert (await told(lab, "http://cookies.test/", "X-Forwarded-Proto;"))["x-forwarded-proto"] == "http"


async def test_a_target_with_a_host_is_for_that_host(lab: Lab) -> None:
    target = ["--request-target", "http://cookies.test/x"]
    assert (await told(lab, "http://rewritten.test/", options=target))["service"] == "other"
    target = ["--request-target", "http://nobody.test/x"]
    assert (await curl(lab, "http://cookies.test/", options=target))[0] == "404"
    for wrong in (
        "http://me@cookies.test/x",
        "http://cook_ies.test/x",
        "http:///x",
        "http://cookies.test:x/x",
    ):
        found = await curl(lab, "http://cookies.test/", options=["--request-target", wrong])
        assert found[0] == "400", wrong


@pytest.mark.parametrize(
    ("path", "becomes"),
    [
        ("a%2Fb", "/out/a/b"),
        ("%C3%A9%3F%20", "/out/%C3%A9%3F%20"),
        ("a%25b?", "/out/a%25b"),
        ("%41?c=%2F", "/out/A?c=%2F"),
        ("a?c=d?", "/out/a?c=d?"),
    ],
)
async def test_a_rewritten_path_is_escaped_again(lab: Lab, path: str, becomes: str) -> None:
    assert (await told(lab, f"http://rewritten.test/in/{path}"))["path"] == becomes


async def test_nobody_is_sent_to_a_path_that_is_denied(lab: Lab) -> None:
    assert [(await curl(lab, f"http://denied.test/{path}"))[0] for path in ("x", "x/")] == ["503", "503"]


@pytest.mark.parametrize(
    ("host", "status"),
    [("shut.test", b"403"), ("signin.test", b"302"), ("small.test", b"413"), ("one.test", b"")],
)
async def test_nobody_waits_for_a_body_that_is_not_wanted(lab: Lab, host: str, status: bytes) -> None:
    """Who may in is known by the head alone; while a body comes, its request is under way."""
    reader, writer = await connect(lab, "client", VIP, 80)
    writer.write(f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100\r\n\r\nsome of it".encode())
    if status:
        async with asyncio.timeout(30):
            assert (await reader.readline()).split()[1] == status
    else:

        async def refused() -> bool:
            return (await curl(lab, f"http://{host}/"))[0] == "503"

        await eventually(refused)
        writer.write(b"." * 90)
        async with asyncio.timeout(30):
            assert (await reader.readline()).split()[1] == b"200"
    writer.close()


async def test_requests_are_logged_and_counted_as_their_locations(lab: Lab) -> None:
    """A canary's by the Service that it is an alternative of, and those that somebody was asked about, or has a copy
    of, by their own."""
    await told(lab, "http://cookies.test/canary", "Cookie: go=always")
    for host in ("asking.test", "mirrored.test", "cookies.test"):
        await told(lab, f"http://{host}/{host}")
    await curl(lab, "http://cookies.test/refused", options=["-X", "TRACE"])
    names = {
        "/canary": "[default-other-80] [default-canary-80]",
        "/asking.test": "[default-web-80] []",
        "/mirrored.test": "[default-web-80] []",
        "/cookies.test": "[default-other-80] []",
        "/refused": "[] []",
    }

    async def logged() -> bool:
        text = str(await lab.logs("deploy/ingress-nginx-controller", namespace="ingress-nginx"))
        return all(re.search(f" {path} HTTP.*{re.escape(name)}", text) for path, name in names.items())

    await eventually(logged, 20)
    where = ("deploy/ingress-nginx-controller", "curl", "-s", "http://localhost:10254/metrics")
    text = await output(lab, *where, namespace="ingress-nginx")
    requests = [line for line in text.splitlines() if line.startswith("nginx_ingress_controller_requests{")]
    assert any('canary="default-canary-80"' in one and 'service="other"' in one for one in requests), requests
    assert any('ingress="asking-test"' in one and 'service="web"' in one for one in requests), requests
