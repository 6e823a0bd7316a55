"""Filters that change what upstreams are asked. Pure.

A rewrite looks for its expression in the normalised path and puts the target in the place of all of it, as nginx's
`rewrite "(?i)EXPRESSION" TARGET break`; what it finds is named by the variables `$1` to `$9` from then on.
"""

from __future__ import annotations

import re
from functools import lru_cache

from emulab.servers.configuration import BadConfiguration
from emulab.servers.l7.config import Match, RegexRewrite, UpstreamFields
from emulab.servers.l7.config.patterns import as_python
from emulab.servers.l7.engine.conditions import pattern
from emulab.servers.l7.engine.filters.effect import Asked, Outgoing, OwnAnswer, Page, RequestChange
from emulab.servers.l7.engine.variables import compiled
from emulab.servers.l7.messages.headers import replaced_lines
from emulab.servers.l7.messages.targets import (
    escaped,
    in_location,
    located,
    normalise_path,
    with_query,
)

_ELSEWHERE = ("http://", "https://", "$scheme")
_FRAMES = frozenset({"content-length", "transfer-encoding", "upgrade", "trailer", "te"})
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROLS = bytes({*range(32), 127} - {9})
REMEMBERED = 1024


class _Rewrite:
    """A rewrite, ready to be used."""

    def __init__(self, one: RegexRewrite) -> None:
        expression = pattern(as_python(one.expression.encode()), re.IGNORECASE)
        self.elsewhere = one.target.startswith(_ELSEWHERE)
        self._target = compiled(one.target)

        @lru_cache(REMEMBERED)
        def groups(target: bytes) -> tuple[bytes, ...] | None:
            found = expression.search(normalise_path(target))
            return None if found is None else tuple(group or b"" for group in found.groups())

        self._groups = groups

    def apply(self, asked: Asked) -> bytes | None:
        """The path that a request is to have, decoded; None where the expression isn't in the one it has."""
        groups = self._groups(asked.head.target)
        if groups is None:
            return None
        asked.groups = groups
        return self._target(asked)

    def place(self, asked: Asked) -> bytes | None:
        """The URL that a client is sent to; None where the expression isn't in the path of its request. What was found
        is percent-encoded where anything of the path had been."""
        groups = self._groups(asked.head.target)
        if groups is None:
            return None
        path = asked.head.target.partition(b"?")[0].partition(b"#")[0]
        asked.groups = tuple(map(in_location, groups)) if b"%" in path or b"+" in path else groups
        return with_query(located(self._target(asked)), asked.head.target)


def rewrite(one: RegexRewrite, _match: Match) -> RequestChange:
    rewriting, prefix = _Rewrite(one), compiled(one.prefix)

    def request(outgoing: Outgoing) -> None:
        path = None if rewriting.elsewhere else rewriting.apply(outgoing.asked)
        if path is not None:
            outgoing.target = with_query(escaped(path), outgoing.target)
        if one.prefix:
            line = _line("X-Forwarded-Prefix", prefix(outgoing.asked))
            outgoing.lines = replaced_lines(outgoing.lines, (b"x-forwarded-prefix",), line)

    return request


def rewrite_elsewhere(one: RegexRewrite, _match: Match) -> OwnAnswer:
    """Sends the client away where the target is a URL; a path of nothing is a mistake, as in nginx."""
    rewriting = _Rewrite(one)

    def answer(asked: Asked) -> Page | None:
        if rewriting.elsewhere:
            place = rewriting.place(asked)
            return Page(302, "the rule rewrites to a URL", _clean(place)) if place is not None else None
        return Page(500, "the rewritten path is empty") if rewriting.apply(asked) == b"" else None

    return answer


def upstream_fields(one: UpstreamFields, _match: Match) -> RequestChange:
    for index, field in enumerate(one.set):
        if _NAME.fullmatch(field.name) is None:
            raise BadConfiguration(f"set[{index}].name: {field.name!r} is no name of a header field")
        if field.name.lower() in _FRAMES:
            raise BadConfiguration(
                f"set[{index}].name: {field.name!r} is a field that the proxy alone writes"
            )
    gone = frozenset(field.name.lower().encode() for field in one.set)
    values = [(field.name, compiled(field.value)) for field in one.set]

    def request(outgoing: Outgoing) -> None:
        new = [line for name, value in values for line in _line(name, value(outgoing.asked))]
        outgoing.lines = replaced_lines(outgoing.lines, gone, new)

    return request


def _line(name: str, value: bytes) -> list[bytes]:
    return [b"%b: %b\r\n" % (name.encode(), _clean(value))] if value else []


def _clean(value: bytes) -> bytes:
    """A value as a field can have it: what a path was decoded to may have a line's end in it."""
    return value.translate(None, _CONTROLS)
