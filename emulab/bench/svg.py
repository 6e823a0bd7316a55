"""Plots as SVG, which a page has in it: bars with intervals, and lines. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import ceil, floor, log10
from typing import NamedTuple

from emulab.bench.estimates import Estimate

WIDTH = 860
_LABEL, _ROW, _RIGHT = 210, 24, 130
_COLOURS = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f")
FAINT = "#9ca3af"


class Bar(NamedTuple):
    """A value with its interval. `faint`: one that can't be told from noise."""

    label: str
    of: Estimate
    text: str
    faint: bool = False


class Line(NamedTuple):
    label: str
    points: Sequence[tuple[float, float]]


def _open(height: float, title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{WIDTH}" height="{height:.0f}" '
        f'viewBox="0 0 {WIDTH} {height:.0f}" font-family="system-ui,sans-serif" font-size="12">'
        f"<title>{escape(title)}</title>"
    )


def _text(x: float, y: float, text: str, anchor: str = "start", colour: str = "currentColor") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def bars(title: str, given: Sequence[Bar]) -> str:
    """A bar each, from 0 on, with its interval as a whisker."""
    ends = [v for bar in given for v in (bar.of.value, bar.of.low, bar.of.high, 0.0) if v is not None]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    span = (high - low) or 1.0
    room = WIDTH - _LABEL - _RIGHT

    def at(value: float) -> float:
        return _LABEL + (value - low) / span * room

    parts = [_open(_ROW * len(given) + 12, title), _line(at(0), 0, at(0), _ROW * len(given) + 6, FAINT)]
    for number, bar in enumerate(given):
        top, middle = _ROW * number + 5, _ROW * number + _ROW / 2 + 2
        left, right = sorted((at(0), at(bar.of.value)))
        colour = FAINT if bar.faint else _COLOURS[0]
        parts.append(_text(_LABEL - 8, middle + 4, bar.label, "end"))
        parts.append(
            f'<rect x="{left:.1f}" y="{top}" width="{max(right - left, 1):.1f}" height="{_ROW - 8}" '
            f'fill="{colour}" opacity="0.75"/>'
        )
        if bar.of.low is not None and bar.of.high is not None:
            parts.append(_line(at(bar.of.low), middle, at(bar.of.high), middle, "currentColor", 1.5))
            parts += [
                _line(at(v), middle - 4, at(v), middle + 4, "currentColor") for v in (bar.of.low, bar.of.high)
            ]
        parts.append(_text(WIDTH - _RIGHT + 8, middle + 4, bar.text))
    return "".join([*parts, "</svg>"])


def lines(title: str, given: Sequence[Line], x: str, y: str, log: bool = False) -> str:
    """Lines over one axis. `log`: whether y is logarithmic."""
    points = [p for line in given for p in line.points]
    if not points:
        return ""
    left, right = min(p[0] for p in points), max(p[0] for p in points)
    values = [p[1] for p in points if not log or p[1] > 0] or [1.0]
    low, high = (
        (10.0 ** floor(log10(min(values))), 10.0 ** ceil(log10(max(values)))) if log else (0.0, max(values))
    )
    if high <= low:
        high = low * 10 if log else low + 1
    top, bottom, begin, end = 10.0, 210.0, 70.0, WIDTH - 190.0

    def across(value: float) -> float:
        return begin + (value - left) / ((right - left) or 1) * (end - begin)

    def down(value: float) -> float:
        share = (
            (log10(max(value, low)) - log10(low)) / (log10(high) - log10(low))
            if log
            else (value - low) / (high - low)
        )
        return bottom - share * (bottom - top)

    parts = [_open(bottom + 40, title)]
    for tick in _ticks(low, high, log):
        parts += [
            _line(begin, down(tick), end, down(tick), "#d1d5db"),
            _text(begin - 6, down(tick) + 4, f"{tick:g}", "end"),
        ]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        value = left + share * (right - left)
        parts.append(_text(across(value), bottom + 16, f"{value:.4g}", "middle"))
    parts += [_text((begin + end) / 2, bottom + 34, x, "middle"), _text(4, top + 2, y)]
    for number, line in enumerate(given):
        colour = _COLOURS[number % len(_COLOURS)]
        way = " ".join(f"{across(px):.1f},{down(py):.1f}" for px, py in line.points)
        parts.append(f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts += [
            _line(end + 10, top + 8 + 18 * number, end + 26, top + 8 + 18 * number, colour, 3),
            _text(end + 32, top + 12 + 18 * number, line.label),
        ]
    return "".join([*parts, "</svg>"])


def _ticks(low: float, high: float, log: bool) -> list[float]:
    if log:
        return [10.0**n for n in range(round(log10(low)), round(log10(high)) + 1)]
    return [low + (high - low) * n / 4 for n in range(5)]
