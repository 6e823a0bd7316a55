"""Tells through `emit` which questions were asked and what the answers were, within a budget.

A traced request asks a handful of questions a second, a load test a hundred thousand. Beyond the
budget questions are counted (`skipped`) and not told, so that telling never sets the server's pace.
"""

from __future__ import annotations

import asyncio

from emulab.servers.base import Emit
from emulab.servers.dns import names, rdata, wire
from emulab.servers.dns.names import Name


class Reporter:
    """Emits a `dns-query` and a `dns-answer` record for each question, `budget` questions a second."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self.budget = 0
        self.tokens = 0
        self.skipped = 0
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

    def query(self, where: tuple[str, str], ident: int, name: Name, rtype: int) -> bool:
        """Tells that a question came; `where` is the transport and the client. False: not told, skip both."""
        if self.tokens <= 0:
            self.skipped += self.budget > 0
            return False
        self.tokens -= 1
        if self._refill is None:
            self._refill = asyncio.get_running_loop().call_later(1.0, self._fill)
        self._emit(self._record("dns-query", where, ident, name, rtype))
        return True

    def answer(
        self, where: tuple[str, str], ident: int, name: Name, rtype: int, outcome: tuple[int, str, int | None]
    ) -> None:
        """Tells what was answered: rcode, cache (`hit`, `miss` or empty), seconds left of the lowest TTL."""
        rcode, cache, ttl = outcome
        record = self._record("dns-answer", where, ident, name, rtype)
        self._emit(record | {"rcode": wire.RCODES.get(rcode, str(rcode)), "cache": cache, "ttl": ttl})

    def _fill(self) -> None:
        self.tokens, self._refill = self.budget, None

    @staticmethod
    def _record(
        event: str, where: tuple[str, str], ident: int, name: Name, rtype: int
    ) -> dict[str, str | int | None]:
        question = f"{names.to_text(name)} {rdata.type_name(rtype)}"
        return {"event": event, "protocol": where[0], "client": where[1], "id": ident, "question": question}
