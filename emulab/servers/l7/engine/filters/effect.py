"""What a filter's functions are given, and what they are: the shape of a line in the table of filters. Pure."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from emulab.servers.l7.config import Match
from emulab.servers.l7.messages.request import RequestHead

if TYPE_CHECKING:
    from emulab.servers.l7.engine.kept import EngineMemory


class Asked:
    """What was asked, and by whom."""

    __slots__ = (
        "address", "cookies", "forwarded_for", "granted", "groups", "head", "host", "leave", "listener", "now", "port",
        "request_id", "scheme", "target",
    )  # fmt: skip

    def __init__(
        self,
        scheme: str,
        host: bytes,
        port: str,
        target: bytes,
        *,
        head: RequestHead | None = None,
        address: str = "",
        now: float = 0.0,
        listener: tuple[str, str] = ("http", ""),
        request_id: bytes = b"",
        forwarded_for: bytes = b"",
    ) -> None:
        """`host` has its port, if the client said one; `port` is the listener's, or empty if that is no matter.

        `address` is the client's, or who is taken for it where the one in front is believed. `listener` is what the
        connection itself speaks, and the port that it was accepted at. `forwarded_for` is what upstreams are told,
        where that is more than the address.
        """
        self.scheme = scheme
        self.host = host
        self.port = port
        self.target = target
        self.head = head if head is not None else RequestHead()
        self.address = address
        self.now = now
        self.listener = listener
        self.request_id = request_id
        self.groups: tuple[bytes, ...] = ()  # what the last rewrite found
        self.forwarded_for = forwarded_for
        self.granted: list[
            tuple[bytes, bytes]
        ] = []  # fields that the upstream gets; an empty value: it gets none
        self.cookies: list[
            tuple[bytes, bool]
        ] = []  # lines for the client; whether it gets them whatever the status
        self.leave: list[Callable[[], None]] = []  # what is to be done once the request is over

    def over(self) -> None:
        """The request is over."""
        for one in self.leave:
            one()
        self.leave.clear()


class Page(NamedTuple):
    """An answer of the proxy's own: a page for its status, unless it has a body of its own."""

    status: int
    why: str  # for records
    location: bytes = b""
    lines: tuple[bytes, ...] = ()  # more field lines, each ending in CRLF
    body: bytes | None = None
    content_type: str = "text/html"
    source: str = ""  # whose wish it was that the request is refused: an annotation, say
    instead: bytes = b""  # a path that is asked for by GET in its place (nginx: an internal redirect)
    whole: bool = False  # whether its lines have those of every answer already
    plain: bool = False  # whether it isn't in the name of a route: nginx has another location for it, or none


class Outgoing:
    """A request's head on its way to the upstream. Each of the lines ends in CRLF."""

    __slots__ = ("asked", "lines", "target")

    def __init__(self, asked: Asked, target: bytes, lines: list[bytes]) -> None:
        self.asked = asked
        self.target = target
        self.lines = lines


class BodyEncoder(Protocol):
    """What makes another body of an answer's."""

    def pieces(self, given: list[bytes], last: bool) -> list[bytes]: ...


class Incoming:
    """The fields of an answer on its way to the client, the upstream's or our own. Each of the lines ends in CRLF."""

    __slots__ = ("asked", "encoder", "length", "lines", "server", "status")

    def __init__(
        self,
        asked: Asked,
        status: int,
        lines: list[bytes],
        server: str,
        length: int = -1,
    ) -> None:
        """`server` is the upstream's address, empty for an answer of our own; `length` the body's, if it is known."""
        self.asked = asked
        self.status = status
        self.lines = lines
        self.server = server
        self.length = length
        self.encoder: BodyEncoder | None = None  # what becomes of the body


OwnAnswer = Callable[[Asked], Page | None]
"""An answer without an upstream, or None where the filter has none."""
GateQuestion = Any
"""What a gate asks the world outside (`engine.questions`)."""
Gate = Callable[[Asked, "EngineMemory"], Generator[GateQuestion, Any, Page | None]]
"""Whether a request may in: an answer that it may not, or None. Each question that is yielded gets its answer sent."""
RequestChange = Callable[[Outgoing], None]
ResponseChange = Callable[[Incoming], None]


class Effect(NamedTuple):
    """How a filter's functions are made, of the filter and its route's match. Raises `BadConfiguration`."""

    answer: Callable[[Any, Match], OwnAnswer] | None = None
    request: Callable[[Any, Match], RequestChange] | None = None
    response: Callable[[Any, Match], ResponseChange] | None = None
    own: bool = False  # whether `response` is given our own answers, too
    gate: Callable[[Any, Match], Gate] | None = None
    early: bool = False  # whether `answer` is asked before a client is sent to TLS, as nginx rewrites first
    aside: bool = (
        False  # whether the exchange does what it asks for, which is more than a change (`engine.aside`)
    )
