"""What filters do to requests and responses: a line of the table for each, by its type in `config`. Pure.

They mean what they mean in the Gateway API (HTTPRouteFilter).

Rules:

* A filter becomes a function when the configuration is taken; what can't be done is refused then.
* Who answers is asked before there is an upstream; the first answer counts.
* Who changes a request is given its head as the personality wrote it, and who changes a response all fields that the
  client is to see; so what is set is there once, whoever would have said it.
* How a message ends, whom it is for and how long a connection lives is nothing that a field changes here (`_OURS`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from emulab.servers.configuration import BadConfiguration
from emulab.servers.l7.config import (
    Filter,
    HeaderModifier,
    Match,
    PathChange,
    ReplaceFullPath,
    RequestHeaderModifier,
    RequestRedirect,
    ResponseHeaderModifier,
    URLRewrite,
)
from emulab.servers.l7.messages.headers import replaced_lines
from emulab.servers.l7.messages.targets import escaped, normalise_path, without_port

REDIRECTS = frozenset({301, 302, 303, 307, 308})
PORTS = {"http": "80", "https": "443"}
"""The ports that needn't be said."""

_OURS = frozenset(
    {"connection", "content-length", "host", "keep-alive", "proxy-connection", "te", "trailer"}
    | {"transfer-encoding", "upgrade"}
)
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_HOSTNAME = re.compile(r"[A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\]")


class Asked(NamedTuple):
    """What was asked, for who answers by itself."""

    scheme: str
    host: bytes  # with its port, if the client said one
    port: str  # the listener's; empty if that is no matter
    target: bytes


class Page(NamedTuple):
    """An answer of the proxy's own."""

    status: int
    why: str  # for records
    location: bytes = b""


class Outgoing:
    """A request's head on its way to the upstream. Each of the lines ends in CRLF."""

    __slots__ = ("lines", "target")

    def __init__(self, target: bytes, lines: list[bytes]) -> None:
        self.target = target
        self.lines = lines


Answering = Callable[[Asked], Page]
Requesting = Callable[[Outgoing], None]
Responding = Callable[[list[bytes]], list[bytes]]


class Effect(NamedTuple):
    """How a filter's functions are made, of the filter and its route's match. Raises `BadConfiguration`."""

    answer: Callable[[Any, Match], Answering] | None = None
    request: Callable[[Any, Match], Requesting] | None = None
    response: Callable[[Any, Match], Responding] | None = None


class Filters:
    """The filters of a route, ready to be used."""

    __slots__ = ("_answers", "_requests", "_responses")

    def __init__(self, filters: tuple[Filter, ...], match: Match) -> None:
        """Raises `BadConfiguration`, which names the filter."""
        if {URLRewrite, RequestRedirect} <= {type(one) for one in filters}:
            raise BadConfiguration("filters: who redirects a request can't rewrite it, too")
        self._answers: list[Answering] = []
        self._requests: list[Requesting] = []
        self._responses: list[Responding] = []
        for index, one in enumerate(filters):
            effect = FILTERS[type(one)]
            try:
                if effect.answer is not None:
                    self._answers.append(effect.answer(one, match))
                if effect.request is not None:
                    self._requests.append(effect.request(one, match))
                if effect.response is not None:
                    self._responses.append(effect.response(one, match))
            except BadConfiguration as wrong:
                raise BadConfiguration(f"filters[{index}].{wrong}") from None

    @property
    def answers(self) -> bool:
        """Whether one of them answers by itself."""
        return bool(self._answers)

    def answer(self, asked: Asked) -> Page | None:
        """What is answered without an upstream, if anything is."""
        return self._answers[0](asked) if self._answers else None

    def request(self, written: bytes) -> bytes:
        """The head of a request, whole, as the upstream gets it."""
        if not self._requests:
            return written
        start, *lines, end = written.splitlines(keepends=True)
        method, target, version = start.split(b" ")
        outgoing = Outgoing(target, lines)
        for one in self._requests:
            one(outgoing)
        return b"".join([method, b" ", outgoing.target, b" ", version, *outgoing.lines, end])

    def response(self, lines: list[bytes]) -> list[bytes]:
        """The fields of a response as the client gets them."""
        for one in self._responses:
            lines = one(lines)
        return lines


# --- header fields ------------------------------------------------------------------------------------------


def _fields(one: HeaderModifier, _match: Match) -> Responding:
    for index, name in enumerate(one.remove):
        _check_name(name, f"remove[{index}]")
    for place, fields in (("set", one.set), ("add", one.add)):
        for index, field in enumerate(fields):
            _check_name(field.name, f"{place}[{index}].name")
            if _VALUE.fullmatch(field.value) is None:
                raise BadConfiguration(
                    f"{place}[{index}].value: {field.value!r} is no value of a header field"
                )
    gone = frozenset(name.lower().encode() for name in (*one.remove, *(field.name for field in one.set)))
    new = [f"{field.name}: {field.value}\r\n".encode() for field in (*one.set, *one.add)]
    return lambda lines: replaced_lines(lines, gone, new)


def _check_name(name: str, place: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise BadConfiguration(f"{place}: {name!r} is no name of a header field")
    if name.lower() in _OURS:
        raise BadConfiguration(f"{place}: {name!r} is a field that the proxy alone writes")


def _request_fields(one: RequestHeaderModifier, match: Match) -> Requesting:
    change = _fields(one, match)

    def request(outgoing: Outgoing) -> None:
        outgoing.lines = change(outgoing.lines)

    return request


# --- hosts and paths ----------------------------------------------------------------------------------------


def _written(path: str) -> bytes:
    """A path of a configuration, which may be percent-encoded already."""
    return escaped(path.encode()).replace(b"%25", b"%")


def _path(change: PathChange, match: Match) -> Callable[[bytes], bytes]:
    """The target of one request → that of another, with the same query."""
    if isinstance(change, ReplaceFullPath):
        if not change.path.startswith("/"):
            raise BadConfiguration(f"path.path: {change.path!r} does not begin with a slash")
        whole = _written(change.path)

        def full(target: bytes) -> bytes:
            return whole + b"".join(target.partition(b"?")[1:])

        return full
    if match.path_type != "Prefix":
        raise BadConfiguration(
            f"path: the route's path is of type {match.path_type!r}, of which no prefix is left"
        )
    if change.prefix and not change.prefix.startswith("/"):
        raise BadConfiguration(f"path.prefix: {change.prefix!r} does not begin with a slash")
    taken, prefix = len(match.path.encode().rstrip(b"/")), _written(change.prefix.rstrip("/"))

    def beginning(target: bytes) -> bytes:
        rest = normalise_path(target)[taken:]  # what the route was found by
        return (prefix + escaped(rest) or b"/") + b"".join(target.partition(b"?")[1:])

    return beginning


def _hostname(name: str) -> bytes:
    if _HOSTNAME.fullmatch(name) is None:
        raise BadConfiguration(f"hostname: {name!r} is no name of a host")
    return name.encode()


def _rewrite(one: URLRewrite, match: Match) -> Requesting:
    path = _path(one.path, match) if one.path is not None else None
    hostname = _hostname(one.hostname)
    host = b"Host: %b\r\n" % hostname

    def request(outgoing: Outgoing) -> None:
        if path is not None:
            outgoing.target = path(outgoing.target)
        if hostname:
            outgoing.lines = [host if line[:5].lower() == b"host:" else line for line in outgoing.lines]

    return request


def redirect(one: RequestRedirect, match: Match) -> Answering:
    """Tells where to ask instead."""
    if one.status not in REDIRECTS:
        raise BadConfiguration(f"status: {one.status} is not one of {', '.join(map(str, sorted(REDIRECTS)))}")
    if one.scheme and one.scheme not in PORTS:
        raise BadConfiguration(f"scheme: {one.scheme!r} is not one of {', '.join(PORTS)}")
    if not 0 <= one.port < 65536:
        raise BadConfiguration(f"port: {one.port} is no number of a port")
    path = _path(one.path, match) if one.path is not None else None
    hostname = _hostname(one.hostname)
    why = "the rule redirects" + (f" to {one.scheme}" if one.scheme else "")

    def answer(asked: Asked) -> Page:
        scheme = one.scheme or asked.scheme
        port = str(one.port) if one.port else "" if one.scheme else asked.port
        said = f":{port}" if port and port != PORTS.get(scheme) else ""
        host, target = hostname or without_port(asked.host), path(asked.target) if path else asked.target
        return Page(one.status, why, b"%b://%b%b%b" % (scheme.encode("latin-1"), host, said.encode(), target))

    return answer


FILTERS: Mapping[type[Filter], Effect] = {
    RequestHeaderModifier: Effect(request=_request_fields),
    ResponseHeaderModifier: Effect(response=_fields),
    URLRewrite: Effect(request=_rewrite),
    RequestRedirect: Effect(answer=redirect),
}
