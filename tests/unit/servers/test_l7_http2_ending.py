"""How a client's connection over HTTP/2 ends: its last word has to arrive, and nobody is waited for without end."""

from __future__ import annotations

from hyperframe.frame import WindowUpdateFrame
from test_l7_http2 import OK, script

MORE = WindowUpdateFrame(0, window_increment=1).serialize()


def test_a_client_that_takes_its_last_answer_slowly_is_not_reset() -> None:
    """It opens windows while it reads, and bytes that come to a closed socket have the kernel reset it."""
    play = script(keepalive_requests=1)
    number = play.ask()
    play.connected(number)
    play.upstream(number, OK)
    assert play.commands[-1] == ("end", None)
    for _ in range(6):
        play.now += 4
        play.raw(MORE)
        play.wait(0)
    assert play.commands[-1] == ("end", None)
    play.machine.shut_down(play.now)
    play.carry_out()
    assert play.commands[-1] == ("end", None), "the server's end takes nothing from it"
    play.wait(5)
    assert play.commands[-1] == ("close", None)
    play.wait(60)
    assert play.commands[-1] == ("abort", None)


def test_a_client_is_not_read_from_for_ever_after_the_last_word() -> None:
    play = script()
    play.raw(b"\0\0\1\6\0\0\0\0\0x")  # a PING of one octet
    assert play.farewell == 6
    for _ in range(7):
        play.wait(4.25)
        play.raw(b"x")
        assert play.commands[-1] == ("end", None)
    play.wait(0.25)
    assert play.commands[-1] == ("close", None)


def test_a_client_whose_socket_is_full_has_its_last_answer_when_it_takes_it() -> None:
    play = script(keepalive_requests=1)
    number = play.ask()
    play.connected(number)
    play.upstream(number, OK[:-1])
    play.machine.filled(play.now)
    play.now = 50.0
    play.upstream(number, OK[-1:])
    assert "end" not in dict(play.commands)
    play.machine.drained(play.now)
    play.carry_out()
    assert play.commands[-1] == ("end", None) and play.machine.deadline == play.now + 5


def test_an_idle_client_that_takes_nothing_is_left_in_the_end() -> None:
    """Its connection isn't full, but its last bytes don't go out either."""
    play = script()
    play.wait(75)
    assert play.commands == [("close", None)]
    play.wait(59)
    assert play.commands == [("close", None)]
    play.wait(1)
    assert play.commands[-1] == ("abort", None)


def test_who_takes_something_is_waited_for() -> None:
    """An answer may lie here that takes longer than a client may take nothing: what waits for its socket counts."""
    play = script(keepalive_requests=1)
    number = play.ask()
    play.connected(number)
    play.upstream(number, OK[:-1])
    play.machine.filled(play.now)
    play.upstream(number, OK[-1:])
    for play.now in (60.0, 105.0):
        assert not play.commands and not play.streams[number].closed
        assert play.machine.deadline == play.now
        play.machine.expired(play.now, 45.0)
        play.carry_out()
    assert play.commands[-1] == ("abort", None)
