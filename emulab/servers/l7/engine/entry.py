"""What is known of a request that is over: for the access log and the metrics. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from emulab.servers.l7.engine.routes import ReadyRoute
    from emulab.servers.l7.messages.request import RequestHead

UNKNOWN = -1.0
"""A time that there isn't: it never came so far."""

Measured = tuple["RequestHead", "ReadyRoute", int, str, float, float, float, float, int, int]
"""What is counted of a request that is over, made for each and so a plain tuple.

By what it is counted: its head (the host and method of which decide), route, status, and upstream ("" for none). Then,
of its last try, seconds until the connection was there, until the answer's head was, until it was over (`UNKNOWN` for
what never happened); seconds of the request; bytes of the request, and of the answer.
"""


class Try(NamedTuple):
    """One try with a server. Times are in seconds since its beginning, `UNKNOWN` for what never happened."""

    server: str  # address and port
    status: int  # of its answer, or what would have been answered for it
    connect: float  # until the connection was there
    header: float  # until the head of its answer was there
    seconds: float  # until it was over
    size: int  # bytes of its answer's body


class RequestEntry(NamedTuple):
    """A request and its answer."""

    client: tuple[str, str]  # the client's address; the connection's other end, with its port
    local: str  # our end of the client's connection
    scheme: str
    version: str  # of the protocol, such as HTTP/1.1
    head: RequestHead
    rule: ReadyRoute
    upstream_name: str  # "" for none
    request_id: str
    status: int
    request_size: int  # bytes of the request, head and body
    sent: int  # bytes of the answer, head and body
    body_sent: int
    seconds: float
    tries: tuple[Try, ...]
    user: str = ""  # whom the client has shown to be


def measured(entry: RequestEntry) -> Measured:
    """What is counted of it."""
    last = entry.tries[-1] if entry.tries else None
    times = (last.connect, last.header, last.seconds) if last is not None else (UNKNOWN,) * 3
    return (
        *(entry.head, entry.rule, entry.status, entry.upstream_name),
        *times,
        *(entry.seconds, entry.request_size, entry.sent),
    )
