"""What came of a benchmark, as tables of text. Pure.

A difference that can't be told from noise isn't printed: its cell says `noise`, and below which amount it surely is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from emulab.bench import ledger
from emulab.bench.estimates import Estimate, estimate, ratio
from emulab.bench.hopwatch import HopRecord
from emulab.bench.loading import LoadOutcome, LoadPlan, percentiles
from emulab.bench.measures import MEASURES
from emulab.bench.outcome import BenchOutcome, why
from emulab.bench.overlays import OVERLAY
from emulab.bench.pathways import PATH
from emulab.bench.rounds import of_way

SHOWN = ("p50", "p99", "requests", "cpu", "connections", "throughput")
"""Measures of comparisons; documents have all."""


class ReportTable(NamedTuple):
    """A title, headings, rows of cells, and lines below."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def number(value: float) -> str:
    """Three digits that matter."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def shown(one: Estimate | None, unit: str = "") -> str:
    """A value with half of its interval."""
    if one is None:
        return ""
    end = f" {unit}" if unit else ""
    return (
        f"{number(one.value)} ±{number(one.half)}{end}"
        if one.low is not None
        else f"{number(one.value)}{end}"
    )


def added(one: Estimate | None, unit: str = "") -> str:
    """A difference, unless it is lost in noise."""
    if one is None:
        return ""
    end = f" {unit}" if unit else ""
    if one.told:
        return (
            f"{one.value:+.0f}".replace("-", "−") + f" ±{number(one.half)}{end}"
            if abs(one.value) >= 100
            else (f"{'+' if one.value > 0 else '−'}{number(abs(one.value))} ±{number(one.half)}{end}")
        )
    return f"noise (< {number(_bound(one))}{end})" if one.low is not None else "too few rounds"


def changed(one: Estimate | None) -> str:
    """A ratio as a change in percent, unless it is lost in noise."""
    if one is None:
        return ""
    if one.low is None or one.high is None:
        return "too few rounds"
    low, high = 100 * (one.low - 1), 100 * (one.high - 1)
    if one.apart_from(1.0):
        return f"{100 * (one.value - 1):+.1f} % ({low:+.1f} to {high:+.1f})".replace("-", "−")
    return f"noise (< {number(max(abs(low), abs(high)))} %)"


def _bound(one: Estimate) -> float:
    assert one.low is not None and one.high is not None
    return max(abs(one.low), abs(one.high))


def tables(outcome: BenchOutcome) -> list[ReportTable]:
    """Those of a benchmark by turns."""
    made = _ledger(outcome) if outcome.benchmark == PATH else _comparison(outcome)
    end = ReportTable("", (), (), [why(outcome.verdict, outcome.rounds, outcome.seconds), *outcome.notes])
    return [*made, end]


# bench path


def _ledger(outcome: BenchOutcome) -> list[ReportTable]:
    samples = outcome.samples.get(PATH, {})
    found = ledger.steps(outcome.layers, samples)
    rows = []
    for one in found:
        mark = "+ " if one.layer.base and one.layer.trunk else "· " if one.layer.base else "  "
        adds = [added(one.added.get(m), "µs") for m in ("p50", "cpu")]
        rows.append(
            [mark + one.layer.name, *adds, *(shown(one.whole.get(m), "µs") for m in ("p50", "p90", "p99"))]
        )
    rates = [
        [one.layer.name, *(shown(one.whole.get(m)) for m in ("requests", "connections", "throughput", "cpu"))]
        for one in found
        if "requests" in one.whole
    ]
    return [
        ReportTable(
            "What each layer adds to a request",
            ("LAYER", "ADDS", "ADDS CPU", "P50", "P90", "P99"),
            rows,
            [
                *_summed(ledger.total(outcome.layers, samples)),
                "+ adds to the layer above it that has a +, · is another way for one of them",
            ],
        ),
        ReportTable(
            "What each way carries",
            ("WAY", "REQUESTS/S", "NEW CONNECTIONS/S", "MB/S", "CPU µS A REQUEST"),
            rates,
        ),
    ]


def _summed(found: ledger.LedgerSum | None) -> list[str]:
    if found is None:
        return []
    said = (
        f"sum of the layers: {number(found.steps)} µs; the whole, measured apart: {shown(found.whole, 'µs')}"
    )
    if found.agrees:
        return [f"{said}; they agree"]
    return [
        f"{said}; they differ by {added(found.gap, 'µs')}: the machine is too noisy, or changed meanwhile"
    ]


# bench compare, bench overlay


def _comparison(outcome: BenchOutcome) -> list[ReportTable]:
    first, *others = outcome.subjects
    if outcome.benchmark == OVERLAY:
        return [_overlays(outcome, first)]
    made = []
    for other in others:
        rows = []
        for way in outcome.ways:
            one, two = (of_way(outcome.samples, subject, way) for subject in (first, other))
            for measure in SHOWN:
                if measure in one and measure in two:
                    known = MEASURES[measure]
                    values = (shown(estimate(s[measure]), known.unit) for s in (one, two))
                    rows.append([way, known.title, *values, changed(ratio(two[measure], one[measure]))])
        made.append(ReportTable(f"{first} and {other}", ("WAY", "MEASURE", first, other, "CHANGE"), rows))
    notes = [f"{name}: {what}" for name, what in outcome.ways.items()]
    return [*made, ReportTable("", (), (), notes)]


def _overlays(outcome: BenchOutcome, base: str) -> ReportTable:
    header = ("OVERLAY", "P50", "LATENCY", "MB/S", "THROUGHPUT", "REQUESTS/S", "REQUESTS", "CPU A REQUEST")
    rows = []
    [way] = outcome.ways
    none = of_way(outcome.samples, base, way)
    for mode in outcome.subjects:
        own = of_way(outcome.samples, mode, way)
        cells = [mode if mode != base else f"none ({mode})"]
        for measure, unit in (("p50", "µs"), ("throughput", ""), ("requests", ""), ("cpu", "")):
            compared = changed(ratio(own[measure], none[measure])) if mode != base else ""
            cells += [shown(estimate(own[measure]), unit), compared] if measure != "cpu" else [compared]
        rows.append(cells)
    return ReportTable("What an overlay costs between two nodes", header, rows, list(outcome.ways.values()))


# bench load


def load_tables(plan: LoadPlan, loaded: LoadOutcome) -> list[ReportTable]:
    """Those of a load."""
    due, sent = percentiles(loaded.due), percentiles(loaded.sent)
    rows = [[name, _ms(value), _ms(sent[name])] for name, value in due.items()]
    answered = len(loaded.due)
    about = [
        f"{loaded.requests} requests were due at {plan.rate:g}/s ({plan.arrivals}); {answered} were answered, "
        f"{answered / loaded.took:.0f}/s, {loaded.octets / loaded.took / 1e6:.2f} MB/s",
        *(f"failed: {count} × {reason}" for reason, count in sorted(loaded.failures.items())),
        f"who asks was late itself by {_ms(loaded.lag.percentile(99))} (p99)",
    ]
    hops = [[name, *_hop(one)] for name, one in loaded.hops.items()]
    return [
        ReportTable("", ("PERCENTILE", "FROM DUE", "FROM SENT"), rows, about),
        ReportTable("", ("HOP", "BUSY", "AT MOST", "TURNED AWAY"), hops, [loaded.gave_way.text]),
    ]


def _ms(microseconds: float) -> str:
    return f"{microseconds / 1000:.2f} ms"


def _hop(one: HopRecord) -> list[str]:
    shares = [second.busy for second in one.seconds]
    sums: dict[str, int] = {}
    for second in one.seconds:
        for name, count in second.turned_away.items():
            sums[name] = sums.get(name, 0) + count
    if not any(shares) and not sums:
        return ["-", "-", "-"]  # the kernel's alone, or nobody has told
    told = ", ".join(f"{name} {count}" for name, count in sums.items())
    return [f"{sum(shares) / len(shares):.0%}", f"{max(shares):.0%}", told or "-"]


def hops_json(hops: Mapping[str, HopRecord]) -> list[dict[str, object]]:
    """What the hops told, for programs, in their order."""
    return [
        {
            "hop": name,
            "seconds": [{"busy": s.busy, "turned_away": dict(s.turned_away)} for s in one.seconds],
            "metrics": one.metrics,
        }
        for name, one in hops.items()
    ]
