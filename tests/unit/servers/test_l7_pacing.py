"""How fast an answer goes, second by second."""

from __future__ import annotations

from typing import Any

import pytest
from scripted import Script, starts

from emulab.servers.l7.config import L7Config, Match, Policy, RequestRoute, Upstream, WeightedUpstream
from emulab.servers.l7.engine.pacing import Pace
from emulab.servers.l7.engine.snapshot import take

A = "10.0.0.1:80"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n"


def test_so_much_a_second() -> None:
    pace = Pace(100, 0, 0.4)
    pace.hold(bytes(350))
    assert len(pace.take(0.4)) == 100 and pace.delay(0.4) == pytest.approx(1.0)
    assert pace.take(1.3) == b""
    assert len(pace.take(1.4)) == 100
    assert len(pace.take(2.4)) == 100
    assert len(pace.take(3.4)) == 50 and pace.held == 0


def test_so_much_before_that() -> None:
    pace = Pace(100, 1000, 0.0)
    pace.hold(bytes(1300))
    assert len(pace.take(0.0)) == 1100 and pace.delay(0.0) == pytest.approx(1.0)
    assert len(pace.take(1.0)) == 100


def test_nothing_goes_while_more_has_gone_than_may() -> None:
    pace = Pace(100, 0, 0.0)
    pace.hold(bytes(50))
    assert len(pace.take(0.0)) == 50
    pace.hold(bytes(100))
    assert len(pace.take(0.5)) == 50
    assert pace.take(0.999) == b"" and pace.take(1.0) != b""


def script(**policy: Any) -> Script:
    route = RequestRoute(Match("", "/", "Prefix"), (WeightedUpstream("up"),), policy=Policy(**policy))
    play = Script(take(L7Config((), routes=(route,), upstreams={"up": Upstream((A,))}), {}))
    play.client(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    play.connected()
    play.skip()
    return play


def test_an_answer_goes_in_pieces() -> None:
    play = script(limit_rate=1000)
    play.upstream(HEAD + bytes(3000))
    ((_, first), wake, drain) = play.taken()
    assert len(first) == 1000 and wake == ("pace", 1.0) and drain == ("drain", True)
    sent = first
    for _ in range(2):
        play.wait(1.0)
        play.go_on_sending()
        (*_, (_, data)) = [one for one in play.taken() if one[0] == "send"]
        assert len(data) == 1000
        sent += data
    play.wait(1.0)
    play.go_on_sending()
    commands = play.taken()
    (data,) = [argument for word, argument in commands if word == "send"]
    assert (sent + data).endswith(bytes(3000)) and len(sent + data) == sent.index(b"\r\n\r\n") + 4 + 3000
    assert ("release", 3.0) in commands
    play.client(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    play.expect(("select", A))


def test_an_upstream_is_not_read_from_while_much_is_held_back() -> None:
    play = script(limit_rate=1000)
    play.upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + bytes(100_000))
    assert ("drain", False) in play.taken()


def test_an_upstream_may_leave_before_all_has_gone() -> None:
    play = script(limit_rate=1000)
    play.upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 1900\r\nConnection: close\r\n\r\n" + bytes(1900))
    play.upstream_ended()
    play.skip()
    play.wait(1.0)
    play.go_on_sending()
    assert sum(len(argument) for word, argument in play.taken() if word == "send") > 900
    assert play.machine.exchange is None


def test_a_client_that_reads_slower_gets_no_more() -> None:
    play = script(limit_rate=1000)
    play.upstream(HEAD + bytes(3000))
    play.client_full(True)
    play.skip()
    play.wait(1.0)
    play.go_on_sending()
    assert ("send", b"") in play.taken()
    play.client_full(False)
    play.skip()
    play.wait(1.0)
    play.go_on_sending()
    (*_, data) = [argument for word, argument in play.taken() if word == "send"]
    assert len(data) > 0


def test_without_a_limit_it_goes_at_once() -> None:
    play = script()
    play.upstream(HEAD + bytes(3000))
    play.expect(("send", starts(b"HTTP/1.1 200 OK")), ("release", 0.0))
