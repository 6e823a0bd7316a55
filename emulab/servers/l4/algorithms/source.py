"""By a hash of the client's address, consistently: who goes takes its own clients along, and no others move.

Rendezvous hashing: each client has a score for each target, which no other target has a part in, and the highest one
wins. So when one of N equal targets goes, 1/N of the clients move, to all others alike, and come back with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from math import log

from emulab.servers.l4.balance import BalancedTarget

_SIZE = 8  # octets of a hash
_RANGE = float(1 << 8 * _SIZE)


class SourceHash:
    """The same client, the same target, while that is usable."""

    def order(self, targets: Sequence[BalancedTarget], client: str) -> list[BalancedTarget]:
        usable = [target for target in targets if target.usable]
        return sorted(usable, key=lambda target: score(client, target.name, target.weight), reverse=True)


def score(key: str, name: str, weight: int) -> float:
    """How much a target is a key's: its share of the highest scores is its share of the weights."""
    digest = blake2b(f"{key}|{name}".encode(), digest_size=_SIZE).digest()
    return -weight / log((int.from_bytes(digest) + 0.5) / _RANGE)


def slots(count: int, weights: Iterable[tuple[str, int]]) -> list[int]:
    """Which of the named targets has each slot of a table, which others index by a hash of the client: as above, one
    that goes leaves all other slots as they are."""
    named = list(weights)
    numbers = range(len(named))
    return [max(numbers, key=lambda n: score(str(slot), *named[n])) for slot in range(count)]
