"""Which upstream server is asked when, with servers that are functions; and the real exchange on loopback."""

from __future__ import annotations

import asyncio
import contextlib

import dnslib
import pytest
from loopback import closed_port
from patience import LONG

from emulab.errors import PeerError
from emulab.servers.dns import client, names, rdata, wire
from emulab.servers.dns.cache import Cache, CacheKey
from emulab.servers.dns.delegations import Delegations
from emulab.servers.dns.forwarder import _MOST_FAILED, Forwarder
from emulab.servers.dns.referrals import MOST_EXCHANGES, Referral
from emulab.servers.dns.upstreams import Upstreams, parse_server_address
from emulab.servers.dns.wire import ResourceRecord, Response

NAME = names.from_text("www.example.org.")
KEY = CacheKey(NAME, rdata.A, do=False)
ONE, TWO = ("192.0.2.1", 53), ("192.0.2.2", 53)
GOOD = Response(
    1, wire.QR, 0, None, (ResourceRecord(NAME, rdata.A, 30, rdata.from_text(rdata.A, "1.2.3.4")),)
)
BAD = Response(1, wire.QR, wire.SERVFAIL)


class Script:
    """Stands in for `client.ask`: what each server says, and who was asked in which order."""

    def __init__(self, says: dict[tuple[str, int], Response | Exception]) -> None:
        self.says = says
        self.asked: list[tuple[str, int]] = []
        self.release = asyncio.Event()
        self.release.set()

    async def __call__(self, server, key, upstream, clients):
        self.asked.append(server)
        self.clients = clients
        await self.release.wait()
        said = self.says[server]
        if isinstance(said, Exception):
            raise said
        return said


async def fetch(forwarder: Forwarder, *servers: tuple[str, int]):
    return await forwarder.fetch(Upstreams(servers), KEY, Cache().put)


@pytest.mark.parametrize("fault", [TimeoutError(), ConnectionRefusedError(), PeerError("broken"), BAD])
async def test_the_next_server_is_asked_when_one_fails(fault):
    script = Script({ONE: fault, TWO: GOOD})
    entry = await fetch(Forwarder(script), ONE, TWO)
    assert entry and entry.rcode == 0 and script.asked == [ONE, TWO]


async def test_a_server_that_failed_is_asked_last_for_a_while():
    script = Script({ONE: TimeoutError(), TWO: GOOD})
    forwarder = Forwarder(script)
    await fetch(forwarder, ONE, TWO)
    await fetch(forwarder, ONE, TWO)
    assert script.asked == [ONE, TWO, TWO]


async def test_of_many_servers_that_failed_not_all_are_remembered():
    """Referrals may name ever other ones."""
    servers = [("192.0.2.1", port) for port in range(1, 2 * _MOST_FAILED)]
    forwarder = Forwarder(Script(dict.fromkeys(servers, TimeoutError())))
    assert await fetch(forwarder, *servers) is None
    assert 0 < len(forwarder._failed) <= _MOST_FAILED


async def test_nobody_answers():
    script = Script({ONE: TimeoutError(), TWO: ConnectionRefusedError()})
    assert await fetch(Forwarder(script), ONE, TWO) is None
    assert script.asked == [ONE, TWO, ONE, TWO]


async def test_the_error_that_all_agree_on_is_passed_on():
    entry = await fetch(Forwarder(Script({ONE: BAD, TWO: BAD})), ONE, TWO)
    assert entry and entry.rcode == wire.SERVFAIL and entry.lifetime == 0


def records(*given: str) -> tuple[ResourceRecord, ...]:
    """`OWNER TYPE DATA` each."""
    found = []
    for text in given:
        owner, kind, data = text.split(" ", 2)
        rtype = rdata.type_number(kind)
        found.append(ResourceRecord(names.from_text(owner), rtype, 60, rdata.from_text(rtype, data)))
    return tuple(found)


def referring(*authority: str, glue: tuple[str, ...] = (), flags: int = wire.QR) -> Response:
    return Response(1, flags, 0, None, (), records(*authority), additional=records(*glue))


NS = "example.org. NS ns.example.org."
GLUE = ("ns.example.org. A 192.0.2.2",)


@pytest.mark.parametrize(
    ("says", "rcode", "asked"),
    [
        ({ONE: referring(NS, glue=GLUE), TWO: GOOD}, 0, [ONE, TWO]),
        ({ONE: referring(NS, glue=GLUE), TWO: TimeoutError()}, None, [ONE, TWO, TWO]),
        ({ONE: referring(NS, glue=GLUE), TWO: BAD}, wire.SERVFAIL, [ONE, TWO]),
        ({ONE: referring(NS, glue=GLUE), TWO: referring(NS, glue=GLUE)}, None, [ONE, TWO]),  # lame
        ({ONE: referring(NS)}, None, [ONE]),  # where its server is, only that one knows
        ({ONE: referring("other.test. NS ns.other.test.")}, None, [ONE]),  # of another name: lame
        ({ONE: referring(". NS a.root.test.", glue=("a.root.test. A 192.0.2.2",))}, None, [ONE]),  # upwards
        ({ONE: referring(NS, flags=wire.QR | wire.AA)}, 0, [ONE]),
    ],
)
async def test_where_servers_refer_to_others(says, rcode, asked):
    script = Script(says)
    upstream = Upstreams((ONE,), follows=True)
    entry = await Forwarder(script).fetch(upstream, KEY, Cache().put)
    assert (entry and entry.rcode, script.asked) == (rcode, asked)
    passed_on = await Forwarder(Script(says)).fetch(Upstreams((ONE,)), KEY, Cache().put)
    assert passed_on and passed_on.rcode == 0


class Internet:
    """Servers by address with what each has: `ZONE below` refers to others, all else is the answer's records."""

    def __init__(self, **servers: dict[str, Response]) -> None:
        self.servers = {f"192.0.2.{name[1:]}": zones for name, zones in servers.items()}
        self.asked: list[str] = []

    async def __call__(self, server, key, upstream, clients):
        self.asked.append(f"{server[0][8:]} {names.to_text(key.name)} {rdata.type_name(key.rtype)}")
        zones = self.servers.get(server[0])
        if zones is None:
            raise TimeoutError
        for zone in names.suffixes(key.name):
            if said := zones.get(f"{names.to_text(zone)} {rdata.type_name(key.rtype)}"):
                return said
            if said := zones.get(names.to_text(zone)):
                return said
        return Response(1, wire.QR, wire.NXDOMAIN)

    async def ask(self) -> list[str] | None:
        entry = await Forwarder(self).fetch(Upstreams((ONE,), tries=1, follows=True), KEY, Cache().put)
        return entry and [rdata.to_text(record.data) for record in entry.answer(0.0, 0)]


def having(*answer: str) -> Response:
    return Response(1, wire.QR | wire.AA, 0, None, records(*answer))


WWW = "www.example.org. A 1.2.3.4"
HELD = {"example.org.": having(WWW)}


@pytest.mark.parametrize(
    ("internet", "found", "asked"),
    [
        (  # a server whose name is in a zone of the same ones
            Internet(
                s1={
                    "example.org.": referring("example.org. NS ns.far.test."),
                    "ns.far.test. A": having("ns.far.test. A 192.0.2.2"),
                },
                s2=HELD,
            ),
            ["1.2.3.4"],
            3,
        ),
        (  # … in a zone that is delegated in turn, whose server is in a third one
            Internet(
                s1={
                    "example.org.": referring("example.org. NS ns.far.test."),
                    "far.test.": referring("far.test. NS ns.farther.test."),
                    "farther.test.": referring(
                        "farther.test. NS ns.farther.test.", glue=("ns.farther.test. A 192.0.2.4",)
                    ),
                },
                s2=HELD,
                s3={"ns.far.test. A": having("ns.far.test. A 192.0.2.2")},
                s4={"ns.farther.test. A": having("ns.farther.test. A 192.0.2.3")},
            ),
            ["1.2.3.4"],
            6,
        ),
        (  # one that is reached in IPv6, the first having nobody
            Internet(
                s1={
                    "example.org.": referring(
                        "example.org. NS ns.none.test.", "example.org. NS ns.far.test."
                    ),
                    "ns.far.test. A": having(),
                    "ns.far.test. AAAA": having("ns.far.test. AAAA 2001:db8::2"),
                },
            ),
            None,
            6,
        ),
        (  # two zones each of which has the other's server
            Internet(
                s1={
                    "example.org.": referring("example.org. NS ns.far.test."),
                    "far.test.": referring("far.test. NS ns.example.org."),
                }
            ),
            None,
            7,  # for A and AAAA of each server by the other
        ),
        (  # the first server is lame (a referral upwards), the second is silent, the third is known by name
            Internet(
                s1={
                    "example.org.": referring(
                        "example.org. NS a.x.test.",
                        "example.org. NS b.x.test.",
                        "example.org. NS c.x.test.",
                        glue=("a.x.test. A 192.0.2.2", "b.x.test. A 192.0.2.3"),
                    ),
                    "c.x.test. A": having("c.x.test. A 192.0.2.4"),
                },
                s2={"example.org.": referring(". NS a.root.test.")},
                s4=HELD,
            ),
            ["1.2.3.4"],
            5,
        ),
        (  # what a zone's servers say of a host elsewhere isn't believed
            Internet(
                s1={
                    "example.org.": referring("example.org. NS ns.example.org.", glue=GLUE),
                    "ns.far.test. A": having("ns.far.test. A 192.0.2.3"),
                },
                s2={
                    "www.example.org.": referring(
                        "www.example.org. NS ns.far.test.", glue=("ns.far.test. A 192.0.2.66",)
                    )
                },
                s3={"www.example.org.": having(WWW)},
            ),
            ["1.2.3.4"],
            4,
        ),
        (  # nor what they say of a name elsewhere: the alias alone is theirs
            Internet(
                s1={"example.org.": referring("example.org. NS ns.example.org.", glue=GLUE)},
                s2={
                    "example.org.": having(
                        "www.example.org. CNAME web.example.org.",
                        "web.example.org. CNAME www.bank.test.",
                        "www.bank.test. A 192.0.2.66",
                    )
                },
            ),
            ["web.example.org.", "www.bank.test."],
            2,
        ),
    ],
    ids=["by name", "delegated in turn", "nobody", "ring", "lame", "glue of others", "alias"],
)
async def test_where_referrals_lead(internet: Internet, found: list[str] | None, asked: int) -> None:
    assert await internet.ask() == found, internet.asked
    assert len(internet.asked) == asked, internet.asked


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def two_levels() -> Internet:
    """A server of the root, one of org. and one of example.org., which is told by name."""
    return Internet(
        s1={"org.": referring("org. NS ns.org.", glue=("ns.org. A 192.0.2.2",))},
        s2={
            "example.org.": referring("example.org. NS ns.other.org."),
            "other.org.": having("ns.other.org. A 192.0.2.3"),
            "example.org. DS": having(),
        },
        s3={"example.org.": having(WWW), "new.example.org.": having(WWW.replace("www", "new"))},
    )


async def test_delegations_are_kept_for_their_ttl() -> None:
    """As RFC 1034 section 5.3.3 has it: a question goes to the best servers that are known."""
    internet, clock = two_levels(), Clock()
    forwarder = Forwarder(internet, clock)
    upstream = Upstreams((ONE,), tries=1, follows=True)

    async def asked(name: str, rtype: int = rdata.A) -> list[str]:
        internet.asked.clear()
        await forwarder.fetch(upstream, CacheKey(names.from_text(name), rtype, do=False), Cache().put)
        return [text.split()[0] for text in internet.asked]

    assert await asked("www.example.org.") == ["1", "2", "2", "3"]
    assert await asked("new.example.org.") == ["3"]
    assert await asked("other.org.") == ["2"]
    assert await asked("example.org.", rdata.DS) == ["2"]  # which the parent has
    assert await asked("www.example.test.") == ["1"]
    zones = [names.to_text(kept.referral.zone) for kept in forwarder.cache.delegations.entries(None, clock())]
    assert sorted(zones) == ["example.org.", "org."]
    clock.now += 59
    assert await asked("new.example.org.") == ["3"]
    clock.now += 2  # they have 60 seconds
    assert await asked("www.example.org.") == ["1", "2", "2", "3"]
    assert forwarder.cache.flush(names.from_text("example.org."), clock()) == 1
    assert await asked("www.example.org.") == ["2", "3"]
    assert forwarder.cache.flush(None, clock()) == 3  # and the address of its server
    assert await asked("www.example.org.") == ["1", "2", "2", "3"]


async def test_a_kept_delegation_that_leads_nowhere_is_asked_for_anew() -> None:
    internet = two_levels()
    forwarder = Forwarder(internet)
    upstream = Upstreams((ONE,), tries=1, follows=True)
    assert await forwarder.fetch(upstream, KEY, Cache().put)
    moved = internet.servers.pop("192.0.2.3")
    internet.servers["192.0.2.5"] = moved
    internet.asked.clear()
    assert await forwarder.fetch(upstream, KEY, Cache().put) is None  # it is delegated as before
    assert [text.split()[0] for text in internet.asked] == ["3", "1", "2"], "and nobody is asked twice for it"
    internet.servers["192.0.2.2"]["example.org."] = referring(
        "example.org. NS ns.example.org.", glue=("ns.example.org. A 192.0.2.5",)
    )
    assert await forwarder.fetch(upstream, KEY, Cache().put)


def test_delegations_have_the_bounds_of_the_cache() -> None:
    def led(zone: str, ttl: int) -> Referral:
        return Referral(names.from_text(zone), (ONE,), (), ttl, ())

    bounded = Delegations(min_ttl=5, max_ttl=100, size=2)
    for zone, ttl in (("a.test.", 1), ("b.test.", 50), ("c.test.", 1000)):
        bounded.put(led(zone, ttl), 0.0)
    left = {names.to_text(kept.referral.zone): kept.expires for kept in bounded.entries(None, 0.0)}
    assert left == {"b.test.": 50.0, "c.test.": 100.0}
    assert bounded.above(names.from_text("x.b.test."), rdata.A, 50.0) is None
    Delegations(0, 0, 10).put(led("a.test.", 60), 0.0)


async def test_a_question_makes_no_more_work_than_it_may() -> None:
    """Each zone has servers whose names are in other zones that have them likewise."""

    class Endless(Internet):
        async def __call__(self, server, key, upstream, clients):
            self.asked.append(server[0])
            zone = names.to_text(key.name[-2:])
            label = zone.split(".")[0]
            return referring(*(f"{zone} NS ns.{label}{letter}.test." for letter in "abcdefgh"))

    endless = Endless()
    assert await endless.ask() is None
    assert 8 < len(endless.asked) <= MOST_EXCHANGES


async def test_one_exchange_for_all_who_ask_the_same():
    script = Script({ONE: GOOD})
    script.release.clear()
    forwarder = Forwarder(script)
    askers = [
        asyncio.ensure_future(
            forwarder.fetch(Upstreams((ONE,)), KEY, Cache().put, f"198.51.100.{number}:4000")
        )
        for number in range(5)
    ]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    askers[0].cancel()  # the first to ask goes away; the others still get their answer
    script.release.set()
    entries = await asyncio.gather(*askers[1:])
    assert script.asked == [ONE] and all(entries) and len(forwarder) == 0
    assert script.clients == [f"198.51.100.{number}:4000" for number in range(5)]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1:5353", ("192.0.2.1", 5353)),
        ("192.0.2.1", ("192.0.2.1", 53)),
        ("[2001:db8::1]:5353", ("2001:db8::1", 5353)),
        ("2001:db8::1", ("2001:db8::1", 53)),
    ],
)
def test_addresses_of_servers(text, address):
    assert parse_server_address(text) == address


@contextlib.asynccontextmanager
async def upstream(*replies):
    """A UDP server that sends what `replies` make of each query; yields its address."""

    class Server(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, addr):
            for reply in replies:
                self.transport.sendto(reply(dnslib.DNSRecord.parse(data)), addr)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
    try:
        yield "127.0.0.1:{}".format(transport.get_extra_info("sockname")[1])
    finally:
        transport.close()


def good(query, address="192.0.2.80"):
    reply = query.reply()
    reply.add_answer(dnslib.RR(query.q.qname, 1, rdata=dnslib.A(address), ttl=30))
    return reply.pack()


def wrong_id(query):
    query.header.id ^= 1
    return good(query, "192.0.2.66")


def wrong_question(query):
    query.questions = [dnslib.DNSQuestion("evil.example.org.")]
    return good(query, "192.0.2.66")


async def test_forged_and_broken_answers_are_passed_over():
    async with upstream(wrong_id, wrong_question, lambda q: b"junk", lambda q: q.pack(), good) as server:
        response = await client.ask_server(parse_server_address(server), KEY, LONG)
    assert [(r.owner, r.rtype, r.data.toZone(), r.ttl) for r in response.answer] == [
        (NAME, rdata.A, "192.0.2.80", 30)
    ]


async def test_only_forged_answers_time_out():
    async with upstream(wrong_id) as server:
        with pytest.raises(TimeoutError):
            await client.ask_server(parse_server_address(server), KEY, 0.02)


async def test_servers_without_edns_are_asked_without():
    def old(query):
        if not query.ar:
            return good(query)
        return wire.error_header(query.pack(), wire.FORMERR)

    async with upstream(old) as server:
        assert (await client.ask_server(parse_server_address(server), KEY, LONG)).answer


async def test_a_closed_port_fails_at_once():
    with pytest.raises(OSError, match=r"refused|ECONNREFUSED"):
        await client.ask_server(("127.0.0.1", closed_port("udp")), KEY, LONG)
