"""The way to an upstream: which server, a connection to it, and another try where that fails.

A machine's part: see `exchange`. A try that fails before a byte of the response came is made again as nginx does it
(`proxy_next_upstream error timeout`) while the policy has tries left: on the next server, unless the method isn't
idempotent and the request had been sent. A kept connection that turns out to be closed costs no try.
"""

from __future__ import annotations

from math import inf

from emulab.servers.l7.engine.balance import Group
from emulab.servers.l7.engine.commands import DRAIN, OPEN, SELECT
from emulab.servers.l7.engine.ending import Ending
from emulab.servers.l7.engine.entry import UNKNOWN
from emulab.servers.l7.messages.response import UpstreamResponse

KEEP_MAX = 65536
"""Bytes of a request that are kept for another try."""


class Trying(Ending):
    """A request that is on its way to an upstream."""

    __slots__ = ("_freshened", "_full", "_group", "_kept", "_kept_size", "_touched", "_tries")

    _freshened: bool  # whether a closed idle connection was replaced already
    _full: bool  # whether the upstream takes no more bytes
    _group: Group
    _kept: list[bytes] | None  # what was or will be sent upstream, for another try
    _kept_size: int
    _touched: bool  # whether a byte of the response has come
    _tries: int

    def _select(self, now: float) -> None:
        self._linking = True
        self._try_began, self._try_connected, self._try_headed = now, UNKNOWN, UNKNOWN
        self._server = server = self._group.pick()
        self._commands.append((SELECT, server))

    def vacant(self, now: float) -> None:
        """No connection to the server is kept."""
        if self._linking:
            self._open(now)

    def _open(self, now: float) -> None:
        client = self._client
        self._linking, self._source, self._reused = True, "", False
        if self._around.audience.wanted:
            self._tell_try("proxy-try")
        self._commands.append((OPEN, (self._server, self._client.policy.connect_timeout)))
        if client.waits:
            client.deadline = inf  # the shell watches the time that connecting takes
        elif not client.reading:
            client.flow(now)

    def connected(self, reader: UpstreamResponse, source: str, reused: bool, now: float) -> bytes:
        """An upstream's connection is there, whose responses `reader` reads; `source` is our end of it.

        What is returned goes to the upstream, before any command is carried out.
        """
        client, kept = self._client, self._kept
        if not self._linking or kept is None:
            return b""  # let go of meanwhile, and the command for that is on its way
        self._linking, self.linked = False, True
        self._try_connected = now
        self._source, self._reused = source, reused
        self._touched = self._full = False
        counters = self._around.counters
        counters.connects += 1
        if reused:
            counters.reused += 1
        self._reader = reader
        reader.begin(self._head.method == b"HEAD", client.personality.response_fields)
        if self._kept_size > KEEP_MAX:
            self._kept = None
        policy = client.policy
        client.deadline = now + (policy.read_timeout if client.body is None else policy.body_timeout)
        if not client.reading:
            client.flow(now)
        if self._around.audience.wanted:
            self._tell_try("proxy-connect", reused=reused, request_id=self._id.decode("latin-1"))
        return kept[0] if len(kept) == 1 else b"".join(kept)

    def refused(self, why: str, timed_out: bool, now: float) -> None:
        """There is no connection to be had."""
        if self._linking:
            self._linking = False
            self._try_failed(504 if timed_out else 502, why, now, untouched=True, sent=False)

    def upstream_filled(self, full: bool, now: float) -> None:
        """The upstream takes no more bytes, or takes them again."""
        self._full = full
        self._client.flow(now)

    def _try_failed(self, status: int, why: str, now: float, *, untouched: bool, sent: bool = True) -> None:
        if self.answered:
            return
        if self._head_sent:
            self._tell_error(why, "the answer stays cut")
            self._end_short(why, now)
            return
        self._past = (*self._past, self._this_try(status, now))
        repeatable = self._kept is not None and untouched
        if sent and self._head.method in self._client.personality.not_idempotent:
            repeatable = False
        if repeatable and status == 502 and self._reused and not self._freshened:
            self._tell_error(why, "a new connection")
            self._freshened, self._past = True, self._past[:-1]  # nobody would call it a try
            self._attempt += 1
            self._around.counters.retries += 1
            self._open(now)
        elif repeatable and self._tries > 1:
            self._tell_error(why, "another try")
            self._tries -= 1
            self._attempt += 1
            self._around.counters.retries += 1
            self._select(now)
        else:
            self._tell_error(why, f"answers {status}")
            self.fail(status, why, now)

    def drain(self, reading: bool) -> None:
        """Whether the client has room for the response."""
        if self.linked:
            self._commands.append((DRAIN, reading))
