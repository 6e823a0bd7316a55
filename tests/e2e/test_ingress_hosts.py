"""What is decided of a host over all Ingresses: certificates, redirects, default backends, and who is an endpoint."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from tlspairs import DAY, pair, tls_secret

from emulab import Lab
from emulab.errors import EmulabError

from .engine_differences import expected
from .proxyworld import pod, service
from .tools import VIP, emulab, eventually, output, pods, response

pytestmark = pytest.mark.asyncio(loop_scope="module")

FAKE = "ingress.local"
NOW = time.time()


def chain(*hosts: str, begin: float = -1, end: float = 300, is_rsa: bool = False) -> tuple[str, str]:
    """A certificate and its key; times are in days from now."""
    return pair(*hosts, begin=NOW + begin * DAY, end=NOW + end * DAY, is_rsa=is_rsa)


def secret(name: str, given: tuple[str, str]) -> str:
    return f"\n{json.dumps(tls_secret(name, given).raw)}\n---"


def ingress(name: str, hosts: dict[str, list[tuple[str, str, int]]], tls: Any = (), **spec: Any) -> str:
    """`hosts`: of each host its paths, each with the Service and the port that it leads to."""
    rules = [
        {
            "host": host,
            "http": {
                "paths": [
                    {"path": path, "pathType": "Prefix", "backend": backend(to, port)}
                    for path, to, port in paths
                ]
            },
        }
        for host, paths in hosts.items()
    ]
    body = {"rules": rules, **({"tls": list(tls)} if tls else {}), **spec}
    api = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress"}
    return f"\n{json.dumps({**api, 'metadata': {'name': name}, 'spec': body})}\n---"


def backend(to: str, port: int) -> dict[str, Any]:
    return {"service": {"name": to, "port": {"number": port}}}


def section(secret: str = "", *hosts: str) -> dict[str, Any]:
    return {**({"secretName": secret} if secret else {}), **({"hosts": list(hosts)} if hosts else {})}


ALL = [("/", "web", 80)]
STAYS = ", lifecycle: {preStop: {sleep: {seconds: 8}}}"
WORLD = (
    "\napiVersion: emulab.dev/v1\nkind: Cluster\nmetadata: {name: hosts}\n"
    "spec: {ingress: {upstream: endpoints, engine: ENGINE}}\n---"
    + pod("web", "node1")
    + pod("other", "node2")
    + pod("going", "node1", more=STAYS)
    + "".join(
        service(name, f"{{selector: {{app: {name}}}, ports: [{{port: 80, targetPort: 8080}}]}}")
        for name in ("web", "other", "going")
    )
    + service("direct", "{clusterIP: None, selector: {app: web}, ports: [{port: 8080}]}")
    + service(
        "far", "{type: ExternalName, externalName: direct.default, ports: [{port: 80, targetPort: 8080}]}"
    )
    + service("farther", "{type: ExternalName, externalName: direct.default}")
    + secret("wild", chain("*.tls.test"))
    + secret("sole", chain("sole.test"))
    + secret("rsa", chain("rsa.test", is_rsa=True))
    + secret("else", chain("else.test"))
    + secret("old", chain("old.test", begin=-9, end=-2))
    + secret("young", chain("young.test", begin=2))
    + ingress("t1", {"t1.tls.test": ALL}, [section("wild", "*.tls.test")])
    + ingress("t2-secured", {"t2.tls.test": [("/s", "web", 80)]}, [section("wild", "t2.tls.test")])
    + ingress("t2-plain", {"t2.tls.test": [("/p", "web", 80)]})
    + ingress("t4", {"t4.tls.test": ALL}, [section("wild")])
    + ingress("t5", {"t5.test": ALL}, [section("else", "t5.test")])
    + ingress("t7", {"t7.tls.test": ALL, "t7.test": ALL}, [section("wild", "t7.tls.test")])
    + ingress("keys", {"sole.test": ALL, "rsa.test": ALL}, [section("sole"), section("rsa")])
    + ingress("above", {"*.above.test": ALL}, [section("", "*.above.test")])
    + ingress("below", {"x.above.test": ALL})
    + ingress("dates", {"old.test": ALL, "young.test": ALL}, [section("old"), section("young")])
    + ingress("lost", {"lost.test": ALL}, [section("lost", "lost.test")])
    + ingress("plain", {"plain.test": ALL, "far.test": [("/", "far", 80), ("/n", "farther", 8080)]})
    + ingress("short", {"short.test": [("/far(/|$)(.*)", "far", 80)]})
    .replace(
        '"name": "short"',
        '"name": "short", "annotations": {"nginx.ingress.kubernetes.io/rewrite-target": "/$2"}',
    )
    .replace("Prefix", "ImplementationSpecific")
    + ingress("going", {"going.test": [("/", "going", 80)]})
    + ingress("i1-a", {"i1.test": [("/a", "web", 80)]}, defaultBackend=backend("web", 80))
    + ingress("i1-b", {"i1.test": [("/", "other", 80)]})
)


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=["builtin", "nginx", "haproxy"])
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    async with Lab.from_text(WORLD.replace("ENGINE", request.param)) as made:
        made.engine = request.param  # type: ignore[attr-defined]
        yield made


async def shown(lab: Lab, host: str) -> str:
    """The names in the certificate that a client sees who asks for a host."""
    ask = (
        f"openssl s_client -connect {VIP}:443 {f'-servername {host}' if host else '-noservername'} </dev/null"
    )
    read = "openssl x509 -noout -ext subjectAltName"
    said = await output(lab, "client", "sh", "-c", f"{ask} 2>/dev/null | {read}")
    return said.splitlines()[-1].strip().removeprefix("DNS:")


@pytest.mark.parametrize(
    ("url", "status", "certificate"),
    [
        ("t1.tls.test/", 308, "*.tls.test"),
        ("t2.tls.test/s", 308, "*.tls.test"),
        ("t2.tls.test/p", 308, "*.tls.test"),
        ("t2.tls.test/no-path", 308, "*.tls.test"),
        ("t4.tls.test/", 308, "*.tls.test"),
        ("t5.test/", 308, FAKE),
        ("t7.tls.test/", 308, "*.tls.test"),
        ("t7.test/", 308, FAKE),
        ("sole.test/", 308, "sole.test"),
        ("rsa.test/", 308, "rsa.test"),
        ("y.above.test/", 308, FAKE),
        ("x.above.test/", 308, FAKE),
        ("old.test/", 308, "old.test"),
        ("young.test/", 308, "young.test"),
        ("lost.test/", 308, FAKE),
        ("plain.test/", 200, FAKE),
        ("unheard.tls.test/", 404, FAKE),
    ],
)
async def test_the_certificate_of_a_host_and_where_plain_requests_go(
    lab: Lab, url: str, status: int, certificate: str
) -> None:
    host = url.partition("/")[0]
    answer = await lab.request(f"http://{VIP}/{url.partition('/')[2]}", headers={"Host": host})
    assert answer.status == status
    if status == 308:
        assert answer.headers["location"] == f"https://{url.removesuffix('/')}"  # lua_ingress.lua
    assert await shown(lab, host) == certificate
    code = ("curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "--resolve", f"{host}:443:{VIP}")
    assert await output(lab, "client", *code, f"https://{url}") == str(
        404 if "no-path" in url else 200 if status == 308 else status
    )


async def test_who_names_no_host_sees_the_default_certificate(lab: Lab) -> None:
    assert await shown(lab, "") == FAKE


async def test_what_is_wrong_with_certificates_is_told(lab: Lab) -> None:
    """In Events, in the controller's log, in `describe`, and when the Secret is applied."""
    words = {
        "t5": (
            "CertificateMismatch",
            'SSL certificate "default/else" does not contain a Common Name or Subject Alternative Name for server'
            ' "t5.test": x509: certificate is valid for else.test, not t5.test',
        ),
        "lost": ("CertificateNotFound", "local SSL certificate default/lost was not found"),
    }
    for host, reason, text in (
        ("old", "Expired", "expired ("),
        ("young", "NotYetValid", "is not valid before "),
    ):
        words[f"dates/{host}"] = f"Certificate{reason}", f'SSL certificate for server "{host}.test" {text}'
    [controller] = await pods(lab, "ingress-nginx")
    log = await lab.logs(controller["metadata"]["name"], namespace="ingress-nginx")
    for place, (reason, text) in words.items():
        name = place.partition("/")[0]
        told = [
            (e["type"], e["reason"], e["message"]) for e in await lab.events("default", f"Ingress/{name}")
        ]
        assert any(kind == "Warning" and why == reason and text in said for kind, why, said in told), told
        assert text in log
        described = await emulab("-l", lab.name, "describe", "ingress", name)
        assert f"{reason}: " in described.text and text in described.text, described.text


async def test_a_certificate_that_ends_is_told_of_though_nothing_changes(lab: Lab) -> None:
    ending = chain("ending.test", end=(time.time() + 5 - NOW) / DAY)
    await lab.apply(secret("ending", ending), ingress("ending", {"ending.test": ALL}, [section("ending")]))
    [controller] = await pods(lab, "ingress-nginx")

    async def reasons() -> list[str]:
        told = await lab.events("default", "Ingress/ending")
        return [e["reason"] for e in told if e["type"] == "Warning"]

    async def over() -> bool:
        return "CertificateExpired" in await reasons()

    await eventually(over)
    assert sorted(await reasons()) == ["CertificateExpired", "CertificateExpiring"]

    async def logged() -> bool:
        log = await lab.logs(controller["metadata"]["name"], namespace="ingress-nginx")
        return 'for server "ending.test" expired (' in log and '"ending.test" is about to expire (' in log

    await eventually(logged)
    assert await shown(lab, "ending.test") == "ending.test", "it is shown all the same"


async def test_an_ingress_is_scheduled_for_sync_when_it_changes(lab: Lab) -> None:
    async def counted() -> int:
        told = await lab.events("default", "Ingress/plain")
        return sum(e["count"] for e in told if (e["reason"], e["message"]) == ("Sync", "Scheduled for sync"))

    before = await eventually(counted)
    paths = [("/", "far", 80), ("/n", "farther", 8080), ("/m", "web", 80)]
    await lab.apply(ingress("plain", {"plain.test": ALL, "far.test": paths}))

    async def told_again() -> bool:
        return await counted() > before

    await eventually(told_again)


async def test_a_controllers_pod_tells_of_reloads(lab: Lab) -> None:
    """Another path has nginx read its configuration anew; a certificate in the place of the fake one hasn't."""
    (controller,) = [
        pod
        for pod in await lab.get("pods", namespace="ingress-nginx")
        if "controller" in pod["metadata"]["name"]
    ]

    async def counted() -> int:
        told = await lab.events("ingress-nginx", f"Pod/{controller['metadata']['name']}")
        message = "NGINX reload triggered due to a change in configuration"
        return sum(e["count"] for e in told if (e["reason"], e["message"]) == ("RELOAD", message))

    before = await eventually(counted)
    await lab.apply(ingress("unready", {"unready.test": ALL}, [section("unready", "unready.test")]))
    assert await shown(lab, "unready.test") != "unready.test"

    async def more() -> bool:
        return await counted() > before

    await eventually(more)
    before = await counted()
    await lab.apply(secret("unready", chain("unready.test")))

    async def real() -> bool:
        return await shown(lab, "unready.test") == "unready.test"

    await eventually(real)
    assert await counted() == before


async def test_a_changed_secret_is_shown_to_the_next_client_and_connections_stay(lab: Lab) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    async def opened() -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
        sock = await lab.socket("client")
        await asyncio.get_running_loop().sock_connect(sock, (VIP, 443))
        reader, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname="sole.test")
        return reader, writer, writer.get_extra_info("ssl_object").getpeercert(binary_form=True)

    async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        writer.write(b"GET / HTTP/1.1\r\nHost: sole.test\r\n\r\n")
        return (await response(reader))[0]

    reader, writer, first = await opened()
    assert await asked(reader, writer) == 200
    fresh = chain("sole.test", "again.test")
    await lab.apply(secret("sole", fresh))

    async def replaced() -> bool:
        other_reader, other_writer, second = await opened()
        assert await asked(other_reader, other_writer) == 200
        other_writer.close()
        return second != first and ssl.DER_cert_to_PEM_cert(second).split() == fresh[0].split()

    await eventually(replaced)
    if expected(lab.engine, "connections that are kept when a certificate changes", True):  # type: ignore[attr-defined]
        assert await asked(reader, writer) == 200, "the connection that was there goes on"
    else:
        assert await reader.read() == b"", "it was idle, and is closed in good order"
    writer.close()


async def test_a_secret_that_comes_later_is_shown(lab: Lab) -> None:
    assert await shown(lab, "lost.test") == FAKE
    await lab.apply(secret("lost", chain("lost.test")))

    async def there() -> bool:
        return await shown(lab, "lost.test") == "lost.test"

    await eventually(there)
    await lab.delete("Secret", "lost")

    async def gone() -> bool:
        return await shown(lab, "lost.test") == FAKE

    await eventually(gone)


async def test_who_takes_all_of_a_host_comes_before_anybodys_default_backend(lab: Lab) -> None:
    """I1, and the other way round: who came first doesn't matter."""
    for path, name in (("/zzz", "other"), ("/a", "web"), ("/", "other")):
        assert (await lab.request(f"http://i1.test{path}")).json()["pod"] == name
    await lab.delete("Ingress", "i1-b")

    async def left() -> bool:
        return bool((await lab.request("http://i1.test/zzz")).json()["pod"] == "web")

    await eventually(left)
    await lab.apply(ingress("i1-b", {"i1.test": [("/", "other", 80)]}))

    async def back() -> bool:
        return bool((await lab.request("http://i1.test/zzz")).json()["pod"] == "other")

    await eventually(back)


async def test_the_port_of_an_external_name(lab: Lab) -> None:
    """I3: its targetPort; I4: without ports the number that the Ingress has."""
    for path in ("/", "/n"):
        answer = await served(lab, f"http://far.test{path}")
        assert answer["pod"] == "web" and answer["port"] == 8080


async def served(lab: Lab, url: str) -> Any:
    """The answer from where a name leads, which nginx and haproxy find out a moment after it is there."""

    async def asked() -> Any:
        answer = await lab.request(url)
        return answer.json() if answer.status == 200 else None

    return await eventually(asked)


async def test_an_external_name_is_asked_for_a_path_that_was_rewritten(lab: Lab) -> None:
    assert (await served(lab, "http://short.test/far/a/b?c=d"))["path"] == "/a/b?c=d"


async def test_who_is_going_gets_nothing_any_more(lab: Lab) -> None:
    """I5: 503 at once, though the only pod serves on for eight seconds."""

    async def asked() -> int:
        return (await lab.request(f"http://{VIP}/", headers={"Host": "going.test"})).status

    assert await asked() == 200
    [there] = await lab.get("Pod", "going", "default")
    address = there["status"]["podIP"]
    await lab.delete("Pod", "going")

    async def refused() -> bool:
        return await asked() == 503

    await eventually(refused)
    code = ("-s", "-o", "/dev/null", "-w", "%{http_code}")
    assert await output(lab, "node1", "curl", *code, f"http://{address}:8080/") == "200", "it serves on"
    assert await lab.get("Pod", "going", "default")


async def test_paths_with_characters_of_expressions_are_refused_unless_their_type_allows_for_them(
    lab: Lab,
) -> None:
    """N2, in the words of ingress-nginx' admission webhook."""
    text = ingress("q", {"q.test": [("/q(/|$)(.*)", "web", 80)]})
    with pytest.raises(EmulabError) as refused:
        await lab.apply(text)
    words = (
        'admission webhook "validate.nginx.ingress.kubernetes.io" denied the request: ingress contains invalid paths:'
        " path /q(/|$)(.*) cannot be used with pathType Prefix"
    )
    assert words in str(refused.value) and not await lab.get("Ingress", "q", "default")
    await lab.apply(text.replace("Prefix", "ImplementationSpecific"))
    assert len(await lab.get("Ingress", "q", "default")) == 1
    done = await emulab("-l", lab.name, "apply", "-f", "-", stdin=text.encode())
    assert done.status == 1 and words in done.stderr.decode()
    await lab.delete("Ingress", "q")
