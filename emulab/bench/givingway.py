"""Which hop of a path gave way first, of what was seen second by second. Pure.

A hop has given way in a second in which it was busy all the time (it ran, or waited for a processor, as good as
always), or in which it turned something away. The load has trouble where requests fail, wait for a free connection, or
take many times as long as at first. The hop that gave way first is the earliest one from then on or shortly before; of
several in the same second the one that was turning away, then the busiest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

BUSY = 0.9
"""Of a second, beyond which a hop is as good as always busy."""
MANY_TIMES = 8.0
"""By how much latencies grow until that is trouble …"""
NOTHING = 10_000
"""… unless they are still below so many µs."""
SHORTLY = 2  # seconds


class Second(NamedTuple):
    """What the load saw."""

    p99: float  # µs, from when requests were due
    failed: int
    waiting: int  # for a free connection
    lag: float = 0.0  # µs by which who asks was late itself (p99)


class HopSecond(NamedTuple):
    """What a hop told of a second."""

    busy: float  # share of its processes' time
    turned_away: Mapping[str, int] = {}  # by what it says


class GaveWay(NamedTuple):
    """The verdict. `hop` is "" where none did, or none can be blamed."""

    hop: str
    second: int
    text: str


def trouble(load: Sequence[Second]) -> int | None:
    """The first second of trouble; None where there was none."""
    calm = median([one.p99 for one in load[: max(1, len(load) // 4)]]) if load else 0.0
    for number, one in enumerate(load):
        slow = one.p99 > max(NOTHING, MANY_TIMES * calm)
        if one.failed or one.waiting or slow:
            return number
    return None


def first(load: Sequence[Second], hops: Mapping[str, Sequence[HopSecond]]) -> GaveWay:
    """Which hop gave way first."""
    begun = trouble(load)
    if begun is None:
        return GaveWay("", -1, "no hop gave way")
    marks = []
    for name, seconds in hops.items():
        for number, one in enumerate(seconds):
            if number >= begun - SHORTLY and (one.busy >= BUSY or any(one.turned_away.values())):
                marks.append((number, not any(one.turned_away.values()), -one.busy, name, one))
                break
    if not marks:
        late = load[begun].lag > NOTHING
        why = (
            "who asks was late itself: the machine has too little for the load" if late else "none shows why"
        )
        return GaveWay("", begun, f"there is trouble from second {begun + 1} on, and no hop gave way: {why}")
    number, _, _, name, one = min(marks, key=lambda mark: mark[:3])
    said = ", ".join(f"{what} {count}" for what, count in one.turned_away.items() if count)
    why = f"turned away: {said}" if said else f"busy {min(one.busy, 1.0):.0%} of the time"
    return GaveWay(name, number, f"{name} gave way first, in second {number + 1}: {why}")
