"""Whom a route asks besides its upstream: another one for the pages of errors, and a mirror. Pure.

Who answers for errors is asked for `/` in the client's words but for the fields that tell of the error, as in the
locations `@custom_…_CODE` of ingress-nginx. A mirror is sent the client's own fields, and is never waited for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from emulab.servers.configuration import BadConfiguration
from emulab.servers.l7.config import ErrorPages, Filter, Match, Mirror, UpstreamFields
from emulab.servers.l7.config.variables import pieces
from emulab.servers.l7.engine.balance import Group
from emulab.servers.l7.engine.filters.effect import Asked, Outgoing
from emulab.servers.l7.engine.filters.requests import upstream_fields
from emulab.servers.l7.engine.variables import compiled
from emulab.servers.l7.messages.request import RequestHead
from emulab.servers.l7.messages.targets import with_query
from emulab.servers.wire.http1.framing import framing_line

_URL = re.compile(rb"(https?)://([^/?]+)(.*)", re.DOTALL)
_PORTS = {b"http": b"80", b"https": b"443"}


class ErrorUpstream:
    """Who answers in the place of errors."""

    __slots__ = ("_change", "group", "intercepts", "statuses")

    def __init__(self, one: ErrorPages, group: Group | None) -> None:
        self.statuses = frozenset(one.statuses)
        self.group = group  # None: nobody, which is a 404
        self.intercepts = one.intercept  # upstreams' answers, too
        self._change = upstream_fields(UpstreamFields(one.fields), Match())

    def request(self, written: bytes, asked: Asked, status: int) -> bytes:
        """The head for this upstream, of the head that the personality wrote."""
        start, *lines, end = written.splitlines(keepends=True)
        outgoing = Outgoing(asked, b"", lines)
        self._change(outgoing)
        target = with_query(b"/", asked.head.target)
        code = b"X-Code: %d\r\n" % status
        return b"".join([start.split(b" ")[0], b" ", target, b" HTTP/1.1\r\n", code, *outgoing.lines, end])


def error_upstream(filters: Iterable[Filter], groups: Mapping[str, Group]) -> ErrorUpstream | None:
    """Who answers in the place of errors by the last of these filters that says so."""
    found = None
    for one in filters:
        if isinstance(one, ErrorPages):
            if one.upstream and one.upstream not in groups:
                raise BadConfiguration(
                    f"filters: there is no upstream {one.upstream!r} for the pages of errors"
                )
            found = ErrorUpstream(one, groups.get(one.upstream))
    return found


class MirroredRequest(NamedTuple):
    """A request for a mirror: to whom, whether over TLS, and its bytes."""

    address: str
    secure: bool
    data: bytes


class MirrorTarget:
    """Where requests are mirrored to."""

    __slots__ = ("_host", "_is_constant", "_path", "_target", "body")

    def __init__(self, one: Mirror) -> None:
        if _URL.match(one.target.encode()) is None:
            raise BadConfiguration(f"filters: the mirror {one.target!r} is no URL of http or https")
        self._target = compiled(one.target)
        self._is_constant = len(list(pieces(one.target))) == 1
        self._host, self._path = one.host.encode(), one.path.encode()
        self.body = one.body

    def request(self, asked: Asked, body: bytes | None) -> MirroredRequest | None:
        """A request as the mirror gets it, None where its URL comes out wrong."""
        head = asked.head
        found = _URL.fullmatch(self._target(asked))
        if found is None:
            return None
        scheme, authority, target = found.groups()
        if not target.startswith(b"/"):
            target = self._path + (target or with_query(b"", head.target))
        elif self._is_constant and b"?" not in target:
            target = with_query(target, head.target)
        port = b"" if re.search(rb":[0-9]+$", authority) else b":" + _PORTS[scheme]
        address = (authority + port).decode("latin-1")
        return MirroredRequest(address, scheme == b"https", self._written(head, target, body))

    def _written(self, head: RequestHead, target: bytes, body: bytes | None) -> bytes:
        start = b"%b %b HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n" % (head.method, target, self._host)
        length = framing_line(len(body)) if body is not None else b""
        return b"".join([start, *head.lines, *_said_of_front(head), length, b"\r\n", body or b""])


def _said_of_front(head: RequestHead) -> Iterable[bytes]:
    """The client's own fields that aren't among the lines of its head."""
    for name, value in (
        (b"X-Request-ID", head.request_id),
        (b"X-Real-IP", head.real_ip),
        (b"X-Forwarded-For", head.forwarded_for),
        (b"X-Forwarded-Host", head.forwarded_host),
        (b"X-Forwarded-Port", head.forwarded_port),
        (b"X-Forwarded-Proto", head.forwarded_proto),
    ):
        if value:
            yield b"%b: %b\r\n" % (name, value)


def mirror_target(filters: Iterable[Filter]) -> MirrorTarget | None:
    """Where requests are mirrored to by the last of these filters that says so."""
    return next((MirrorTarget(one) for one in reversed(tuple(filters)) if isinstance(one, Mirror)), None)
