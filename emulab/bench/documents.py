"""What came of a benchmark, as documents for programs, and for `--baseline`. Pure."""

from __future__ import annotations

from typing import Any

from emulab.bench import ledger
from emulab.bench.estimates import LEVEL, estimate, ratio
from emulab.bench.loading import LOAD, LoadOutcome, LoadPlan, percentiles
from emulab.bench.outcome import VERSION, BenchOutcome, head
from emulab.bench.pathways import PATH
from emulab.bench.report import hops_json
from emulab.bench.rounds import of_way


def document(outcome: BenchOutcome) -> dict[str, Any]:
    """All of a benchmark by turns: estimates, and the samples that they were made of."""
    about = {**head(outcome), "level": LEVEL}
    if outcome.benchmark == PATH:
        samples = outcome.samples.get(PATH, {})
        found = ledger.steps(outcome.layers, samples)
        return {**about, **ledger.to_json(found, ledger.total(outcome.layers, samples))}
    return {**about, "subjects": list(outcome.subjects), "figures": _figures(outcome)}


def _figures(outcome: BenchOutcome) -> list[dict[str, Any]]:
    """A line for each way and measure; of all but the first subject also what they are to the first one."""
    first = outcome.subjects[0]
    found = []
    for subject in outcome.subjects:
        for way in outcome.ways:
            base = of_way(outcome.samples, first, way)
            for measure, values in of_way(outcome.samples, subject, way).items():
                line: dict[str, Any] = {"subject": subject, "way": way, "measure": measure}
                line |= ledger.estimated(estimate(values))
                if subject != first and measure in base:
                    compared = ratio(values, base[measure])
                    told = compared.apart_from(1.0)
                    line["ratio"] = {
                        **ledger.estimated(compared),
                        "value": compared.value if told else None,
                        "told": told,
                    }
                found.append(line)
    return found


def load_document(plan: LoadPlan, loaded: LoadOutcome, machine: str) -> dict[str, Any]:
    """All of a load. Its samples are the percentiles of each second."""
    measures = ("p50", "p90", "p99")
    samples = {name: [float(p[name]) for p in loaded.percentiles if p[name]] for name in measures}
    return {
        "benchmark": LOAD,
        "version": VERSION,
        "machine": machine,
        "url": plan.url,
        "from": plan.source,
        "rate": plan.rate,
        "arrivals": plan.arrivals,
        "seed": plan.seed,
        "requests": loaded.requests,
        "answered": len(loaded.due),
        "seconds": round(loaded.took, 3),
        "octets": loaded.octets,
        "failures": loaded.failures,
        "microseconds": percentiles(loaded.due),
        "microseconds_from_sent": percentiles(loaded.sent),
        "microseconds_late_itself": percentiles(loaded.lag),
        "histogram": loaded.due.to_json(),
        "histogram_from_sent": loaded.sent.to_json(),
        "each_second": [
            {**second._asdict(), "answered": answered, **told}
            for second, answered, told in zip(
                loaded.seconds, loaded.answered, loaded.percentiles, strict=True
            )
        ],
        "hops": hops_json(loaded.hops),
        "gave_way": {**loaded.gave_way._asdict(), "hop": loaded.gave_way.hop or None},
        "samples": {LOAD: {plan.url: samples}},
    }
