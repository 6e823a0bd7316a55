"""Prometheus' text format, version 0.0.4, as Go's client library writes it. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from decimal import Decimal
from math import inf

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[tuple[str, str], ...]


class Histogram:
    """How often values were up to each bound."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        # Each value in the first bucket that holds it, the last one unbounded.
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self.counts[bisect_left(self._bounds, value)] += times
        self.sum += value * times

    def observe_all(self, values: Sequence[float]) -> None:
        """Takes many values together."""
        self.sum += sum(values)
        for bucket, number in together(self._bounds, values):
            self.counts[bucket] += number

    def lines(self, name: str, labels: Labels) -> Iterator[str]:
        total = 0
        for bound, count in zip((*self._bounds, inf), self.counts, strict=True):
            total += count
            yield f"{name}_bucket{_written((*labels, ('le', number(bound))))} {total}"
        yield sample(f"{name}_sum", labels, self.sum)
        yield f"{name}_count{_written(labels)} {total}"


def together(bounds: tuple[float, ...], values: Sequence[float]) -> Iterator[tuple[int, int]]:
    """How many values are in which bucket. Mostly they are in few: who isn't in one is looked for in the next."""
    last = bisect_left(bounds, max(values)) if values else 0
    for index in range(bisect_left(bounds, min(values)) if last else 0, last):
        bound, before = bounds[index], len(values)
        values = [value for value in values if value > bound]
        yield index, before - len(values)
    yield last, len(values)


def heading(name: str, kind: str, help_text: str) -> list[str]:
    """The lines before a family's samples; `kind` is counter, gauge or histogram."""
    said = help_text.replace("\\", "\\\\").replace("\n", "\\n")
    return [f"# HELP {name} {said}", f"# TYPE {name} {kind}"]


def sample(name: str, labels: Labels, value: float) -> str:
    """One sample. A label's value may be anything."""
    return f"{name}{_written(labels)} {number(value)}"


def _written(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def number(value: float) -> str:
    """A number in its shortest form, from a million on with an exponent, as Go writes it (strconv's 'g')."""
    if value == inf:
        return "+Inf"
    if not value:
        return "0"
    shortest = Decimal(repr(float(value))).normalize()
    exponent = shortest.adjusted()
    if -5 < exponent < 6:
        return f"{shortest:f}"
    digits = "".join(map(str, shortest.as_tuple().digits))
    mantissa = digits[0] + (f".{digits[1:]}" if digits[1:] else "")
    return f"{'-' if value < 0 else ''}{mantissa}e{exponent:+03d}"
