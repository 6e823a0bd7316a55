"""The ingress controller: which Service a request reaches, TLS, streams, and what is answered when none can."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from emulab import Lab
from emulab.servers.stubquestions import socket_family

from .engine_differences import expected, served_by
from .families import At, at_of, lab_in, of_the_day, worlds_of
from .tools import TOPOLOGIES, VIP, capture, connect, name, output, pods, program, response

pytestmark = pytest.mark.asyncio(loop_scope="module")

BACKEND = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{{name: {name}, ports: [{{containerPort: 8080}}]{extra}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {name}}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}
---
"""

RULES = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: main}
spec:
  rules:
    - host: paths.test
      http:
        paths:
          - {path: /exact, pathType: Exact, backend: {service: {name: one, port: {name: http}}}}
          - {path: /exact, pathType: Prefix, backend: {service: {name: two, port: {number: 80}}}}
          - {path: /a, pathType: Prefix, backend: {service: {name: one, port: {number: 80}}}}
          - {path: /a/b, pathType: Prefix, backend: {service: {name: two, port: {number: 80}}}}
          - {path: /raw, pathType: ImplementationSpecific, backend: {service: {name: one, port: {number: 80}}}}
          - {path: /delay, pathType: Prefix, backend: {service: {name: one, port: {number: 80}}}}
          - {path: /bytes, pathType: Prefix, backend: {service: {name: one, port: {number: 80}}}}
          - {path: /closes, pathType: Prefix, backend: {service: {name: closes, port: {number: 80}}}}
          - {path: /none, pathType: Prefix, backend: {service: {name: none, port: {number: 80}}}}
          - {path: /missing, pathType: Prefix, backend: {service: {name: missing, port: {number: 80}}}}
          - {path: /dead, pathType: Prefix, backend: {service: {name: dead, port: {number: 80}}}}
          - {path: /afar, pathType: Prefix, backend: {service: {name: afar, port: {number: 80}}}}
          - {path: /unheard, pathType: Prefix, backend: {service: {name: unheard, port: {number: 80}}}}
    - host: "*.wild.test"
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: one, port: {number: 80}}}}]}
    - host: special.wild.test
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: two, port: {number: 80}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: streams, annotations: {nginx.ingress.kubernetes.io/proxy-request-buffering: "off"}}
spec:
  rules:
    - host: streams.test
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: one, port: {number: 80}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: secure}
spec:
  tls:
    - {hosts: [one.secure.test], secretName: one-tls}
    - {hosts: [two.secure.test], secretName: two-tls}
  rules:
    - host: one.secure.test
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: one, port: {number: 80}}}}]}
    - host: two.secure.test
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: two, port: {number: 80}}}}]}
---
apiVersion: v1
kind: Service
metadata: {name: none}
spec: {selector: {app: none}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: afar}
spec: {type: ExternalName, externalName: two.default, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: unheard}
spec: {type: ExternalName, externalName: unheard.test, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: dead}
spec: {ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: dead-1, labels: {kubernetes.io/service-name: dead}}
addressType: IPv4
ports: [{port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.244.2.240], conditions: {ready: true}}]
---
"""


def certificate(folder: Path, host: str) -> tuple[bytes, bytes]:
    """A self-signed certificate and its key, PEM, made by openssl."""
    cert, key = folder / f"{host}.crt", folder / f"{host}.key"
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
            ),
            *("-days", "2", "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"),
            *("-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    return cert.read_bytes(), key.read_bytes()


def secret(name: str, pair: tuple[bytes, bytes]) -> str:
    cert, key = (base64.b64encode(part).decode() for part in pair)
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": {"name": name},
            "data": {"tls.crt": cert, "tls.key": key},
        }
    )


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, bytes]]:
    folder = tmp_path_factory.mktemp("tls")
    return {host: certificate(folder, f"{host}.secure.test") for host in ("one", "two")}


ENGINES = ("builtin", "nginx", "haproxy")


@pytest_asyncio.fixture(
    loop_scope="module",
    scope="module",
    params=[
        pytest.param((engine, world), id=f"{engine}-{world.id}")
        for number, world in enumerate(worlds_of("ingress"))
        for engine in (of_the_day(ENGINES) if number else ENGINES)
    ],
)
async def lab(
    request: pytest.FixtureRequest, certificates: dict[str, tuple[bytes, bytes]]
) -> AsyncIterator[Lab]:
    engine, (families,) = request.param[0], request.param[1].values
    closes = program("broken.py", "8080", "close")
    broken = f", command: {closes}, readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}"
    texts = [
        served_by(engine),
        BACKEND.format(name="one", extra=""),
        BACKEND.format(name="two", extra=""),
        BACKEND.format(name="closes", extra=broken),
        RULES,
        *(f"{secret(f'{host}-tls', pair)}\n---\n" for host, pair in certificates.items()),
    ]
    async with lab_in(families, "".join(texts)) as made:
        # Three tries of five seconds (ingress-nginx's defaults) go on while the other tests run.
        made.engine = engine  # type: ignore[attr-defined]
        made.dead = asyncio.ensure_future(made.request("http://paths.test/dead", timeout=40))  # type: ignore[attr-defined]
        yield made


@pytest.fixture
def at(lab: Lab) -> At:
    return at_of(lab)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def fanout() -> AsyncIterator[Lab]:
    async with Lab.from_files(TOPOLOGIES / "fanout.yaml") as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def name_based() -> AsyncIterator[Lab]:
    async with Lab.from_files(TOPOLOGIES / "name-based.yaml") as made:
        yield made


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/products/42", "product-service"),
        ("/products", "product-service"),
        ("/orders", "order-service"),
        ("/orders/7", "order-service"),
        ("/orders/archive/1", "archive-service"),
        ("/orders/archives", "order-service"),
        ("/ordersx", ""),
        ("/", ""),
    ],
)
async def test_fanout_chooses_the_service_by_path(fanout: Lab, path: str, service: str) -> None:
    """The longest prefix of whole path elements wins; what no rule has is 404."""
    answer = await fanout.request(f"http://shop.example.com{path}")
    if service:
        assert answer.status == 200 and answer.json()["service"] == service and answer.json()["path"] == path
    else:
        assert answer.status == 404 and "nginx" in answer.text()


@pytest.mark.parametrize(
    ("host", "service"),
    [
        ("foo.example.com", "foo"),
        ("bar.example.com", "bar"),
        ("FOO.example.com", "foo"),
        ("one.wild.example.com", "bar"),
        ("a.b.wild.example.com", ""),
        ("wild.example.com", ""),
        ("other.example.com", ""),
        (VIP, ""),
    ],
)
async def test_name_based_hosting_goes_by_the_host_header(name_based: Lab, host: str, service: str) -> None:
    """One address, several names; a wildcard is exactly one label."""
    answer = await name_based.request(f"http://{VIP}/", headers={"Host": host})
    if service:
        assert answer.status == 200 and answer.json()["service"] == service
    else:
        assert answer.status == 404


async def test_every_host_is_published(name_based: Lab) -> None:
    """The client's DNS has the exact hosts and everything below the wildcard."""
    for host in ("foo.example.com", "bar.example.com", "one.wild.example.com", "two.wild.example.com"):
        assert await name_based.resolve(host) == VIP
        assert (await name_based.request(f"http://{host}/")).status == 200


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/exact", "one"),
        ("/exact/", "two"),
        ("/exact/x", "two"),
        ("/a", "one"),
        ("/a/bc", "one"),
        ("/a/b", "two"),
        ("/a/b/c?d=e", "two"),
        ("/raw/er", "one"),
    ],
)
async def test_exact_and_prefix_paths(lab: Lab, path: str, service: str) -> None:
    answer = await lab.request(f"http://paths.test{path}")
    assert answer.status == 200 and answer.json()["service"] == service
    assert answer.json()["path"] == path


async def test_an_exact_host_wins_over_a_wildcard(lab: Lab) -> None:
    assert (await lab.request("http://any.wild.test/")).json()["service"] == "one"
    assert (await lab.request("http://special.wild.test/")).json()["service"] == "two"


@pytest.mark.parametrize(
    ("path", "status"),
    [("/nowhere", 404), ("/closes", 502), ("/none", 503), ("/missing", 503), ("/unheard", 502)],
)
async def test_failures_are_nginxs(lab: Lab, path: str, status: int) -> None:
    """No rule, a server that hangs up, no endpoint, no Service, a name that nobody knows: each has its status, at once,
    with nginx's page."""
    answers = []
    while not answers or (answers[-1].duration >= 4.5 and len(answers) < 3):  # the machine may have been away
        answers.append(await lab.request(f"http://paths.test{path}", timeout=20))
    answer = answers[-1]
    assert answer.status == status and answer.duration < 4.5, "a try that nobody answers takes five seconds"
    assert f"<center><h1>{status} " in answer.text() and "<center>nginx</center>" in answer.text()


async def test_a_default_backend_takes_what_no_rule_takes(lab: Lab, at: At) -> None:
    """While an Ingress with a default backend and no rules is there, hosts that no rule has are its to answer."""
    assert (await lab.request(f"http://{at.host(at.vip)}/x", headers={"Host": "unheard.test"})).status == 404
    await lab.apply(
        """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: catch}
spec: {defaultBackend: {service: {name: two, port: {number: 80}}}}
"""
    )
    answer = await lab.request(f"http://{at.host(at.vip)}/x", headers={"Host": "unheard.test"})
    assert answer.status == 200 and answer.json()["service"] == "two"
    assert (await lab.request("http://paths.test/nowhere")).status == 404
    await lab.delete("Ingress", "catch")
    assert (await lab.request(f"http://{at.host(at.vip)}/x", headers={"Host": "unheard.test"})).status == 404


async def test_tls_certificates_are_chosen_by_sni(
    lab: Lab, at: At, tmp_path: Path, certificates: dict[str, tuple[bytes, bytes]]
) -> None:
    """openssl and curl, with the right certificate as their only trusted one, in the client."""
    for host, (cert, _) in certificates.items():
        trusted = tmp_path / f"{host}.pem"
        trusted.write_bytes(cert)
        done = await lab.exec(
            "client", "curl", "-sS", "--cacert", str(trusted), f"https://{host}.secure.test/x"
        )
        assert done.status == 0, done.stderr
        facts = json.loads(done.stdout)
        assert facts["service"] == host and facts["headers"]["X-Forwarded-Proto"] == ["https"]
        assert facts["headers"]["X-Forwarded-Port"] == ["443"]
        shown = await lab.exec(
            *(
                "client",
                "openssl",
                "s_client",
                "-connect",
                f"{at.host(at.vip)}:443",
                "-servername",
                f"{host}.secure.test",
            ),
            *("-CAfile", str(trusted), "-verify_return_error"),
        )
        assert b"Verify return code: 0 (ok)" in shown.stdout, shown.stderr
        # OpenSSL 3.2 and later write no blanks.
        assert f"CN={host}.secure.test".encode() in shown.stdout.replace(b"CN = ", b"CN=")
    wrong = await lab.exec(
        "client", "curl", "-sS", "--cacert", str(tmp_path / "one.pem"), "https://two.secure.test/"
    )
    assert wrong.status == 60, "another host's certificate was accepted"


async def test_plain_http_is_redirected_where_there_is_tls(lab: Lab) -> None:
    """308 to https, path and query kept; hosts without TLS are not."""
    answer = await lab.request("http://one.secure.test/a/b?c=d")
    assert answer.status == 308 and answer.headers["location"] == "https://one.secure.test/a/b?c=d"
    assert (await lab.request("http://paths.test/a")).status == 200


async def test_a_replaced_certificate_is_served(
    lab: Lab, at: At, tmp_path: Path, certificates: dict[str, tuple[bytes, bytes]]
) -> None:
    """After `apply` of a new Secret new connections get the new certificate."""
    fresh = certificate(tmp_path, "one.secure.test")
    await lab.apply(secret("one-tls", fresh))
    context = ssl.create_default_context(cadata=fresh[0].decode())
    sock = await lab.socket("client", family=socket_family(at.vip))
    await asyncio.get_running_loop().sock_connect(sock, (at.vip, 443))
    _, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname="one.secure.test")
    peer = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    assert ssl.DER_cert_to_PEM_cert(peer).split() == fresh[0].decode().split()
    writer.close()
    await lab.apply(secret("one-tls", certificates["one"]))


async def test_web_sockets_pass_through_the_whole_path(lab: Lab, at: At) -> None:
    """The upgrade is answered by the pod; then frames go both ways, and the closing handshake too."""
    reader, writer = await connect(lab, "client", at.vip, 80)
    head = (
        "GET /a HTTP/1.1\r\nHost: paths.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    writer.write(head.encode())
    async with asyncio.timeout(30):
        answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        assert answer.startswith("http/1.1 101 ") and "upgrade: websocket" in answer
        assert "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=" in answer
        for size in (5, 300, 70_000):
            payload = os.urandom(size)
            writer.write(frame(2, payload))
            opcode, received = await read_frame(reader)
            assert (opcode, received) == (2, payload)
        await asyncio.sleep(0.1)  # idle in between, as conversations are
        writer.write(frame(1, "grüße".encode()))
        assert await read_frame(reader) == (1, "grüße".encode())
        writer.write(frame(8, (1000).to_bytes(2, "big")))
        opcode, reason = await read_frame(reader)
        assert opcode == 8 and reason[:2] == (1000).to_bytes(2, "big")
        assert await reader.read() == b""
    writer.close()


def frame(opcode: int, payload: bytes) -> bytes:
    """A whole client frame, masked (RFC 6455, section 5.2)."""
    size, mask = len(payload), os.urandom(4)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 1 << 16:
        length = bytes([0x80 | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([0x80 | 127]) + size.to_bytes(8, "big")
    return bytes([0x80 | opcode]) + length + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Opcode and payload of a message, its fragments joined; servers don't mask."""
    opcode, whole, final = 0, b"", False
    while not final:
        first, second = await reader.readexactly(2)
        final, size = bool(first & 0x80), second & 0x7F
        opcode = opcode or first & 0x0F
        if size > 125:
            size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
        whole += await reader.readexactly(size)
    return opcode, whole


async def test_an_upload_is_gathered(lab: Lab, at: At) -> None:
    """The pod sees nothing of a body in chunks before the last one, and then its length (proxy-request-buffering)."""
    [pod] = await pods(lab, app="one")
    async with capture(lab, f"pod/{name(pod)}", "tcp dst port 8080", "-A") as seen:
        reader, writer = await connect(lab, "client", at.vip, 80)
        writer.write(b"POST /a/whole HTTP/1.1\r\nHost: paths.test\r\nTransfer-Encoding: chunked\r\n\r\n")
        for index in range(3):
            writer.write(b"9\r\nchunk-%03d\r\n" % index)
            await asyncio.sleep(0.2)
        assert not seen.matching("POST /a/whole")
        writer.write(b"0\r\n\r\n")
        status, _, body = await response(reader)
        writer.close()
        await seen.until("chunk-000chunk-001chunk-002")
    facts = json.loads(body)
    assert status == 200 and facts["bodyBytes"] == 27
    measured = expected(lab.engine, "length of a body that came in chunks", ["27"])  # type: ignore[attr-defined]
    assert facts["headers"].get("Content-Length", []) == measured
    assert not measured or "Transfer-Encoding" not in facts["headers"]


async def test_a_chunked_upload_is_streamed(lab: Lab, at: At) -> None:
    """Where it isn't gathered, each chunk is at the pod before the next one is sent."""
    [pod] = await pods(lab, app="one")
    async with capture(lab, f"pod/{name(pod)}", "tcp dst port 8080", "-A") as seen:
        reader, writer = await connect(lab, "client", at.vip, 80)
        writer.write(b"POST /a HTTP/1.1\r\nHost: streams.test\r\nTransfer-Encoding: chunked\r\n\r\n")
        for index in range(3):
            writer.write(b"11\r\nchunk-number-%04d\r\n" % index)
            await writer.drain()
            await seen.until(f"chunk-number-{index:04d}")
            assert not seen.matching(f"chunk-number-{index + 1:04d}")
        writer.write(b"0\r\n\r\n")
        status, _, body = await response(reader)
        writer.close()
    assert status == 200 and json.loads(body)["bodyBytes"] == 51


async def test_a_large_answer_is_streamed_whole(lab: Lab) -> None:
    """50 MB through balancer, ingress and Service, without the ingress's memory growing by as much."""

    async def memory() -> int:
        text = await output(
            lab, f"pod/{controller}", "sh", "-c", "cat /proc/[0-9]*/status", namespace="ingress-nginx"
        )
        return max(int(kb) for kb in re.findall(r"VmHWM:\s+(\d+) kB", text))

    [pod] = await pods(lab, "ingress-nginx")
    controller = name(pod)
    before = await memory()
    answer = await lab.request("http://paths.test/bytes/50000000")
    assert answer.status == 200 and len(answer.body) == 50_000_000
    assert await memory() - before < 25_000


async def test_connections_are_kept_on_both_sides(lab: Lab, at: At) -> None:
    """Twenty requests on one client connection reach the pod over one connection of the ingress."""
    reader, writer = await connect(lab, "client", at.vip, 80)
    peers = set()
    for _ in range(20):
        writer.write(b"GET /a HTTP/1.1\r\nHost: paths.test\r\n\r\n")
        status, _, body = await response(reader)
        assert status == 200
        peers.add(json.loads(body)["client"])
    writer.close()
    assert len(peers) == 1


async def test_an_external_name_is_resolved_as_the_controllers_pod_does_it(lab: Lab, at: At) -> None:
    """By the cluster's DNS and the pod's search domains; the connection goes to the ClusterIP behind the name."""
    [controller] = await pods(lab, "ingress-nginx")
    where = f"pod/{name(controller)}"
    async with capture(lab, where, "udp port 53", namespace="ingress-nginx") as seen:
        answer = await lab.request("http://paths.test/afar")
        assert (answer.status, answer.json()["service"]) == (200, "two")
        await seen.until(
            rf"> {at('10.96.0.10')}\.53: .* {at.family.record}\? two\.default\.svc\.cluster\.local\."
        )


async def test_an_upstream_that_takes_long_is_waited_for(lab: Lab) -> None:
    """A slow answer holds up nobody else."""
    for seconds in (1, 2, 4, 8):  # what takes a busy machine longer is asked again, of a slower one
        slow = asyncio.ensure_future(lab.request(f"http://paths.test/delay/{seconds}"))
        quick = [await lab.request("http://paths.test/a") for _ in range(5)]
        meanwhile = not slow.done()
        answer = await slow
        assert all(a.status == 200 for a in (*quick, answer)) and answer.duration >= seconds
        if meanwhile and answer.duration < 2 * seconds:
            return
    raise AssertionError(f"held up: {meanwhile=}, {answer.duration} s for {seconds}")


async def test_an_upstream_that_is_not_there_is_504(lab: Lab) -> None:
    """The only endpoint's address belongs to nobody: 504 after nginx's three tries of five seconds, no fourth."""
    answer = await lab.dead  # type: ignore[attr-defined]
    engine = lab.engine  # type: ignore[attr-defined]
    status = expected(engine, "status of a server whose address nobody has", 504)
    assert answer.status == status and 14 < answer.duration < 19.9
    assert ("504 Gateway Time-out" if status == 504 else "502 Bad Gateway") in answer.text()
