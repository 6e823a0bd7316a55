"""What an operator does to a cache, and what a cache gives when nobody else answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import dnslib
import pytest
from patience import LONG
from test_dns_responder import HOST, RECORDS, Upstream, configured

from emulab.errors import UserError
from emulab.servers.dns.client import mixed
from emulab.servers.dns.responder import Responder

QUERY = bytes(
    dnslib.DNSRecord(dnslib.DNSHeader(id=1, rd=1), q=dnslib.DNSQuestion("shop.example.com.")).pack()
)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Fickle(Upstream):
    """An upstream server that can be silenced, and one that forgets which letters were large."""

    silent = lowers = False
    asked: list[bytes]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked.append(bytes(dnslib.DNSRecord.parse(data).q.qname.label[0]))
        if self.silent:
            return
        super().datagram_received(data[:12] + data[12:].lower() if self.lowers else data, addr)


@contextlib.asynccontextmanager
async def asking(clock: Clock, **rest: object) -> AsyncIterator[tuple[Fickle, Responder]]:
    made: list[Fickle] = []
    authority = configured(zones=[{"origin": "example.com.", "records": RECORDS}])

    def server() -> Fickle:
        made.append(Fickle(authority))
        made[0].asked = []
        return made[0]

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(server, local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    asking = {"timeout": 0.1, "tries": 1, **rest.pop("upstream", {})}
    resolver = configured(clock, forward=[f"127.0.0.1:{port}"], upstream=asking, **rest)
    yield made[0], resolver
    await resolver.close(0.0)
    transport.close()


async def ask(resolver: Responder) -> dnslib.DNSRecord:
    late = asyncio.get_running_loop().create_future()
    reply = resolver.answer(QUERY, HOST, False, late.set_result) or await asyncio.wait_for(late, LONG)
    return dnslib.DNSRecord.parse(reply)


def said(answer: dnslib.DNSRecord) -> list[str]:
    return [f"{r.ttl} {r.rdata}" for r in answer.rr]


async def test_what_is_kept_is_shown_and_forgotten() -> None:
    clock = Clock()
    async with asking(clock) as (upstream, resolver):
        await ask(resolver)
        clock.now += 1.5
        (entry,) = resolver.order({"do": "dump"})["entries"]
        assert entry == {
            "name": "shop.example.com.",
            "type": "A",
            "rcode": "NOERROR",
            "ttl": 2,
            "answers": ["A 203.0.113.10"],
            "signed": False,
            "poisoned": False,
            "delegation": False,
        }
        assert resolver.order({"do": "dump", "name": "other.example.com"})["entries"] == []
        assert resolver.order({"do": "flush", "name": "other.example.com"}) == {"flushed": 0}
        assert resolver.order({"do": "flush", "name": "EXAMPLE.com"}) == {
            "flushed": 1
        }  # what is below it, too
        assert said(await ask(resolver)) == ["3 203.0.113.10"] and len(upstream.asked) == 2
        assert resolver.order({"do": "flush"}) == {"flushed": 1}


async def test_a_poisoned_name_is_wrong_until_it_is_flushed() -> None:
    """Also for who has asked before: no answer that is prepared outlives an order."""
    async with asking(Clock(), cache={"max_ttl": 60}) as (_, resolver):
        assert said(await ask(resolver)) == ["3 203.0.113.10"]
        order = {"do": "poison", "name": "Shop.Example.com.", "address": "192.0.2.1"}
        assert resolver.order(order) == {"ttl": 60}  # maxTTL bounds forged records like all others
        assert said(await ask(resolver)) == ["60 192.0.2.1"]
        assert [e["poisoned"] for e in resolver.order({"do": "dump"})["entries"]] == [True, True]
        resolver.order({"do": "flush", "name": "shop.example.com"})
        assert said(await ask(resolver)) == ["3 203.0.113.10"]


@pytest.mark.parametrize(
    "order",
    [
        {"do": "poison", "name": "shop.example.com", "address": "203.0.113.256"},
        {"do": "poison", "address": "203.0.113.1"},
        {"do": "flush", "name": "x" * 64 + ".com"},
        {"do": "dump", "name": "a..b"},
        {"do": "dance"},
    ],
)
def test_orders_that_make_no_sense(order: dict[str, str]) -> None:
    with pytest.raises(UserError):
        configured().order(order)


async def test_a_stale_answer_is_better_than_none() -> None:
    """RFC 8767: for as long as was said, with a TTL that makes clients ask again soon."""
    clock = Clock()
    async with asking(clock, cache={"stale": 100}) as (upstream, resolver):
        await ask(resolver)
        upstream.silent, clock.now = True, clock.now + 50
        assert said(await ask(resolver)) == ["30 203.0.113.10"]
        assert resolver.status()["cache"]["stale"] == 1
        assert resolver.order({"do": "dump"})["entries"][0]["ttl"] == 0
        upstream.silent = False
        assert said(await ask(resolver)) == ["3 203.0.113.10"]
        upstream.silent, clock.now = True, clock.now + 104
        assert (await ask(resolver)).header.rcode == dnslib.RCODE.SERVFAIL


async def test_a_stale_answer_may_be_given_at_once_and_made_new_beside_that() -> None:
    clock = Clock()
    async with asking(clock, cache={"stale": 100, "stale_first": True, "stale_ttl": 0}) as (
        upstream,
        resolver,
    ):
        await ask(resolver)
        clock.now += 50
        assert said(await ask(resolver)) == ["0 203.0.113.10"]
        await asyncio.wait_for(_until_asked(upstream, 2), LONG)
        await asyncio.wait_for(_until_kept(resolver), LONG)
        assert said(await ask(resolver)) == ["3 203.0.113.10"] and len(upstream.asked) == 2


async def _until_asked(upstream: Fickle, times: int) -> None:
    while len(upstream.asked) < times:
        await asyncio.sleep(0.001)


async def _until_kept(resolver: Responder) -> None:
    while not resolver.order({"do": "dump"})["entries"][0]["ttl"]:
        await asyncio.sleep(0.001)


async def test_letters_of_random_case_come_back_or_the_answer_is_not_believed() -> None:
    """A server that answers in small letters is asked over TCP, where there is none here."""
    async with asking(Clock(), upstream={"mixed_case": True}) as (upstream, resolver):
        for _ in range(20):
            resolver.order({"do": "flush"})
            assert said(await ask(resolver)) == ["3 203.0.113.10"]
        assert len(set(upstream.asked)) > 1 and {name.lower() for name in upstream.asked} == {b"shop"}
        upstream.lowers = True
        for _ in range(20):  # all letters small by chance: once in 8,192
            resolver.order({"do": "flush"})
            if (await ask(resolver)).header.rcode == dnslib.RCODE.SERVFAIL:
                return
        raise AssertionError("answers in other letters were believed")


def test_letters_alone_change_their_case() -> None:
    name = (b"a1-_\xc3\xa4", b"EXAMPLE")
    assert tuple(label.lower() for label in mixed(name)) == tuple(label.lower() for label in name)
    assert len({mixed(name) for _ in range(100)}) > 10
