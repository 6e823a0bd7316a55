"""What a make of proxy has of its own, as one record of values and pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

from emulab.dataclass import dataclass
from emulab.servers.l7.config import Certificate, MeasuredAs, Options
from emulab.servers.l7.messages.request import RequestHead
from emulab.servers.l7.messages.response import ResponseFields
from emulab.servers.l7.personalities.figures import Connections, Figures, ProcessUse
from emulab.servers.wire.http1.reader import Dialect
from emulab.servers.wire.proxyprotocol import Proxied

if TYPE_CHECKING:
    from emulab.servers.l7.engine.entry import Measured, RequestEntry
    from emulab.servers.l7.engine.filters.effect import Page
    from emulab.servers.l7.engine.routes import Locations


class Ends(NamedTuple):
    """The ends of a client's connection."""

    address: str  # the peer's, which may be somebody in front of the client
    port: str  # that upstreams are told
    scheme: str
    proxied: Proxied | None = None  # what the peer says of its own client by the PROXY protocol


class Front(NamedTuple):
    """What the one in front says of a request."""

    host: bytes  # empty: the request's own
    forwarding: bytes  # lines for upstreams
    scheme: str
    address: str  # the client's
    chain: bytes  # all addresses, where upstreams are told of them


class FrontReader(Protocol):
    """Reads of a request what the one in front says."""

    constant: bool
    """Whether that is so for all requests of a connection, as fields of theirs have no say."""

    def __call__(self, head: RequestHead, ends: Ends) -> Front: ...
    def field(self, head: RequestHead) -> bytes:
        """The field of a request that an address may be looked for in."""


class RequestMetrics(Protocol):
    """Who counts requests, and writes what was counted in Prometheus' format."""

    def configure(self, told: MeasuredAs, hosts: Iterable[str], origins: Iterable[str]) -> None: ...
    def add(self, row: Measured) -> None: ...
    def add_entry(self, entry: RequestEntry) -> None: ...
    def figures(self, connections: Connections, process: ProcessUse) -> Figures: ...
    def text(self, figures: Figures, certificates: Iterable[Certificate], reloaded: float) -> str: ...


class ComposeAnswer(Protocol):
    """Makes a whole response of the proxy's own."""

    def __call__(self, page: Page, *, date: bytes, close: bool, head_only: bool) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Personality:
    """How a proxy of one make behaves where the engine doesn't decide."""

    name: str
    host: bytes  # stands in for a Host that HTTP/1.0 needn't send
    dialect: Callable[[Options], Dialect[RequestHead]]  # what it takes for the head of a request
    response_fields: ResponseFields  # what of a response is passed on
    other_fields: Mapping[tuple[bool, bool], ResponseFields]
    """… by whether its Server is, too, and whether what it says of Strict-Transport-Security isn't."""
    refused_methods: frozenset[bytes]  # are answered with 405
    not_idempotent: frozenset[bytes]  # aren't sent to a second server once they were sent
    closing: frozenset[int]  # statuses of our own after which the connection ends
    client_closed: int  # the status, in records alone, for a client that left
    answer: ComposeAnswer
    wire_status: Callable[[int], int]  # the status that goes over the wire for one of our own
    locations: Locations  # in which order the paths of a host are looked at
    told_port: Callable[[str, str], str]  # scheme and port → the port that upstreams are told
    answer_lines: Callable[[str, str], bytes]  # scheme, hsts → field lines of answers in the name of a route
    forwarding: Callable[[str, str, str], bytes]  # client's address, told port, scheme → lines for upstreams
    front: Callable[[Options], FrontReader | None]  # what reads who asks; None: the peer itself
    log_format: Callable[[str, str], Callable[[RequestEntry, float], str]]
    """Format (empty: its own), escape → what writes a line of the access log, of an entry and the time."""
    metrics: Callable[[], RequestMetrics]
    request: Callable[[RequestHead, bytes, bytes], tuple[bytes, bytes]]
    """Head, host, forwarding → the head that goes upstream: what is before and what is after the request's id."""
