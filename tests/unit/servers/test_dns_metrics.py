"""CoreDNS' metrics, their labels and counts; and the pages on which they are."""

from __future__ import annotations

import asyncio
import re
import socket

import pytest
from test_dns_orders import Clock, ask, asking

from emulab.servers.dns.pages import PagesPort


async def test_queries_are_counted_by_coredns_names() -> None:
    clock = Clock()
    async with asking(clock, pages={"9153": "metrics"}, cache={"stale": 60}) as (
        upstream,
        resolver,
    ):
        for _ in range(4):
            await ask(resolver)
        upstream.silent, clock.now = True, clock.now + 10
        await ask(resolver)
        told = {}
        for line in resolver.metrics().splitlines():
            if not line.startswith("#"):
                name, labels, value = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line).groups()
                told[name, *sorted(re.findall(r'(\w+)="([^"]*)"', labels or ""))] = float(value)
    base = (("server", "dns://:53"), ("view", ""))
    asked = (("family", "1"), ("proto", "udp"), base[0], ("type", "A"), base[1], ("zone", "."))
    assert told["coredns_dns_requests_total", *asked] == 5
    of = ("coredns_dns_responses_total",)
    rest = (("rcode", "NOERROR"), *base, ("zone", "."))
    assert told[*of, ("plugin", "forward"), *rest] == 1 and told[*of, ("plugin", "cache"), *rest] == 4
    zones = (*base, ("zones", "."))
    assert told["coredns_cache_hits_total", base[0], ("type", "success"), *zones[1:]] == 4
    assert told["coredns_cache_misses_total", *zones] == 1
    assert told["coredns_cache_served_stale_total", *zones] == 1
    assert told["coredns_dns_request_duration_seconds_count", *base, ("zone", ".")] == 5
    sizes = [value for key, value in told.items() if key[0] == "coredns_dns_response_size_bytes_sum"]
    assert sizes == [5 * 50.0]
    assert any(key[0] == "coredns_proxy_request_duration_seconds_count" for key in told)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200 OK"),
        (b"HEAD /metrics?x=1 HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 OK"),
        (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 404 Not Found"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"HTTP/1.1 405 Method Not Allowed"),
        (b"\xff\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"x" * 9000, b""),
    ],
)
async def test_pages(request_: bytes, status: bytes) -> None:
    port = PagesPort({"/metrics": lambda: "up 1\n"})
    listening = socket.create_server(("127.0.0.1", 0))
    await port.open(listening)
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    writer.write(request_)
    try:
        answer = await reader.read()
    except ConnectionResetError:
        answer = b""
    assert answer.split(b"\r\n")[0] == status
    assert answer.endswith(b"up 1\n") == (request_.startswith(b"GET /metrics"))
    writer.close()
    port.close()
