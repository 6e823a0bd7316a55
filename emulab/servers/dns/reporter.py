"""Tells through `emit` who asked what, what the server itself asked for it, and what the answers were.

    dns-query       protocol, client, id, question
    dns-answer      the same, and cache (`hit`, `miss`, or empty: from a zone), and the outcome
    dns-forward     protocol, upstream, source, id, question, for
    dns-forwarded   the same, and the outcome, or error in its place

An outcome is rcode, authoritative, truncated, ttl (seconds left of the lowest, null without records) and answers:
addresses as they are, other data behind its type. `for` are the clients, as in `dns-query`, that wait for the
exchange; the question is what the server needs next for them, so the target of an alias at times.

A traced request asks a handful of questions, a load test tens of thousands a second. Beyond the budget they
are counted (`skipped`) and not told, so that telling never sets the server's pace.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from emulab.errors import PeerError
from emulab.servers.base import Emit, socket_name
from emulab.servers.dns import names, rdata, wire
from emulab.servers.dns.cache import CacheKey
from emulab.servers.dns.names import Name
from emulab.servers.dns.wire import Query, ResourceRecord, Response

Host = tuple[Any, ...]  # a socket address: IP address, port, …
Told = dict[str, Any]

_PLAIN = frozenset({rdata.A, rdata.AAAA})


class Reporter:
    """Emits records while they are wanted, `budget` queries and exchanges a second."""

    def __init__(self, emit: Emit) -> None:
        self.emit = emit
        self.budget = self.tokens = self.skipped = 0
        self._refill: asyncio.TimerHandle | None = None

    def allow(self, budget: int) -> None:
        """Sets the budget, in queries and exchanges a second; 0 for silence."""
        self.close()
        self.budget = self.tokens = budget

    def close(self) -> None:
        """Stops the timer."""
        if self._refill:
            self._refill.cancel()
            self._refill = None

    def query(self, packet: bytes, query: Query, host: Host, stream: bool) -> Told | None:
        """Tells that a query came; what it told is for `answer`. None: not told.

        The id is that of `packet`; `query` may be an earlier one that was the same but for the id.
        """
        if not (self.emit.wanted and self._afford()):
            return None
        told = {
            "protocol": "tcp" if stream else "udp",
            "client": socket_name(host),
            "id": int.from_bytes(packet[:2], "big"),
            "question": _question(query.name, query.rtype),
        }
        self.emit({"event": "dns-query", **told})
        return told

    def answer(self, told: Told | None, reply: bytes, cache: str) -> None:
        """Tells what was answered: the message behind its id, and the cache's part in it."""
        if told is not None:
            self.emit({"event": "dns-answer", **told, "cache": cache, **_read(reply)})

    def exchange(
        self, server: Host, key: CacheKey, ident: int, stream: bool, clients: Sequence[str]
    ) -> UpstreamQuestion | None:
        """Who tells of a question to an upstream server. None: nobody. `clients` may grow meanwhile."""
        if not (self.emit.wanted and self._afford()):
            return None
        told = {
            "protocol": "tcp" if stream else "udp",
            "upstream": socket_name(server),
            "source": "",
            "id": ident,
            "question": _question(key.name, key.rtype),
        }
        return UpstreamQuestion(self.emit, told, clients)

    def _afford(self) -> bool:
        if self.tokens <= 0:
            self.skipped += 1
            return False
        self.tokens -= 1
        if self._refill is None:
            self._refill = asyncio.get_running_loop().call_later(1.0, self._fill)
        return True

    def _fill(self) -> None:
        self.tokens, self._refill = self.budget, None


class UpstreamQuestion:
    """Tells of one question to an upstream server: that it went out, and what came of it."""

    __slots__ = ("_clients", "_emit", "_told")

    def __init__(self, emit: Emit, told: Told, clients: Sequence[str]) -> None:
        self._emit = emit
        self._told = told
        self._clients = clients

    def sent(self, source: Host) -> None:
        """The question is on its way, from the socket with this name."""
        self._told["source"] = socket_name(source)
        self._emit({"event": "dns-forward", **self._told, "for": list(self._clients)})

    def answered(self, response: Response) -> None:
        """The answer is there."""
        self._end(_outcome(response))

    def failed(self, error: str) -> None:
        """There is none to be had."""
        self._end({"error": error})

    def _end(self, outcome: Told) -> None:
        self._emit({"event": "dns-forwarded", **self._told, "for": list(self._clients), **outcome})


@lru_cache(maxsize=1024)
def _question(name: Name, rtype: int) -> str:
    return f"{names.to_text(name)} {rdata.type_name(rtype)}"


@lru_cache(maxsize=1024)
def _read(reply: bytes) -> Told:
    """The outcome that a message of ours tells. Read from its bytes: prepared answers have nothing else."""
    try:
        return _outcome(wire.parse_response(b"\0\0" + reply))
    except PeerError:  # what the header says, at least
        flags = int.from_bytes(reply[:2], "big")
        return _outcome(Response(0, flags, flags & 0xF))


def _outcome(response: Response) -> Told:
    return {
        "rcode": wire.rcode_name(response.rcode),
        "authoritative": bool(response.flags & wire.AA),
        "truncated": bool(response.flags & wire.TC),
        "ttl": min((record.ttl for record in response.answer or response.authority), default=None),
        "answers": [_text(record) for record in response.answer],
    }


def _text(record: ResourceRecord) -> str:
    data = rdata.to_text(record.data)
    return data if record.rtype in _PLAIN else f"{rdata.type_name(record.rtype)} {data}"
