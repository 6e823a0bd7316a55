"""How often a client may come: nginx's leaky bucket and its counter of requests under way. Pure.

`ngx_http_limit_req_module`: each request adds 1000 to the excess of its client, each millisecond takes away what the
rate allows, in whole numbers; a request whose excess is above the burst is refused and not counted. With several limits
a request counts for none of them unless all let it through. The clients that came least recently are forgotten once
nothing of their excess is left, two with each new one, or when there is no room.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable, Sequence

STATES_MAX = 80_000
"""What 5 MB hold, which is the size of ingress-nginx' zones."""

_LONG = 60_000
"""Milliseconds for which nobody is forgotten; and if the clock went back further, it is taken for set anew."""


class RequestZone:
    """The clients of one zone: the excess of each and when it came last, in milliseconds."""

    __slots__ = ("states",)

    def __init__(self) -> None:
        self.states: OrderedDict[Hashable, tuple[int, int]] = OrderedDict()

    def excess(self, key: Hashable, rate: int, now: int) -> int:
        """What a request that comes now would make of the excess, in thousandths of a request."""
        state = self.states.get(key)
        if state is None:
            return 0
        return max(0, state[0] - rate * _since(state[1], now) // 1000 + 1000)

    def count(self, key: Hashable, rate: int, now: int) -> None:
        """A request came, and is let through."""
        known = self.states.get(key)
        excess = self.excess(key, rate, now)
        if known is None:
            self._forget(rate, now)
            self.states[key] = (0, now)
        else:
            self.states[key] = (excess, now if _since(known[1], now) else known[1])
            self.states.move_to_end(key)

    def touch(self, key: Hashable) -> None:
        """A request came; its client isn't among the first to be forgotten."""
        if key in self.states:
            self.states.move_to_end(key)

    def _forget(self, rate: int, now: int) -> None:
        states = self.states
        if len(states) >= STATES_MAX:
            states.popitem(last=False)
        for _ in range(2):
            if not states:
                return
            oldest = next(iter(states))
            excess, last = states[oldest]
            elapsed = abs(now - last)
            if elapsed < _LONG or excess - rate * elapsed // 1000 > 0:
                return
            del states[oldest]


def _since(last: int, now: int) -> int:
    elapsed = now - last
    return 1 if elapsed < -_LONG else max(0, elapsed)


def refused_by(
    zones: Sequence[tuple[RequestZone, int, int]], key: Hashable, now: int
) -> tuple[int, int] | None:
    """Which of the zones, each with its rate and its burst, refuses a request, and its excess; None: it is counted."""
    for index, (zone, rate, burst) in enumerate(zones):
        excess = zone.excess(key, rate, now)
        zone.touch(key)
        if excess > burst * 1000:
            return index, excess
    for zone, rate, _ in zones:
        zone.count(key, rate, now)
    return None


class ConnectionZone:
    """How many requests of each client are under way."""

    __slots__ = ("under_way",)

    def __init__(self) -> None:
        self.under_way: Counter[Hashable] = Counter()

    def enter(self, key: Hashable, most: int) -> bool:
        """Whether one more may be under way; it is, then."""
        if self.under_way[key] >= most:
            if not self.under_way[key]:
                del self.under_way[key]
            return False
        self.under_way[key] += 1
        return True

    def leave(self, key: Hashable) -> None:
        """One of them is over."""
        self.under_way[key] -= 1
        if self.under_way[key] <= 0:
            del self.under_way[key]
