"""What an upstream is spared, and who of its servers is left out: by scripts of events."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from scripted import Script, contains, has, page
from test_ingress_harness import routed

from emulab.servers.configuration import from_json
from emulab.servers.l7.config import ConnectionLimits, L7Config, OutlierDetection
from emulab.servers.l7.engine.balance.limits import Limiter, QueuedRequest
from emulab.servers.l7.engine.balance.outliers import UNANSWERED, UNREACHED, Outliers
from emulab.servers.l7.engine.snapshot import Snapshot, take

A, B, C = "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BAD = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


def snapshot(*servers: str, old: Snapshot | None = None, policy: Any = None, **upstream: Any) -> Snapshot:
    rule = {"path": "/", "path_type": "Prefix", "upstream": "up"}
    upstreams = {"up": {"servers": list(servers), **upstream}}
    config = from_json(L7Config, routed([rule], {}, listen=[], upstreams=upstreams, **(policy or {})))
    return take(config, old.groups if old else {})


# --- limits


def test_who_enters_waits_or_may_not() -> None:
    limiter, limits = Limiter(), ConnectionLimits(connections=1, pending=1)
    assert limiter.enter(limits) is None
    waiting = limiter.enter(limits)
    assert isinstance(waiting, QueuedRequest) and limiter.waiting == 1
    refused = limiter.enter(limits)
    assert refused == "all of the backend's connections are in use (1), and 1 request may wait for one"
    called: list[int] = []
    waiting.wake = lambda: called.append(1)
    wake = limiter.leave(limits)
    assert wake is waiting.wake and waiting.called and (limiter.under_way, limiter.waiting) == (1, 0)
    assert limiter.leave(limits) is None and limiter.under_way == 0


def test_all_that_are_there_count_as_requests() -> None:
    limiter, limits = Limiter(), ConnectionLimits(connections=1, requests=2)
    assert limiter.enter(limits) is None and isinstance(limiter.enter(limits), QueuedRequest)
    assert limiter.enter(limits) == "the backend has as many requests as it may have (2)"


def test_a_request_waits_for_another_to_end() -> None:
    there = snapshot(A, limits={"connections": 1, "pending": 1})
    first, second, third = (Script(there, told=True) for _ in range(3))
    first.client(GET)
    first.vacant()
    first.connected()
    second.client(GET)
    (waiting,) = (argument for word, argument in second.taken() if word == "wait")
    waiting.wake = lambda: second.machine.exchange.woken(second.now)  # type: ignore[union-attr]
    third.client(GET)
    assert third.taken()[-2:] == [
        ("send", page(503)),
        (
            "tell",
            has(
                event="request",
                status=503,
                answered_by="ingress",
                reason=has_words("connections are in use (1)"),
            ),
        ),
    ]
    first.skip()
    first.upstream(OK)
    commands = dict(first.taken())
    assert [*commands][-1] == "release" and commands["wake"] is waiting.wake
    commands["wake"]()
    second.expect(("select", A))
    second.connected(reused=True)
    second.upstream(OK)
    second.skip()
    third.client(GET)
    third.expect(("select", A))  # nobody is left


def has_words(text: str) -> Any:
    class Words(str):
        def __eq__(self, other: object) -> bool:
            return isinstance(other, str) and text in other

        __hash__ = str.__hash__

    return Words(text)


def test_who_waits_too_long_or_leaves_gives_its_place_up() -> None:
    there = snapshot(A, limits={"connections": 1})
    first, second, third = (Script(there) for _ in range(3))
    first.client(GET)
    for play in (second, third):
        play.client(GET)
        assert [word for word, _ in play.taken()] == ["wait"]
    second.client_left()
    third.wait(60)
    assert ("send", page(504)) in third.taken()
    first.connected()
    first.skip()
    first.upstream(OK)
    assert "wake" not in dict(first.taken())


def test_who_leaves_after_it_was_called_leaves_its_place_to_others() -> None:
    there = snapshot(A, limits={"connections": 1})
    first, second, third = (Script(there) for _ in range(3))
    first.client(GET)
    first.connected()
    second.client(GET)
    third.client(GET)
    waits = [dict(play.taken())["wait"] for play in (second, third)]
    for waiting in waits:
        waiting.wake = object()
    first.skip()
    first.upstream(OK)
    assert dict(first.taken())["wake"] is waits[0].wake
    second.client_left()  # before the loop had its turn
    assert dict(second.taken())["wake"] is waits[1].wake


def test_limits_count_on_when_they_change() -> None:
    there = snapshot(A, limits={"connections": 1, "pending": 0})
    first = Script(there)
    first.client(GET)
    later = snapshot(A, B, old=there, limits={"connections": 1})
    second = Script(later)
    second.client(GET)
    assert [word for word, _ in second.taken()] == ["wait"]


def test_so_many_retries_at_once() -> None:
    there = snapshot(A, B, limits={"retries": 1})
    first, second = Script(there), Script(there)
    for play in (first, second):
        play.client(GET)
        play.vacant()
        play.skip()
        play.refused()
    first.expect(("select", B))
    second.expect(("send", page(502)))
    first.connected()
    first.upstream(OK)
    second.client(GET)
    second.vacant()
    second.skip()
    second.refused()
    assert second.taken()[-1][0] == "select"


def test_connecting_may_take_as_long_as_the_rule_says() -> None:
    play = Script(snapshot(A, limits={"connect_timeout": 0.25}))
    play.client(GET)
    play.vacant()
    play.expect(("select", A), ("open", (A, 0.25)))


# --- outliers


def test_who_fails_in_a_row_is_left_out_for_longer_each_time() -> None:
    wanted = OutlierDetection(consecutive_5xx=2, base_ejection_time=30, interval=10, max_ejection_percent=50)
    one = Outliers(wanted, (A, B))
    assert not one.told(A, 500, 0.0) and not one.told(A, 200, 1.0) and not one.told(A, 0, 2.0)
    assert one.told(A, 500, 3.0) and one.available(3.0) == (B,)
    assert not any(one.told(B, 500, 3.0) for _ in range(9)), "half of them is all there may be"
    assert one.available(32.9) == (B,) and one.next_change == 33.0
    assert one.available(33.0) == (A, B)
    assert not one.told(A, 500, 34.0) and one.told(A, 500, 34.0)
    assert one.available(93.0) == (B,) and one.available(103.0) == (A, B)  # twice 30 s, and the next look
    for _ in range(2):
        one.told(A, 500, 203.0)  # ten looks later nothing is held against it
    assert one.available(232.9) == (B,) and one.available(233.0) == (A, B)


def test_gateway_errors_count_by_themselves() -> None:
    wanted = OutlierDetection(consecutive_5xx=0, consecutive_gateway_errors=3, max_ejection_percent=100)
    one = Outliers(wanted, (A,))
    assert not any(one.told(A, status, 0.0) for status in (500, 502, 503, 500, 503, 504))
    assert one.told(A, 0, 0.0) and one.available(0.0) == ()


def test_each_kind_of_failures_in_a_row_is_counted_by_itself() -> None:
    wanted = OutlierDetection(consecutive_5xx=4, consecutive_gateway_errors=2, max_ejection_percent=50)
    one = Outliers(wanted, (A, B))
    assert not one.told(B, 503, 0.0) and one.told(B, 503, 0.0)
    assert not any(one.told(A, status, 0.0) for status in (503, 503, 500)), "no other one may be left out"
    assert one.available(40.0) == (A, B)
    assert one.told(A, 500, 40.0), "it is the fourth, of which two were a gateway's errors, too"


def test_failures_from_here_may_be_counted_by_themselves() -> None:
    """Envoy's `splitExternalLocalOriginErrors`: connecting begins their count anew, whatever is answered."""
    wanted = OutlierDetection(consecutive_5xx=2, consecutive_local_failures=2, max_ejection_percent=100)
    one = Outliers(wanted, (A, B))
    assert [one.told(A, said, 0.0) for said in (UNREACHED, UNANSWERED, UNANSWERED, UNREACHED)] == [
        False,
        False,
        False,
        True,
    ]
    assert [one.told(B, said, 0.0) for said in (503, UNREACHED, 503)] == [False, False, True]  # two of 5xx
    other = Outliers(wanted, (A,))
    assert [other.told(A, said, 0.0) for said in (UNREACHED, 500, UNREACHED)] == [False] * 3
    first = Outliers(OutlierDetection(consecutive_local_failures=1, max_ejection_percent=100), (A,))
    assert first.told(A, UNANSWERED, 0.0)


def test_an_answer_after_a_failure_from_here_is_told_to_the_other_workers() -> None:
    one = Outliers(OutlierDetection(consecutive_local_failures=2), (A,))
    assert one.matters(A, UNREACHED, 0.0) and not one.matters(A, 200, 0.0)
    one.told(A, UNREACHED, 0.0)
    assert one.matters(A, 200, 0.0)


def test_statuses_that_are_errors_in_the_place_of_all_5xx() -> None:
    wanted = OutlierDetection(consecutive_5xx=2, error_codes=(429, 503), max_ejection_percent=100)
    one = Outliers(wanted, (A, B))
    assert [one.told(A, said, 0.0) for said in (429, 500, 429, 503)] == [False, False, False, True]
    assert [one.told(B, said, 0.0) for said in (UNREACHED, 429)] == [False, True]
    assert one.matters(B, 429, 0.0) is False  # it is left out
    gateway = Outliers(replace(wanted, consecutive_5xx=0, consecutive_gateway_errors=2), (A,))
    assert [gateway.told(A, said, 0.0) for said in (503, 429, 503, 503)] == [False, False, False, True]


def test_what_comes_from_who_is_left_out_does_not_count() -> None:
    wanted = OutlierDetection(consecutive_5xx=2, max_ejection_percent=100)
    one = Outliers(wanted, (A,))
    assert not one.told(A, 500, 0.0) and one.told(A, 500, 0.0)
    assert not one.told(A, 500, 1.0), "it was under way"
    assert one.available(30.0) == (A,) and not one.told(A, 500, 30.0) and one.told(A, 500, 30.0)


def test_workers_that_hear_of_each_other_leave_out_the_same() -> None:
    wanted = OutlierDetection(consecutive_5xx=3, max_ejection_percent=100)
    one, other = (Outliers(wanted, (A,)) for _ in range(2))
    told = []
    for worker, status in ((one, 500), (other, 200), (other, 500), (one, 503), (one, 404), (one, 200)):
        if worker.matters(A, status, 0.0):
            told.append(status)
            for each in (one, other):
                each.told(A, status, 0.0)
    assert told == [500, 200, 500, 503, 404], "successes are of no matter but for the first one"
    for worker, status, out in ((one, 500, False), (other, 0, False), (one, 500, True)):
        assert worker.matters(A, status, 0.0)
        assert [each.told(A, status, 0.0) for each in (one, other)] == [out, out]
    assert not one.matters(A, 500, 0.0), "it was under way"


def test_it_grows_no_further_than_to_the_longest_time() -> None:
    """However often it went on before, as many looks at a well one as make up that time forget it."""
    wanted = OutlierDetection(
        1, base_ejection_time=100, max_ejection_time=200, interval=10, max_ejection_percent=100
    )
    one, now = Outliers(wanted, (A,)), 0.0
    for times in (1, 2, 3, 3, 3):
        assert one.told(A, 500, now) and one._known[A].times == times
        now = one._known[A].until
    assert one.told(A, 500, now + 30) and one._known[A].until == now + 30 + 100


def test_by_default_one_of_ten_may_be_left_out() -> None:
    few, ten = Outliers(OutlierDetection(), (A, B, C)), Outliers(OutlierDetection(), tuple("abcdefghij"))
    assert not any(few.told(A, 500, 0.0) for _ in range(20))
    assert [ten.told("a", 500, 0.0) for _ in range(5)] == [False] * 4 + [True]


def test_with_too_few_left_all_are_asked() -> None:
    wanted = OutlierDetection(consecutive_5xx=1, max_ejection_percent=100, min_health_percent=50)
    one = Outliers(wanted, (A, B))
    assert one.told(A, 500, 0.0) and one.available(0.0) == (B,)
    assert one.told(B, 500, 0.0) and one.available(0.0) == (A, B)


DETECTED = {"consecutive_5xx": 2, "base_ejection_time": 30, "max_ejection_percent": 50}


def answered(play: Script, reply: bytes) -> str:
    """One request, answered so; the server that was asked."""
    play.client(GET)
    (server,) = (argument for word, argument in play.taken() if word == "select")
    play.connected(reused=True)
    play.upstream(reply)
    return str(server)


def test_requests_go_past_who_is_left_out() -> None:
    there = snapshot(A, B, outliers=DETECTED)
    play = Script(there, told=True)
    assert [answered(play, BAD if turn % 2 == 0 else OK) for turn in range(3)] == [A, B, A]
    assert play.taken()[-2] == ("tell", has(status=503, reason=f"{A} is left out for a while"))
    assert [answered(play, OK) for _ in range(4)] == [B] * 4
    grown = snapshot(A, B, C, old=there, outliers=DETECTED)
    play.around.snapshot = grown
    assert {answered(play, OK) for _ in range(4)} == {B, C}, "who stays out stays out"
    play.now = 45.0
    assert {answered(play, OK) for _ in range(6)} == {A, B, C}


def test_where_all_are_left_out_nobody_is_asked() -> None:
    there = snapshot(A, outliers={"consecutive_5xx": 1, "max_ejection_percent": 100})
    play = Script(there, told=True)
    answered(play, BAD)
    play.skip()
    play.client(GET)
    play.expect(
        ("send", contains(b"503")),
        ("tell", has(reason="every endpoint is left out for a while, as it failed too often")),
    )


def test_who_is_reached_fails_otherwise_than_who_is_not() -> None:
    wanted = {"consecutive_5xx": 0, "consecutive_local_failures": 2, "max_ejection_percent": 100}
    for reached in (True, False):
        there = snapshot(A, outliers=wanted)
        for _ in range(2):
            play = Script(there)
            play.client(GET)
            play.vacant()
            if reached:
                play.connected()
                play.upstream_ended()
            else:
                play.refused()
        assert bool(there.groups["up"].status(0.0)["left_out"]) != reached


@pytest.mark.parametrize("failure", ["refused", "timeout"])
def test_failures_to_answer_count(failure: str) -> None:
    there = snapshot(A, B, outliers={**DETECTED, "consecutive_5xx": 1})
    play = Script(there)
    play.client(GET)
    play.vacant()
    play.skip()
    play.refused(timed_out=failure == "timeout")
    play.expect(("select", B))
    play.connected(reused=True)
    play.upstream(OK)
    assert [answered(play, OK) for _ in range(3)] == [B] * 3


def test_a_connection_that_was_closed_meanwhile_is_no_failure() -> None:
    there = snapshot(A, outliers={"consecutive_5xx": 1, "max_ejection_percent": 100})
    play = Script(there)
    play.client(GET)
    play.connected(reused=True)
    play.skip()
    play.upstream_ended()
    play.expect(("open", (A, 5.0)))
    play.connected()
    play.upstream(OK)
    assert answered(play, OK) == A
