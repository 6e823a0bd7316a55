"""The report as one page that opens without a network: tables, plots, and the document itself. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from emulab.bench import ledger
from emulab.bench.estimates import ratio
from emulab.bench.loading import LoadOutcome, LoadPlan
from emulab.bench.outcome import BenchOutcome
from emulab.bench.pathways import PATH
from emulab.bench.report import SHOWN, ReportTable, added, changed, shown
from emulab.bench.rounds import of_way
from emulab.bench.svg import Bar, Line, bars, lines

_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1000px; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #8884 }
svg { display: block; margin: 1rem 0; max-width: 100%; height: auto }
.noise { color: #888 } footer { color: #888; margin-top: 2rem }
"""


def page(
    title: str, about: str, plots: Sequence[tuple[str, str]], made: Sequence[ReportTable], document: Any
) -> str:
    """One page. `plots`: headings and what is below them."""
    parts = [f"<h1>{escape(title)}</h1>", f"<p>{escape(about)}</p>"]
    for heading, plot in plots:
        if plot:
            parts += [f"<h2>{escape(heading)}</h2>", plot]
    for one in made:
        parts.append(_table(one))
    raw = json.dumps(document).replace("<", "\\u003c")
    parts.append(f'<script type="application/json" id="document">{raw}</script>')
    parts.append(
        "<footer>Made by emulab bench. Intervals are of 99 %; what can't be told from noise isn't shown.</footer>"
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style>{''.join(parts)}</html>\n"
    )


def _table(one: ReportTable) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in one.header)
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in one.rows)
    notes = "".join(f"<p>{escape(note)}</p>" for note in one.notes)
    title = f"<h2>{escape(one.title)}</h2>" if one.title else ""
    return f"{title}<table><tr>{head}</tr>{rows}</table>{notes}" if one.rows else f"{title}{notes}"


def _cell(text: str) -> str:
    name = ' class="noise"' if text.startswith("noise") else ""
    return f"<td{name}>{escape(text)}</td>"


def plots(outcome: BenchOutcome) -> list[tuple[str, str]]:
    """The plots of a benchmark by turns."""
    if outcome.benchmark == PATH:
        found = ledger.steps(outcome.layers, outcome.samples.get(PATH, {}))
        return [
            ("Latency that each layer adds (p50)", _steps(found, "p50")),
            ("CPU that each layer adds to a request", _steps(found, "cpu")),
            ("Median latency, round after round", _rounds(outcome)),
        ]
    first, *others = outcome.subjects
    return [(f"{other}, against {first}", _ratios(outcome, first, other)) for other in others]


def _steps(found: Sequence[ledger.LayerCost], measure: str) -> str:
    given = []
    for one in found:
        value = one.added.get(measure) if one.layer.base else one.whole.get(measure)
        if value is not None:
            text = added(value, "µs") if one.layer.base else shown(value, "µs")
            given.append(Bar(one.layer.name, value, text, bool(one.layer.base) and not value.told))
    return bars(f"What each layer adds: {measure}", given)


def _rounds(outcome: BenchOutcome) -> str:
    ways: Mapping[str, Mapping[str, Sequence[float]]] = outcome.samples.get(PATH, {})
    trunk = [one.name for one in outcome.layers if one.trunk and ways.get(one.name, {}).get("p50")]
    given = [Line(name, [(float(i + 1), v) for i, v in enumerate(ways[name]["p50"])]) for name in trunk]
    return lines("Median latency of each round", given, "round", "µs", log=True)


def _ratios(outcome: BenchOutcome, first: str, other: str) -> str:
    given = []
    for way in outcome.ways:
        one, two = (of_way(outcome.samples, subject, way) for subject in (first, other))
        for measure in SHOWN:
            if measure in one and measure in two:
                found = ratio(two[measure], one[measure])
                share = found._replace(
                    value=found.value - 1,
                    low=None if found.low is None else found.low - 1,
                    high=None if found.high is None else found.high - 1,
                )
                given.append(Bar(f"{way}: {measure}", share, changed(found), not share.told))
    return bars(f"{other} against {first}", given)


def load_plots(loaded: LoadOutcome) -> list[tuple[str, str]]:
    """The plots of a load."""

    def spread(of: Any) -> list[tuple[float, float]]:
        return [(100 * share, value / 1000) for value, share in of.steps()]

    seconds = range(1, len(loaded.percentiles) + 1)
    over = [
        Line(name, [(float(s), p[name] / 1000) for s, p in zip(seconds, loaded.percentiles, strict=True)])
        for name in ("p50", "p90", "p99")
    ]
    busy = [
        Line(hop, [(float(i + 1), 100 * s.busy) for i, s in enumerate(one.seconds)])
        for hop, one in loaded.hops.items()
        if any(s.busy > 0.01 for s in one.seconds)
    ]
    both = [Line("from due", spread(loaded.due)), Line("from sent", spread(loaded.sent))]
    return [
        ("Latency by percentage of requests", lines("Latency", both, "% of requests", "ms", log=True)),
        ("Latency, second by second", lines("Latency over time", over, "second", "ms", log=True)),
        ("How busy hops were", lines("Busy", busy, "second", "% of the time")),
    ]


def load_about(plan: LoadPlan) -> str:
    """What was asked, in a line."""
    return f"{plan.url} from {plan.source}, {plan.rate:g} requests/s ({plan.arrivals}) for {plan.seconds:g} s"
