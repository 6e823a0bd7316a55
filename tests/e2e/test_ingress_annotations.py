"""What annotations of Ingresses and keys of the controller's ConfigMap do to real requests, one host for each."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from emulab import Lab

from .engine_differences import expected
from .tools import VIP, capture, connect, emulab, eventually, output, pods, response

pytestmark = pytest.mark.asyncio(loop_scope="module")

PREFIX = "nginx.ingress.kubernetes.io/"


def document(kind: str, name: str, version: str = "v1", **fields: Any) -> str:
    metadata = {"name": name, **fields.pop("metadata", {})}
    return json.dumps({"apiVersion": version, "kind": kind, "metadata": metadata, **fields})


def pod(name: str) -> list[str]:
    """A stand-in with a Service of its name."""
    container = {"name": name, "image": name, "ports": [{"containerPort": 8080}]}
    return [
        document("Pod", name, metadata={"labels": {"app": name}}, spec={"containers": [container]}),
        service(name),
    ]


def service(name: str, selector: str = "") -> str:
    return document(
        "Service",
        name,
        spec={"selector": {"app": selector or name}, "ports": [{"port": 80, "targetPort": 8080}]},
    )


def ingress(
    host: str,
    *paths: tuple[str, str],
    kind: str = "Prefix",
    port: int = 80,
    name: str = "",
    **annotations: str,
) -> str:
    texts = {PREFIX + key.replace("_", "-"): text for key, text in annotations.items()}
    found = [
        {"path": path, "pathType": kind, "backend": {"service": {"name": to, "port": {"number": port}}}}
        for path, to in paths or (("/", "web"),)
    ]
    return document(
        "Ingress",
        name or host.replace(".", "-"),
        "networking.k8s.io/v1",
        metadata={"annotations": texts},
        spec={"rules": [{"host": host, "http": {"paths": found}}]},
    )


def settings(**data: str) -> str:
    metadata = {"namespace": "ingress-nginx"}
    return document("ConfigMap", "ingress-nginx-controller", metadata=metadata, data=data)


SETTINGS = settings(
    **{
        "use-gzip": "true",
        "add-headers": "default/added",
        "global-allowed-response-headers": "X-Frame-Options",
        "keep-alive-requests": "3",
    }
)

WORLD = [
    *pod("web"),
    *pod("other"),
    service("none"),
    ingress(
        "rewrite.test",
        ("/shop(/|$)(.*)", "web"),
        ("/[a-z]+/static", "other"),
        kind="ImplementationSpecific",
        rewrite_target="/$2",
        x_forwarded_prefix="/shop",
    ),
    ingress("moved.test", permanent_redirect="https://else.test/x"),
    ingress("rewritten.test", ("/x/(.*)", "none"), kind="ImplementationSpecific", rewrite_target="/$1"),
    ingress(
        "shared.test",
        ("/x", "none"),
        allowlist_source_range="0.0.0.0/0",
        enable_cors="true",
        cors_allow_origin="https://front.test",
    ),
    ingress("gone.test", ("/app", "web"), permanent_redirect="/new"),
    ingress("inner.test", ("/app", "web"), denylist_source_range="0.0.0.0/0", custom_http_errors="404"),
    ingress("errors-404.test", ("/app", "web"), custom_http_errors="404", default_backend="other"),
    ingress("root.test", app_root="/start", from_to_www_redirect="true"),
    ingress("forced.test", force_ssl_redirect="true"),
    ingress("alias.test", server_alias="named.test"),
    ingress(
        "cors.test",
        enable_cors="true",
        cors_allow_origin="https://*.front.test",
        cors_max_age="60",
        upstream_vhost="inner.test",
        connection_proxy_header="close",
    ),
    ingress("anywhere.test", enable_cors="true", cors_allow_origin="front.test"),
    ingress(
        "errors.test",
        custom_http_errors="404,503",
        default_backend="other",
        enable_cors="true",
        cors_allow_origin="https://front.test",
        custom_headers="default/fields",
    ),
    ingress(
        "locked.test",
        ("/open", "web"),
        ("/", "web"),
        whitelist_source_range="10.0.0.0/33",
        enable_cors="true",
        cors_allow_origin="https://front.test",
    ),
    ingress("paths.test", ("/", "web"), ("/inner", "other")),
    document(
        "Pod",
        "two",
        metadata={"labels": {"app": "two"}},
        spec={
            "containers": [
                {"name": "c", "image": "two", "ports": [{"containerPort": n} for n in (8080, 9090)]}
            ]
        },
    ),
    *(
        document(
            "Service",
            name,
            spec={
                "selector": {"app": "two"},
                "ports": [
                    {"name": "http", "port": 80, "targetPort": 8080},
                    {"name": "admin", "port": 8080, "targetPort": 9090},
                ],
            },
        )
        for name in ("two", "two-each", "two-said")
    ),
    ingress("two.test", ("/", "two"), port=8080),
    ingress("two-each.test", ("/", "two-each"), port=8080, service_upstream="false"),
    ingress("two-said.test", ("/", "two-said"), port=8080, service_upstream="true"),
    service("none-said"),
    *(service(name, selector="web" if name == "main" else "other") for name in ("main", "part")),
    ingress("part.test", ("/", "main")),
    ingress("part.test", ("/", "part"), name="part-canary", canary="true", canary_by_cookie="Try-It"),
    ingress("none-said.test", ("/", "none-said"), service_upstream="true"),
    ingress("empty.test", ("/", "none"), default_backend="other"),
    ingress("mirror.test", mirror_target="http://other.default.svc.cluster.local$request_uri"),
    ingress("quiet.test", enable_access_log="false", custom_headers="default/fields"),
    document("ConfigMap", "fields", data={"X-Frame-Options": "DENY"}),
    document("ConfigMap", "added", data={"X-Served-By": "the lab", "X-Asked": "$host"}),
    SETTINGS,
]


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=["builtin", "nginx", "haproxy"])
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    engine = {"ingress": {"engine": request.param}}
    cluster = document("Cluster", "lab", "emulab.dev/v1", spec=engine)
    async with Lab.from_text("\n---\n".join([cluster, *WORLD])) as made:
        made.engine = request.param  # type: ignore[attr-defined]
        yield made


async def curl(lab: Lab, *arguments: str) -> tuple[str, dict[str, list[str]], str]:
    """What curl in the client gets: the status, the fields by their names in lower case, and the body."""
    text = await output(lab, "client", "curl", "-sSi", *arguments)
    head, _, body = text.partition("\r\n\r\n")
    start, *lines = head.split("\r\n")
    fields: dict[str, list[str]] = {}
    for line in lines:
        field, _, value = line.partition(": ")
        fields.setdefault(field.lower(), []).append(value)
    return start.split()[1], fields, body


async def test_paths_are_rewritten(lab: Lab) -> None:
    answer = await lab.request("http://rewrite.test/shop/items/7?q=1")
    facts = answer.json()
    assert (facts["service"], facts["path"]) == ("web", "/items/7?q=1")
    assert facts["headers"]["X-Forwarded-Prefix"] == ["/shop"]
    assert (await lab.request("http://rewrite.test/SHOP")).json()["path"] == "/"
    static = (await lab.request("http://rewrite.test/any/static/x")).json()
    assert (static["service"], static["path"]) == ("other", "/"), "there is no second group"
    assert (await lab.request("http://rewrite.test/other")).status == 404


async def test_clients_are_sent_elsewhere(lab: Lab) -> None:
    answer = await lab.request("http://moved.test/y")
    assert (answer.status, answer.headers["location"]) == (301, "https://else.test/x")
    answer = await lab.request("http://root.test/")
    assert (answer.status, answer.headers["location"]) == (302, "http://root.test/start")
    assert (await lab.request("http://root.test/start")).json()["path"] == "/start"
    answer = await lab.request(f"http://{VIP}/x/", headers={"Host": "www.root.test"})
    assert (answer.status, answer.headers["location"]) == (308, "http://root.test:80/x")
    answer = await lab.request("http://forced.test/x/")
    assert (answer.status, answer.headers["location"]) == (308, "https://forced.test/x")
    status, _, body = await curl(lab, "-k", "https://forced.test/x/")
    assert status == "200" and json.loads(body)["service"] == "web"


async def test_what_is_asked_of_nobodys_host_is_not_logged(lab: Lab) -> None:
    """Nor, with enable-access-log of its first Ingress, what no path of a host takes."""
    for host in ("nobody.test", "quiet.test", "rewritten.test"):
        answer = await lab.request(f"http://{VIP}/asked-of-{host}", headers={"Host": host})
        assert answer.status == (200 if host == "quiet.test" else 404)

    async def logged() -> str:
        found = await emulab("-l", lab.name, "logs", "-n", "ingress-nginx", "deploy/ingress-nginx-controller")
        text = found.stdout.decode()
        return text if "/asked-of-rewritten.test" in text else ""

    text = await eventually(logged)
    assert "/asked-of-nobody.test" not in text and "/asked-of-quiet.test" not in text


@pytest.mark.parametrize(
    ("sent", "pod"),
    [
        ("Try-It=always", "other"),
        ("a=b; try-it=always", "other"),
        ("TRY-IT =always; c", "other"),
        ("a,Try-It=always", "other"),
        ("Try-It=ALWAYS", "web"),
        ("Try-It=never", "web"),
        ("xTry-It=always", "web"),
        ("Try-It=always-not", "web"),
    ],
)
async def test_canaries_read_cookies_as_nginx_variables(lab: Lab, sent: str, pod: str) -> None:
    assert (await lab.request("http://part.test/", headers={"Cookie": sent})).json()["pod"] == pod


@pytest.mark.parametrize(("host", "port"), [("two", 8080), ("two-each", 8080), ("two-said", 9090)])
async def test_a_number_may_be_an_earlier_ports_target(lab: Lab, host: str, port: int) -> None:
    """What ingress-nginx takes a backend's number for, unless it asks the Service's address."""
    assert (await lab.request(f"http://{host}.test/")).json()["port"] == port


async def test_the_address_of_a_service_without_endpoints(lab: Lab) -> None:
    """Who says that it is asked finds nobody there; ingress-nginx itself looks for endpoints first."""
    assert (await lab.request("http://none-said.test/")).status == 502
    assert (await lab.request("http://rewritten.test/x/any")).status == 503


async def test_a_balancer_in_front_says_which_port_was_asked(lab: Lab) -> None:
    there = (await pods(lab, "ingress-nginx"))[0]["status"]["podIP"]
    family = "TCP6" if ":" in there else "TCP4"
    ends = "2001:db8::1 2001:db8::2" if ":" in there else "192.0.2.1 192.0.2.2"
    for number, scheme in (("8080", "http"), ("443", "https")):
        reader, writer = await connect(lab, "node1", there, 80)
        writer.write(
            f"PROXY {family} {ends} 4711 {number}\r\nGET / HTTP/1.1\r\nHost: paths.test\r\n\r\n".encode()
        )
        _, _, body = await response(reader)
        writer.close()
        told = json.loads(body)["headers"]
        assert (told["X-Forwarded-Port"], told["X-Forwarded-Proto"]) == ([number], [scheme])


async def test_what_no_path_takes_and_what_no_host_takes(lab: Lab) -> None:
    """The annotations of the host's first Ingress hold there, too; the ingress has two pages of its own."""
    answer = await lab.request("http://gone.test/any")
    assert (answer.status, answer.headers["location"]) == (301, "http://gone.test/new")
    assert (await lab.request("http://inner.test/any")).status == 403
    assert (await lab.request("http://rewritten.test/any")).status == 404
    assert (await lab.request("http://rewritten.test/x/any")).status == 503, "its Service has no endpoint"
    assert (await lab.request("http://errors-404.test/any")).status == 404
    for path, status in (("/x", 503), ("/any", 404)):
        answer = await lab.request(f"http://shared.test{path}", headers={"Origin": "https://front.test"})
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (
            status,
            "https://front.test",
        )
    healthy = await lab.request(f"http://{VIP}/healthz")
    assert (healthy.status, healthy.body) == (200, b"")
    assert (await lab.request(f"http://{VIP}/nginx_status")).status == 403


async def test_http_where_tls_is_spoken(lab: Lab) -> None:
    title = b"<title>400 The plain HTTP request was sent to HTTPS port</title>"
    for method in (b"GET", b"DELETE"):
        reader, writer = await connect(lab, "client", VIP, 443)
        writer.write(method + b" /on-tls HTTP/1.1\r\nHost: moved.test\r\nConnection: close\r\n\r\n")
        found = re.findall(rb"<title>.*</title>", await reader.read())
        writer.close()
        assert b"".join(found) == expected(lab.engine, "HTTP where TLS is spoken", title)  # type: ignore[attr-defined]

    async def logged() -> bool:
        log = await emulab("-l", lab.name, "logs", "-n", "ingress-nginx", "deploy/ingress-nginx-controller")
        return b'"DELETE /on-tls HTTP/1.1" 400 ' in log.stdout

    if expected(lab.engine, "HTTP where TLS is spoken", title):  # type: ignore[attr-defined]
        await eventually(logged)


async def test_a_host_answers_to_its_other_name(lab: Lab) -> None:
    answer = await lab.request(f"http://{VIP}/", headers={"Host": "named.test"})
    assert answer.status == 200 and answer.json()["service"] == "web"


async def test_cross_origin_requests(lab: Lab) -> None:
    origin = "Origin: https://a.front.test"
    status, fields, _ = await curl(lab, "-XOPTIONS", "-H", origin, "http://cors.test/")
    assert status == "204" and fields["access-control-max-age"] == ["60"]
    assert fields["access-control-allow-origin"] == ["https://a.front.test"]
    status, fields, body = await curl(lab, "-H", origin, "http://cors.test/")
    assert status == "200" and fields["access-control-allow-credentials"] == ["true"]
    facts = json.loads(body)
    assert facts["host"] == "inner.test" and facts["headers"]["X-Forwarded-Host"] == ["cors.test"]
    assert facts["headers"]["Connection"] == ["close"]
    _, fields, _ = await curl(lab, "-H", "Origin: https://evil.test", "http://cors.test/")
    assert "access-control-allow-origin" not in fields
    # Of a list that has no origin ingress-nginx makes an expression that takes any, and none, too.
    for told, field in ((origin, ["https://a.front.test"]), ("X: y", None)):
        status, fields, _ = await curl(lab, "-XOPTIONS", "-H", told, "http://anywhere.test/")
        assert status == "204" and fields["access-control-allow-credentials"] == ["true"]
        assert fields.get("access-control-allow-origin") == field


async def test_another_service_answers_for_errors(lab: Lab) -> None:
    answer = await lab.request("http://errors.test/status/404?q=1", headers={"Accept": "text/plain"})
    facts = answer.json()
    assert (answer.status, facts["service"], facts["path"]) == (200, "other", "/?q=1")
    told = {name: facts["headers"][name] for name in facts["headers"] if name.startswith("X-")}
    assert told["X-Code"] == ["404"] and told["X-Format"] == ["text/plain"]
    assert told["X-Original-Uri"] == ["/status/404?q=1"] and told["X-Namespace"] == ["default"]
    assert told["X-Ingress-Name"] == ["errors-test"]
    assert (told["X-Service-Name"], told["X-Service-Port"]) == (["web"], ["80"])
    assert (await lab.request("http://errors.test/status/500")).status == 500
    # What a route says of its answers is of its location alone, which another one takes the place of.
    own = {"access-control-allow-origin", "access-control-max-age", "x-frame-options"}
    for code, there in (("404", set[str]()), ("500", own)):
        url = f"http://errors.test/status/{code}"
        _, fields, _ = await curl(lab, "-H", "Origin: https://front.test", url)
        assert own & fields.keys() == there and fields["x-served-by"] == ["the lab"]
    facts = (await lab.request("http://empty.test/x")).json()
    assert (facts["service"], facts["path"]) == ("other", "/x") and facts["headers"]["X-Code"] == ["503"]


TRANSPORT = [
    ("paths.test/", "200", True),
    ("moved.test/", "301", True),
    ("shared.test/x", "503", True),
    ("paths.test/", "405", False),  # asked by TRACE
    ("root.test/", "302", False),
    ("www.root.test/", "308", False),
    ("errors.test/status/404", "200", False),
    ("nobody.test/", "404", True),
    ("nobody.test/healthz", "200", False),
]
"""What is asked over TLS, its status, and whether Strict-Transport-Security is said."""


async def test_strict_transport_security_is_said_in_the_name_of_routes(lab: Lab) -> None:
    """As ingress-nginx says it in locations: not where a host answers, nor where another server does for an error."""
    for place, wanted, there in TRANSPORT:
        how = ["-X", "TRACE"] if wanted == "405" else []
        to = ["--connect-to", f"::{VIP}:443", "-k"]
        status, fields, _ = await curl(lab, *how, *to, f"https://{place}")
        assert (status, "strict-transport-security" in fields) == (wanted, there), place
        assert "x-served-by" in fields, "which is said everywhere"
        assert fields.get("x-asked", ["none"])[0], "no field is empty"


async def test_of_who_lets_nobody_in_there_is_nothing_else(lab: Lab) -> None:
    status, fields, _ = await curl(lab, "-H", "Origin: https://front.test", "http://locked.test/")
    assert status == "503" and "access-control-allow-origin" not in fields
    assert fields["x-served-by"] == ["the lab"]


async def asked_with(lab: Lab, target: str, fields: str) -> tuple[int, bytes]:
    reader, writer = await connect(lab, "client", VIP, 80)
    writer.write(f"GET {target} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n".encode())
    status, _, body = await response(reader)
    writer.close()
    return status, body


async def test_paths_fields_and_hosts_are_read_as_nginx_reads_them(lab: Lab) -> None:
    for target, to in (
        ("/x%2f..%2finner", "other"), ("/%69nner", "other"), ("/inner%2f..", "web"), ("/inner%252f..", "web"),
        ("//inner", "other"), ("/inner%3f", "web"), ("/inner/%3f", "other"),
    ):  # fmt: skip
        status, body = await asked_with(lab, target, "Host: paths.test\r\n")
        facts = json.loads(body)
        assert (status, facts["service"], facts["path"]) == (200, to, target)
    for host in ("", ":80", ".", ".:80", "paths..test", "paths.test/x", "pa ths.test"):
        assert (await asked_with(lab, "/", f"Host: {host}\r\n"))[0] == 400, host
    many = "".join(f"X-{number}: x\r\n" for number in range(300))
    status, body = await asked_with(lab, "/", f"Host: paths.test\r\nA.B: x\r\nC_D: x\r\n{many}")
    there = json.loads(body)["headers"]
    assert status == 200 and "X-299" in there and not {"A.b", "A.B", "C_d", "C_D"} & there.keys()


async def test_a_mirror_gets_every_request(lab: Lab) -> None:
    """Its answer is dropped, and a mirror that isn't there holds nobody up."""
    async with capture(lab, "pod/other", "tcp dst port 8080", "-A") as seen:
        reader, writer = await connect(lab, "client", VIP, 80)
        writer.write(
            b"POST /mirrored?q=1 HTTP/1.1\r\nHost: mirror.test\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"9\r\na body of\r\n8\r\n letters\r\n0\r\n\r\n"
        )
        status, _, body = await response(reader)
        writer.close()
        assert status == 200 and json.loads(body)["service"] == "web"
        await seen.until(r"POST /mirrored\?q=1 HTTP/1.1")
        await seen.until("(?i)Host: other.default.svc.cluster.local")
        await seen.until("a body of letters")
    await lab.delete("Pod", "other")
    answers = await asyncio.gather(*(lab.request("http://mirror.test/again") for _ in range(20)))
    assert {answer.json()["service"] for answer in answers} == {"web"}
    await lab.apply(pod("other")[0])


async def test_fields_of_config_maps_and_what_leaves_no_line(lab: Lab) -> None:
    answer = await lab.request("http://quiet.test/silently")
    assert answer.headers["x-frame-options"] == "DENY" and answer.headers["x-served-by"] == "the lab"
    assert answer.headers["x-asked"] == "quiet.test", "it may name variables of nginx"
    missing = await lab.request(f"http://{VIP}/", headers={"Host": "nobody.test"})
    assert missing.status == 404 and missing.headers["x-served-by"] == "the lab"
    await lab.request("http://alias.test/loudly")
    deployment = "deployment/ingress-nginx-controller"

    async def written() -> str:
        return (await emulab("-l", lab.name, "logs", deployment, "-n", "ingress-nginx")).text

    for _ in range(200):
        if "/loudly" in (text := await written()):
            break
        await asyncio.sleep(0.05)
    assert "/loudly" in text and "/silently" not in text


EMPTY = ("hsts", "ignore-invalid-headers", "keep-alive", "use-http2")


async def test_empty_keys_are_false_or_zero_whatever_the_default_is(lab: Lab) -> None:
    silent = {"skip-access-log-urls": "/Hidden, ~^/unseen", "log-format-escape-none": "false"}
    await lab.apply(settings(**dict.fromkeys(EMPTY, ""), **silent))
    try:
        status, fields, body = await curl(lab, "-k", "-H", "X.Odd: 1", "https://alias.test/hidden")
        assert status == "200" and body.startswith("{")
        assert "strict-transport-security" not in fields and fields["connection"] == ["close"]
        assert json.loads(body)["headers"]["X.odd"] == ["1"], "whatever the name is"
        for path in ("unseen/1", "not-unseen"):
            assert (await lab.request(f"http://alias.test/{path}")).status == 200
        deployment = "deployment/ingress-nginx-controller"

        async def written() -> str:
            return (await emulab("-l", lab.name, "logs", deployment, "-n", "ingress-nginx")).text

        async def is_logged() -> bool:
            return "/not-unseen" in await written()

        await eventually(is_logged)
        text = await written()
        assert '"GET /hidden' not in text and '"GET /unseen' not in text
    finally:
        await lab.apply(SETTINGS)
    _, fields, _ = await curl(lab, "-k", "https://alias.test/")
    assert "strict-transport-security" in fields


async def test_answers_are_compressed(lab: Lab) -> None:
    status, _, _ = await curl(lab, "--compressed", "http://alias.test/")
    assert status == "200"
    reader, writer = await connect(lab, "client", VIP, 80)
    fields = b"Accept-Encoding: gzip\r\nX-Long: " + b"x" * 300 + b"\r\nConnection: close\r\n\r\n"
    writer.write(b"GET / HTTP/1.1\r\nHost: alias.test\r\n" + fields)
    head, _, rest = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    head = head.lower()
    assert b"content-encoding: gzip" in head and b"vary: accept-encoding" in head
    data = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        data, rest = data + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    assert json.loads(gzip.decompress(data))["service"] == "web"
    for asks in (["-I"], ["-I", "-H", "Accept-Encoding: gzip"], []):
        _, fields, _ = await curl(lab, *asks, "-A", "x" * 300, "http://alias.test/")
        assert fields["vary"] == ["Accept-Encoding"], asks


async def test_a_connection_serves_so_many_requests(lab: Lab) -> None:
    urls = ["http://alias.test/"] * 4
    text = await output(lab, "client", "curl", "-sS", "-w", "\n%{num_connects} %{http_code}\n", *urls)
    assert [line for line in text.splitlines() if line.endswith(" 200")] == [
        "1 200",
        "0 200",
        "0 200",
        "1 200",
    ]


async def test_lines_may_end_in_lf_alone_and_methods_be_anybodys(lab: Lab) -> None:
    reader, writer = await connect(lab, "client", VIP, 80)
    writer.write(b"BAN /x HTTP/1.1\nHost: alias.test\nConnection: close\n\n")
    status, _, body = await response(reader)
    writer.close()
    assert status == 200 and json.loads(body)["method"] == "BAN"


ODD = [
    (b"ban / HTTP/1.1\r\nHost: alias.test\r\n\r\n", 400),
    (b"M1 / HTTP/1.1\r\nHost: alias.test\r\n\r\n", 400),
    (b"GET / HTTP/2.0\r\nHost: alias.test\r\n\r\n", 505),
    (b"POST / HTTP/1.0\r\nHost: alias.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: alias.test\r\nX-A: a\0b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: alias.test\r\nX-A : b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: alias.test\r\nX\tA: b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: alias.test\r\nX\x01A: b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: alias.test\r\nX-A: b c\r\n\r\n", 200),
    (b"GET / HTTP/1.1\r\nHost: alias.test:abc\r\nExpect: much\r\n\r\n", 200),
    (b"GET /\xc3\xa9#x HTTP/1.1\r\nHost: alias.test\r\n\r\n", 200),
    (b"GET http://alias.test HTTP/1.1\r\nHost: alias.test\r\n\r\n", 200),
]
"""What clients may send, and what nginx answers. After an error of which it isn't sure the connection ends."""


async def test_what_clients_may_not_say_is_what_nginx_refuses(lab: Lab) -> None:
    for sent, wanted in ODD:
        reader, writer = await connect(lab, "client", VIP, 80)
        writer.write(sent)
        status, _, body = await response(reader)
        assert status == wanted, sent
        if wanted == 200:
            assert json.loads(body)["path"].startswith("/")
        else:
            assert await reader.read() == b"", sent
        writer.close()


async def test_what_is_between_two_ends_goes_no_further(lab: Lab) -> None:
    fields = ["TE: trailers", "Keep-Alive: 5", "Connection: X-Other, keep-alive"]
    _, _, body = await curl(lab, *(word for one in fields for word in ("-H", one)), "http://alias.test/")
    assert not {"te", "keep-alive", "connection"} & {name.lower() for name in json.loads(body)["headers"]}


async def test_what_cannot_be_followed_is_told(lab: Lab) -> None:
    wrong = ingress(
        "wrong.test",
        ("/a", "web"),
        configuration_snippet="return 200;",
        rewrite_target="/a?b",
        enable_cors="yes",
    )
    done = await emulab("-l", lab.name, "apply", "-f", "-", stdin=wrong.encode())
    assert done.status == 0 and done.stderr.count(b"metadata.annotations") == 3, done.stderr
    for words in (b"allow-snippet-annotations", b"'/a?b' is no path", b"'yes' is neither true nor false"):
        assert words in done.stderr
    answer = await lab.request(f"http://{VIP}/a", headers={"Host": "wrong.test"})
    assert answer.status == 200 and answer.json()["path"] == "/a", "it stays served"

    async def said() -> bool:
        about = [one["message"] for one in await lab.events("default", "ingress/wrong-test")]
        log = (
            await emulab("-l", lab.name, "logs", "-n", "ingress-nginx", "deploy/ingress-nginx-controller")
        ).stdout
        words = ("'/a?b' is no path", "'yes' is neither true nor false")
        return all(any(word in line for line in about) and word.encode() in log for word in words)

    await eventually(said)
