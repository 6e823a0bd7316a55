"""Scripts of events for the L7 machines: given these events, expect these commands.

    play = Script(rules)
    play.client(b"GET / HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n")
    play.expect(("select", A))
    play.connected()
    play.expect(("forward", starts(b"GET / HTTP/1.1")), ("tell", has(event="proxy-connect")))

No socket, no loop, no sleep: `play.now` is the time, which a test sets. `expect` takes all commands since the last one,
in their order, and fails with both lists when they differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from math import inf
from typing import Any

from emulab.servers.l7.engine.connection import ConnectionMachine
from emulab.servers.l7.engine.secured import ClientIdentity
from emulab.servers.l7.engine.surroundings import EngineSurroundings
from emulab.servers.l7.messages.response import UpstreamResponse
from emulab.servers.wire.proxyprotocol import Proxied

CLIENT, LOCAL = ("192.0.2.7", "192.0.2.7:4000"), ("80", "192.0.2.1:80")
SECURE = "443", "192.0.2.1:443"
SOURCE = "192.0.2.1:5000"
DATE, NOW = b"Date: now\r\n", 1795867200.0


class Audience:
    """Somebody who hears what is told, or nobody."""

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted

    def __call__(self, record: dict[str, Any], /) -> None:
        raise AssertionError("a machine tells by a command")


class Like:
    """Equals what a condition holds for."""

    def __init__(self, what: str, holds: Callable[[Any], bool]) -> None:
        self._what, self._holds = what, holds

    def __eq__(self, other: object) -> bool:
        return self._holds(other)

    def __repr__(self) -> str:
        return self._what


def starts(text: str | bytes) -> Like:
    return Like(f"{text!r}…", lambda data: data.startswith(text))


def contains(*texts: str | bytes) -> Like:
    return Like(f"…{texts!r}…", lambda data: all(text in data for text in texts))


def has(**fields: Any) -> Like:
    """A record with these fields among others."""
    return Like(f"has({fields})", lambda record: {k: record.get(k) for k in fields} == fields)


def page(status: int) -> Like:
    """A page of our own."""
    return Like(
        f"page({status})",
        lambda data: data.startswith(b"HTTP/1.1 %d " % status) and b"<center>nginx</center>" in data,
    )


class Room:
    """A log of requests with so much room."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.missed: Counter[str] = Counter()

    def takes(self, log: str) -> bool:
        if not self.room:
            self.missed[log] += 1
            return False
        self.room -= 1
        return True


def put_together(commands: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Commands, with lines of the log as text."""
    return [(word, said() if word == "log" and callable(said) else said) for word, said in commands]


class Script:
    """One client's connection, driven by hand."""

    def __init__(
        self,
        snapshot: Any,
        *,
        told: bool = False,
        scheme: str = "http",
        lines: int = 0,
        client: str = CLIENT[0],
        around: EngineSurroundings | None = None,
        proxied: Proxied | None = None,
        secured: ClientIdentity | None = None,
    ) -> None:
        """`around`: that of another connection to the same proxy, which it shares."""
        self.now = 0.0
        self.around = around or EngineSurroundings(
            snapshot, Audience(told), lambda: DATE, lambda: b"f" * 32, Room(lines), lambda: NOW, b"secret"
        )
        ends = client, f"{client}:4000" if client != CLIENT[0] else CLIENT[1]
        local = LOCAL if scheme == "http" else SECURE
        self.machine = ConnectionMachine(self.around, scheme, ends, local, proxied, secured)
        self.machine.opened(self.now, 0, None)

    @property
    def deadline(self) -> float:
        """In how many seconds the machine wants to be asked."""
        return self.machine.deadline - self.now

    @property
    def _exchange(self) -> Any:
        assert self.machine.exchange is not None, "there is no request under way"
        return self.machine.exchange

    def client(self, *pieces: bytes) -> None:
        """The client sends bytes."""
        for piece in pieces:
            self.machine.received(piece, self.now)

    def client_left(self) -> None:
        self.machine.gone(self.now)

    def client_full(self, full: bool) -> None:
        (self.machine.filled if full else self.machine.drained)(self.now)

    def vacant(self) -> None:
        """No connection to the selected server is kept."""
        self._exchange.vacant(self.now)

    def connected(self, reused: bool = False) -> None:
        before = len(self.machine.commands)
        self._note(before, "forward", self._exchange.connected(UpstreamResponse(), SOURCE, reused, self.now))

    def refused(self, why: str = "upstream refused the connection", timed_out: bool = False) -> None:
        self._exchange.refused(why, timed_out, self.now)

    def upstream(self, *pieces: bytes) -> None:
        """The upstream sends bytes."""
        for piece in pieces:
            before = len(self.machine.commands)
            self._note(before, "send", self._exchange.answer(piece, self.now))

    def told(self, answer: Any) -> None:
        """The answer to the question of a gate."""
        self._exchange.told(answer, self.now)

    def go_on_sending(self) -> None:
        self._exchange.go_on_sending(self.now)

    def upstream_ended(self, reset: bool = False) -> None:
        self._exchange.upstream_ended(reset, self.now)

    def upstream_full(self, full: bool) -> None:
        self._exchange.upstream_filled(full, self.now)

    def wait(self, seconds: float, taken: float = -inf) -> None:
        """Time passes; a deadline that passes with it is an event. `taken`: when the client last took bytes."""
        self.now += seconds
        if self.machine.deadline <= self.now:
            self.machine.expired(self.now, taken)

    def _note(self, before: int, word: str, data: bytes) -> None:
        """Bytes that an event returned go out before its commands, as a shell does it."""
        if data:
            self.machine.commands.insert(before, (word, data))

    def taken(self) -> list[tuple[str, Any]]:
        """All commands since the last time, lines of the log as they are written."""
        found = put_together(self.machine.commands)
        self.machine.commands.clear()
        return found

    def expect(self, *commands: tuple[str, Any]) -> None:
        assert self.taken() == list(commands)

    def skip(self) -> None:
        """Whatever the commands are, they aren't this test's subject."""
        self.taken()
