"""Who may in: nginx's access phase. Pure.

Rules:

* The checks are made in the order of nginx's modules: addresses, password, the other service. Each lets in, refuses
  with 401 or 403, or has no say; another status ends the request.
* By default all of them have to let in, and the first refusal counts. With `any` the first one that lets in ends the
  checks; if none does, a 401 goes before a 403, as a client can do something about it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from emulab.servers.l7.config import AccessControl, Match, Refusal, SourceRanges
from emulab.servers.l7.engine.addresses import Networks
from emulab.servers.l7.engine.filters.basic import basic
from emulab.servers.l7.engine.filters.effect import (
    Asked,
    Gate,
    GateQuestion,
    Incoming,
    Outgoing,
    OwnAnswer,
    Page,
    RequestChange,
    ResponseChange,
)
from emulab.servers.l7.engine.filters.external import external, sign_in
from emulab.servers.l7.engine.kept import EngineMemory
from emulab.servers.l7.messages.headers import replaced_lines

AccessVerdict = Page | bool
"""A refusal, or whether the check lets in (True) or has no say (False)."""
AccessCheck = Callable[[Asked, EngineMemory], Generator[GateQuestion, Any, AccessVerdict]]

_SET_COOKIE = frozenset({200, 201, 204, 206, 301, 302, 303, 304, 307, 308})
"""The statuses with which nginx's `add_header` adds a field."""


def refusal(one: Refusal, _match: Match) -> OwnAnswer:
    """Lets nobody in."""
    page = Page(one.status, one.reason, source=one.source)
    return lambda _: page


def access_control(one: AccessControl, match: Match) -> Gate:
    """Asks the checks, one after the other."""
    checks: list[AccessCheck] = []
    if one.deny is not None or one.allow is not None:
        checks.append(_addresses(one.deny, one.allow))
    if one.basic is not None:
        checks.append(basic(one.basic))
    if one.external is not None:
        checks.append(external(one.external, match))
    to_sign_in = sign_in(one.external) if one.external is not None and one.external.signin else None

    def gate(asked: Asked, kept: EngineMemory) -> Generator[GateQuestion, Any, Page | None]:
        refused: Page | None = None
        for check in checks:
            verdict = yield from check(asked, kept)
            if verdict is True and one.any:
                return None
            if not isinstance(verdict, Page):
                continue
            if not one.any or verdict.status not in (401, 403):
                refused = verdict
                break
            if refused is None or refused.status != 401:
                refused = verdict
        if refused is not None and refused.status == 401 and to_sign_in is not None:
            return to_sign_in(asked, refused)
        return refused

    return gate


def _addresses(deny: SourceRanges | None, allow: SourceRanges | None) -> AccessCheck:
    denied = Networks(deny.cidrs) if deny is not None else None
    allowed = Networks(allow.cidrs) if allow is not None else None

    def check(asked: Asked, _kept: EngineMemory) -> Generator[GateQuestion, Any, AccessVerdict]:
        yield from ()
        address = asked.address
        if denied is not None and deny is not None and address in denied:
            return _forbidden(f"{address} is in {deny.source}", deny.source)
        if allowed is None or allow is None:
            return False
        return address in allowed or _forbidden(f"{address} is not in {allow.source}", allow.source)

    return check


def _forbidden(why: str, source: str) -> Page:
    return Page(403, f"access forbidden by rule: {why}", source=source)


def access_request(one: AccessControl, _match: Match) -> RequestChange:
    """What the upstream is told of who was let in, and what not: a password is none of its business."""
    hidden = {b"authorization"} if one.basic is not None else set()

    def request(outgoing: Outgoing) -> None:
        granted = outgoing.asked.granted
        gone = hidden | {name.lower() for name, _ in granted}
        new = [b"%b: %b\r\n" % (name, value) for name, value in granted if value]
        if gone:
            outgoing.lines = replaced_lines(outgoing.lines, gone, new)

    return request


def access_response(_one: AccessControl, _match: Match) -> ResponseChange:
    """The cookie of who let the client in goes to the client, with most statuses."""

    def response(incoming: Incoming) -> None:
        incoming.lines += [
            line for line, always in incoming.asked.cookies if always or incoming.status in _SET_COOKIE
        ]

    return response
