"""Filters that change the fields of answers. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from emulab.servers.l7.config import (
    AnswerFields,
    CookieDomain,
    CookiePath,
    HiddenFields,
    LocationChange,
    Match,
)
from emulab.servers.l7.config.patterns import as_python
from emulab.servers.l7.engine.conditions import pattern
from emulab.servers.l7.engine.filters.effect import Asked, Incoming, ResponseChange
from emulab.servers.l7.engine.filters.fields import check_fields
from emulab.servers.l7.engine.filters.places import with_host
from emulab.servers.l7.engine.variables import compiled
from emulab.servers.l7.messages.headers import replaced_lines

Replaced = Callable[[Asked, bytes], bytes | None]
"""What becomes of a value; None where it stays as it is."""


def answer_fields(one: AnswerFields, _match: Match) -> ResponseChange:
    check_fields(one.set, "set")
    gone = frozenset(field.name.lower().encode() for field in one.set)
    new = [f"{field.name}: {field.value}\r\n".encode() for field in one.set if field.value]
    if one.spoken and any("$" in field.value for field in one.set):
        return _spoken_fields(one, gone)

    def response(incoming: Incoming) -> None:
        incoming.lines = replaced_lines(incoming.lines, gone, new)

    return response


def _spoken_fields(one: AnswerFields, gone: frozenset[bytes]) -> ResponseChange:
    values = [(field.name.encode(), compiled(field.value)) for field in one.set]

    def response(incoming: Incoming) -> None:
        said = [(name, value(incoming.asked).translate(None, b"\r\n\0")) for name, value in values]
        new = [b"%b: %b\r\n" % (name, value) for name, value in said if value]
        incoming.lines = replaced_lines(incoming.lines, gone, new)

    return response


def hidden_fields(one: HiddenFields, _match: Match) -> ResponseChange:
    """Takes fields of the upstream's away; those that the proxy itself says come after them, and stay."""
    gone = frozenset(name.lower().encode() for name in one.names)

    def response(incoming: Incoming) -> None:
        incoming.lines = replaced_lines(incoming.lines, gone, [])

    return response


def _replacing(old: str, new: str, literal: Replaced) -> Replaced:
    """By an expression, which is what follows a `~`, or else by `literal`."""
    if not old.startswith("~"):
        return literal
    ignores_case = old.startswith("~*")
    expression = pattern(as_python(old.lstrip("~*").encode()), re.IGNORECASE if ignores_case else 0)
    target = compiled(new)

    def replaced(asked: Asked, value: bytes) -> bytes | None:
        found = expression.search(value)
        if found is None:
            return None
        before, asked.groups = asked.groups, tuple(group or b"" for group in found.groups())
        try:
            return target(asked)
        finally:
            asked.groups = before

    return replaced


def _cookies(attribute: bytes, replaced: Replaced) -> ResponseChange:
    def changed(asked: Asked, line: bytes) -> bytes:
        first, *attributes = line[:-2].split(b";")
        for index, text in enumerate(attributes):
            name, equals, value = text.partition(b"=")
            if equals and name.strip().lower() == attribute:
                new = replaced(asked, value.strip())
                if new is not None:
                    attributes[index] = b"%b=%b" % (name, new)
        return b";".join([first, *attributes]) + b"\r\n"

    def response(incoming: Incoming) -> None:
        incoming.lines = [
            changed(incoming.asked, line) if line[:11].lower() == b"set-cookie:" else line
            for line in incoming.lines
        ]

    return response


def cookie_domain(one: CookieDomain, _match: Match) -> ResponseChange:
    """A dot before a domain is no matter, and neither is the case of letters, whoever looks for it."""
    old, new = one.old.removeprefix(".").lower().encode(), compiled(one.new.removeprefix("."))

    def literal(asked: Asked, value: bytes) -> bytes | None:
        dot = b"." if value.startswith(b".") else b""
        return dot + new(asked) if value.removeprefix(b".").lower() == old else None

    expression = f"~*{one.old[1:]}" if one.old.startswith("~") else one.old
    return _cookies(b"domain", _replacing(expression, one.new, literal))


def cookie_path(one: CookiePath, _match: Match) -> ResponseChange:
    return _cookies(b"path", _replacing(one.old, one.new, _beginning(one.old, one.new)))


def _beginning(old: str, new: str) -> Replaced:
    prefix, target = old.encode(), compiled(new)

    def literal(asked: Asked, value: bytes) -> bytes | None:
        return target(asked) + value[len(prefix) :] if value.startswith(prefix) else None

    return literal


_REFRESH = re.compile(rb"(.*?url=)(.*)", re.IGNORECASE | re.DOTALL)


def location_change(one: LocationChange, _match: Match) -> ResponseChange:
    """A new place without a host gets the one that was asked, without its port (`port_in_redirect off`)."""
    replaced = _replacing(one.old, one.new, _beginning(one.old, one.new))

    def location(asked: Asked, value: bytes) -> bytes:
        new = replaced(asked, value)
        if new is None:
            return value
        return new if one.relative else with_host(asked, new)

    def changed(asked: Asked, line: bytes) -> bytes:
        name, _, value = line[:-2].partition(b": ")
        if name.lower() == b"location":
            return b"%b: %b\r\n" % (name, location(asked, value))
        if name.lower() == b"refresh" and (found := _REFRESH.fullmatch(value)) is not None:
            new = replaced(asked, found[2])
            return line if new is None else b"%b: %b%b\r\n" % (name, found[1], new)
        return line

    def response(incoming: Incoming) -> None:
        incoming.lines = [changed(incoming.asked, line) for line in incoming.lines]

    return response
