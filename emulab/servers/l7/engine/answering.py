"""The response's way back.

A machine's part: see `exchange`. Once the response's head is out, a failure can only end the connection.
"""

from __future__ import annotations

from emulab.errors import PeerError
from emulab.servers.l7.engine.commands import DRAIN, FORWARD, PACE, READ, RELEASE, SEND, TUNNEL
from emulab.servers.l7.engine.erring import Erring
from emulab.servers.l7.engine.filters.effect import BodyEncoder, Incoming
from emulab.servers.l7.engine.pacing import HELD_MAX, Pace
from emulab.servers.l7.engine.trying import ERROR, INVALID_HEADER, PASSED_OVER
from emulab.servers.l7.messages.compose import client_response, plain_response, switching_response
from emulab.servers.wire.http1.framing import LAST_CHUNK, UNTIL_CLOSE, chunk

_SOON = 0.01
"""Seconds until somebody asks again, at the least."""


class Answered(Erring):
    """A request that an upstream answers."""

    __slots__ = ("_chunked", "_encoder", "_pace")

    _chunked: bool  # whether the response goes out in chunks
    _encoder: BodyEncoder | None  # what makes another body of the response's; set where there are filters
    _pace: Pace | None  # how fast it may go, where that is bounded

    def upstream_ended(self, reset: bool, now: float) -> None:
        """The upstream's connection has ended, in good order or not."""
        self.linked = False
        if self._pace is not None and self._reader.complete:
            return  # what there is of its answer is on its way
        if not reset and self._reader.eof():
            before = len(self._commands)
            if out := self._pass_on(now):
                self._commands.insert(before, (SEND, out))  # before the end of the client's connection, say
            return
        how = "reset" if reset else "ended"
        when = "in its answer" if self._touched else "before it answered"
        why = f"upstream {how} the connection {when}"
        self._try_failed(ERROR, why, now)

    def answer(self, data: bytes, now: float) -> bytes:
        """The upstream sent something. What is returned goes to the client, before any command is carried out."""
        self._touched = True
        reader = self._reader
        try:
            reader.feed(data, self._client.policy.response_head_max)
        except PeerError as error:
            self._let_go()
            why = f"upstream's answer is malformed: {error}"
            self._try_failed(INVALID_HEADER, why, now)
            return b""
        if not reader.head_done:
            return b""
        return self._switch(now) if reader.tunnel is not None else self._pass_on(now)

    def _pass_on(self, now: float) -> bytes:
        """What has come of the response, as it goes to the client."""
        reader, client = self._reader, self._client
        out, reader.pieces = reader.pieces, []
        for piece in out:
            self._size += len(piece)
        if self._head_sent:
            if self._asked is not None and self._encoder is not None:
                out = self._encoder.pieces(out, reader.complete)
            if self._chunked:
                out = [chunk(piece) for piece in out]
        else:
            if (self._turn is not None or reader.status in PASSED_OVER) and self._is_of_no_use(now):
                return b""
            if self._asked is None:
                line, self._chunked, client.keep = plain_response(
                    reader, self._around.date(), client.extra, self._head.old, client.keep
                )
            elif not self._replaced and self._intercepts(now):
                return b""
            else:
                line, out = self._filtered_response(out)
            self._head_sent, self._head_size, self._try_headed = True, len(line), now
            out = [line, *map(chunk, out)] if self._chunked else [line, *out]
        if reader.complete:
            if self._chunked:
                out.append(LAST_CHUNK)
        elif out:
            client.deadline = now + client.policy.read_timeout
        data = b"".join(out)
        if client.policy.limit_rate:
            return self._paced(data, now)
        self._sent += len(data)
        if reader.complete:
            self._complete(now)
        elif client.stalled and client.policy.response_buffer:
            self._is_ahead(len(data))
        return data

    def _filtered_response(self, out: list[bytes]) -> tuple[bytes, list[bytes]]:
        """The head of the response as the route's filters have it, and what there is of the body."""
        reader, client = self._reader, self._client
        # Who answers in the place of an error is a location of its own to nginx.
        extra = client.everywhere if self._replaced else client.extra
        date, framing = self._around.date(), reader.framing
        if not self._replaced:
            self._filter([date, *reader.lines, *extra.splitlines(keepends=True)])
            date = extra = b""
            if self._encoder is not None:
                framing = UNTIL_CLOSE
                if reader.bodiless:
                    self._encoder = None
                else:
                    out = self._encoder.pieces(out, reader.complete)
        line, self._chunked, client.keep = client_response(
            reader, framing, date=date, extra=extra, old=self._head.old, keep=client.keep
        )
        return line, out

    def _is_ahead(self, size: int) -> None:
        """So much more waits for the client, which takes nothing."""
        client = self._client
        client.ahead += size
        if client.ahead > client.policy.response_buffer:
            self.drain(False)

    def _is_of_no_use(self, now: float) -> bool:
        """Whether another server is asked, though this one has answered; if not, its balancer learns of the answer."""
        status = self._reader.status
        if status in PASSED_OVER and self._passes_over(status, now):
            return True
        if self._turn is not None:
            self._tell_server(status, now)
        return False

    def _paced(self, data: bytes, now: float) -> bytes:
        """What of the response may go now, when no more than so much goes in a second."""
        client, pace = self._client, self._pace
        if pace is None:
            policy = client.policy
            pace = self._pace = Pace(policy.limit_rate, policy.limit_rate_after, self._started)
        pace.hold(data)
        out = b"" if client.stalled else pace.take(now)
        self._sent += len(out)
        if not pace.held and self._reader.complete:
            self._complete(now)
            return out
        if pace.held and not pace.waits:
            pace.waits = True
            self._commands.append((PACE, max(pace.delay(now), _SOON)))
        if self.linked and not client.stalled:
            self._commands.append((DRAIN, pace.held < HELD_MAX))
        client.deadline = now + pace.delay(now) + client.policy.read_timeout
        return out

    def go_on_sending(self, now: float) -> None:
        """Time has passed: more of the response may go."""
        if self._pace is not None and not self.answered:
            self._pace.waits = False
            before = len(self._commands)
            out = self._paced(b"", now)
            self._commands.insert(before, (SEND, out))  # before the end of the connection, say

    def stalled(self) -> None:
        """The client takes no more bytes."""
        if not self._client.policy.response_buffer:
            self.drain(False)

    def _filter(self, lines: list[bytes]) -> None:
        """Has the fields of the response, of which these are all, as the route's filters have them."""
        filters, reader = self._rule.filters if self._rule is not None else None, self._reader
        if self._turn is not None:
            lines += self._turn.lines
        reader.lines = lines
        if filters is None or self._asked is None:
            return
        length = reader.framing if reader.framing >= 0 else -1
        incoming = Incoming(self._asked, reader.status, lines, self._server, length)
        filters.response(incoming, self._replaced)
        reader.lines, self._encoder = incoming.lines, incoming.encoder

    def _complete(self, now: float) -> None:
        """The response is whole and out."""
        client, reader = self._client, self._reader
        self.answered = True
        if self._asked is not None:
            self._asked.over()
        reason = ""
        if self._turn is not None:
            self._group.through(self._turn, now, True)
            reason = self._turn.note
            self._leave(now)
        if self._asked is not None and self._replaced:
            reason = self._because
        self._record(reader.status, now, "upstream", reason)
        if self.linked and reader.reusable and client.body is None and not self._full:
            self.linked = False
            if client.stalled:
                self._commands.append((DRAIN, True))
            self._commands.append((RELEASE, now))
        else:
            self._let_go()
        if client.body is not None:
            client.linger(now)  # the upstream answered early; the rest of the body has no taker
        else:
            client.finish(now)

    def _switch(self, now: float) -> bytes:
        """The upstream agreed to another protocol."""
        client, reader = self._client, self._reader
        assert reader.tunnel is not None
        if not self._head.upgrades or client.body is not None:
            self._let_go()
            why = "upstream changed the protocol, which was not asked for"
            self._try_failed(INVALID_HEADER, why, now)
            return b""
        if self._asked is not None:
            client.leaving, self._asked.leave = self._asked.leave, []
        self._record(101, now)
        self._around.counters.upgrades += 1
        if held := client.change_protocol():
            self._commands.append((FORWARD, held))
        self._commands.append((TUNNEL, self._client.policy.read_timeout))
        if not client.reading:
            self._commands.append((READ, True))
        if client.stalled:
            self._commands.append((DRAIN, True))
        date = self._around.date()
        if self._asked is not None and not self._replaced:
            self._filter([date, *reader.lines])
            date = b""
        return switching_response(reader, date) + reader.tunnel
