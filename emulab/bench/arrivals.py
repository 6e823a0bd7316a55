"""When requests of an open model are due, whatever becomes of those before them. Pure, of the standard library alone.

In a closed model a slow answer holds up the next question, so the slowest moments are asked about least ("coordinated
omission", Gil Tene). Here a latency is counted from when a request was due, not from when it could be sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

EVEN, POISSON = "even", "poisson"


def due(rate: float, seconds: float, arrivals: str = EVEN, seed: int = 0) -> Iterator[float]:
    """Seconds from the beginning: `rate` a second, evenly or as independent clients come (Poisson)."""
    draw, at, number = Random(seed), 0.0, 0
    if arrivals == POISSON:
        at = draw.expovariate(rate)
    while at < seconds:
        yield at
        number += 1
        at = number / rate if arrivals == EVEN else at + draw.expovariate(rate)
