"""HTTP/2 and gRPC through a whole lab, by the programs that people use; and backends that are reached otherwise."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from emulab import Lab

from .engine_differences import expected
from .test_ingress import BACKEND, served_by
from .tools import PYTHON, VIP, connect, emulab, eventually, output, response

pytestmark = pytest.mark.asyncio(loop_scope="module")

INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {name}, annotations: {{{annotations}}}}}
spec:
  tls: [{{hosts: [{name}.test], secretName: none}}]
  rules:
    - host: {name}.test
      http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}]}}
---
"""
PLAIN = 'nginx.ingress.kubernetes.io/ssl-redirect: "false"'
PROTOCOL = "nginx.ingress.kubernetes.io/backend-protocol"

HEALTH = """
import sys, grpc
port, how, host = sys.argv[1:]
options = [("grpc.default_authority", host)]
if how == "tls":
    import ssl
    pem = ssl.get_server_certificate((host, int(port))).encode()
    options += [("grpc.ssl_target_name_override", "ingress.local")]
    channel = grpc.secure_channel(f"{host}:{port}", grpc.ssl_channel_credentials(pem), options)
else:
    channel = grpc.insecure_channel(f"{host}:{port}", options)
try:
    answer = channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=20)
    print(answer.hex())
    channel.unary_unary("/x.Y/Z")(b"", timeout=20)
except grpc.RpcError as error:
    print(error.code().name, error.details())
"""


TRAILERS = """
import socket, ssl, h2.connection, h2.events
context = ssl._create_unverified_context()
context.set_alpn_protocols(["h2"])
sock = context.wrap_socket(socket.create_connection(("plain.test", 443)), server_hostname="plain.test")
ours = h2.connection.H2Connection()
ours.initiate_connection()
pseudo = {":method": "POST", ":path": "/", ":scheme": "https", ":authority": "plain.test", "te": "trailers"}
ours.send_headers(1, pseudo.items())
ours.send_data(1, b"abc")
ours.send_headers(1, [("x-end", "yes")], end_stream=True)
sock.sendall(ours.data_to_send())
while data := sock.recv(65536):
    for event in ours.receive_data(data):
        if isinstance(event, h2.events.ResponseReceived):
            print("status", dict(event.headers).get(b":status", dict(event.headers).get(":status")))
            raise SystemExit
        if isinstance(event, h2.events.ConnectionTerminated):
            print("goodbye", int(event.error_code))
            raise SystemExit
    sock.sendall(ours.data_to_send())
"""


STREAMS = """
import collections, socket, ssl, h2.connection, h2.events as events
from h2.connection import ConnectionInputs, ConnectionState, H2ConnectionStateMachine
# The library takes a goodbye for the end of what is under way, too.
for state in (ConnectionState.IDLE, ConnectionState.CLIENT_OPEN):
    H2ConnectionStateMachine._transitions[state, ConnectionInputs.RECV_GOAWAY] = (None, state)
context = ssl._create_unverified_context()
context.set_alpn_protocols(["h2"])
fields = {":method": "GET", ":path": "/delay/0.03", ":scheme": "https", ":authority": "plain.test"}
left, seen = 150, collections.Counter()
while left > 0:
    sock = context.wrap_socket(socket.create_connection(("plain.test", 443)), server_hostname="plain.test")
    ours, under_way, going = h2.connection.H2Connection(), set(), True
    ours.initiate_connection()
    while going or under_way:
        while going and len(under_way) < 3:
            under_way.add(number := ours.get_next_available_stream_id())
            ours.send_headers(number, fields.items(), end_stream=True)
        sock.sendall(ours.data_to_send())
        data = sock.recv(65536)
        if not data:
            seen["lost"] += len(under_way)
            break
        for event in ours.receive_data(data):
            if isinstance(event, events.ResponseReceived):
                seen[dict(event.headers)[b":status"].decode()] += 1
            elif isinstance(event, events.DataReceived):
                ours.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, events.StreamEnded):
                under_way.discard(event.stream_id)
                left -= 1
            elif isinstance(event, events.StreamReset):
                under_way.discard(event.stream_id)
                seen["reset"] += 1
            elif isinstance(event, events.ConnectionTerminated):
                seen["goodbye" if not event.error_code else "error"] += 1
                going = False
                under_way = {number for number in under_way if number <= event.last_stream_id}
        going = going and left > 0
    sock.close()
print(*(f"{name}={number}" for name, number in seen.items()))
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=["builtin", "nginx", "haproxy"])
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    protocols = {"plain": "HTTP", "secure": "HTTPS", "rpc": "GRPC", "rpcs": "GRPCS"}
    texts = [
        served_by(request.param),
        BACKEND.format(name="web", extra=""),
        *(
            INGRESS.format(name=name, annotations=f"{PLAIN}, {PROTOCOL}: {protocol}")
            for name, protocol in protocols.items()
        ),
    ]
    async with Lab.from_text(*texts) as made:
        made.engine = request.param  # type: ignore[attr-defined]
        yield made


def without_tls(lab: Lab) -> bool:
    """Whether HTTP/2 is spoken without TLS, too."""
    return expected(lab.engine, "HTTP/2 without TLS", True)  # type: ignore[attr-defined]


@pytest.mark.parametrize("how", [("--http2", "https"), ("--http2-prior-knowledge", "http")])
async def test_curl_speaks_http_2(lab: Lab, how: tuple[str, str]) -> None:
    option, scheme = how
    url = f"{scheme}://plain.test/here"
    curl = ("curl", "-sk", option, "-w", "\n%{http_version}", "-d", "x" * 100_000, url)
    if scheme == "http" and not without_tls(lab):
        assert (await lab.exec("client", *curl)).status
        return
    told = await output(lab, "client", *curl)
    text, version = told.rsplit("\n", 1)
    answer = json.loads(text)
    assert version == "2" and answer["path"] == "/here" and answer["proto"] == "HTTP/1.1"
    assert answer["headers"]["X-Forwarded-Proto"] == [scheme]
    assert answer["headers"]["Content-Length"] == ["100000"]

    async def logged() -> bool:
        return re.search(r'"POST /here HTTP/2\.0" 200', await _log(lab)) is not None

    assert await eventually(logged)


async def _log(lab: Lab) -> str:
    done = await emulab("-l", lab.name, "logs", "-n", "ingress-nginx", "deploy/ingress-nginx-controller")
    return done.text


async def test_many_requests_of_one_connection(lab: Lab) -> None:
    told = await output(lab, "client", "h2load", "-n", "500", "-c", "5", "-m", "20", "https://plain.test/")
    assert "500 succeeded, 0 failed, 0 errored" in told, told
    assert "Application protocol: h2" in told


async def test_a_backend_of_tls(lab: Lab) -> None:
    answer = await lab.request("http://secure.test/")
    assert answer.status == 200 and "tls" in answer.json()
    assert "tls" not in (await lab.request("http://plain.test/")).json()


@pytest.mark.parametrize("host", ["rpc.test", "rpcs.test"])
@pytest.mark.parametrize("how", ["plain", "tls"])
async def test_grpc(lab: Lab, host: str, how: str) -> None:
    """A health check and its answer, and an error in trailers."""
    port = "443" if how == "tls" else "80"
    told = await output(lab, "client", PYTHON, "-c", HEALTH, port, how, host)
    if how == "plain" and not without_tls(lab):
        assert told.startswith("UNAVAILABLE")
        return
    assert told.splitlines() == [
        "0801",
        "UNIMPLEMENTED a stand-in implements grpc.health.v1.Health/Check alone",
    ]


async def test_fields_after_a_requests_body(lab: Lab) -> None:
    """Over HTTP/1.1 nobody is told them; over HTTP/2 nginx takes them for a fault of the client's."""
    reader, writer = await connect(lab, "client", VIP, 80)
    for last in (b"", b"Connection: close\r\n"):
        writer.write(
            b"POST /x HTTP/1.1\r\nHost: plain.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n"
            + last
            + b"\r\n3\r\nabc\r\n0\r\nX-End: yes\r\n\r\n"
        )
        status, _, body = await response(reader)
        assert status == 200 and "X-End" not in json.loads(body)["headers"]
    writer.close()
    about = "fields after the body of a request over HTTP/2"
    told = (await output(lab, "client", PYTHON, "-c", TRAILERS)).strip()
    assert told.replace("b'200'", "200") == expected(lab.engine, about, "goodbye 1")  # type: ignore[attr-defined]


async def test_no_stream_is_lost_over_changes(lab: Lab) -> None:
    """Rules and endpoints change under streams: a connection that has to end says so, and ends what it has begun."""
    running = asyncio.ensure_future(output(lab, "client", PYTHON, "-c", STREAMS))
    changes = 0
    while not running.done() and changes < 20:
        changes += 1
        await lab.apply(INGRESS.format(name=f"more{changes}", annotations=PLAIN))
        await lab.scale("web", 1 + changes % 2)
    told = dict(one.split("=") for one in (await running).split())
    assert int(told.pop("200")) >= 150 and told.keys() <= {"goodbye"}, told
    if lab.engine != "builtin":  # type: ignore[attr-defined]
        assert int(told["goodbye"]) > 0, "it reloads"


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_request_over_http_2_is_traced(lab: Lab, scheme: str) -> None:
    path = await lab.trace(f"{scheme}://plain.test/traced", verify=False, http2=True)
    if scheme == "http" and not without_tls(lab):
        assert path.failure is not None
        return
    assert path.failure is None and path.status == 200
    events = [hop.event for hop in path.hops]
    assert "proxy-accept" in events and "proxy-connect" in events and "deliver" in events
