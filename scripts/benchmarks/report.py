"""Samples, rows of figures with their ratios, and how they are shown."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

WIDTHS = (45, 9, 9, 9, 7, 8, 7)
HEADINGS = ("", "median", "min", "max", "unit", "goal", "")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `goal` is what it should be at most (for a `least`, at least); None: for information."""

    what: str
    values: tuple[float, ...]  # empty: couldn't be measured
    unit: str
    goal: float | None = None
    least: bool = False

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def verdict(self) -> str:
        if self.goal is None or not self.values:
            return ""
        reached = self.median >= self.goal if self.least else self.median <= self.goal
        return "ok" if reached else "MISSED"


def ratio(what: str, above: Sequence[float], below: Sequence[float], goal: float | None = None) -> Row:
    """The ratio of two samples of the same rounds, a value a round: what disturbs a round disturbs both."""
    values = tuple(a / b for a, b in zip(above, below, strict=False))
    return Row(what, values, "ratio", goal)


def show(
    rows: Sequence[Row], notes: Sequence[str], as_json: bool, more: Mapping[str, Any] | None = None
) -> None:
    """Prints the rows: a plain table, or one JSON document, which has `more` in it."""
    machine = f"{os.cpu_count()} CPUs, Linux {platform.release()}, Python {platform.python_version()}"
    load = "load " + " ".join(f"{n:.1f}" for n in os.getloadavg())
    if as_json:
        described = [
            {**asdict(r), "median": r.median if r.values else None, "verdict": r.verdict} for r in rows
        ]
        document = {"machine": machine, "load": load, "rows": described, "notes": list(notes), **(more or {})}
        print(json.dumps(document, indent=1))
        return
    print(f"{machine}, {load}")
    print(_line(HEADINGS))
    for row in rows:
        figures = [number(f(row.values)) for f in (median, min, max)] if row.values else ["n/a", "", ""]
        sign = "" if row.goal is None else f"{'≥' if row.least else '≤'} {row.goal:g}"
        print(_line((row.what, *figures, row.unit, sign, row.verdict)))
    for note in notes:
        print(f"* {note}")


def _line(cells: Sequence[str]) -> str:
    padded = (
        c.ljust(w) if i in (0, 4) else c.rjust(w) for i, (c, w) in enumerate(zip(cells, WIDTHS, strict=True))
    )
    return " ".join(padded).rstrip()


def number(value: float) -> str:
    """Three or four digits that matter."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3f}"
