"""What runs in a lab's places: as programs of their own, against each other and against answers cut up anyhow."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import loopback
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulab.bench.agents import _ASKER, answerer, bundle, goal
from emulab.bench.histogram import HdrHistogram
from emulab.bench.inside.answers import WireAnswer
from emulab.bench.inside.single import question
from emulab.servers.l7.shell.tls import fake_certificate

BODY = b"x" * 300
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n" + BODY
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"a;name=value\r\n0123456789\r\n1F\r\n" + b"y" * 31 + b"\r\n0\r\nTrailer: 1\r\n\r\n"
)
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + PLAIN
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"
CLOSING = b"HTTP/1.1 502 Bad Gateway\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n"


@given(
    st.sampled_from([PLAIN, CHUNKED, EARLY, EMPTY, CLOSING]),
    st.lists(st.integers(1, 60), min_size=1, max_size=40),
)
def test_answers_are_whole_at_their_end_however_they_are_cut_up(text: bytes, cuts: list[int]) -> None:
    answer, at = WireAnswer(), 0
    for cut in [*cuts, len(text)]:
        piece = text[at : at + cut]
        if not piece:
            break
        assert not answer.done
        answer.feed(piece)
        at += len(piece)
    assert answer.done and at == len(text)
    assert answer.status == {EMPTY: 204, CLOSING: 502}.get(text, 200)
    assert answer.last == (text == CLOSING)


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    answer = WireAnswer()
    answer.feed(b"HTTP/1.0 200 OK\r\n\r\nsome")
    assert not answer.done and answer.ended() and answer.last
    short = WireAnswer()
    short.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsome")
    assert not short.ended()
    with pytest.raises(ValueError, match="no answer"):
        WireAnswer().feed(b"SSH-2.0-OpenSSH\r\n\r\n")


def test_a_question_is_one_of_dns() -> None:
    from dnslib import DNSRecord

    asked = DNSRecord.parse(question("www.bench.test.", 28, 7))
    assert (str(asked.q.qname), asked.q.qtype, asked.header.id, asked.header.rd) == (
        "www.bench.test.",
        28,
        7,
        1,
    )


@contextmanager
def program(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Where our answerer is, as a pod runs it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = int(free.getsockname()[1])
    with program(answerer(number)):
        yield number


@pytest.fixture(scope="module")
def ask() -> Iterator[Callable[..., dict[str, Any]]]:
    """Our asker, as a place runs it."""
    with program([sys.executable, "-I", "-S", "-c", bundle(_ASKER), ""]) as asker:
        assert asker.stdin is not None and asker.stdout is not None
        stdin, stdout = asker.stdin, asker.stdout
        assert "pid" in json.loads(stdout.readline())["result"]

        def order(**given: Any) -> dict[str, Any]:
            stdin.write(json.dumps(given) + "\n")
            stdin.flush()
            said: dict[str, Any] = {"pieces": []}
            while not {"result", "error"} & said.keys():
                line = json.loads(stdout.readline())
                said["pieces"] += [line.pop("piece")] if "piece" in line else []
                said |= line
            return said

        yield order


def waited(ask: Callable[..., dict[str, Any]], **given: Any) -> dict[str, Any]:
    """What came of an order once there is somebody who answers."""
    while "error" in (said := ask(**given)):
        assert said["error"] in ("Connection refused",), said
    return said


BOUNDS = {"seconds": 0.1, "most": 100_000, "wait": 30.0}


def test_single_requests_are_each_timed(port: int, ask: Callable[..., dict[str, Any]]) -> None:
    said = waited(ask, do="single", goal=goal("127.0.0.1", port), connections=3, names=[], **BOUNDS)
    taken = said["result"]["ns"]
    assert taken and all(0 < one < 30e9 for one in taken)


def test_no_order_sends_more_than_it_may(port: int, ask: Callable[..., dict[str, Any]]) -> None:
    bounds = {**BOUNDS, "seconds": 30.0, "most": 7}
    waited(ask, do="single", goal=goal("127.0.0.1", port), connections=1, names=[], **BOUNDS)
    said = ask(do="single", goal=goal("127.0.0.1", port), connections=1, names=[], **bounds)
    assert len(said["result"]["ns"]) == 7
    for fresh in (False, True):
        said = ask(do="closed", goal=goal("127.0.0.1", port), connections=2, fresh=fresh, **bounds)
        assert said["result"]["requests"] == 7 and said["result"]["failures"] == {}


def test_large_answers_are_counted_whole(port: int, ask: Callable[..., dict[str, Any]]) -> None:
    waited(ask, do="single", goal=goal("127.0.0.1", port), connections=1, names=[], **BOUNDS)
    target = goal("127.0.0.1", port, path="/bytes/1000000")
    said = ask(do="closed", goal=target, connections=2, fresh=False, **{**BOUNDS, "most": 5})
    assert said["result"]["requests"] == 5 and 5_000_000 < said["result"]["octets"] < 5_001_000


def test_what_refuses_is_told_and_not_hammered(ask: Callable[..., dict[str, Any]]) -> None:
    closed = goal("127.0.0.1", loopback.closed_port())
    said = ask(do="single", goal=closed, connections=1, names=[], **BOUNDS)
    assert said["error"] == "Connection refused"
    said = ask(do="closed", goal=closed, connections=4, fresh=False, **{**BOUNDS, "seconds": 30.0})
    assert said["result"]["requests"] == 0 and sum(said["result"]["failures"].values()) <= 4
    assert ask(do="nothing", goal=goal("127.0.0.1", 1), seconds="no")["error"]  # a wrong order is told, too


def test_an_open_load_sends_what_is_due(port: int, ask: Callable[..., dict[str, Any]]) -> None:
    waited(ask, do="single", goal=goal("127.0.0.1", port), connections=1, names=[], **BOUNDS)
    how = {"rate": 200.0, "seconds": 1.2, "connections": 16, "wait": 30.0, "fresh": False, "seed": 1}
    said = ask(do="opened", goal=goal("127.0.0.1", port), arrivals="even", **how)
    assert said["result"]["requests"] == 240 and len(said["pieces"]) >= 2
    due = sum(len(HdrHistogram.of_json(piece["due"])) for piece in said["pieces"])
    assert due == 240 and not any(piece["failures"] for piece in said["pieces"])


def test_a_wait_for_a_free_connection_is_part_of_the_latency(ask: Callable[..., dict[str, Any]]) -> None:
    """One connection, and answers of 50 ms: of 20 requests that are due at once the last one waits for all others."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        slow = int(free.getsockname()[1])
    with program(answerer(slow, 50_000)):
        waited(ask, do="single", goal=goal("127.0.0.1", slow), connections=1, names=[], **BOUNDS)
        how = {"rate": 1000.0, "seconds": 0.02, "connections": 1, "wait": 60.0, "fresh": False, "seed": 1}
        said = ask(do="opened", goal=goal("127.0.0.1", slow), arrivals="even", **how)
    due, sent = HdrHistogram(), HdrHistogram()
    for piece in said["pieces"]:
        due.add(HdrHistogram.of_json(piece["due"]))
        sent.add(HdrHistogram.of_json(piece["sent"]))
    assert len(due) == len(sent) == 20
    assert due.percentile(100) >= 20 * 50_000 - 20_000 > 3 * due.percentile(5)
    assert sent.percentile(50) >= 50_000


def test_tls_is_spoken_and_any_certificate_taken(ask: Callable[..., dict[str, Any]], tmp_path: Any) -> None:
    pair = tmp_path / "pair.pem"
    pair.write_text("\n".join(fake_certificate()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    listener = loopback.bound()
    loop = asyncio.new_event_loop()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(PLAIN)

    loop.set_exception_handler(lambda *_: None)  # whoever asks leaves as it likes
    server = loop.run_until_complete(asyncio.start_server(answer, sock=listener, ssl=context))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    target = goal("127.0.0.1", listener.getsockname()[1], "bench.test", tls=True)
    try:
        said = ask(do="single", goal=target, connections=2, names=[], **BOUNDS)
        assert said["result"]["ns"]
        for fresh in (False, True):
            said = ask(do="closed", goal=target, connections=3, fresh=fresh, **BOUNDS)
            assert said["result"]["requests"] and said["result"]["failures"] == {}, said
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
