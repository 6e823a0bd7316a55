"""What a DNS server tells: who asked what, what it asked itself for that, and what the answers were."""

from __future__ import annotations

import asyncio
import itertools
import select
import socket
from typing import Any

import dnslib
import pytest
from loopback import held
from patience import LONG, soon, until
from test_dns_server import Running, message, running

ZONES = [
    {
        "origin": "example.com.",
        "records": [
            ["shop.example.com.", "A", "203.0.113.10", 30],
            ["shop.example.com.", "AAAA", "2001:db8::10", 30],
            ["www.example.com.", "CNAME", "shop.example.com.", 60],
            ["_http._tcp.example.com.", "SRV", "0 100 80 shop.example.com.", 30],
            *[["many.example.com.", "A", f"203.0.113.{i}", 30] for i in range(1, 101)],
        ],
    }
]
"""`many` has too many addresses for a datagram."""


def endpoint(sock: socket.socket) -> str:
    return "{}:{}".format(*sock.getsockname())


async def asked(server: Running, *queries: bytes) -> tuple[str, list[dnslib.DNSRecord]]:
    """Asks from one socket, one query after the other; its name and the answers."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(("127.0.0.1", server.port))
        replies = []
        for query in queries:
            sock.send(query)
            data = await soon(loop.sock_recv(sock, 4096))
            replies.append(dnslib.DNSRecord.parse(data))
        return endpoint(sock), replies


def query(name: str, rtype: str = "A", ident: int = 7) -> bytes:
    packed = bytes(dnslib.DNSRecord.question(name, rtype).pack())
    return ident.to_bytes(2, "big") + packed[2:]


@pytest.mark.parametrize(
    ("name", "rtype", "rcode", "ttl", "answers"),
    [
        ("shop.example.com.", "A", "NOERROR", 30, ["203.0.113.10"]),
        ("shop.example.com.", "AAAA", "NOERROR", 30, ["2001:db8::10"]),
        ("www.example.com.", "A", "NOERROR", 30, ["CNAME shop.example.com.", "203.0.113.10"]),
        ("_http._tcp.example.com.", "SRV", "NOERROR", 30, ["SRV 0 100 80 shop.example.com."]),
        ("nothing.example.com.", "A", "NXDOMAIN", 5, []),
        ("shop.example.com.", "TXT", "NOERROR", 5, []),
        ("elsewhere.org.", "A", "REFUSED", None, []),
    ],
)
async def test_answers_are_told_whether_prepared_or_not(
    name: str, rtype: str, rcode: str, ttl: int | None, answers: list[str]
) -> None:
    async with running(zones=ZONES) as server:
        client, _ = await asked(server, query(name, rtype, 7), query(name, rtype, 8))
        told: list[dict[str, Any]] = list(server.events)
    asking = {"protocol": "udp", "client": client, "question": f"{name} {rtype}"}
    outcome = {"rcode": rcode, "authoritative": rcode != "REFUSED", "truncated": False}
    outcome |= {"ttl": ttl, "answers": answers, "cache": ""}
    assert told == list(
        itertools.chain.from_iterable(
            [
                {"event": "dns-query", **asking, "id": ident},
                {"event": "dns-answer", **asking, "id": ident, **outcome},
            ]
            for ident in (7, 8)
        )
    )


async def test_nothing_is_told_when_nobody_listens() -> None:
    async with running(zones=ZONES) as dns, running(forward=[dns.address]) as resolver:
        dns.events.wanted = resolver.events.wanted = False
        await resolver.ask("shop.example.com")
        await resolver.ask("shop.example.com")
        assert dns.events == resolver.events == []
        assert resolver.server.status()["events_skipped"] == 0


async def test_the_question_to_the_upstream_is_joined_with_the_clients() -> None:
    async with running(zones=ZONES) as dns, running(forward=[dns.address]) as resolver:
        client, _ = await asked(resolver, query("shop.example.com.", ident=7))
        question, forward, forwarded, answer = resolver.events
        upstream_query, upstream_answer = dns.events
    assert forward == {
        "event": "dns-forward",
        "protocol": "udp",
        "upstream": dns.address,
        "source": upstream_query["client"],
        "id": upstream_query["id"],
        "question": "shop.example.com. A",
        "for": [client],
    }
    outcome = ("rcode", "authoritative", "truncated", "ttl", "answers")
    assert forwarded == {
        **forward,
        "event": "dns-forwarded",
        **{name: upstream_answer[name] for name in outcome},
    }
    assert forwarded["authoritative"] and not answer["authoritative"]
    assert (question["client"], question["id"]) == (answer["client"], answer["id"]) == (client, 7)
    assert answer["cache"] == "miss" and answer["answers"] == ["203.0.113.10"]


async def test_a_cut_answer_is_asked_for_again_over_tcp() -> None:
    async with running(zones=ZONES) as dns, running(forward=[dns.address]) as resolver:
        _, (reply,) = await asked(resolver, query("many.example.com."))
        assert reply.header.tc
        told = [(e["event"], e["protocol"], e.get("truncated")) for e in resolver.events]
        assert told == [
            ("dns-query", "udp", None),
            ("dns-forward", "udp", None),
            ("dns-forwarded", "udp", True),
            ("dns-forward", "tcp", None),
            ("dns-forwarded", "tcp", False),
            ("dns-answer", "udp", True),
        ]
        assert len(resolver.events[4]["answers"]) == 100
        assert [e["client"] for e in dns.events if e["protocol"] == "tcp"] == [
            resolver.events[3]["source"]
        ] * 2


async def test_one_exchange_is_told_with_all_who_wait_for_it() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as slow:
        slow.setblocking(False)
        slow.bind(("127.0.0.1", 0))
        async with running(forward=[endpoint(slow)], upstream={"timeout": LONG}) as resolver:
            both = [asyncio.ensure_future(asked(resolver, query("a.example."))) for _ in range(2)]
            await until(lambda: select.select([slow], [], [], 0)[0] != [])
            data, host = slow.recvfrom(512)
            while len(resolver.events.of("dns-query")) < 2:
                await asyncio.sleep(0.002)
            reply = dnslib.DNSRecord.parse(data).reply()
            reply.add_answer(dnslib.RR("a.example.", rdata=dnslib.A("192.0.2.1"), ttl=9))
            await asyncio.sleep(0.01)
            slow.sendto(reply.pack(), host)
            clients = {client for client, _ in await asyncio.gather(*both)}
        (forward,), (forwarded,) = resolver.events.of("dns-forward"), resolver.events.of("dns-forwarded")
        assert set(forwarded["for"]) == clients >= set(forward["for"]) != set()
        assert forward["source"] == "{}:{}".format(*host)


async def test_an_upstream_that_does_not_answer_is_told() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        servers = [endpoint(silent), endpoint(held("udp"))]
        async with running(forward=servers, upstream={"timeout": 0.3, "tries": 1}) as resolver:
            await asked(resolver, query("shop.example.com."))
            ends = [(e["upstream"], e["error"]) for e in resolver.events.of("dns-forwarded")]
            assert ends == list(zip(servers, ["no answer within 0.3 s", "Connection refused"], strict=True))
            assert all(e["source"].startswith("127.0.0.1:") for e in resolver.events.of("dns-forward"))
            (answer,) = resolver.events.of("dns-answer")
            assert (answer["rcode"], answer["cache"], answer["answers"]) == ("SERVFAIL", "miss", [])


async def test_messages_over_tcp_are_told_too() -> None:
    async with running(zones=ZONES) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(message("shop.example.com."))
        await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        client = "{}:{}".format(*writer.get_extra_info("sockname"))
        assert [(e["event"], e["protocol"], e["client"]) for e in server.events] == [
            ("dns-query", "tcp", client),
            ("dns-answer", "tcp", client),
        ]
        writer.close()
