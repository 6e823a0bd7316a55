"""Figures with goals, and ratios of two that took turns: what `scripts/bench` measures, as a table and as JSON. Pure.

The values of a figure are those of its rounds. A goal is reached, missed, or, where the interval has both, neither.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from emulab.bench.estimates import Estimate, estimate
from emulab.bench.estimates import ratio as estimated_ratio
from emulab.dataclass import dataclass, field

_WIDTHS = (45, 9, 9, 9, 7, 8, 7)
_HEADINGS = ("", "value", "from", "to", "unit", "goal", "")
OK, MISSED, UNSURE = "ok", "MISSED", "noise"


@dataclass(frozen=True, slots=True)
class FigureRow:
    """One figure. `goal` is what it should be at most (for a `least`, at least); None: for information.

    `sides`: of a ratio, the two samples, of which the logarithms are taken.
    """

    what: str
    values: tuple[float, ...]  # empty: couldn't be measured
    unit: str
    goal: float | None = None
    least: bool = False
    sides: tuple[tuple[float, ...], tuple[float, ...]] | tuple[()] = field(default=())

    @property
    def estimate(self) -> Estimate:
        """Its value and interval. There must be values."""
        return estimated_ratio(*self.sides) if self.sides else estimate(self.values)

    @property
    def verdict(self) -> str:
        """Whether the goal was reached; "" without one."""
        if self.goal is None or not self.values:
            return ""
        one = self.estimate
        reached = one.value >= self.goal if self.least else one.value <= self.goal
        if reached:
            return OK
        return MISSED if one.low is None or one.apart_from(self.goal) else UNSURE


def ratio(what: str, above: Sequence[float], below: Sequence[float], goal: float | None = None) -> FigureRow:
    """The ratio of two samples of the same rounds, a value a round: what disturbs a round disturbs both."""
    pairs = [(a, b) for a, b in zip(above, below, strict=False) if a > 0 and b > 0]
    sides = (tuple(a for a, _ in pairs), tuple(b for _, b in pairs)) if pairs else ()
    return FigureRow(what, tuple(a / b for a, b in pairs), "ratio", goal, sides=sides)


def document(
    rows: Sequence[FigureRow], notes: Sequence[str], more: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The rows for programs, with `more` beside them."""
    described = []
    for row in rows:
        fields = {name: value for name, value in asdict(row).items() if name != "sides"}
        one = row.estimate if row.values else Estimate(0.0)
        told = {"value": one.value, "low": one.low, "high": one.high} if row.values else {"value": None}
        described.append({**fields, **told, "verdict": row.verdict})
    machine, load = _machine()
    return {"machine": machine, "load": load, "rows": described, "notes": list(notes), **(more or {})}


def table(rows: Sequence[FigureRow], notes: Sequence[str]) -> str:
    """The rows as a table."""
    lines = [", ".join(_machine()), _line(_HEADINGS)]
    for row in rows:
        one = row.estimate if row.values else None
        ends = (one.low, one.high) if one is not None else (None, None)
        figures = [
            "n/a" if one is None else number(one.value),
            *("" if v is None else number(v) for v in ends),
        ]
        sign = "" if row.goal is None else f"{'≥' if row.least else '≤'} {row.goal:g}"
        lines.append(_line((row.what, *figures, row.unit, sign, row.verdict)))
    return "\n".join([*lines, *(f"* {note}" for note in notes)])


def _machine() -> tuple[str, str]:
    load = " ".join(f"{n:.1f}" for n in os.getloadavg())
    return (
        f"{os.cpu_count()} CPUs, Linux {platform.release()}, Python {platform.python_version()}",
        f"load {load}",
    )


def _line(cells: Sequence[str]) -> str:
    padded = (
        c.ljust(w) if i in (0, 4) else c.rjust(w) for i, (c, w) in enumerate(zip(cells, _WIDTHS, strict=True))
    )
    return " ".join(padded).rstrip()


def number(value: float) -> str:
    """Three or four digits that matter."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3f}"
