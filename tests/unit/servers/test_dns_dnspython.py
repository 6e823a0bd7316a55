"""What dnspython, which reads the RFCs for itself, makes of our answers: each is well-formed, whatever it is of."""

from __future__ import annotations

import asyncio

import dns.edns
import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest
from patience import LONG
from test_dns_server import ZONES, Running, running

RECORDS = [
    ["a.test.", "MX", "10 mail.a.test.", 30],
    ["a.test.", "CAA", '0 issue "ca.test"', 30],
    ["mail.a.test.", "A", "203.0.113.1", 30],
    ["mail.a.test.", "AAAA", "2001:db8::1", 30],
    ["txt.a.test.", "TXT", '"one" "two \\"quoted\\""', 30],
    ["_sip._udp.a.test.", "SRV", "1 2 5060 mail.a.test.", 30],
    ["alias.a.test.", "CNAME", "mail.a.test.", 30],
    ["sub.a.test.", "NS", "ns.sub.a.test.", 30],
    ["*.wild.a.test.", "A", "203.0.113.9", 30],
    *[["many.a.test.", "A", f"10.0.{i // 200}.{i % 200}", 30] for i in range(300)],
]
ROUTED = [
    {"name": "w.a.test.", "type": "A", "data": [f"10.1.0.{i}"], "ttl": 5, "weight": 1} for i in range(3)
]
ZONE = {"origin": "a.test.", "records": RECORDS, "routed": ROUTED}


async def asked(server: Running, name: str, rtype: str, **options: object) -> dns.message.Message:
    query = dns.message.make_query(name, rtype, **options)

    def send() -> dns.message.Message:
        return dns.query.udp(query, "127.0.0.1", LONG, server.port, raise_on_truncation=False)

    return await asyncio.to_thread(send)


@pytest.mark.parametrize(
    ("name", "rtype", "answers"),
    [
        ("a.test.", "MX", ["10 mail.a.test."]),
        ("a.test.", "CAA", ['0 issue "ca.test"']),
        ("txt.a.test.", "TXT", ['"one" "two \\"quoted\\""']),
        ("_sip._udp.a.test.", "SRV", ["1 2 5060 mail.a.test."]),
        ("alias.a.test.", "AAAA", ["mail.a.test.", "2001:db8::1"]),
        ("x.wild.a.test.", "A", ["203.0.113.9"]),
        ("mail.a.test.", "TXT", []),
        ("none.a.test.", "A", []),
        ("x.sub.a.test.", "A", []),
    ],
)
async def test_answers_are_read_as_they_were_meant(name: str, rtype: str, answers: list[str]) -> None:
    async with running(zones=[ZONE]) as server:
        for _ in range(2):  # packed, and kept
            reply = await asked(server, name, rtype, use_edns=0, payload=1232)
            assert [str(data) for rrset in reply.answer for data in rrset] == answers
            assert (reply.edns, reply.payload) == (0, 1232)
            assert reply.rcode() == (dns.rcode.NXDOMAIN if name.startswith("none") else dns.rcode.NOERROR)


async def test_what_is_cut_says_so_and_is_whole_over_tcp() -> None:
    async with running(zones=[ZONE]) as server:
        cut = await asked(server, "many.a.test.", "A")
        assert cut.flags & dns.flags.TC and len(cut.to_wire()) <= 512
        query = dns.message.make_query("many.a.test.", "A")
        whole = await asyncio.to_thread(dns.query.tcp, query, "127.0.0.1", LONG, server.port)
        assert len(whole.answer[0]) == 300


async def test_options_and_versions_of_edns() -> None:
    cookie = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")
    async with running(zones=ZONES) as server:
        reply = await asked(server, "shop.example.com.", "A", use_edns=0, options=[cookie], want_dnssec=True)
        assert reply.rcode() == dns.rcode.NOERROR and reply.ednsflags & dns.flags.DO
        assert (await asked(server, "shop.example.com.", "A", use_edns=1)).rcode() == dns.rcode.BADVERS


async def test_a_draw_is_one_record() -> None:
    async with running(zones=[ZONE]) as server:
        drawn = [str((await asked(server, "w.a.test.", "A")).answer[0][0]) for _ in range(60)]
        assert set(drawn) == {"10.1.0.0", "10.1.0.1", "10.1.0.2"}


async def test_ttls_of_kept_answers_count_down() -> None:
    async with running(zones=[ZONE]) as authority, running(forward=[authority.address]) as resolver:
        seen = []
        for _ in range(12):
            seen.append((await asked(resolver, "mail.a.test.", "A")).answer[0].ttl)
            await asyncio.sleep(0.2)
        assert seen[0] == 30 and seen == sorted(seen, reverse=True) and seen[-1] <= 28
        assert authority.server.status()["queries"] == 1
