"""The way to an upstream: which server, a connection to it, and another try where that fails.

A machine's part: see `exchange`. A try that fails before the head of the response is whole is made again as nginx does
it (`ngx_http_upstream_next`): on the next server, if the policy has this failure among those after which that is done,
and tries and time left, unless the method isn't idempotent and the request had been sent. A status may be such a
failure, too; on the last try it is passed on. A kept connection that turns out to be closed costs no try.
"""

from __future__ import annotations

from math import inf

from emulab.servers.l7.engine.balance import Group
from emulab.servers.l7.engine.commands import DRAIN, OPEN, SELECT, WAIT
from emulab.servers.l7.engine.ending import Ending
from emulab.servers.l7.engine.entry import UNKNOWN
from emulab.servers.l7.messages.response import UpstreamResponse

KEEP_MAX = 65536
"""Bytes of a request that are kept for another try."""

ERROR, TIMEOUT, INVALID_HEADER = "error", "timeout", "invalid_header"
_STATUS = {ERROR: 502, TIMEOUT: 504, INVALID_HEADER: 502}
"""What goes wrong with a try, in the words of `proxy_next_upstream`, and what is answered if it was the last."""
NON_IDEMPOTENT = "non_idempotent"
PASSED_OVER = frozenset({403, 404, 429, 500, 502, 503, 504})
"""Statuses that may be failures."""


class Trying(Ending):
    """A request that is on its way to an upstream."""

    __slots__ = ("_first_try", "_freshened", "_full", "_kept", "_kept_size", "_touched", "_tries")

    _first_try: float  # when that was

    _freshened: bool  # whether a closed idle connection was replaced already
    _full: bool  # whether the upstream takes no more bytes
    _kept: list[bytes] | None  # what was or will be sent upstream, for another try
    _kept_size: int
    _touched: bool  # whether a byte of the response has come
    _tries: int

    def _begin_with(self, group: Group, now: float) -> None:
        """This is the upstream that the request is for, and now the time of its first try."""
        self._group, self._name = group, group.name
        self._tries = self._client.policy.tries or len(group.servers)
        self._attempt, self._freshened, self._first_try = 1, False, now

    def _select(self, now: float) -> None:
        self._linking = True
        self._try_began, self._try_connected, self._try_headed = now, UNKNOWN, UNKNOWN
        if self._turn is not None:
            self._select_by_turn(now)
            return
        self._server = server = self._group.pick()
        self._commands.append((SELECT, server))

    def _select_by_turn(self, now: float) -> None:
        turn, group = self._turn, self._group
        assert turn is not None
        if not turn.entered:
            said = group.enter(turn)
            if isinstance(said, str):
                self._linking, self._server, self._try_began = False, "", UNKNOWN
                self.fail(503, said, now)
                return
            if said is not None:
                turn.waiting, self._try_began = said, UNKNOWN
                self._commands.append((WAIT, said))
                self._client.deadline = now + self._client.policy.read_timeout
                return
        server = group.choose(turn, now)
        if server is None:
            self._linking = False
            self.fail(503, "every endpoint is left out for a while, as it failed too often", now)
            return
        self._server, self._try_began = server, now
        self._commands.append((SELECT, server))

    def woken(self, now: float) -> None:
        """The time of a request that waited has come."""
        turn = self._turn
        if turn is not None and turn.waiting is not None:
            turn.waiting, turn.entered = None, True
            self._select_by_turn(now)

    def vacant(self, now: float) -> None:
        """No connection to the server is kept."""
        if self._linking:
            self._open(now)

    def _open(self, now: float) -> None:
        client = self._client
        self._linking, self._source, self._reused = True, "", False
        if self._around.audience.wanted:
            self._tell_try("proxy-try")
        seconds = self._group.limits.connect_timeout or client.policy.connect_timeout
        if seconds <= 0:  # nginx' timer is over before there can be a connection
            self.refused("no connection within 0 s", True, now)
            return
        self._commands.append((OPEN, (self._server, seconds)))
        if client.waits:
            client.deadline = inf  # the shell watches the time that connecting takes
        elif not client.reading:
            client.flow(now)

    def connected(self, reader: UpstreamResponse, source: str, reused: bool, now: float) -> bytes:
        """An upstream's connection is there, whose responses `reader` reads; `source` is our end of it.

        What is returned goes to the upstream, before any command is carried out.
        """
        client, kept, around = self._client, self._kept, self._around
        if not self._linking or kept is None:
            return b""  # let go of meanwhile, and the command for that is on its way
        self._linking, self.linked = False, True
        self._try_connected = now
        self._source, self._reused = source, reused
        self._touched = self._full = False
        if reused:
            around.counters.reused += 1
        else:
            around.counters.fresh += 1
        self._reader = reader
        reader.begin(self._head.method == b"HEAD", client.personality.response_fields)
        if self._kept_size > KEEP_MAX:
            self._kept = None
        policy = client.policy
        client.deadline = now + (policy.read_timeout if client.body is None else policy.body_timeout)
        if not client.reading:
            client.flow(now)
        if around.audience.wanted:
            self._tell_try("proxy-connect", reused=reused, request_id=self._id.decode("latin-1"))
        if policy.read_timeout <= 0 and client.body is None:
            self._unanswered(now)  # nginx' timer is over before anybody can have answered
        return kept[0] if len(kept) == 1 else b"".join(kept)

    def _unanswered(self, now: float) -> None:
        """An upstream that was asked has said nothing for too long."""
        self._let_go()
        why = f"upstream timed out: no answer within {self._client.policy.read_timeout:g} s"
        self._try_failed(TIMEOUT, why, now)

    def refused(self, why: str, timed_out: bool, now: float) -> None:
        """There is no connection to be had."""
        if self._linking:
            self._linking = False
            self._try_failed(TIMEOUT if timed_out else ERROR, why, now, sent=False)

    def upstream_filled(self, full: bool, now: float) -> None:
        """The upstream takes no more bytes, or takes them again."""
        self._full = full
        self._client.flow(now)

    def _try_failed(self, failure: str, why: str, now: float, *, sent: bool = True) -> None:
        """The server hasn't answered; `sent`: it may have got the request."""
        if self.answered:
            return
        stale = failure == ERROR and self._reused and not self._touched
        if not stale:
            self._tell_server(0, now)
        if self._head_sent:
            self._tell_error(why, "the answer stays cut")
            self._end_short(why, now)
            return
        status = _STATUS[failure]
        self._past = (*self._past, self._this_try(status, now))
        repeatable = self._may_repeat(failure, sent, now)
        if repeatable and stale and not self._freshened:
            self._tell_error(why, "a new connection")
            self._freshened, self._past = True, self._past[:-1]  # nobody would call it a try
            self._attempt += 1
            self._around.counters.retries += 1
            self._open(now)
        elif repeatable and self._tries > 1 and self._may_retry():
            self._try_again(why, now)
        else:
            self._tell_error(why, f"answers {status}")
            self.fail(status, why, now)

    def _may_repeat(self, failure: str, sent: bool, now: float) -> bool:
        policy = self._client.policy
        if self._kept is None or failure not in policy.next_upstream or "off" in policy.next_upstream:
            return False
        if policy.next_upstream_timeout and now - self._first_try >= policy.next_upstream_timeout:
            return False
        if not sent or self._head.method not in self._client.personality.not_idempotent:
            return True
        return policy.retry_non_idempotent or NON_IDEMPOTENT in policy.next_upstream

    def _may_retry(self) -> bool:
        """Whether the upstream's limits have room for another try."""
        return self._turn is None or self._group.may_retry(self._turn)

    def _try_again(self, why: str, now: float) -> None:
        self._tell_error(why, "another try")
        self._tries -= 1
        self._attempt += 1
        self._around.counters.retries += 1
        if self._turn is not None:
            self._group.through(self._turn, now, False)
        self._select(now)

    def _passes_over(self, status: int, now: float) -> bool:
        """Whether this answer isn't for the client, as another server is asked instead."""
        if self._tries < 2 or not self._may_repeat(f"http_{status}", True, now) or not self._may_retry():
            return False
        self._tell_server(status, now)
        self._past = (*self._past, self._this_try(status, now))
        self._let_go()
        if self._turn is not None:
            self._turn.failed = True
        self._try_again(f"upstream answered {status}", now)
        return True

    def _tell_server(self, status: int, now: float) -> None:
        """Tells the balancer, if that wants to know, what the server has answered, or 0 for a failure."""
        turn = self._turn
        if turn is not None and turn.asking and self._group.told(turn, status, now):
            turn.note = f"{self._server} is left out for a while"

    def drain(self, reading: bool) -> None:
        """Whether the client has room for the response."""
        if self.linked:
            self._commands.append((DRAIN, reading))
