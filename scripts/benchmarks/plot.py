"""Latency by the number of Services, as a picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.latency import FLOOR, Measured, Way

CACHE = Path(__file__).resolve().parents[2] / ".cache/matplotlib"
COLOURS = {"iptables": "tab:red", "nftables": "tab:blue"}
FLOOR_COLOUR = "tab:gray"


def draw(measured: Sequence[Measured], path: Path) -> str:
    """Writes the picture, if matplotlib is there. Returns a line that says what became of it."""
    os.environ.setdefault("MPLCONFIGDIR", str(CACHE))  # of its fonts, which would be in the home otherwise
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return "no plot: matplotlib is not installed; scripts/setup bench does that"
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    shown = {Way(mode, False): (f"a Service, {mode}", colour) for mode, colour in COLOURS.items()}
    shown[FLOOR] = ("a pod's own address (the floor)", FLOOR_COLOUR)
    for way, (label, colour) in shown.items():
        own = sorted((m for m in measured if m.way == way), key=lambda m: m.services)
        sizes = [m.services for m in own]
        middle = [m.percentile(50) for m in own]
        axes.plot(sizes, middle, color=colour, marker="o", label=f"{label}: p50")
        axes.fill_between(sizes, middle, [m.percentile(90) for m in own], color=colour, alpha=0.15)
    axes.set(xlabel="Services", ylabel="µs to connect (shaded: up to p90)", ylim=(0, None))
    axes.set_title("First packet's latency by the number of Services")
    axes.grid(alpha=0.3)
    axes.legend()
    FigureCanvasAgg(figure)  # without a display
    figure.savefig(path, format="png")
    return f"plot: {path.resolve()}"
