"""Records of which one is answered at a time: whose turn it is, and how checks change that."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

import dnslib
import pytest
from patience import LONG, until
from test_dns_server import running

from emulab.errors import UserError
from emulab.servers.dns import names, rdata
from emulab.servers.dns.config import RoutedRecords
from emulab.servers.dns.routing import MOST, RecordSet, RoutedSets
from emulab.servers.dns.zone import ServedZone


def one(
    address: str, *, weight: int | None = None, failover: str = "", healthy: bool = True
) -> RoutedRecords:
    return RoutedRecords("www.example.com.", "A", (address,), 30, weight, failover, healthy)


def shares(*sets: RoutedRecords, times: int = 6000) -> dict[str, float]:
    """The part of answers in which each address is."""
    zone = ServedZone("example.com.", [], routed=sets)
    zone.routed[names.from_text("www.example.com."), rdata.A]._drawn = Random(7).random
    found: Counter[str] = Counter()
    for _ in range(times):
        outcome = zone.lookup(names.from_text("www.example.com."), rdata.A)
        assert outcome.drawn
        found.update(str(record.data) for record in outcome.rrset.records)
    return {address: number / times for address, number in found.items()}


def test_weights_are_shares_of_answers():
    found = shares(one("10.0.0.1", weight=70), one("10.0.0.2", weight=20), one("10.0.0.3", weight=10))
    assert found == pytest.approx({"10.0.0.1": 0.7, "10.0.0.2": 0.2, "10.0.0.3": 0.1}, abs=0.02)


def test_who_is_not_healthy_has_no_share():
    found = shares(
        one("10.0.0.1", weight=90, healthy=False), one("10.0.0.2", weight=5), one("10.0.0.3", weight=5)
    )
    assert found == pytest.approx({"10.0.0.2": 0.5, "10.0.0.3": 0.5}, abs=0.02)


def test_weight_zero_is_for_when_no_other_is_healthy():
    assert shares(one("10.0.0.1", weight=1), one("10.0.0.2", weight=0)) == {"10.0.0.1": 1}
    assert shares(one("10.0.0.1", weight=1, healthy=False), one("10.0.0.2", weight=0)) == {"10.0.0.2": 1}
    found = shares(one("10.0.0.1", weight=0), one("10.0.0.2", weight=0))
    assert found == pytest.approx({"10.0.0.1": 0.5, "10.0.0.2": 0.5}, abs=0.02)


def test_where_none_is_healthy_health_counts_for_nothing():
    found = shares(one("10.0.0.1", weight=3, healthy=False), one("10.0.0.2", weight=1, healthy=False))
    assert found == pytest.approx({"10.0.0.1": 0.75, "10.0.0.2": 0.25}, abs=0.02)
    primary, secondary = (
        one("10.0.0.1", failover="primary", healthy=False),
        one("10.0.0.2", failover="secondary", healthy=False),
    )
    assert shares(primary, secondary) == {"10.0.0.1": 1}


@pytest.mark.parametrize(("healthy", "answered"), [(True, "10.0.0.1"), (False, "10.0.0.2")])
def test_a_secondary_is_answered_while_no_primary_is_healthy(healthy, answered):
    pair = one("10.0.0.2", failover="secondary"), one("10.0.0.1", failover="primary", healthy=healthy)
    assert shares(*pair) == {answered: 1}


def test_by_health_alone_all_healthy_ones_are_answered_eight_at_most():
    found = shares(*(one(f"10.0.0.{n}", healthy=n > 2) for n in range(1, 13)))
    assert sum(found.values()) == pytest.approx(MOST)
    assert set(found) == {f"10.0.0.{n}" for n in range(3, 13)}
    assert all(share == pytest.approx(0.8, abs=0.03) for share in found.values())
    assert shares(one("10.0.0.1"), one("10.0.0.2", healthy=False)) == {"10.0.0.1": 1}


def test_a_set_of_several_records_is_answered_whole():
    both = RoutedRecords("www.example.com.", "A", ("10.0.0.1", "10.0.0.2"), 30, 1)
    found = shares(both, one("10.0.0.3", weight=1))
    assert found["10.0.0.1"] == found["10.0.0.2"] == pytest.approx(0.5, abs=0.02)


def test_aliases_and_wildcards_are_drawn_too():
    sets = [RoutedRecords("*.example.com.", "CNAME", (f"{to}.example.net.",), 30, 1) for to in ("a", "b")]
    zone = ServedZone("example.com.", [["x.example.com.", "TXT", "here", 5]], routed=sets)
    led = {
        str(zone.lookup(names.from_text("y.example.com."), rdata.A).rrset.records[0].data) for _ in range(50)
    }
    assert led == {"a.example.net.", "b.example.net."}
    assert not zone.lookup(names.from_text("x.example.com."), rdata.TXT).drawn


def test_a_wrong_record_of_a_set_is_told():
    with pytest.raises(UserError, match=r"www\.example\.com"):
        ServedZone("example.com.", [], routed=[one("10.0.0.256", weight=1)])


def test_an_empty_choice_answers_nothing():
    assert RoutedSets([RecordSet((), 1, "", True, {})]).pick() == ()


def zone_with(*sets: dict[str, object]) -> list[dict[str, object]]:
    like = {"name": "www.example.com.", "type": "A", "ttl": 30}
    records = [["_http._tcp.example.com.", "SRV", "0 0 80 www.example.com.", 30]]
    return [{"origin": "example.com.", "records": records, "routed": [{**like, **one} for one in sets]}]


async def asked(server, name="www.example.com.", rtype="A", times=60) -> Counter[str]:
    """What is answered to one query that is sent again and again: kept answers must not stand in for a draw."""
    found: Counter[str] = Counter()
    query = dnslib.DNSRecord.question(name, rtype)
    for _ in range(times):
        reply = dnslib.DNSRecord.parse(await asyncio.to_thread(query.send, "127.0.0.1", server.port))
        found.update(str(rr.rdata) for rr in (*reply.rr, *reply.ar) if rr.rtype == dnslib.QTYPE.A)
    return found


async def test_each_answer_is_drawn_anew():
    sets = [{"data": ["10.0.0.1"], "weight": 3}, {"data": ["10.0.0.2"], "weight": 1}]
    async with running(zones=zone_with(*sets)) as server:
        found = await asked(server, times=400)
        assert 220 < found["10.0.0.1"] < 370 and found.total() == 400
        assert len(await asked(server, "_http._tcp.example.com.", "SRV")) == 2
        assert server.server.status()["prepared"] == 0


async def listen(port: int = 0) -> asyncio.Server:
    return await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port)


async def end(listener: asyncio.Server) -> None:
    listener.close()
    await listener.wait_closed()


async def test_checks_find_out_who_is_healthy():
    listener = await listen()
    port = listener.sockets[0].getsockname()[1]
    policy = {"interval": 0.02, "timeout": LONG, "rise": 1, "fall": 1}
    check = {"zone": "example.com", "record": "www A 10.0.0.1", "address": "127.0.0.1", "port": port}
    primary = {"data": ["10.0.0.1"], "failover": "primary", "checks": [{**check, "policy": policy}]}
    secondary = {"data": ["10.0.0.2"], "failover": "secondary"}
    async with running(zones=zone_with(primary, secondary)) as server:
        assert set(await asked(server, times=3)) == {"10.0.0.1"}
        await end(listener)
        await until(lambda: len(server.events.of("health")) == 1)
        told = server.events.of("health")[0]
        assert (told["zone"], told["record"], told["healthy"]) == ("example.com", "www A 10.0.0.1", False)
        assert told["check"] == "L4CON: Connection refused"
        assert set(await asked(server, times=3)) == {"10.0.0.2"}

        # A change of the zone forgets nothing, and says again what was said of the zone before.
        other = {"data": ["10.0.0.3"], "failover": "secondary"}
        await server.configure(zones=zone_with(primary, other))
        assert set(await asked(server, times=3)) == {"10.0.0.3"}
        assert server.events.of("health") == [told, told]

        listener = await listen(port)
        await until(lambda: server.events.of("health")[-1]["healthy"])
        assert set(await asked(server, times=3)) == {"10.0.0.1"}

        await server.configure(zones=zone_with(other))
        await end(listener)
        await asyncio.sleep(0.1)
        assert len(server.events.of("health")) == 3  # who isn't in the zone any more isn't asked
