"""Another upstream's answer in the place of an error.

A machine's part: see `exchange`. An error of the upstream's or of our own that the route wants answered so (nginx:
`error_page`, `proxy_intercept_errors`) has a second request made of the first one: to `/`, with what is known of the
error in its fields, and with the body if all of that is there. What comes then is the answer, whatever its status; an
error of this one is a page of our own.
"""

from __future__ import annotations

from emulab.servers.l7.engine.aside import ErrorUpstream
from emulab.servers.l7.engine.balance.turn import Turn
from emulab.servers.l7.engine.commands import RELEASE
from emulab.servers.l7.engine.filters.effect import Page
from emulab.servers.l7.engine.trying import Trying
from emulab.servers.l7.messages.headers import replaced_lines
from emulab.servers.wire.http1.framing import UNFRAMED

_NOT_TOLD = frozenset({b"x-forwarded-host", b"x-code"})


class Erring(Trying):
    """A request whose errors may be answered by another upstream."""

    __slots__ = ("_because",)

    _because: str  # for records

    def _intercepts(self, now: float) -> bool:
        """Whether another upstream is asked in the place of the answer that has begun."""
        rule, reader = self._rule, self._reader
        if rule is None or rule.errors is None or not rule.errors.intercepts:
            return False
        status = reader.status
        if self._replaced or status not in rule.errors.statuses or reader.tunnel is not None:
            return False
        self._past = (*self._past, self._this_try(status, now))
        if self.linked and reader.reusable and not self._full:
            self.linked = False
            self._commands.append((RELEASE, now))
        else:
            self._let_go()
        return self._ask_for_page(rule.errors, status, f"the upstream answered {status}", now)

    def _is_replaced(self, page: Page, now: float) -> bool:
        rule = self._rule
        if rule is None or rule.errors is None or self._asked is None or self._replaced:
            return False
        if page.status not in rule.errors.statuses:
            return False
        return self._ask_for_page(rule.errors, page.status, page.why, now)

    def _ask_for_page(self, errors: ErrorUpstream, status: int, why: str, now: float) -> bool:
        asked, client, head = self._asked, self._client, self._head
        if asked is None:
            return False
        self._replaced, self._because = True, f"{why}; answered as the error {status}"
        if errors.group is None or not errors.group.servers:
            self.fail(404 if errors.group is None else 503, self._because, now)
            return True
        body: list[bytes] = []
        if client.body is None and self._kept is not None:
            body = self._kept[1:]
        head = self._head = head.own()
        if not body and head.framing != 0:
            head.framing = UNFRAMED
        if client.body is not None and (head.expect or status in client.personality.closing):
            client.keep = False  # what is left of the body has no taker
        head.upgrade = b""
        forwarding = b"X-Forwarded-For: %b\r\n" % asked.address.encode("latin-1")
        before, after = client.personality.request(head, asked.host, forwarding)
        written = b"".join([before, head.request_id or self._id, after])
        start, *lines, end = written.splitlines(keepends=True)
        written = b"".join([start, *replaced_lines(lines, _NOT_TOLD, []), end])
        self._kept = [errors.request(written, asked, status), *body]
        self._kept_size = 0
        if self._turn is not None:
            self._leave(now)
        self._group, self._name = errors.group, errors.group.name
        if not errors.group.plain and self._rule is not None:
            self._turn = Turn(asked, self._rule.route, self._around.draw, self._around.date)
        self._tries, self._attempt, self._freshened = client.policy.tries, 1, False
        self._size = 0
        self._select(now)
        return True
