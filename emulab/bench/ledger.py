"""What each layer of a path adds: a ledger by subtraction. Pure.

A layer has all that the one below it has, and one thing more, so what that thing costs is the difference of the two, of
the values that both have of the same round. Layers of the trunk build on each other; others are alternatives to one of
them. The whole path is measured once more, apart: what the ledger says in sum must be that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from emulab.bench.estimates import Estimate, difference, estimate, joint, midmean

LayerSamples = Mapping[str, Mapping[str, Sequence[float]]]
"""By layer and measure."""

WHOLE = "the whole, apart"


class PathLayer(NamedTuple):
    """One thing more than its base has; the first has none."""

    name: str
    base: str
    what: str  # in a sentence
    trunk: bool = True


class LayerCost(NamedTuple):
    """What a layer comes to, and what it adds."""

    layer: PathLayer
    whole: Mapping[str, Estimate]
    added: Mapping[str, Estimate]


class LedgerSum(NamedTuple):
    """What the trunk's steps come to, the whole path measured apart, and their difference."""

    steps: float
    whole: Estimate
    gap: Estimate

    @property
    def agrees(self) -> bool:
        return not self.gap.told


def steps(layers: Sequence[PathLayer], samples: LayerSamples) -> list[LayerCost]:
    """Of each layer that was measured."""
    found = []
    for layer in layers:
        own = samples.get(layer.name, {})
        if not own:
            continue
        base = samples.get(layer.base, {})
        whole = {name: estimate(values) for name, values in own.items()}
        added = {name: difference(values, base[name]) for name, values in own.items() if base.get(name)}
        found.append(LayerCost(layer, whole, added))
    return found


def total(layers: Sequence[PathLayer], samples: LayerSamples, measure: str = "p50") -> LedgerSum | None:
    """Whether the steps' sum is the whole; None where the whole wasn't measured."""
    trunk = [
        samples[one.name][measure] for one in layers if one.trunk and samples.get(one.name, {}).get(measure)
    ]
    apart = samples.get(WHOLE, {}).get(measure)
    if not trunk or not apart:
        return None

    def summed(columns: Sequence[Sequence[float]]) -> float:
        parts = [
            columns[0],
            *([a - b for a, b in zip(above, below, strict=True)] for below, above in _pairs(columns)),
        ]
        return sum(map(midmean, parts))

    def gap(columns: Sequence[Sequence[float]]) -> float:
        return midmean(columns[-1]) - summed(columns[:-1])

    rounds = min(map(len, [*trunk, apart]))
    return LedgerSum(summed([one[:rounds] for one in trunk]), estimate(apart), joint([*trunk, apart], gap))


def _pairs(columns: Sequence[Sequence[float]]) -> list[tuple[Sequence[float], Sequence[float]]]:
    return list(pairwise(columns))


def widths(
    layers: Sequence[PathLayer], samples: LayerSamples, measure: str = "p50"
) -> tuple[list[tuple[str, float]], float]:
    """What must be known well before measuring ends: each step, as half its interval; and the whole."""
    halves, whole = [], 0.0
    for layer in layers:
        own, base = samples.get(layer.name, {}).get(measure), samples.get(layer.base, {}).get(measure)
        if own and base:
            halves.append((layer.name, difference(own, base).half))
        if own and layer.trunk:
            whole = midmean(own)
    return halves, whole


def to_json(found: Sequence[LayerCost], summed: LedgerSum | None) -> dict[str, Any]:
    """A difference that can't be told from noise has no value, only bounds."""
    layers = [
        {
            "name": one.layer.name,
            "base": one.layer.base or None,
            "what": one.layer.what,
            "trunk": one.layer.trunk,
            "figures": {name: estimated(e) for name, e in one.whole.items()},
            "added": {name: told(e) for name, e in one.added.items()},
        }
        for one in found
    ]
    if summed is None:
        return {"layers": layers, "sum": None}
    about = {
        "steps": summed.steps,
        "whole": estimated(summed.whole),
        "gap": told(summed.gap),
        "agrees": summed.agrees,
    }
    return {"layers": layers, "sum": about}


def estimated(one: Estimate) -> dict[str, float | None]:
    """An estimate for programs."""
    return {"value": one.value, "low": one.low, "high": one.high}


def told(one: Estimate) -> dict[str, Any]:
    """A difference for programs: without a value where it can't be told from noise."""
    return {**estimated(one), "value": one.value if one.told else None, "told": one.told}
