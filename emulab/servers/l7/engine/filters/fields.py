"""Filters that change header fields. Pure.

How a message ends, whom it is for and how long a connection lives is nothing that a field changes here (`_OURS`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from emulab.servers.configuration import BadConfiguration
from emulab.servers.l7.config import (
    Field,
    HeaderModifier,
    Match,
    RequestHeaderModifier,
    ResponseHeaderModifier,
)
from emulab.servers.l7.engine.filters.effect import Incoming, Outgoing, RequestChange, ResponseChange
from emulab.servers.l7.messages.headers import replaced_lines

_OURS = frozenset(
    {"connection", "content-length", "host", "keep-alive", "proxy-connection", "te", "trailer"}
    | {"transfer-encoding", "upgrade"}
)
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")


def _change(one: HeaderModifier) -> Callable[[list[bytes]], list[bytes]]:
    for index, name in enumerate(one.remove):
        _check_name(name, f"remove[{index}]")
    check_fields(one.set, "set")
    check_fields(one.add, "add")
    gone = frozenset(name.lower().encode() for name in (*one.remove, *(field.name for field in one.set)))
    new = [f"{field.name}: {field.value}\r\n".encode() for field in (*one.set, *one.add)]
    return lambda lines: replaced_lines(lines, gone, new)


def check_fields(fields: Iterable[Field], place: str) -> None:
    """Raises `BadConfiguration` for a field that can't be, or isn't anybody's to write."""
    for index, field in enumerate(fields):
        _check_name(field.name, f"{place}[{index}].name")
        if _VALUE.fullmatch(field.value) is None:
            raise BadConfiguration(f"{place}[{index}].value: {field.value!r} is no value of a header field")


def _check_name(name: str, place: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise BadConfiguration(f"{place}: {name!r} is no name of a header field")
    if name.lower() in _OURS:
        raise BadConfiguration(f"{place}: {name!r} is a field that the proxy alone writes")


def request_fields(one: RequestHeaderModifier, _match: Match) -> RequestChange:
    change = _change(one)

    def request(outgoing: Outgoing) -> None:
        outgoing.lines = change(outgoing.lines)

    return request


def response_fields(one: ResponseHeaderModifier, _match: Match) -> ResponseChange:
    """Changes the fields of a response."""
    change = _change(one)

    def response(incoming: Incoming) -> None:
        incoming.lines = change(incoming.lines)

    return response
