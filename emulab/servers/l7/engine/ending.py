"""How a request ends without, or before the end of, an upstream's answer.

A machine's part: see `exchange`.
"""

from __future__ import annotations

from emulab.servers.l7.engine.commands import DROP, UNASK
from emulab.servers.l7.engine.filters.effect import Incoming, Page
from emulab.servers.l7.engine.records import Recorded
from emulab.servers.l7.messages.response import UpstreamResponse


class Ending(Recorded):
    """A request that can end."""

    __slots__ = ("_asking", "_reader", "_replaced")

    # Set once there is somebody to ask for it, or a response, to speak of.
    _asking: bool  # whether it waits at a gate for an answer
    _reader: UpstreamResponse
    _replaced: bool  # whether another upstream is asked in the place of an error; set where there are filters

    def _let_go(self) -> None:
        """Lets go of the upstream, or of the way to it."""
        if self.linked or self._linking:
            self.linked = self._linking = False
            self._commands.append((DROP, None))
        elif self._asking:
            self._asking = False
            self._commands.append((UNASK, None))

    def _is_replaced(self, page: Page, now: float) -> bool:
        """Whether another upstream answers in the place of a page; the layer that can ask it says so."""
        return False

    def _end_short(self, why: str, now: float) -> None:
        """Ends a response that can't be completed: the closed connection is what tells the client."""
        self._record(self._reader.status, now, "upstream", why)
        self._client.cut_off(now)

    def fail(self, status: int, why: str, now: float) -> None:
        """Answers with a page of our own, if there is still a place for it; `why` is for records."""
        self.answer_page(Page(status, why), now)

    def refuse(self, status: int, why: str, now: float) -> None:
        """Answers what is refused before anybody looks for a route."""
        self.answer_page(Page(status, why, plain=True), now)

    def fail_too_large(self, now: float) -> None:
        """The request's body is larger than it may be."""
        self.fail(413, f"request body is larger than {self._client.policy.body_max} bytes", now)

    def answer_page(self, page: Page, now: float) -> None:
        """Answers with a page of our own, if there is still a place for it."""
        self._let_go()
        client, head = self._client, self._head
        if self.answered or client.closed:
            return
        if self._head_sent:
            self._end_short(page.why, now)
            return
        if self._is_replaced(page, now):
            return
        if self._asked is not None and self._replaced:
            page = page._replace(plain=True)
        if self._turn is not None and self._turn.lines:
            page = page._replace(lines=(*page.lines, *self._turn.lines))
        filters, asked = self._rule.filters if self._rule is not None else None, self._asked
        if filters is not None and asked is not None and filters.changes_pages:
            more = client.everywhere if page.plain else client.extra
            there = [*page.lines, *more.splitlines(keepends=True)]
            lines = filters.page(Incoming(asked, page.status, there, ""), self._replaced)
            page = page._replace(lines=tuple(lines), whole=True)
        close, written = client.send_page(page, head)
        self._sent, self._head_size = len(written), written.index(b"\r\n\r\n") + 4
        self._around.counters.errors += 1
        if page.source:
            self._log_refusal(page)
        self._record(client.personality.wire_status(page.status), now, "ingress", page.why, page.source)
        client.go_on(page.status, close, now)
