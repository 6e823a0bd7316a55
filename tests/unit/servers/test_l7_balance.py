"""Whose turn it is: each algorithm by itself, and what of its knowledge stays when servers come and go."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from itertools import count
from random import Random

import pytest

from emulab.servers.engines.shared import OLD_BROWSERS
from emulab.servers.l7.config import (
    CookieAffinity,
    DrawnServer,
    HashBy,
    InTurn,
    LeastRequest,
    Match,
    PeakEwma,
    Policy,
    RequestRoute,
    Upstream,
)
from emulab.servers.l7.engine.balance import Group
from emulab.servers.l7.engine.balance.affinity import expiry, takes_none
from emulab.servers.l7.engine.balance.hashing import subsets
from emulab.servers.l7.engine.balance.ring import HashRing
from emulab.servers.l7.engine.balance.turn import Turn
from emulab.servers.l7.engine.filters.effect import Asked
from emulab.servers.l7.engine.variables import text as evaluated
from emulab.servers.l7.messages.request import RequestHead

A, B, C, D = (f"10.0.0.{number}:80" for number in range(1, 5))
TEN = tuple(f"10.0.0.{number}:80" for number in range(1, 11))
DATE = b"Date: Sun, 29 Nov 2026 10:00:00 GMT\r\n"


def turn(
    *lines: bytes,
    target: bytes = b"/a?x=1&y=2",
    address: str = "192.0.2.7",
    draw: Callable[[int], int] | None = None,
    scheme: str = "http",
) -> Turn:
    head = RequestHead()
    head.host, head.lines, head.method = b"h.test:8080", [line + b"\r\n" for line in lines], b"GET"
    asked = Asked(scheme, b"h.test:8080", "80", target, head=head, address=address)
    route = RequestRoute(Match(path="/shop"), (), policy=Policy(affinity_cookie=True))
    return Turn(asked, route, draw or Random(1).randrange, lambda: DATE)


def group(balance: object, *servers: str, old: Group | None = None, now: float = 0.0) -> Group:
    made = Group("shop/web/80", Upstream(servers, balance))  # type: ignore[arg-type]
    if old is not None:
        made.inherit(old, now)
    return made


def chosen(one: Group, what: Turn, now: float = 0.0) -> str:
    server = one.choose(what, now)
    assert server is not None
    return server


def test_in_turn_goes_on_where_it_was() -> None:
    old = group(InTurn(), A, B, C)
    assert old.plain and [old.pick() for _ in range(5)] == [A, B, C, A, B]
    assert group(InTurn(), A, B, C, D, old=old).pick() == C
    assert group(InTurn(), A, old=old).pick() == A


def test_any_is_drawn() -> None:
    one, draw = group(DrawnServer(), *TEN), Random(7).randrange
    found = Counter(chosen(one, turn(draw=draw)) for _ in range(1000))
    assert set(found) == set(TEN) and max(found.values()) < 150


def test_of_two_the_one_with_fewer_requests() -> None:
    one, both = group(LeastRequest(), A, B), [turn() for _ in range(3)]
    assert chosen(one, both[0]) != chosen(one, both[1])
    one.through(both[0], 1.0, True)
    free = both[0].tried[0]
    assert chosen(one, both[2]) == free
    later = group(LeastRequest(), A, B, old=one)
    later.through(both[1], 2.0, False)  # what the former began counts on
    assert chosen(later, turn()) == both[1].tried[0]


def test_ewma_prefers_who_answers_faster_and_forgets() -> None:
    one = group(PeakEwma(), A, B)

    def ask(seconds: float, now: float) -> str:
        what = turn()
        server = chosen(one, what, now)
        one.through(what, now + seconds, True)
        return server

    slow = ask(5.0, 0.0)
    fast = ask(0.01, 10.0)
    assert {slow, fast} == {A, B}
    assert [ask(0.01, 10.0 + n / 10) for n in range(1, 20)] == [fast] * 19


def test_ewma_goes_to_servers_that_this_request_has_not_been_to() -> None:
    one, what = group(PeakEwma(), A, B, C), turn()
    assert {chosen(one, what), chosen(one, what), chosen(one, what)} == {A, B, C}
    assert chosen(one, what) in (A, B, C)  # all have been tried


def test_ewma_starts_newcomers_at_the_average() -> None:
    one = group(PeakEwma(), A, B)
    for seconds in (0.5, 0.6):
        what = turn()
        chosen(one, what, 0.0)
        one.through(what, seconds, True)
    grown = group(PeakEwma(), A, B, C, old=one, now=1.0)
    known = grown.balancer._known  # type: ignore[attr-defined]
    assert known[C][0] == pytest.approx((known[A][0] + known[B][0]) / 2) and known[C][0] > 0
    assert set(group(PeakEwma(), B, old=grown).balancer._known) == {B}  # type: ignore[attr-defined]


def test_a_ring_moves_few_keys() -> None:
    keys = [f"key-{number}" for number in range(3000)]
    ten, eleven = HashRing(TEN), HashRing((*TEN, "10.0.0.11:80"))
    before, after = {key: ten.find(key) for key in keys}, {key: eleven.find(key) for key in keys}
    moved = [key for key in keys if before[key] != after[key]]
    assert all(after[key] == "10.0.0.11:80" for key in moved)
    assert 100 < len(moved) < 500  # a tenth or so
    assert min(Counter(before.values()).values()) > 150
    turned = HashRing(tuple(reversed(TEN)))
    assert {key: turned.find(key) for key in keys} == before


def test_a_key_leads_to_one_server_whatever_fails() -> None:
    one = group(HashBy("$request_uri"), *TEN)
    first = chosen(one, turn(target=b"/1"))
    assert all(chosen(one, turn(target=b"/1", address=f"192.0.2.{n}")) == first for n in range(9))
    assert len({chosen(one, turn(target=b"/%d" % n)) for n in range(200)}) == 10
    what = turn(target=b"/1")
    assert chosen(one, what) == chosen(one, what)


def test_a_key_leads_to_a_subset() -> None:
    sets = subsets(TEN, 3)
    assert [len(one) for one in sets.values()] == [3, 3, 3, 3] and sets["set4"] == (TEN[9], A, B)
    one, draw = group(HashBy("$arg_x", 3), *TEN), Random(3).randrange
    found = {chosen(one, turn(target=b"/?x=7", draw=draw)) for _ in range(60)}
    assert tuple(sorted(found)) in {tuple(sorted(one)) for one in sets.values()}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$request_uri", "/a?x=1&y=2"),
        ("${request_uri}-text", "/a?x=1&y=2-text"),
        ("$host$uri", "h.test/a"),
        ("$binary_remote_addr", "192.0.2.7"),
        ("$http_x_user|$cookie_session", "u1|s2"),
        ("$arg_y$arg_none", "2"),
        ("$scheme $request_method $http_host", "http GET h.test:8080"),
        ("plain", "plain"),
        ("$args$is_args", "x=1&y=2?"),
    ],
)
def test_a_key_is_a_text_with_variables(text: str, value: str) -> None:
    what = turn(b"X-User: u1", b"Cookie: a=b; session=s2; session=s3")
    assert evaluated(text)(what.asked) == value


def cookie_of(what: Turn) -> tuple[str, list[str]]:
    (line,) = what.lines
    assert line.startswith(b"Set-Cookie: ") and line.endswith(b"\r\n")
    value, *attributes = line.decode()[12:-2].split("; ")
    return value, attributes


def test_a_cookie_keeps_a_client_with_its_server() -> None:
    one = group(CookieAffinity(), *TEN)
    for _ in range(20):
        first = turn(draw=Random().randrange)
        server = chosen(one, first)
        value, attributes = cookie_of(first)
        assert value.startswith("INGRESSCOOKIE=") and attributes == ["Path=/shop", "HttpOnly"]
        again = turn(b"Cookie: other=1; " + value.encode())
        assert chosen(one, again) == server and not again.lines and one.balancer.owns(again)
    assert not one.balancer.owns(turn(b"Cookie: INGRESSCOOKIE=x|y"))


def test_attributes_of_the_cookie() -> None:
    wanted = CookieAffinity(
        "route", path="/p", domain="h.test", same_site="None", secure=True, expires=60, max_age=0
    )
    what = turn()
    chosen(group(wanted, A), what)
    value, attributes = cookie_of(what)
    assert value.startswith("route=")
    assert attributes == [
        "Expires=Sun, 29-Nov-26 10:01:00 GMT",
        *("Max-Age=0", "Domain=h.test", "Path=/p", "Secure", "HttpOnly", "SameSite=None"),
    ]
    secure = turn(scheme="https")
    chosen(group(CookieAffinity(), A), secure)
    assert cookie_of(secure)[1] == ["Path=/shop", "Secure", "HttpOnly"]
    assert expiry(DATE, 60 * 60 * 24 * 366 * 12).startswith("Wed, 08-Dec-2038")


@pytest.mark.parametrize(
    ("agent", "takes"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64) Chrome/80.0 Safari/537.36", True),
        ("Mozilla/5.0 (X11; Linux x86_64) Chrome/51.0 Safari/537.36", False),
        ("Mozilla/5.0 (X11; Linux x86_64) Chrome/60.0 Safari/537.36", False),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 12_0 like Mac OS X) Safari/604", False),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_14_1) Version/12 Safari/605", False),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_14_1) Chrome/90 Safari/605", True),
        ("", True),
    ],
)
def test_same_site_none_is_kept_from_old_browsers(agent: str, takes: bool) -> None:
    assert takes_none(agent) is takes
    assert (re.search(OLD_BROWSERS, agent) is None) is takes, "real programs go by this expression"
    what = turn(b"User-Agent: " + agent.encode())
    chosen(group(CookieAffinity(same_site="None", unless_incompatible=True), A), what)
    assert ("SameSite=None" in cookie_of(what)[1]) is takes


def test_a_route_that_is_not_to_set_a_cookie_does_not() -> None:
    what = turn()
    what.route = RequestRoute(Match(path="/shop"), ())
    chosen(group(CookieAffinity(), A, B), what)
    assert what.lines == []


@pytest.mark.parametrize("persistent", [False, True])
def test_after_a_failure_the_cookie_changes_if_it_may(persistent: bool) -> None:
    first = turn()
    before = chosen(group(CookieAffinity(persistent=persistent), A, B), first)
    known = b"Cookie: " + cookie_of(first)[0].encode()
    stays, changes = (
        group(CookieAffinity(persistent=persistent, change_on_failure=change), A, B)
        for change in (False, True)
    )
    for one, other in ((stays, before), (changes, A if before == B else B)):
        what = turn(known)
        assert chosen(one, what) == before
        one.told(what, 0, 0.0)
        assert chosen(one, what) == other
        assert bool(what.lines) is (one is changes)


def test_balanced_moves_clients_to_newcomers_and_persistent_none() -> None:
    moved = {}
    for persistent in (False, True):
        wanted = CookieAffinity(persistent=persistent)
        few, draws = group(wanted, A, B), count()
        clients = []
        for _ in range(200):
            what = turn(draw=lambda among, draws=draws: (next(draws) * 7919) % among)  # type: ignore[misc]
            server = chosen(few, what)
            clients.append((b"Cookie: " + cookie_of(what)[0].encode(), server))
        assert {server for _, server in clients} == {A, B}
        many = group(wanted, A, B, C, D, old=few)
        moved[persistent] = sum(chosen(many, turn(cookie)) != server for cookie, server in clients)
    assert moved[True] == 0 and 50 < moved[False] < 150
