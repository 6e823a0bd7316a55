"""Lines of queries and of what went wrong, in CoreDNS' words (plugin/log, plugin/errors). Pure."""

from __future__ import annotations

from typing import NamedTuple

from emulab.servers.base import socket_name
from emulab.servers.dns import names, rdata, wire
from emulab.servers.dns.config import LogRule
from emulab.servers.dns.names import Name
from emulab.servers.dns.plugins.made import Below
from emulab.servers.dns.wire import Query

_FLAGS = (
    ("qr", wire.QR),
    ("aa", wire.AA),
    ("tc", wire.TC),
    ("rd", wire.RD),
    ("ra", wire.RA),
    ("cd", wire.CD),
)


class Exchanged(NamedTuple):
    """A query and its answer, as far as a line tells of them."""

    host: tuple[object, ...]
    stream: bool
    query: Query
    size: int
    reply: bytes
    rcode: int
    answers: bool
    seconds: float

    @property
    def response_class(self) -> str:
        """`success`, `denial` or `error` (plugin/pkg/response)."""
        if self.rcode == wire.NXDOMAIN or (self.rcode == wire.NOERROR and not self.answers):
            return "denial"
        return "error" if self.rcode else "success"


class QueryLog:
    """Which queries have lines."""

    def __init__(self, rule: LogRule) -> None:
        """Raises ValueError."""
        self._names, self._classes = Below(rule.names), frozenset(rule.classes)

    def wants(self, name: Name, exchanged: Exchanged) -> bool:
        return name in self._names and bool({"all", exchanged.response_class} & self._classes)


def line(done: Exchanged) -> str:
    """The common log format."""
    query, flags = done.query, int.from_bytes(done.reply[2:4], "big")
    shown = ",".join(word for word, bit in _FLAGS if flags & bit)
    question = f"{rdata.type_name(query.rtype)} IN {names.to_text(query.name)}"
    proto, do = "tcp" if done.stream else "udp", str(query.do).lower()
    size = wire.TCP_LIMIT if done.stream else query.size
    asked = f'"{question} {proto} {done.size} {do} {size}"'
    told = f"{wire.rcode_name(done.rcode)} {shown} {len(done.reply)} {done.seconds:.9f}s"
    return f"[INFO] {socket_name(done.host)} - {query.id} {asked} {told}"


def error_line(query: Query, rcode: int, why: str) -> str:
    """What was wrong with a query."""
    return f"[ERROR] plugin/errors: {rcode} {names.to_text(query.name)} {rdata.type_name(query.rtype)}: {why}"
