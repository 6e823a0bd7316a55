"""What the proxy tells of the ways that requests take through it, and of those that end in it."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest
import test_ingress_harness as harness
from patience import LONG
from test_ingress_harness import Backend, World, free_address, http, read_head, read_message
from test_ingress_tls import certificate, listen_tls

world = harness.world

RULE = ("rule", "rule_host", "rule_path", "rule_type")


def ruling(record: dict[str, Any]) -> tuple[str, ...]:
    return tuple(record[name] for name in RULE)


async def test_the_rule_is_told_in_full(world: World) -> None:
    _, address = await world.backend()
    names = ("origin", "host", "path", "path_type")
    first = ("Ingress a/b", "Shop.example.com", "/products", "Prefix")
    second = ("Ingress a/c", "*.example.com", "/", "Exact")
    rules = [dict(zip(names, rule, strict=True), upstream="p") for rule in (first, second)]
    await world.configure(rules=rules, upstreams={"p": {"servers": [address]}})
    await world.get("/products/42", host="shop.example.com")
    await world.get("/", host="x.example.com")
    assert (await world.get("/", host="shop.example.com")).status == 404
    await world.configure(default_upstream="p")
    await world.get("/", host="nobody.example")
    exact, wild, none, default = world.records.of("request")
    assert (ruling(exact), ruling(wild)) == (first, second)
    assert ruling(none) == ("", "", "", "")
    assert (none["answered_by"], none["reason"], none["upstream"]) == ("ingress", "no rule matches", "")
    assert ruling(default) == ("default backend", "", "", "")
    assert [ruling(connect) for connect in world.records.of("proxy-connect")] == [
        ruling(request) for request in (exact, wild, default)
    ]


async def test_one_connection_is_told_once_and_each_request_names_its_own_way(world: World) -> None:
    backend, address = await world.backend()
    await world.serve(address)
    reader, writer = await world.connect()
    for _ in range(2):
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        await read_message(reader)
    source = "{}:{}".format(*backend.writers[0].get_extra_info("peername"))
    assert [(one["upstream_source"], one["reused"]) for one in world.records.of("proxy-connect")] == [
        (source, False),
        (source, True),
    ]
    assert len(world.records.of("proxy-accept")) == 1 and len(world.records.of("request")) == 2


@pytest.mark.parametrize(
    ("name", "expected"), [("shop.example.com", "*.example.com, example.org"), ("other.example", "fake")]
)
async def test_the_handshake_is_told(world: World, name: str, expected: str) -> None:
    _, address = await world.backend()
    await world.serve(address)
    port = await listen_tls(world, certificate("*.example.com", "example.org"))
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    _reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname=name)
    await world.until(lambda: len(world.records.of("tls")) == 1)
    client = "{}:{}".format(*writer.get_extra_info("sockname"))
    who = {"client": client, "local": f"127.0.0.1:{port}"}
    accept, tls = world.records
    assert accept.pop("time") > 0 and accept == {"event": "proxy-accept", **who, "tls": True}
    cipher = writer.get_extra_info("cipher")[0]
    handshake = {"version": "TLSv1.3", "cipher": cipher, "server_name": name, "certificate": expected}
    assert tls == {"event": "tls", **who, **handshake}
    writer.close()
    await world.until(lambda: world.server.status()["clients"] == 0)


async def test_nobody_is_told_when_nobody_listens(world: World) -> None:
    _, address = await world.backend()
    await world.serve(address)
    world.records.wanted = False
    assert (await world.get()).status == 200
    assert world.records == []


async def test_an_upstream_that_refuses(world: World) -> None:
    backend, address = await world.backend()
    gone = free_address()
    await world.serve(gone, address)
    assert (await world.get()).status == 200
    (error,), (connect,), (request,) = map(world.records.of, ("upstream-error", "proxy-connect", "request"))
    assert error.pop("upstream_source") == "" and connect.pop("upstream_source")
    same = ("client", "local", "upstream_name", *RULE)
    assert {name: error[name] for name in same} == {name: connect[name] for name in same}
    reason = "upstream refused the connection"
    assert (error["upstream"], error["reason"], error["next"]) == (gone, reason, "another try")
    assert (error["attempt"], connect["attempt"]) == (1, 2)
    assert (request["upstream"], request["answered_by"], request["reason"]) == (address, "upstream", "")
    await world.serve(gone)
    assert (await world.get()).status == 502
    assert [one["next"] for one in world.records.of("upstream-error")[1:]] == [
        "another try",
        "another try",
        "answers 502",
    ]
    last = world.records.of("request")[-1]
    assert (last["status"], last["answered_by"], last["reason"]) == (502, "ingress", reason)
    assert last["upstream"] == gone
    assert len(backend.requests) == 1


async def hangs(_backend: Backend, reader: Any, _writer: Any, _number: int) -> None:
    await read_message(reader)
    await reader.read()


async def hangs_up(_backend: Backend, reader: Any, writer: Any, _number: int) -> None:
    await read_message(reader)


async def stammers(_backend: Backend, reader: Any, writer: Any, _number: int) -> None:
    await read_message(reader)
    writer.write(b"HELLO\r\n\r\n")


@pytest.mark.parametrize(
    ("handler", "limit", "status", "reason"),
    [
        (hangs, 0.1, 504, "upstream timed out: no answer within 0.1 s"),
        (hangs_up, LONG, 502, "upstream ended the connection before it answered"),
        (stammers, LONG, 502, "upstream's answer is malformed: "),
    ],
)
async def test_an_upstream_that_fails(
    world: World, handler: Any, limit: float, status: int, reason: str
) -> None:
    backend, address = await world.backend(handler)
    await world.serve(address, read_timeout=limit)
    answer = await world.ask(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
    assert answer.status == status
    (error,), (connect,), (request,) = map(world.records.of, ("upstream-error", "proxy-connect", "request"))
    assert error["reason"].startswith(reason) and error["next"] == f"answers {status}"
    assert error["upstream_source"] == connect["upstream_source"] != ""
    assert request["answered_by"] == "ingress" and request["reason"] == error["reason"]
    assert backend.connections == 1


async def test_an_answer_that_is_cut(world: World) -> None:
    async def handler(_backend: Backend, reader: Any, writer: Any, _number: int) -> None:
        await read_message(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")

    _, address = await world.backend(handler)
    await world.serve(address)
    reader, writer = await world.connect()
    writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    assert (await read_head(reader)).status == 200
    assert await reader.read() == b"abc"
    (error,), (request,) = map(world.records.of, ("upstream-error", "request"))
    assert error["reason"] == request["reason"] == "upstream ended the connection in its answer"
    assert error["next"] == "the answer stays cut" and request["answered_by"] == "upstream"


async def test_a_kept_connection_that_was_closed(world: World) -> None:
    async def handler(_backend: Backend, reader: Any, writer: Any, number: int) -> None:
        await read_message(reader)
        writer.write(http(b"once"))
        if number == 0:
            await read_message(reader)  # the second request of a connection ends it

    _, address = await world.backend(handler)
    await world.serve(address)
    for _ in range(2):
        assert (await world.get()).body == b"once"
    (error,) = world.records.of("upstream-error")
    assert error["next"] == "a new connection"
    assert [(one["attempt"], one["reused"]) for one in world.records.of("proxy-connect")] == [
        (1, False),
        (1, True),
        (2, False),
    ]


@pytest.mark.parametrize(
    ("request_line", "status", "reason"),
    [
        ("GET / HTTP/1.1\r\nHost: empty", 503, "no endpoints"),
        ("GET / HTTP/1.1\r\nHost: secure", 308, "the rule redirects to https"),
        ("GET /%zz HTTP/1.1\r\nHost: h", 400, "invalid percent-encoding in the path"),
        ("TRACE / HTTP/1.1\r\nHost: h", 405, "method not allowed"),
        ("POST / HTTP/1.1\r\nHost: empty\r\nContent-Length: 99", 413, "request body is larger than 10 bytes"),
    ],
)
async def test_answers_of_its_own(world: World, request_line: str, status: int, reason: str) -> None:
    rules = [
        {"host": "empty", "path": "/", "path_type": "Prefix", "upstream": "none", "origin": "Ingress a/b"},
        {"host": "secure", "path": "/", "path_type": "Prefix", "upstream": "none", "ssl_redirect": True},
    ]
    await world.configure(rules=rules, upstreams={"none": {"servers": []}}, options={"client_max_body": 10})
    assert (await world.ask(f"{request_line}\r\n\r\n".encode())).status == status
    (request,) = world.records.of("request")
    assert (request["status"], request["answered_by"], request["reason"]) == (status, "ingress", reason)
    assert request["upstream_name"] == ("" if request["host"] == "h" else "none")
    assert world.records.of("proxy-connect") == []


async def test_a_client_that_left(world: World) -> None:
    backend, address = await world.backend(hangs)
    await world.serve(address)
    _, writer = await world.connect()
    writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    await world.until(lambda: backend.connections == 1)
    writer.close()
    await world.until(lambda: len(world.records.of("request")) == 1)
    (request,) = world.records.of("request")
    assert (request["answered_by"], request["reason"]) == ("", "client closed the connection")
