"""Lines of queries and of what went wrong, in CoreDNS' words (plugin/log, plugin/errors). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from emulab.servers.base import socket_name
from emulab.servers.dns import names, rdata, wire
from emulab.servers.dns.config import COMMON_LOG as COMMON
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
    ("z", 0x40),
    ("ad", 0x20),
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
    denied: bool  # by a SOA record
    seconds: float

    @property
    def response_class(self) -> str:
        """`success`, `denial` or `error`: that there is nothing is said by a SOA record (plugin/pkg/response)."""
        if self.rcode == wire.NOERROR:
            return "denial" if self.denied and not self.answers else "success"
        return "denial" if self.rcode == wire.NXDOMAIN and not self.answers else "error"


class QueryLog:
    """Which queries have lines, and which."""

    def __init__(self, rule: LogRule) -> None:
        """Raises ValueError."""
        self._names, self._classes = Below(rule.names), frozenset(rule.classes)
        self._parts = _parts(rule.format or COMMON)

    def concerns(self, name: Name) -> bool:
        return name in self._names

    def line(self, done: Exchanged) -> str:
        """What is written of a query; "" where it is of another class."""
        if not {"all", done.response_class} & self._classes:
            return ""
        return "[INFO] " + "".join(part if isinstance(part, str) else part(done) for part in self._parts)


def line(rules: Sequence[QueryLog], name: Name, done: Exchanged) -> str:
    """What is written of a query: the first rule that is about its name decides, also that nothing is."""
    rule = next((rule for rule in rules if rule.concerns(name)), None)
    return rule.line(done) if rule else ""


def _flags(done: Exchanged) -> str:
    flags = int.from_bytes(done.reply[2:4], "big")
    return ",".join(word for word, bit in _FLAGS if flags & bit)


def _remote(done: Exchanged) -> str:
    return socket_name(done.host).rpartition(":")[0]


_LABELS: Mapping[str, Callable[[Exchanged], str]] = {
    "{type}": lambda done: rdata.type_name(done.query.rtype),
    "{name}": lambda done: names.to_text(done.query.name),
    "{class}": lambda done: "IN",
    "{proto}": lambda done: "tcp" if done.stream else "udp",
    "{size}": lambda done: str(done.size),
    "{remote}": _remote,
    "{port}": lambda done: str(done.host[1]),
    "{>id}": lambda done: str(done.query.id),
    "{>opcode}": lambda done: "0",  # no other is looked at
    "{>do}": lambda done: str(done.query.do).lower(),
    "{>bufsize}": lambda done: str(wire.TCP_LIMIT if done.stream else done.query.size),
    "{rcode}": lambda done: wire.rcode_name(done.rcode),
    "{rsize}": lambda done: str(len(done.reply)),
    "{duration}": lambda done: f"{done.seconds:.9f}s",
    "{>rflags}": _flags,
}
"""What stands for what (plugin/pkg/replacer). Other words in braces are as they are, but for those that begin with /:
metadata, of which there is none."""
_LABEL = re.compile(r"\{[^{}]*\}")


def _parts(form: str) -> list[str | Callable[[Exchanged], str]]:
    found: list[str | Callable[[Exchanged], str]] = []
    at = 0
    for label in _LABEL.finditer(form):
        part = "-" if label[0].startswith("{/") else _LABELS.get(label[0], label[0])
        found += [form[at : label.start()], part]
        at = label.end()
    return [*found, form[at:]]


def error_line(query: Query, rcode: int, why: str) -> str:
    """What was wrong with a query."""
    return f"[ERROR] plugin/errors: {rcode} {names.to_text(query.name)} {rdata.type_name(query.rtype)}: {why}"
