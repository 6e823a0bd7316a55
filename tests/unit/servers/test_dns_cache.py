"""The cache of upstream answers, with a clock made of numbers."""

from __future__ import annotations

from emulab.servers.dns import names, rdata, wire
from emulab.servers.dns.cache import Cache, CacheKey
from emulab.servers.dns.config import CacheLimits
from emulab.servers.dns.wire import ResourceRecord, Response

NAME = names.from_text("shop.example.com.")
KEY = CacheKey(NAME, rdata.A, do=False)


def a(ttl: int, last: int = 1, owner: names.Name = NAME) -> ResourceRecord:
    return ResourceRecord(owner, rdata.A, ttl, rdata.from_text(rdata.A, f"10.0.0.{last}"))


def soa(ttl: int, minimum: int) -> ResourceRecord:
    text = f"ns.example.com. root.example.com. 1 2 3 4 {minimum}"
    return ResourceRecord(names.from_text("example.com."), rdata.SOA, ttl, rdata.from_text(rdata.SOA, text))


def response(*answer: ResourceRecord, rcode: int = 0, authority: tuple[ResourceRecord, ...] = ()) -> Response:
    return Response(1, wire.QR, rcode, None, answer, authority)


def test_ttl_counts_down_and_the_entry_goes():
    cache = Cache()
    cache.put(KEY, response(a(30)), 100.0)
    for now, ttl in [(100.0, 30), (100.9, 30), (101.0, 29), (129.9, 1)]:
        entry = cache.get(KEY, now)
        assert entry and entry.answer(now, 0)[0].ttl == ttl
    assert cache.get(KEY, 130.0) is None
    assert len(cache) == 0


def test_the_shortest_ttl_decides():
    cache = Cache()
    alias = ResourceRecord(NAME, rdata.CNAME, 5, rdata.from_text(rdata.CNAME, "lb.example.com."))
    cache.put(KEY, response(alias, a(300, owner=names.from_text("lb.example.com."))), 0.0)
    assert [r.ttl for r in cache.get(KEY, 4.5).answer(4.5, 0)] == [1, 296]
    assert cache.get(KEY, 5.0) is None


def test_all_records_may_have_the_shortest_ttl():
    """CoreDNS gives a kept answer one TTL, also where an alias leads to a name that isn't there."""
    cache = Cache(alike=True)
    alias = ResourceRecord(NAME, rdata.CNAME, 60, rdata.from_text(rdata.CNAME, "lb.example.com."))
    cache.put(KEY, response(alias, a(300, owner=names.from_text("lb.example.com."))), 0.0)
    assert [r.ttl for r in cache.get(KEY, 4.5).answer(4.5, 0)] == [56, 56]
    entry = cache.put(KEY, response(alias, rcode=wire.NXDOMAIN, authority=(soa(600, 5),)), 0.0)
    assert [r.ttl for r in (*entry.answer(0.0, 0), *entry.authority)] == [5, 5]
    passed = cache.passed_on(KEY, response(alias, a(300, owner=names.from_text("lb.example.com."))), 0.0)
    assert [r.ttl for r in passed.answer(0.0, 0)] == [60, 300]  # which no cache has a say in


def test_limits_bound_what_is_kept():
    cache = Cache(CacheLimits(max_ttl=10, min_ttl=3))
    assert cache.put(KEY, response(a(3600)), 0.0).answer(0.0, 0)[0].ttl == 10
    assert cache.put(KEY, response(a(1)), 0.0).lifetime == 3


def test_zero_ttl_is_passed_on_and_not_kept():
    cache = Cache()
    entry = cache.put(KEY, response(a(0)), 0.0)
    assert entry.answer(0.0, 0)[0].ttl == 0 and cache.get(KEY, 0.0) is None
    assert entry.steady_until(0.0) <= 0.0


def test_negative_answers_live_as_long_as_the_soa_says():
    for rcode in (wire.NXDOMAIN, wire.NOERROR):
        for ttl, minimum, lifetime in [(60, 5, 5), (4, 60, 4), (600, 600, 30)]:
            cache = Cache(CacheLimits(negative_ttl=30))
            cache.put(KEY, response(rcode=rcode, authority=(soa(ttl, minimum),)), 0.0)
            entry = cache.get(KEY, lifetime - 0.1)
            assert entry and entry.rcode == rcode
            assert entry.aged(entry.authority, lifetime - 0.1)[0].ttl == 1
            assert cache.get(KEY, lifetime) is None


def test_denials_and_failures_are_kept_as_coredns_has_them():
    """For five seconds at least; a failure not in the place of something better (plugin/cache, RFC 9520)."""
    limits = CacheLimits(negative_min=5, failure_ttl=5, stale=60)
    cache = Cache(limits)
    denied = cache.put(KEY, response(rcode=wire.NXDOMAIN, authority=(soa(1, 0),)), 0.0)
    assert denied.lifetime == 5 and denied.authority[0].ttl == 5
    cache.put(KEY, response(rcode=wire.SERVFAIL), 6.0)
    assert cache.get(KEY, 6.0) is None and cache.stale(KEY, 6.0).rcode == wire.NXDOMAIN
    cache.flush(None, 6.0)
    cache.put(KEY, response(rcode=wire.SERVFAIL), 6.0)
    assert cache.get(KEY, 10.9).rcode == wire.SERVFAIL and cache.get(KEY, 11.0) is None
    cache.put(KEY, response(a(30)), 7.0)
    assert cache.get(KEY, 7.0).rcode == wire.NOERROR


def test_what_must_not_be_kept_is_not():
    cache = Cache()
    cache.put(KEY, response(rcode=wire.NXDOMAIN), 0.0)  # without SOA
    cache.put(KEY, response(rcode=wire.SERVFAIL, authority=(soa(60, 60),)), 0.0)
    cache.put(KEY, response(), 0.0)
    assert len(cache) == 0


def test_do_and_type_are_kept_apart():
    cache = Cache()
    cache.put(KEY, response(a(30)), 0.0)
    assert cache.get(KEY._replace(do=True), 0.0) is None
    assert cache.get(KEY._replace(rtype=rdata.AAAA), 0.0) is None


def test_the_longest_unused_makes_room():
    cache = Cache(CacheLimits(size=2))
    one, two, three = (CacheKey(names.from_text(f"{n}."), rdata.A, do=False) for n in ("one", "two", "three"))
    cache.put(one, response(a(30)), 0.0)
    cache.put(two, response(a(30)), 0.0)
    assert cache.get(one, 1.0)
    cache.put(three, response(a(30)), 1.0)
    assert cache.get(one, 1.0) and cache.get(three, 1.0) and not cache.get(two, 1.0)


def test_addresses_take_turns_behind_their_alias():
    cache = Cache()
    alias = ResourceRecord(NAME, rdata.CNAME, 5, rdata.from_text(rdata.CNAME, "lb."))
    entry = cache.put(KEY, response(alias, a(9, 1), a(9, 2)), 0.0)
    seen = [[r.data.data[-1] for r in entry.answer(0.0, entry.tail.next())[1:]] for _ in range(3)]
    assert seen == [[1, 2], [2, 1], [1, 2]]


def test_steady_until_the_next_second_of_the_entry():
    entry = Cache().put(KEY, response(a(30)), 100.25)
    assert entry.steady_until(100.3) == 101.25
    assert entry.steady_until(130.0) == 130.25
