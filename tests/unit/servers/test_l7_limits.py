"""How often a client may come: nginx's leaky bucket to the millisecond, and requests under way."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import Script, has, page, starts

from emulab.servers.l7.config import (
    ClientLimits,
    ConnectionLimit,
    L7Config,
    Match,
    RequestLimit,
    RequestRoute,
    Upstream,
    WeightedUpstream,
)
from emulab.servers.l7.engine import limits
from emulab.servers.l7.engine.limits import RequestZone, refused_by
from emulab.servers.l7.engine.snapshot import Snapshot, take

A = "10.0.0.1:80"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def passes(times: list[int], rate: int, burst: int) -> list[bool]:
    """Which of the requests at these milliseconds are let through."""
    zone = RequestZone()
    return [refused_by([(zone, rate, burst)], "a", at) is None for at in times]


class TestBucket:
    def test_lets_a_burst_through_and_one_more(self) -> None:
        """limit-rps: 2 is `rate=2r/s burst=10`: eleven at once, then one each half second."""
        assert passes([1000] * 13, 2000, 10) == [True] * 11 + [False] * 2
        assert passes([0] * 11 + [499, 500, 501, 1000], 2000, 10) == [True] * 11 + [False, True, False, True]

    def test_counts_by_the_minute(self) -> None:
        """`rate=1r/m` is 16 thousandths a second, as nginx divides whole numbers: 62.5 s for each."""
        assert passes([0, 0, 60_000, 62_437, 62_500], 16, 0) == [True, False, False, False, True]

    def test_does_not_count_who_is_refused(self) -> None:
        assert passes([0, *range(0, 1000, 10), 1000], 1000, 0)[-1]

    def test_takes_a_clock_that_goes_back_for_one_that_stands(self) -> None:
        assert passes([5000, 4000, 5001, 6000], 1000, 0) == [True, False, False, True]

    def test_knows_clients_apart(self) -> None:
        zone = RequestZone()
        assert refused_by([(zone, 1000, 0)], "a", 0) is None
        assert refused_by([(zone, 1000, 0)], "b", 0) is None
        assert refused_by([(zone, 1000, 0)], "a", 0) == (0, 1000)

    def test_counts_for_no_limit_what_one_refuses(self) -> None:
        by_second, by_minute = RequestZone(), RequestZone()
        both = [(by_second, 1000, 5), (by_minute, 16, 0)]
        assert refused_by(both, "a", 0) is None
        for _ in range(20):
            assert refused_by(both, "a", 0) == (1, 1000)
        assert by_second.excess("a", 1000, 0) == 1000

    def test_forgets_two_that_came_long_ago_with_each_new_one(self) -> None:
        zone = RequestZone()
        for name in "abc":
            zone.count(name, 1000, 0)
        zone.count("d", 1000, 59_999)
        assert list(zone.states) == ["a", "b", "c", "d"]
        zone.count("e", 1000, 60_000)
        assert list(zone.states) == ["c", "d", "e"]

    def test_forgets_the_oldest_where_there_is_no_room(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "STATES_MAX", 2)
        zone = RequestZone()
        for name in "abac":
            zone.count(name, 1000, 0)
        assert list(zone.states) == ["a", "c"]

    @given(st.lists(st.integers(0, 400), max_size=60), st.integers(1, 5000), st.integers(0, 20))
    def test_lets_no_more_through_than_rate_and_burst(self, steps: list[int], rate: int, burst: int) -> None:
        times = [sum(steps[: index + 1]) for index in range(len(steps))]
        let = [at for at, passed in zip(times, passes(times, rate, burst), strict=True) if passed]
        for first in range(len(let)):
            for last in range(first, len(let)):
                assert last - first + 1 <= burst + 2 + (let[last] - let[first]) * rate / 1_000_000


def snapshot(one: ClientLimits) -> Snapshot:
    route = RequestRoute(Match("", "/", "Prefix"), (WeightedUpstream("up"),), "Ingress d/r", (one,))
    return take(L7Config((), routes=(route,), upstreams={"up": Upstream((A,))}), {})


def script(one: ClientLimits, **more: Any) -> Script:
    play = Script(snapshot(one), **more)
    play.skip()
    return play


def ask(play: Script) -> list[tuple[str, Any]]:
    play.client(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    return play.taken()


def served(play: Script) -> bool:
    """Asks, and whether an upstream is asked, which answers."""
    if ask(play)[0] != ("select", A):
        return False
    play.connected()
    play.upstream(ANSWER)
    play.skip()
    return True


RPS = ClientLimits((RequestLimit("d_r_rps", 1000, 2, "limit-rps"),))


class TestRequests:
    def test_are_refused_above_the_limit(self) -> None:
        play = script(RPS, told=True, lines=9)
        assert [served(play) for _ in range(3)] == [True] * 3
        why = "limiting requests of 192.0.2.7, excess: 3.000 by zone 'd_r_rps' (limit-rps)"
        play.client(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        play.expect(
            ("send", page(503)),
            ("log", starts(f"2026/11/28 12:00:00 [error] {why}, client: 192.0.2.7")),
            ("log", starts("192.0.2.7 - - ")),
            ("tell", has(status=503, reason=why, refused_by="limit-rps", answered_by="ingress")),
        )
        play.wait(1.0)
        assert served(play)

    def test_are_counted_over_all_connections_of_a_client(self) -> None:
        play = script(RPS)
        other = Script(snapshot(RPS), around=play.around)
        stranger = Script(snapshot(RPS), around=play.around, client="2001:db8::1")
        assert [served(one) for one in (play, other, play, other, stranger)] == [
            True,
            True,
            True,
            False,
            True,
        ]

    def test_are_counted_on_over_a_change_of_the_configuration(self) -> None:
        play = script(RPS)
        assert [served(play) for _ in range(3)] == [True] * 3
        play.around.snapshot = snapshot(RPS)
        play.around.kept.forget_zones(play.around.snapshot.zones)
        assert not served(play)
        play.around.kept.forget_zones(())
        assert served(play)

    def test_are_not_counted_of_who_is_exempt(self) -> None:
        play = script(ClientLimits(RPS.requests, exempt=("192.0.2.0/24",)))
        assert [served(play) for _ in range(5)] == [True] * 5

    def test_have_a_status_of_their_own(self) -> None:
        play = script(ClientLimits((RequestLimit("z", 1000, 0),), request_status=429))
        assert served(play)
        ((word, data),) = ask(play)
        assert word == "send" and data.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")


class TestConnections:
    ONE = ClientLimits(connections=ConnectionLimit("d_r_conn", 1, "limit-connections"), connection_status=429)

    def two(self) -> tuple[Script, Script]:
        first = script(self.ONE)
        second = Script(snapshot(self.ONE), around=first.around)
        second.skip()
        return first, second

    def test_are_requests_under_way(self) -> None:
        first, second = self.two()
        assert ask(first) == [("select", A)]
        ((word, data),) = ask(second)
        assert word == "send" and data.startswith(b"HTTP/1.1 429 ")
        first.connected()
        first.upstream(ANSWER)
        assert served(second)

    @pytest.mark.parametrize("end", ["left", "refused", "malformed"])
    def test_are_over_however_they_end(self, end: str) -> None:
        first, second = self.two()
        ask(first)
        if end == "left":
            first.client_left()
        elif end == "refused":
            first.vacant()
            for _ in range(3):
                first.refused()
        else:
            first.connected()
            first.upstream(b"no HTTP\r\n\r\n")
        assert served(second)

    def test_last_as_long_as_a_tunnel(self) -> None:
        first, second = self.two()
        first.client(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        first.connected()
        first.upstream(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        assert not served(second)
        for one in first.machine.leaving:
            one()
        assert served(second)
