"""What is remembered of requests and responses that come again changes nothing of what becomes of them."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from itertools import product
from typing import Any

import pytest
import test_ingress_harness as harness
from hypothesis import given
from hypothesis import strategies as st
from patience import soon
from scripted import Script
from test_ingress_harness import World, read_message

from emulab.servers.l7.config import (
    L7Config,
    Match,
    MeasuredAs,
    RequestRoute,
    Upstream,
    WeightedUpstream,
)
from emulab.servers.l7.engine.routes import ReadyRoute
from emulab.servers.l7.engine.snapshot import take
from emulab.servers.l7.messages.compose import client_response, plain_response
from emulab.servers.l7.messages.request import (
    BYTES_MAX,
    HEAD_FIELDS,
    HEAD_MAX,
    HEADS_MAX,
    KnownHeads,
    RequestHead,
)
from emulab.servers.l7.messages.response import UpstreamResponse
from emulab.servers.l7.personalities.ingress_nginx import PERSONALITY
from emulab.servers.l7.personalities.ingress_nginx.heads import DIALECT
from emulab.servers.l7.personalities.ingress_nginx.heads import dialect as dialect_by
from emulab.servers.l7.personalities.ingress_nginx.metrics import ROWS, IngressMetrics
from emulab.servers.l7.personalities.personality import Connections, ProcessUse
from emulab.servers.l7.shell.outbox import LARGE, Outbox
from emulab.servers.wire.http1.head import BadMessage
from emulab.servers.wire.http1.reader import HeadReader

world = harness.world

FIELDS = (
    b"Host: h", b"Connection: close", b"Connection: x", b"X: y", b"Expect: 100-continue", b"Content-Length: 1",
    b"X-Forwarded-For: 1.2.3.4", b"X-Request-ID: a", b"Upgrade: websocket", b"Content-Length: 0",
)  # fmt: skip


def said(head: RequestHead | None) -> dict[str, Any] | None:
    own = ("shared", "written", "table", "route", "round", "counted")
    return None if head is None else {name: getattr(head, name) for name in HEAD_FIELDS if name not in own}


def read(reader: HeadReader[RequestHead], data: bytes) -> tuple[Any, bytes]:
    try:
        return said(reader.feed(data)), reader.rest
    except BadMessage as error:
        return str(error), b""


@given(
    st.sampled_from((b"GET / HTTP/1.1", b"HEAD /a HTTP/1.0", b"nonsense", b"\r\nGET / HTTP/1.1")),
    st.lists(st.sampled_from(FIELDS), max_size=4),
    st.sampled_from((b"", b"x", b"GET / HTTP/1.1\r\nHost: b\r\n\r\n")),
)
def test_a_head_that_came_before_is_what_it_was(start: bytes, fields: list[bytes], rest: bytes) -> None:
    data = b"\r\n".join([start, b"Host: h", *fields, b"", rest])
    assert DIALECT.known is not None
    dialect = DIALECT._replace(known=KnownHeads())
    outcomes = {str(read(HeadReader(dialect), data)) for _ in range(3)}
    assert outcomes == {str(read(HeadReader(DIALECT._replace(known=None)), data))}


def test_heads_that_are_remembered_are_bounded_and_want_no_body() -> None:
    known = KnownHeads()
    reader = HeadReader(dialect_by(1024, 4, 8192)._replace(known=known))
    for number in range(HEADS_MAX + 10):
        reader.feed(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % number)
    assert 0 < len(known) <= HEADS_MAX
    for number in range(2 * BYTES_MAX // HEAD_MAX):
        reader.feed(b"GET /%d HTTP/1.1\r\nHost: h\r\nX: %b\r\n\r\n" % (number, b"x" * (HEAD_MAX - 100)))
    assert 0 < sum(map(len, known)) <= BYTES_MAX
    known.clear()
    reader.feed(b"GET / HTTP/1.1\r\nHost: h\r\nX: %b\r\n\r\n" % (b"x" * HEAD_MAX))
    reader.feed(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n")
    reader.feed(b"GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n")
    assert not known


def test_who_changes_a_head_changes_its_own() -> None:
    head = RequestHead()
    head.lines, head.target = [b"X: y\r\n"], b"/"
    assert head.own() is head
    head.shared, head.written = True, (b"h", b"f", b"before", b"after")
    head.table, head.round = 7, 7
    own = head.own()
    own.target = b"/other"
    assert (head.target, own.lines, own.shared, own.written) == (b"/", head.lines, False, None)
    assert (own.table, own.round) == (0, 0)


@pytest.mark.parametrize("body", [b"Content-Length: 2\r\n\r\nok", b"\r\nok"])
def test_a_response_is_written_for_whom_it_is(body: bytes) -> None:
    """Remembered is what was written last, which other clients must not get."""
    wire = b"HTTP/1.1 200 OK\r\nX: y\r\n" + body
    heads = [(date, extra, old, keep) for date in (b"1", b"2") for extra in (b"", b"S: t\r\n")
             for old in (False, True) for keep in (True, False)]  # fmt: skip
    for asked in [*heads, *reversed(heads), heads[0], heads[0]]:
        for to_head in (False, True):
            reader = UpstreamResponse()
            reader.begin(to_head, PERSONALITY.response_fields)
            reader.feed(wire, 8192)
            date, extra, old, keep = asked
            wanted = client_response(reader, reader.framing, date=date, extra=extra, old=old, keep=keep)
            assert plain_response(reader, date, extra, old, keep) == wanted


async def test_clients_that_ask_the_same_are_told_apart(world: World) -> None:
    """The one in front says of each who it is; the head is the same, and the connection of each is kept."""
    backend, address = await world.backend()
    await world.serve(address, proxy_protocol=True, proxy_optional=True)
    for source in (b"192.0.2.1", b"192.0.2.2", b"192.0.2.1"):
        reader, writer = await world.connect()
        writer.write(b"PROXY TCP4 %b 192.0.2.9 5 80\r\n" % source)
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n")
            assert (await soon(read_message(reader))).status == 200
    told = [(one.get("X-Real-IP"), one.get("X-Original-Forwarded-For")) for one in backend.requests]
    assert told == [
        (source, "1.1.1.1") for source in ("192.0.2.1", "192.0.2.2", "192.0.2.1") for _ in range(2)
    ]


async def test_bytes_go_out_in_order_in_the_next_turn() -> None:
    outbox, out = Outbox(), list[bytes]()

    def gone(_: bytes) -> None:
        raise RuntimeError("the handler is closed")

    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    def wrong(_: bytes) -> None:
        raise ValueError("a mistake")

    outbox.put(out.append, b"a")
    outbox.put(gone, b"b")
    outbox.put(wrong, b"b")
    outbox.put(out.append, b"c")
    assert out == []
    await asyncio.sleep(0)
    assert out == [b"a", b"c"]
    assert [str(one["exception"]) for one in told] == ["a mistake"] and told[0]["transport"] is wrong
    outbox.put(out.append, b"d")
    outbox.put(out.append, b"e" * (LARGE + 1))  # at once, and with it what came before
    assert [len(one) for one in out] == [1, 1, 1, LARGE + 1]
    outbox.put(out.append, b"f")
    await asyncio.sleep(0)
    assert out[-1] == b"f"


def shop(*hosts: str, upstream: str = "a") -> Script:
    """A proxy with a route of each of these hosts."""
    rules = tuple(
        RequestRoute(Match(host, "/"), (WeightedUpstream(upstream),), "Ingress s/i") for host in hosts
    )
    upstreams = {"a": Upstream(("10.0.0.1:80",)), "b": Upstream(("10.0.0.2:80",))}
    return Script(take(L7Config((), routes=rules, upstreams=upstreams), {}))


def server_of(play: Script, wire: bytes) -> str | None:
    """Who is asked for a request, None if nobody; and its answer."""
    play.client(wire)
    found = [argument for word, argument in play.machine.commands if word == "select"]
    if found:
        play.connected()
        play.upstream(b"HTTP/1.1 204 No Content\r\n\r\n")
    play.skip()
    return found[0] if found else None


def test_a_head_that_is_remembered_has_the_route_of_the_configuration_that_there_is() -> None:
    """Machines share heads, so what one head remembers is of one table alone."""
    wire = b"GET /of-which-configuration HTTP/1.1\r\nHost: one.test\r\n\r\n"
    first, second, none = shop("one.test"), shop("one.test", upstream="b"), shop("two.test")
    for _ in range(2):
        assert server_of(first, wire) == "10.0.0.1:80"
        assert server_of(second, wire) == "10.0.0.2:80"
        assert server_of(none, wire) is None
    first.around.snapshot = take(
        L7Config(
            (),
            routes=(RequestRoute(Match("one.test", "/"), (WeightedUpstream("b"),)),),
            upstreams={"b": Upstream(("10.0.0.3:80",))},
        ),
        {},
    )
    assert server_of(first, wire) == "10.0.0.3:80"


def test_requests_of_one_head_are_counted_by_what_else_they_differ_in() -> None:
    metrics = IngressMetrics()
    metrics.configure(MeasuredAs({}), ["one.test"], ["Ingress s/i"])
    head = RequestHead()
    head.method, head.host, head.shared = b"GET", b"one.test", True
    routes = [
        ReadyRoute(RequestRoute(Match("one.test", path), (), "Ingress s/i"), {}) for path in ("/", "/x", "/")
    ]
    rows = [
        (route, status, name) for route in routes for status in (200, 503) for name in ("s/a/80", "s/b/80")
    ]

    def counted() -> dict[tuple[str, str, str], int]:
        figures = metrics.figures(Connections(0, 0, 0, 0), ProcessUse(0, 0.0, 0, 0, 0.0))
        return {
            (path, name, status): one.requests
            for (_, _, path, name, *_, status), one in figures.series.items()
        }

    pairs = [
        (rows[-1], rows[-1]),
        *product(rows, rows),
    ]  # what follows each other differs in each thing alone, too
    wanted: Counter[tuple[str, str, str]] = Counter()
    for number in range(3):
        for pair in pairs:
            for route, status, name in pair:
                metrics.add((head, route, status, name, 0.0, 0.1, 0.1, 0.1, 80, 200))
                wanted[route.route.match.path, name, str(status)] += 1
            assert counted() == wanted
        if number == 0:  # the same is counted after a change that concerns none of it
            metrics.configure(MeasuredAs({}), ["one.test", "two.test"], ["Ingress s/i", "Ingress s/j"])
        if number == 1:  # and anew what had been gone
            metrics.configure(MeasuredAs({}), ["two.test"], ["Ingress s/j"])
            assert counted() == {}
            metrics.configure(MeasuredAs({}), ["one.test"], ["Ingress s/i"])
            wanted.clear()


def test_what_is_remembered_keeps_no_route_that_is_gone() -> None:
    """Sixteen thousand heads, each with a route of another configuration, and its servers, would be much."""
    first, metrics = shop("one.test", "two.test"), IngressMetrics()
    metrics.configure(MeasuredAs({}), ["one.test", "two.test"], ["Ingress s/i"])
    first.around.measure = metrics.add
    for number in range(3 * ROWS):
        wire = b"GET /kept?%d HTTP/1.1\r\nHost: one.test\r\n\r\n" % (number % 50)
        assert server_of(first, wire) == "10.0.0.1:80"

    def old() -> int:
        gc.collect()
        routes = [one for one in gc.get_objects() if type(one) is ReadyRoute]
        return sum(one.route.match.host == "one.test" for one in routes)

    assert old() == 1
    first.around.snapshot = shop("two.test").around.snapshot
    metrics.configure(MeasuredAs({}), ["one.test", "two.test"], ["Ingress s/i"])
    assert server_of(first, b"GET / HTTP/1.1\r\nHost: two.test\r\n\r\n") == "10.0.0.1:80"
    assert old() == 0
