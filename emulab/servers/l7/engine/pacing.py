"""How fast a response goes to its client: nginx's `limit_rate` and `limit_rate_after`. Pure.

What may go is reckoned by whole seconds since the request came, one more than have passed; after each piece nothing
goes for as long as the rate takes for it (`ngx_http_write_filter`).
"""

from __future__ import annotations

from math import floor

HELD_MAX = 65536
"""Bytes that are held back before the upstream isn't read from any more."""


class Pace:
    """One response on its way."""

    __slots__ = ("_after", "_due", "_held", "_rate", "_sent", "_start", "waits")

    def __init__(self, rate: int, after: int, start: float) -> None:
        """`rate` in bytes a second, `start` when the request came."""
        self._rate, self._after, self._start = rate, after, floor(start)
        self._held = bytearray()
        self._sent = 0
        self._due = 0.0
        self.waits = False  # whether somebody will ask again

    @property
    def held(self) -> int:
        """Bytes that are held back."""
        return len(self._held)

    def hold(self, data: bytes) -> None:
        """More of the response has come."""
        self._held += data

    def take(self, now: float) -> bytes:
        """What goes to the client now."""
        if now < self._due or not self._held:
            return b""
        rate, after, before = self._rate, self._after, self._sent
        allowed = rate * (floor(now) - self._start + 1) - (before - after)
        if allowed <= 0:
            self._due = now + -allowed / rate + 0.001
            return b""
        data = bytes(self._held[:allowed])
        del self._held[:allowed]
        self._sent += len(data)
        self._due = now + (max(0, self._sent - after) - max(0, before - after)) / rate
        return data

    def delay(self, now: float) -> float:
        """In how many seconds something can go again."""
        return max(0.0, self._due - now)
