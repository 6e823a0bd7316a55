"""Rendezvous hashing: which of several named things a key belongs to, when these come and go. Pure.

Each key has a score for each name, which no other name has a part in, and the highest one wins. So when one of N equal
names goes, 1/N of the keys move, to all others alike, and come back with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from math import log

_SIZE = 8  # octets of a hash
_RANGE = float(1 << 8 * _SIZE)


def score(key: str, name: str, weight: int) -> float:
    """How much a name's a key is: its share of the highest scores is its share of the weights."""
    digest = blake2b(f"{key}|{name}".encode(), digest_size=_SIZE).digest()
    return -weight / log((int.from_bytes(digest) + 0.5) / _RANGE)


def slots(count: int, weights: Iterable[tuple[str, int]]) -> list[int]:
    """Which of the named has each slot of a table, which others index by a hash; one that goes leaves the slots of all
    others as they are."""
    named = list(weights)
    numbers = range(len(named))
    return [max(numbers, key=lambda n: score(str(slot), *named[n])) for slot in range(count)]
