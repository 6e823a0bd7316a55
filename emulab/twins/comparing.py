"""What differs between the modes: pure, from what came of each request in each of them.

What a mode shows and another doesn't counts only where the other was asked so often that it would have shown it.
Which endpoint a client with affinity stays with is chance, and so is a choice at random that comes out even.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from emulab.twins import spread
from emulab.twins.asks import Ask
from emulab.twins.differences import (
    ANSWER,
    ASPECTS,
    AT_RANDOM,
    ENDPOINTS,
    EVENLY,
    FAIRNESS,
    SOURCE,
    STATUS,
    UNEVENLY,
    Known,
    Seen,
    known,
)
from emulab.twins.owners import Situation
from emulab.twins.sampling import Sample

ByMode = Mapping[str, Sample]


class ModeDifference(NamedTuple):
    """One aspect in which modes differ. `expected` explains it all; otherwise `unexplained` names pairs of modes."""

    aspect: str
    seen: dict[str, Seen]  # by mode
    expected: tuple[Known, ...]
    unexplained: tuple[tuple[str, str], ...]

    @property
    def is_known(self) -> bool:
        return not self.unexplained


class Compared(NamedTuple):
    """One request, what came of it, and what differs."""

    ask: Ask
    situation: Situation
    observed: ByMode
    differences: tuple[ModeDifference, ...]


def compare(ask: Ask, situation: Situation, observed: ByMode) -> Compared:
    """Everything in which the modes differ."""
    found = []
    for aspect in ASPECTS:
        pairs = [p for p in combinations(observed, 2) if _differ(aspect, situation, observed, *p)]
        if not pairs:
            continue
        seen = {mode: _seen(aspect, o) for mode, o in observed.items()}
        reasons = {pair: known(aspect, situation, seen, *pair) for pair in pairs}
        explained = tuple(dict.fromkeys(r for r in reasons.values() if r))
        unexplained = tuple(pair for pair, reason in reasons.items() if reason is None)
        found.append(ModeDifference(aspect, seen, explained, unexplained))
    return Compared(ask, situation, observed, tuple(found))


def suspicious(situation: Situation, observed: Iterable[Sample]) -> bool:
    """Whether a spread over endpoints is worth a second, longer look."""
    return not situation.sticky and any(
        not o.proxied and spread.uniform(o.endpoints) < spread.SUSPICIOUS for o in observed
    )


def fairness(observation: Sample) -> str:
    """How connections are spread over the endpoints; "" where there is nothing to choose."""
    if len(observation.endpoints) < 2 or observation.proxied:
        return ""
    if spread.in_turn(observation.endpoints):
        return EVENLY
    return UNEVENLY if spread.uniform(observation.endpoints) < spread.CERTAIN else AT_RANDOM


def _counted(aspect: str, observation: Sample) -> Counter[str]:
    return {
        STATUS: observation.outcomes,
        ANSWER: observation.answers,
        ENDPOINTS: observation.endpoints,
        SOURCE: observation.sources,
    }[aspect]


def _seen(aspect: str, observation: Sample) -> Seen:
    if aspect == FAIRNESS:
        return frozenset({fairness(observation)})
    return frozenset(_counted(aspect, observation))


def _differ(aspect: str, situation: Situation, observed: ByMode, one: str, other: str) -> bool:
    a, b = observed[one], observed[other]
    if aspect != STATUS and not (a.answered and b.answered):
        return False  # the status says it all
    if aspect == FAIRNESS:
        return _spread_differs(situation, one, other, a, b)
    if aspect == ENDPOINTS and (situation.sticky or a.proxied or b.proxied):
        return False  # one endpoint for one client, or for as long as an ingress keeps its connection
    if aspect == ANSWER and situation.sticky and a.endpoints.keys() != b.endpoints.keys():
        return False  # another one says other things
    # The asker itself may be the endpoint in one mode, and is masqueraded.
    if aspect == SOURCE and situation.sticky:
        others = (a.sources - a.hairpins, b.sources - b.hairpins)
        return any(x and y and _lacks(x, y) for x, y in (others, (a.hairpins, b.hairpins)))
    return _lacks(_counted(aspect, a), _counted(aspect, b))


def _lacks(one: Counter[str], other: Counter[str]) -> bool:
    """Whether one of two modes lacks what it would have shown, too, if they were alike."""
    return bool(spread.surely_absent(one, other) or spread.surely_absent(other, one))


def _spread_differs(situation: Situation, one: str, other: str, a: Sample, b: Sample) -> bool:
    if situation.sticky or a.proxied or b.proxied:
        return False
    if _differ(ENDPOINTS, situation, {one: a, other: b}, one, other):
        return False  # who is chosen from says it all
    if spread.same([a.endpoints, b.endpoints]) < spread.CERTAIN:
        return True
    seen = {one: _seen(FAIRNESS, a), other: _seen(FAIRNESS, b)}
    # That one takes turns shows in a few dozen connections only where the other is known not to.
    return known(FAIRNESS, situation, seen, one, other) is not None


def behaviour(compared: Sequence[Compared]) -> str:
    """The word for how alike the modes are: same, as documented or different."""
    found = [d for c in compared for d in c.differences]
    if any(not d.is_known for d in found):
        return "different"
    return "as documented" if found else "same"
