"""Tells through `emit` which questions were asked and what the answers were, within a budget.

A traced request asks a handful of questions a second, a load test a hundred thousand. Beyond the
budget questions are counted (`skipped`) and not told, so that telling never sets the server's pace.
"""

from __future__ import annotations

import asyncio
from typing import Any

from emulab.servers.base import Emit
from emulab.servers.dns import names, rdata, wire
from emulab.servers.dns.wire import Query

Host = tuple[Any, ...]  # a socket address: IP address, port, …
Told = dict[str, Any]


class Reporter:
    """Emits a `dns-query` and a `dns-answer` record for each question, `budget` questions a second."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self.budget = self.tokens = self.skipped = 0
        self._refill: asyncio.TimerHandle | None = None

    def allow(self, budget: int) -> None:
        """Sets the budget, in questions a second; 0 for silence."""
        self.close()
        self.budget = self.tokens = budget

    def close(self) -> None:
        """Stops the timer."""
        if self._refill:
            self._refill.cancel()
            self._refill = None

    def query(self, packet: bytes, query: Query, host: Host, stream: bool) -> Told | None:
        """Tells that a question came; what it told is for `answer`. None: not told, as beyond the budget.

        The id is that of `packet`; `query` may be an earlier one that was the same but for the id.
        """
        if self.tokens <= 0:
            self.skipped += self.budget > 0
            return None
        self.tokens -= 1
        if self._refill is None:
            self._refill = asyncio.get_running_loop().call_later(1.0, self._fill)
        told = {
            "protocol": "tcp" if stream else "udp",
            "client": f"[{host[0]}]:{host[1]}" if ":" in host[0] else f"{host[0]}:{host[1]}",
            "id": int.from_bytes(packet[:2], "big"),
            "question": f"{names.to_text(query.name)} {rdata.type_name(query.rtype)}",
        }
        self._emit({"event": "dns-query", **told})
        return told

    def answer(self, told: Told | None, rcode: int, cache: str, ttl: int | None) -> None:
        """Tells what was answered: rcode, cache (`hit`, `miss` or empty), seconds left of the lowest TTL."""
        if told:
            outcome = {"rcode": wire.rcode_name(rcode), "cache": cache, "ttl": ttl}
            self._emit({"event": "dns-answer", **told, **outcome})

    def _fill(self) -> None:
        self.tokens, self._refill = self.budget, None
