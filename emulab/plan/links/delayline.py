"""Delay lines: links that hold what they send for a while."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import NamedTuple

from emulab.dataclass import dataclass
from emulab.plan.links.item import End, Item

LEAST, MOST = 64, 1024
"""How many packets of a lane can be on their way at once, at the least and at the most."""

_PACKETS_A_NANOSECOND = 40_000 / 1e9

AGAIN = 0x8000_0000
"""Of a packet's mark: it has passed the line once."""
FIRST = 0x1_0001
"""The mark of the first slot: its class of HTB, 1:1."""


class Held(NamedTuple):
    """How long packets are held, give or take: nanoseconds."""

    delay: int
    jitter: int = 0

    @property
    def size(self) -> int:
        """How many slots such packets have: each is taken for twice the delay."""
        wanted = round(2 * (self.delay + self.jitter) * _PACKETS_A_NANOSECOND)
        return min(max(wanted, LEAST), MOST)

    def delays(self) -> Iterator[int]:
        """The delay of each slot: all between the least and the most alike often, in an order that looks like none."""
        count = self.size
        least = max(1, self.delay - self.jitter)
        span = self.delay + self.jitter - least
        spread = [least + span * n // (count - 1) for n in range(count)]
        random.Random(count).shuffle(spread)  # the same one each time
        return iter(spread)

    def __str__(self) -> str:
        jitter = f"±{self.jitter / 1e3:g}" if self.jitter else ""
        return f"{self.delay / 1e3:g}{jitter}us"


@dataclass(frozen=True, slots=True)
class DelayLine(Item):
    """A link that holds packets for a while, of each lane for as long as that has it.

    It has slots. A packet takes the slot that its mark names, and has to be sent twice, the second time with `AGAIN` in
    its mark: the slot is free at the first time, and pays for that before it sends again. What has no slot in its mark
    isn't held.
    """

    namespace: str
    link: str
    lanes: tuple[Held, ...]

    word = "delay-line"

    def on(self) -> tuple[End, ...]:
        return ((self.namespace, self.link),)

    def slots(self) -> tuple[tuple[object, ...], ...]:
        return (("qdisc", self.namespace, self.link),)

    def reading_order(self) -> tuple[object, ...]:
        return (self.link,)

    def title(self) -> str:
        return f"delay line on {self.link}"

    def line(self, name: Callable[[str], str]) -> str:
        lanes = " ".join(f"{held} slots {held.size}" for held in self.lanes)
        return f"delay-line {self.link} {lanes}"

    @property
    def firsts(self) -> tuple[int, ...]:
        """The mark of the first slot of each lane."""
        return first_slots(self.lanes)


def first_slots(lanes: Iterable[Held]) -> tuple[int, ...]:
    """The mark of the first slot of each of these lanes."""
    return tuple(accumulate((held.size for held in lanes), initial=FIRST))[:-1]
