"""Bytes in, bytes out: kept answers as time goes by, and what must hold for any bytes at all."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import dnslib
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from patience import until
from server_records import Told

from emulab.servers.configuration import from_json
from emulab.servers.dns import wire
from emulab.servers.dns.config import DnsConfig
from emulab.servers.dns.responder import Responder
from emulab.servers.dns.settings import DnsSettings

RECORDS = [
    ["shop.example.com.", "A", "203.0.113.10", 3],
    *[["many.example.com.", "A", f"203.0.113.{i}", 30] for i in range(1, 101)],
    ["_http._tcp.example.com.", "SRV", "0 100 80 shop.example.com.", 30],
]
ZONES = [{"origin": "example.com.", "records": RECORDS}]
HOST = ("127.0.0.1", 1)


class Upstream(asyncio.DatagramProtocol):
    """A responder as a UDP server."""

    def __init__(self, responder: Responder) -> None:
        self.responder = responder

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.transport.sendto(self.responder.answer(data, addr, False, lambda late: None), addr)


def configured(clock=lambda: 0.0, **rest) -> Responder:
    responder = Responder(Told(), clock)
    given_ = {"listen": [], "events_per_second": 0, **rest}
    responder.configure(DnsSettings().changed(from_json(DnsConfig, given_)))
    return responder


@contextlib.asynccontextmanager
async def resolving(records, clock=lambda: 0.0):
    """An authority with these records on loopback, and a resolver without sockets that forwards to it."""
    authority = configured(zones=[{"origin": "example.com.", "records": records}])
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Upstream(authority), local_addr=("127.0.0.1", 0)
    )
    resolver = configured(clock, forward=[f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"])
    yield authority, resolver
    await resolver.close(0.0)
    transport.close()


async def ttl(resolver: Responder, name: str) -> int:
    """The TTL in the resolver's answer to a query that is the same each time."""
    late = asyncio.get_running_loop().create_future()
    query = bytes(dnslib.DNSRecord(dnslib.DNSHeader(id=1, rd=1), q=dnslib.DNSQuestion(name)).pack())
    reply = resolver.answer(query, HOST, False, late.set_result) or await late
    return dnslib.DNSRecord.parse(reply).rr[0].ttl


async def test_kept_upstream_answers_count_down_and_end():
    now = [100.0]
    async with resolving(RECORDS, lambda: now[0]) as (authority, resolver):
        for now[0], left in [(100.0, 3), (100.1, 3), (100.9, 3), (101.0, 2), (101.1, 2), (102.9, 1)]:
            assert await ttl(resolver, "shop.example.com.") == left
        assert authority.status()["queries"] == 1
        assert resolver.status()["cache"] == {"hits": 5, "misses": 1, "stale": 0, "entries": 1}
        now[0] = 103.0
        assert await ttl(resolver, "shop.example.com.") == 3 and authority.status()["queries"] == 2


async def test_answers_that_may_not_be_kept_are_asked_for_again():
    async with resolving([["now.example.com.", "A", "203.0.113.10", 0]]) as (authority, resolver):
        for count in (1, 2, 3):
            assert await ttl(resolver, "now.example.com.") == 0
            assert authority.status()["queries"] == count
        assert resolver.status()["prepared"] == 0


@pytest.fixture(name="responder", scope="module")
def _responder() -> Responder:
    return configured(zones=ZONES)


def check(responder, packet: bytes) -> None:
    reply = responder.answer(packet, HOST, False, lambda late: None)
    assert reply is not None and len(reply) <= 1232
    if len(packet) < 12 or packet[2] & 0x80:
        assert reply == b""
        return
    assert reply[:2] == packet[:2] and reply[2] & 0x80
    wire.parse_response(reply)
    dnslib.DNSRecord.parse(reply)
    if len(reply) > 512:  # only for those who said they take it
        assert b"\0\0\x29" in packet
    assert len(responder.answer(packet, HOST, True, lambda late: None)) <= 0xFFFF


@examples(400)
@given(st.binary(max_size=700))
def test_any_bytes_get_a_fitting_answer_or_none(responder, packet):
    check(responder, packet)


@examples(400)
@given(
    st.sampled_from(["many.example.com.", "shop.example.com.", "x.org.", "_http._tcp.example.com."]),
    st.sampled_from(["A", "SRV", "ANY", "SOA", "AXFR"]),
    st.none() | st.integers(0, 0xFFFF),
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), max_size=3),
)
def test_mangled_queries_get_a_fitting_answer_or_none(responder, name, rtype, size, changes):
    query = dnslib.DNSRecord.question(name, rtype)
    if size is not None:
        query.add_ar(dnslib.EDNS0(udp_len=size))
    packet = bytearray(query.pack())
    for at, octet in changes:
        packet[at % len(packet)] = octet
    check(responder, bytes(packet))


async def test_a_client_that_waits_for_much_leaves_room_for_others():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        resolver = configured(forward=[f"127.0.0.1:{silent.getsockname()[1]}"])

        def ask(number: int, client: str) -> bytes | None:
            query = dnslib.DNSRecord.question(f"n{number}.example.com.").pack()
            return resolver.answer(bytes(query), (client, 1), False, lambda late: None)

        assert not any(ask(number, "192.0.2.1") for number in range(1000))
        refused = ask(1000, "192.0.2.1")
        assert refused is not None and refused[3] & 0xF == wire.SERVFAIL
        assert ask(1000, "192.0.2.2") is None
        await resolver.close(0.0)
        await until(lambda: resolver.status()["waiting"] == 0)


def test_answers_that_wait_to_be_counted_are_no_more_than_some():
    """Each holds its answers, also when its name has long changed and nobody asks for numbers."""
    responder, most = configured(zones=ZONES), 0
    for number in range(5000):
        packet = bytes(dnslib.DNSRecord.question(f"no-{number}.example.com").pack())
        for _ in range(3):
            assert responder.answer(packet, HOST, False, lambda late: None)
        most = max(most, len(responder._given))
    assert 0 < most <= 4096
    status = responder.status()
    assert status["queries"] == status["rcodes"]["NXDOMAIN"] == 5000 * 3 and not responder._given


def test_who_may_not_ask_is_told_so_or_not():
    told = [["block", [], ["192.0.2.1"]], ["drop", [], ["192.0.2.2"]]]
    hosts = {"zones": ["."], "entries": [["10.0.0.1", ["a.test."]]]}
    block = {"zones": ["."], "hosts": hosts, "access": [[["."], told]]}
    responder = configured(blocks=[block])
    query = dnslib.DNSRecord.question("a.test.")
    query.add_ar(dnslib.EDNS0(udp_len=1232))
    for _ in range(2):  # nobody gets what another one got
        for last, said in (1, dnslib.RCODE.REFUSED), (2, None), (3, dnslib.RCODE.NOERROR):
            given = responder.answer(bytes(query.pack()), (f"192.0.2.{last}", 5), False, lambda _: None)
            if said is None:
                assert given == b""
                continue
            answer = dnslib.DNSRecord.parse(given)
            assert answer.header.rcode == said
            (opt,) = answer.ar
            assert [(o.code, o.data) for o in opt.rdata] == ([(15, b"\0\x0f")] if said else [])
    assert responder.status()["dropped"] == 2
