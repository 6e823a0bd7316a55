"""What a route asks of a request besides host and path. Pure.

Rules:

* Of header fields those that are passed on can be asked; of several of a name, or several parameters, the first counts.
* A regular expression is Python's, compiled once, and takes the whole value. What one costs, who wrote it decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import AnyStr

from emulab.servers.configuration import BadConfiguration
from emulab.servers.l7.config import EXACT, REGULAR_EXPRESSION, FieldMatch, Match
from emulab.servers.l7.messages.request import RequestHead
from emulab.servers.l7.messages.targets import query


def pattern(text: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """A regular expression. Raises `BadConfiguration`, without the place."""
    try:
        return re.compile(text, flags)
    except (re.error, OverflowError, RecursionError) as error:
        shown = text if isinstance(text, str) else text.decode(errors="replace")
        raise BadConfiguration(f"{shown!r} is no regular expression: {error}") from None


class Conditions:
    """The conditions of one route."""

    __slots__ = ("_headers", "_methods", "_query", "number")

    def __init__(self, match: Match) -> None:
        """Raises `BadConfiguration`, which names the field of the match."""
        self._methods = frozenset(method.encode() for method in match.methods)
        self._headers = [
            (one.name.lower().encode(), _test(one, one.value.encode(), f"headers[{index}]"))
            for index, one in enumerate(match.headers)
        ]
        self._query = [
            (one.name, _test(one, one.value, f"query[{index}]")) for index, one in enumerate(match.query)
        ]
        self.number = len(match.headers), len(match.query)  # of two routes the one with more goes first

    def __bool__(self) -> bool:
        return bool(self._methods or self._headers or self._query)

    def hold(self, head: RequestHead) -> bool:
        """Whether they do for this request."""
        if self._methods and head.method not in self._methods:
            return False
        if self._headers:
            fields: dict[bytes, bytes] = {}
            for line in head.lines:
                name, _, value = line.partition(b":")
                fields.setdefault(name.lower(), value.strip())
            if not _all_hold(self._headers, fields):
                return False
        if self._query:
            from urllib.parse import parse_qsl  # takes a while to load, and few routes have a use for it

            asked = query(head.target).decode("latin-1")
            return _all_hold(self._query, dict(reversed(parse_qsl(asked, keep_blank_values=True))))
        return True


def _all_hold(
    tests: Iterable[tuple[AnyStr, Callable[[AnyStr], object]]], values: dict[AnyStr, AnyStr]
) -> bool:
    return all(name in values and test(values[name]) for name, test in tests)


def _test(one: FieldMatch, value: AnyStr, place: str) -> Callable[[AnyStr], object]:
    if one.type == EXACT:
        return value.__eq__
    if one.type != REGULAR_EXPRESSION:
        raise BadConfiguration(
            f"match.{place}.type: {one.type!r} is not one of {EXACT}, {REGULAR_EXPRESSION}"
        )
    try:
        return pattern(value).fullmatch
    except BadConfiguration as wrong:
        raise BadConfiguration(f"match.{place}.value: {wrong}") from None
