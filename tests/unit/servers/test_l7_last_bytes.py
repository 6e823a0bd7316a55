"""How clients' connections over HTTP/1 end, by scripts of events: the last answer has to arrive. No socket is here."""

from __future__ import annotations

import pytest
from scripted import Script, page, starts
from test_l7_exchange import ANSWER, GET, A, asked, post, script

LAST = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\nHost: h\r\n\r\n"


def test_the_last_chunk_of_an_answer_that_its_server_ends_goes_out_before_the_end() -> None:
    """Without it the client takes the answer for cut off."""
    play = script(A)
    asked(play, LAST)
    play.upstream(b"HTTP/1.1 200 OK\r\n\r\nhello")
    play.expect(("send", starts(b"HTTP/1.1 200 OK")))
    play.upstream_ended()
    play.expect(("send", b"0\r\n\r\n"), ("close", None))


@pytest.mark.parametrize("pieces", [(LAST + GET[:9],), (LAST, GET[:9])], ids=["at once", "later"])
def test_who_says_more_after_its_last_request_is_heard_out(pieces: tuple[bytes, ...]) -> None:
    """A socket that is closed resets whoever still speaks to it, and nothing of the answer is read then."""
    play = script(A)
    asked(play, pieces[0])
    play.client(*pieces[1:])
    play.skip()
    play.upstream(ANSWER)
    play.expect(("send", starts(b"HTTP/1.1 200 OK")), ("release", 0.0), ("read", True), ("end", None))
    play.client(b"more")
    play.expect()
    assert play.deadline == 5


@pytest.mark.parametrize("ending", ["ended", "reset", "silent"])
def test_what_there_is_of_an_answer_that_is_cut_off_arrives(ending: str) -> None:
    """With the next request half there, as nginx flushes what it has and lingers."""
    play = script(A)
    asked(play, GET + GET[:9])
    play.skip()
    play.upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello")
    play.skip()
    if ending == "silent":
        play.wait(60)
        assert play.taken()[-1] == ("end", None)
    else:
        play.upstream_ended(ending == "reset")
        play.expect(("read", True), ("end", None))
    assert play.deadline == 5
    play = script(A)
    asked(play, GET)
    play.upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello")
    play.skip()
    play.upstream_ended()
    play.expect(("close", None))


def test_a_page_of_our_own_as_well() -> None:
    play = script()
    play.client(OLD + GET[:9])
    play.expect(("send", page(503)), ("end", None))
    play = script()
    play.client(OLD)
    play.expect(("send", page(503)), ("close", None))


def test_whoever_pipelines_may_go_on() -> None:
    play = script()
    play.client(GET + LAST)
    play.expect(("send", page(503)), ("read", False), ("settle", None))
    play.machine.settle(play.now)
    play.expect(("send", page(503)), ("read", True), ("end", None))


def test_a_body_is_nothing_more() -> None:
    play = script(A)
    asked(play, post(3, b"abc", "Connection: close"))
    play.upstream(ANSWER)
    play.expect(("send", starts(b"HTTP/1.1 200 OK")), ("release", 0.0), ("close", None))


def test_who_is_heard_out_and_takes_its_answer_slowly_has_as_long_as_any_client() -> None:
    """Five seconds are for who has all of it."""
    play = script(A)
    asked(play, post(10, b"abc"))
    play.client_full(True)
    play.upstream(ANSWER)
    assert play.machine.commands[-1] == ("end", None) and play.deadline == 60
    play.skip()
    play.now = 50.0
    play.client_full(False)
    assert play.deadline == 5
    play.wait(5)
    play.expect(("close", None))
    play.wait(60)
    play.expect(("abort", None))


def ended(what: str) -> Script:
    """A connection that ends in one of several ways, with bytes that the client hasn't taken."""
    play = script(*([] if what == "page" else [A]))
    match what:
        case "full":
            asked(play)
            play.client_full(True)
        case "page":
            play.client(OLD)
        case "refused":
            play.client(LAST)
            for _ in range(3):
                play.vacant()
                play.refused()
        case _:
            play.machine.shut_down(play.now)
    return play


@pytest.mark.parametrize("what", ["full", "page", "refused", "the server ends"])
def test_who_takes_something_is_waited_for_and_who_takes_nothing_is_left(what: str) -> None:
    play = ended(what)
    play.skip()
    assert play.deadline == 60
    play.wait(60, taken=40.0)
    play.expect()
    assert play.deadline == 40
    play.wait(40, taken=40.0)
    play.expect(("abort", None))
