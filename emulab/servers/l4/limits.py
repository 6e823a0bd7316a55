"""How many connections a frontend takes: at a time, of one source, and new ones a second. Pure, time is an argument."""

from __future__ import annotations

from collections import Counter

from emulab.servers.l4.config import UNLIMITED, FrontendLimits


class ConnectionCount:
    """Counts who is in, and says who may come in."""

    def __init__(self, limits: FrontendLimits = UNLIMITED) -> None:
        self.limits = limits
        self.limited = limits.any
        self.open = 0
        self._of_source: Counter[str] = Counter()
        self._tokens = float(limits.rate)  # a bucket that holds a second's worth
        self._since = 0.0

    def change(self, limits: FrontendLimits) -> None:
        """Other limits hold from now on; who is in stays."""
        if limits != self.limits:
            self.limits, self.limited, self._tokens = limits, limits.any, float(limits.rate)

    def refusal(self, client: str, now: float) -> str:
        """Why a client may not come in, "" where it may. Takes its turn of the rate then."""
        limits = self.limits
        if limits.connections and self.open >= limits.connections:
            return f"too many connections: {limits.connections} are open"
        if limits.connections_per_source and self._of_source[client] >= limits.connections_per_source:
            return f"too many connections of one source: {limits.connections_per_source} are open"
        if limits.rate:
            self._tokens = min(float(limits.rate), self._tokens + (now - self._since) * limits.rate)
            self._since = now
            if self._tokens < 1:
                return f"too many new connections: {limits.rate} a second"
            self._tokens -= 1
        return ""

    def enter(self, client: str) -> None:
        """A client is in."""
        self.open += 1
        if self.limits.connections_per_source:
            self._of_source[client] += 1

    def leave(self, client: str) -> None:
        """A client that was in is out."""
        self.open -= 1
        if client in self._of_source:
            self._of_source[client] -= 1
            if self._of_source[client] <= 0:
                del self._of_source[client]
