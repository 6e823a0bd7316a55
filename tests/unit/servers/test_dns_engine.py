"""Questions led through zones, cache and a scripted upstream."""

from __future__ import annotations

import math

import dnslib
import pytest

from emulab.servers.dns import names, rdata, wire
from emulab.servers.dns.cache import Cache
from emulab.servers.dns.config import DnsConfig, Kubernetes, ServiceNames
from emulab.servers.dns.engine import Engine, Forward, Solved
from emulab.servers.dns.settings import DnsSettings
from emulab.servers.dns.wire import Query, ResourceRecord, Response
from emulab.servers.dns.zone import ServedZone, Zones

CLUSTER = [
    ["web.app.svc.cluster.local.", "A", "10.96.0.20", 5],
    ["_http._tcp.web.app.svc.cluster.local.", "SRV", "0 100 80 web.app.svc.cluster.local.", 5],
    ["head.app.svc.cluster.local.", "A", "10.244.1.2", 5],
    ["head.app.svc.cluster.local.", "A", "10.244.2.2", 5],
    ["head.app.svc.cluster.local.", "A", "10.244.3.2", 5],
    ["db.app.svc.cluster.local.", "CNAME", "db.example.com.", 5],
    ["alias.app.svc.cluster.local.", "CNAME", "head.app.svc.cluster.local.", 5],
    ["lost.app.svc.cluster.local.", "CNAME", "gone.app.svc.cluster.local.", 5],
    ["loop1.app.svc.cluster.local.", "CNAME", "loop2.app.svc.cluster.local.", 5],
    ["loop2.app.svc.cluster.local.", "CNAME", "loop1.app.svc.cluster.local.", 5],
    ["*.wild.cluster.local.", "CNAME", "web.app.svc.cluster.local.", 5],
    ["*.pool.cluster.local.", "A", "10.0.0.1", 5],
    ["*.pool.cluster.local.", "A", "10.0.0.2", 5],
    *[[f"c{i}.cluster.local.", "CNAME", f"c{i + 1}.cluster.local.", 5] for i in range(30)],
]


def ask(name: str, rtype: str = "A", *, recurse: bool = True, rclass: str = "IN") -> Query:
    question = dnslib.DNSRecord(
        q=dnslib.DNSQuestion(name, getattr(dnslib.QTYPE, rtype), getattr(dnslib.CLASS, rclass))
    )
    question.header.rd = recurse
    return wire.parse_query(question.pack())


def record(owner: str, rtype: str, text: str, ttl: int = 30) -> ResourceRecord:
    number = rdata.type_number(rtype)
    return ResourceRecord(names.from_text(owner), number, ttl, rdata.from_text(number, text))


def engine(*, forwards: bool = False) -> Engine:
    return Engine(Zones([ServedZone("cluster.local.", CLUSTER)]), Cache(), forwards=forwards)


def solve(
    engine: Engine, query: Query, upstream: dict[str, list[ResourceRecord] | int] | None = None, now=0.0
) -> Solved:
    """Answers forwards from `upstream`: records, or an rcode, or nothing for a name that is missing."""
    step = engine.resolve(query, 0, now)
    for _ in range(20):
        if isinstance(step, Solved):
            return step
        said = (upstream or {}).get(names.to_text(step.key.name))
        entry = None
        if said is not None:
            rcode, answer = (said, ()) if isinstance(said, int) else (0, tuple(said))
            entry = engine.cache.put(step.key, Response(1, wire.QR, rcode, None, answer), now)
        step = engine.resume(step, entry, now)
    raise AssertionError("the walk doesn't end")


def texts(solved: Solved) -> list[str]:
    return [r.data.toZone() for r in solved.reply.answer]


def test_authoritative_answer():
    solved = solve(engine(), ask("web.app.svc.cluster.local."))
    assert solved.reply.authoritative and texts(solved) == ["10.96.0.20"] and solved.cache == ""


def test_addresses_rotate():
    e = engine()
    firsts = [texts(solve(e, ask("head.app.svc.cluster.local.")))[0] for _ in range(6)]
    assert firsts == ["10.244.1.2", "10.244.2.2", "10.244.3.2"] * 2
    assert {texts(solve(e, ask("x.pool.cluster.local.")))[0] for _ in range(2)} == {"10.0.0.1", "10.0.0.2"}


def test_interleaved_types_do_not_disturb_the_rotation():
    e, firsts = engine(), []
    for _ in range(3):
        firsts.append(texts(solve(e, ask("head.app.svc.cluster.local.")))[0])
        solve(e, ask("head.app.svc.cluster.local.", "AAAA"))
    assert len(set(firsts)) == 3


@pytest.mark.parametrize(
    ("name", "rtype", "rcode"),
    [
        ("none.app.svc.cluster.local.", "A", 3),
        ("app.svc.cluster.local.", "A", 0),
        ("web.app.svc.cluster.local.", "MX", 0),
    ],
)
def test_negative_answers_carry_the_soa(name, rtype, rcode):
    reply = solve(engine(), ask(name, rtype)).reply
    assert (reply.rcode, reply.answer, reply.authoritative) == (rcode, (), True)
    assert [(r.rtype, r.ttl) for r in reply.authority] == [(rdata.SOA, 5)]


def test_alias_is_followed_within_the_zone():
    solved = solve(engine(), ask("alias.app.svc.cluster.local."))
    assert texts(solved)[0] == "head.app.svc.cluster.local." and len(texts(solved)) == 4
    assert solved.reply.answer[1].owner == names.from_text("head.app.svc.cluster.local.")


def test_alias_to_a_missing_name_is_nxdomain_with_the_alias():
    reply = solve(engine(), ask("lost.app.svc.cluster.local.")).reply
    assert reply.rcode == wire.NXDOMAIN and len(reply.answer) == 1 and reply.authority


def test_wildcards_answer_under_the_name_asked():
    reply = solve(engine(), ask("x.y.wild.cluster.local.")).reply
    assert reply.answer[0].owner == names.from_text("x.y.wild.cluster.local.")
    assert [r.rtype for r in reply.answer] == [rdata.CNAME, rdata.A]


@pytest.mark.parametrize("name", ["loop1.app.svc.cluster.local.", "c0.cluster.local."])
def test_loops_and_endless_chains_fail(name):
    assert solve(engine(), ask(name)).reply.rcode == wire.SERVFAIL


def test_srv_brings_its_addresses():
    reply = solve(engine(), ask("_http._tcp.web.app.svc.cluster.local.", "SRV")).reply
    assert [r.data.toZone() for r in reply.additional] == ["10.96.0.20"]


def test_outside_all_zones_is_refused_without_upstream():
    reply = solve(engine(), ask("www.example.org.")).reply
    assert reply.rcode == wire.REFUSED and not reply.authoritative


@pytest.mark.parametrize(
    "query", [ask("web.app.svc.cluster.local.", rclass="CH"), ask("cluster.local.", "AXFR")]
)
def test_other_classes_and_transfers_are_refused(query):
    assert solve(engine(), query).reply.rcode == wire.REFUSED


def test_external_name_is_completed_upstream():
    upstream = {"db.example.com.": [record("db.example.com.", "A", "203.0.113.7")]}
    solved = solve(engine(forwards=True), ask("db.app.svc.cluster.local."), upstream)
    assert texts(solved) == ["db.example.com.", "203.0.113.7"]
    assert solved.reply.authoritative and solved.cache == "miss"


def test_external_name_without_upstream_answer_is_servfail():
    assert solve(engine(forwards=True), ask("db.app.svc.cluster.local.")).reply.rcode == wire.SERVFAIL


@pytest.mark.parametrize("said", [wire.NXDOMAIN, wire.SERVFAIL, [], None], ids=str)
def test_an_external_name_is_there_whatever_becomes_of_what_it_leads_to(
    said: int | list[ResourceRecord] | None,
) -> None:
    """`A` of plugin/backend_lookup.go takes the records alone of what others say."""
    alias = ServiceNames("app", "db", (), alias="db.example.com.")
    world = Kubernetes("cluster.local.", ("app",), {"app/db": alias}, {})
    settings = DnsSettings().changed(DnsConfig(listen=(), kubernetes=world))
    asked = Engine(settings.zones, Cache(), forwards=True)
    upstream = {} if said is None else {"db.example.com.": said}
    solved = solve(asked, ask("db.app.svc.cluster.local."), upstream)
    assert texts(solved) == ["db.example.com."] and solved.reply.rcode == wire.NOERROR
    assert solved.reply.authoritative and not solved.reply.authority and solved.until < math.inf


def test_external_name_on_a_server_without_upstream_is_the_alias_alone():
    solved = solve(engine(), ask("db.app.svc.cluster.local."))
    assert texts(solved) == ["db.example.com."] and solved.reply.rcode == wire.NOERROR


def test_second_question_is_a_hit_and_counts_down():
    e = engine(forwards=True)
    upstream = {"www.example.org.": [record("www.example.org.", "A", "203.0.113.8", 30)]}
    assert solve(e, ask("www.example.org."), upstream).cache == "miss"
    solved = solve(e, ask("WWW.example.org."), now=10.5)
    assert solved.cache == "hit" and solved.reply.answer[0].ttl == 20
    assert solved.until == 11.0
    assert isinstance(e.resolve(ask("www.example.org."), 0, 30.0), Forward)


def test_chain_that_upstream_leaves_open_is_closed():
    upstream = {
        "a.org.": [record("a.org.", "CNAME", "b.org.")],
        "b.org.": [record("b.org.", "CNAME", "web.app.svc.cluster.local.")],
    }
    assert texts(solve(engine(forwards=True), ask("a.org."), upstream))[-1] == "10.96.0.20"


def test_loop_over_upstream_fails():
    upstream = {
        "a.org.": [record("a.org.", "CNAME", "b.org.")],
        "b.org.": [record("b.org.", "CNAME", "a.org.")],
    }
    assert solve(engine(forwards=True), ask("a.org."), upstream).reply.rcode == wire.SERVFAIL


def test_upstream_chain_is_passed_on():
    said = [
        record("a.org.", "CNAME", "b.org."),
        record("b.org.", "A", "203.0.113.1"),
        record("b.org.", "A", "203.0.113.2"),
    ]
    solved = solve(engine(forwards=True), ask("a.org."), {"a.org.": said})
    assert texts(solved) == ["b.org.", "203.0.113.1", "203.0.113.2"] and not solved.reply.authoritative
    assert solved.turns == 2


def test_without_rd_the_cache_alone_answers():
    e = engine(forwards=True)
    assert solve(e, ask("a.org.", recurse=False)).reply.rcode == wire.REFUSED
    coredns = Engine(e.zones, Cache(), forwards=True, passes_on=True)
    assert isinstance(coredns.resolve(ask("a.org.", recurse=False), 0, 0.0), Forward)
    solve(e, ask("a.org."), {"a.org.": [record("a.org.", "A", "203.0.113.1")]})
    assert texts(solve(e, ask("a.org.", recurse=False))) == ["203.0.113.1"]


def test_upstream_error_code_is_passed_on():
    solved = solve(engine(forwards=True), ask("a.org."), {"a.org.": wire.REFUSED})
    assert solved.reply.rcode == wire.REFUSED and solved.until <= 0.0
