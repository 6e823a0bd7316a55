"""Which figures got worse since an earlier run. Pure.

Two runs aren't of the same moment, and maybe not of the same machine, so a figure is compared by what it is to the
loopback of its own run: what made everything slower made that slower, too. A figure got worse where the interval of its
change lies beyond what is tolerated; where the interval reaches into it, nobody can say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from math import exp, hypot, log
from typing import Any, NamedTuple

from emulab.bench.estimates import Estimate, change
from emulab.bench.measures import MEASURES
from emulab.bench.outcome import REFERENCE, VERSION
from emulab.errors import UserError

TOLERANCE = 0.05
BenchDocument = Mapping[str, Any]


class FigureChange(NamedTuple):
    """A figure that changed beyond doubt; `by` is how many times worse it is, and better below 1."""

    subject: str
    way: str
    measure: str
    by: Estimate

    @property
    def text(self) -> str:
        known = MEASURES.get(self.measure)
        title = known.title if known else self.measure
        assert self.by.low is not None and self.by.high is not None
        low, high = self.by.low, self.by.high
        if self.by.value < 1:
            low, high = 1 / high, 1 / low
        word = "worse" if self.worse else "better"
        return (
            f"{self.subject}, {self.way}: {title} is {100 * (low - 1):.0f} to {100 * (high - 1):.0f} % {word}"
        )

    @property
    def worse(self) -> bool:
        return self.by.value > 1


def read(text: str, name: str) -> BenchDocument:
    """A document that an earlier run printed with -o json. Raises UserError."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or "benchmark" not in found or not _are_samples(found.get("samples"), 3):
        raise UserError(
            f"{name}: is no result of emulab bench; make one with emulab bench … -o json > {name}"
        )
    if found.get("version") != VERSION:
        raise UserError(f"{name}: is of version {found.get('version')} and not {VERSION}; measure it anew")
    return found


def _are_samples(value: Any, depth: int) -> bool:
    """Whether that is numbers, below so many names."""
    if depth:
        return isinstance(value, dict) and all(_are_samples(one, depth - 1) for one in value.values())
    return isinstance(value, list) and all(type(one) in (int, float) for one in value)


def changes(old: BenchDocument, new: BenchDocument, tolerance: float = TOLERANCE) -> list[FigureChange]:
    """All figures of both that got surely worse, or better, by more than what is tolerated. Raises UserError."""
    if old["benchmark"] != new["benchmark"]:
        raise UserError(f"the baseline is of bench {old['benchmark']}, and this is bench {new['benchmark']}")
    drift = _drift(old, new)
    found = []
    for (subject, way, measure), (before, after) in _pairs(old, new):
        by = _worse(change(after, before), measure, drift)
        if by.low is None or by.high is None:
            continue
        if by.low > 1 + tolerance or by.high < 1 / (1 + tolerance):
            found.append(FigureChange(subject, way, measure, by))
    return found


def _worse(by: Estimate, measure: str, drift: Estimate) -> Estimate:
    """How many times worse a figure is, without what the machine itself changed."""
    known = MEASURES.get(measure)
    if by.low is None or by.high is None:
        return by
    if known and known.more:
        by = Estimate(1 / by.value, 1 / by.high, 1 / by.low)
    assert by.low is not None and by.high is not None and drift.low is not None and drift.high is not None
    value, spread = by.value / drift.value, [log(by.high / by.low) / 2, log(drift.high / drift.low) / 2]
    half = exp(hypot(*spread))
    return Estimate(value, value / half, value * half)


def _drift(old: BenchDocument, new: BenchDocument) -> Estimate:
    """How many times slower the machine itself was."""
    before, after = _reference(old), _reference(new)
    found = change(after, before) if before and after else Estimate(1.0)
    return found if found.low is not None else Estimate(found.value, found.value, found.value)


def _reference(document: BenchDocument) -> list[float]:
    for ways in document["samples"].values():
        if REFERENCE in ways:
            return list(ways[REFERENCE].get("p50") or ())
    return []


def _pairs(
    old: BenchDocument, new: BenchDocument
) -> Iterator[tuple[tuple[str, str, str], tuple[list[float], list[float]]]]:
    """What both have of each figure, but for the reference itself."""
    for subject, ways in new["samples"].items():
        for way, measures in ways.items():
            for measure, after in measures.items():
                before = old["samples"].get(subject, {}).get(way, {}).get(measure)
                if before and after and way != REFERENCE and min(*before, *after) > 0:
                    yield (subject, way, measure), (before, after)
