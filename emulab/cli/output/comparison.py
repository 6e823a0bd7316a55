"""What `compare` found, as text and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from emulab.cli.output.table import table
from emulab.observe.telling.texts import wrap
from emulab.twins import spread
from emulab.twins.comparing import Compared, ModeDifference, behaviour, fairness
from emulab.twins.counting import RuleCounts
from emulab.twins.differences import ENDPOINTS, FAIRNESS, STATUS, Known, Seen
from emulab.twins.owners import ITSELF
from emulab.twins.running import Comparison
from emulab.twins.sampling import Sample

_REQUEST = 44  # columns of a request in 100; a longer one has a line of its own
_EXAMPLES = 4  # of a known difference
_SAME, _EXPECTED, _DIFFERENT = "=", "~", "!"
_KINDS = {
    "nftRules": "nft rules",
    "nftElements": "elements",
    "iptablesRules": "iptables rules",
    "ipvsServices": "ipvs services",
    "ipvsServers": "servers",
    "bpfFrontends": "bpf frontends",
    "bpfEndpoints": "endpoints",
}


def render(outcome: Comparison, modes: Sequence[str], connections: int, width: int = 100) -> str:
    """The whole report in lines of at most `width` columns, but for requests and tables that are wider."""
    head = (
        f"{len(modes)} labs ({', '.join(modes)}), {_number(len(outcome.compared), 'request')},"
        f" {connections} connections for each that is answered"
    )
    parts = [
        "\n".join(wrap(head, width, 2)),
        "\n".join(_requests(outcome.compared, outcome.axis.word, width)),
        *_unexpected(outcome.compared, modes, width),
        *_expected(outcome.compared, modes, width),
        _totals(outcome, modes),
        _verdict(outcome.compared, outcome.axis.word),
    ]
    return "\n\n".join(parts)


def _requests(compared: Sequence[Compared], word: str, width: int) -> list[str]:
    most = _REQUEST * width // 100
    asks = max((len(str(c.ask)) for c in compared if len(str(c.ask)) <= most), default=20)
    legend = f"{_SAME} the same in all {word}s   {_EXPECTED} differs as expected   {_DIFFERENT} differs"
    lines = ["  " + "REQUEST".ljust(asks) + "  " + f"WHAT CAME OF IT IN ALL {word.upper()}S"]
    for c in compared:
        mark = _SAME if not c.differences else _EXPECTED
        if any(not d.is_known for d in c.differences):
            mark = _DIFFERENT
        asked, story = str(c.ask), _story(c)
        if len(asked) > asks:
            lines.append(f"{mark} {asked}")
            mark, asked = " ", ""
        first, *more = wrap(story, width - asks - 4)
        lines.append(f"{mark} {asked.ljust(asks)}  {first}")
        lines += [" " * (asks + 4) + line for line in more]
    return [*lines, "", *wrap(legend, width)]


def _story(c: Compared) -> str:
    """What is the same in all modes, in a few words."""
    differing = {d.aspect for d in c.differences}
    if STATUS in differing:
        return f"differs: {STATUS}"
    outcomes = frozenset[str]().union(*(o.outcomes for o in c.observed.values()))
    endpoints = frozenset[str]().union(*(o.endpoints for o in c.observed.values()))
    words = [_words(outcomes)]
    if endpoints and c.situation.sticky:
        words.append("one endpoint a client")
    elif endpoints and ENDPOINTS not in differing:
        words.append(_number(len(endpoints), "endpoint"))
    sources = {frozenset(o.sources) for o in c.observed.values()}
    if len(sources) == 1 and any(sources):
        words.append(f"client seen: {_words(*sources)}")
    if differing:
        words.append(f"differs: {', '.join(d.aspect for d in c.differences)}")
    return "; ".join(words)


def _unexpected(compared: Sequence[Compared], modes: Sequence[str], width: int) -> list[str]:
    lines = [
        line
        for c in compared
        for d in c.differences
        if not d.is_known
        for line in (f"  {c.ask}", *_values(d, modes, f"    {d.aspect}: ", width))
    ]
    return ["\n".join(["DIFFERENT", *lines])] if lines else []


def _expected(compared: Sequence[Compared], modes: Sequence[str], width: int) -> list[str]:
    """Each known difference once, with the requests in which it shows."""
    found: dict[Known, list[tuple[Compared, ModeDifference]]] = {}
    for c in compared:
        for d in c.differences:
            for entry in d.expected:
                found.setdefault(entry, []).append((c, d))
    parts = []
    for entry, cases in found.items():
        lines = [f"EXPECTED: {entry.name}"]
        lines += [f"  {line}" for line in wrap(f"{entry.reason} ({entry.source})", width - 2)]
        for c, d in cases[:_EXAMPLES]:
            lines.append(f"  {c.ask}")
            if not d.unexplained:  # else it is told above
                lines += _values(d, modes, "    ", width)
        if len(cases) > _EXAMPLES:
            lines.append(f"  and {_number(len(cases) - _EXAMPLES, 'request')} more")
        parts.append("\n".join(lines))
    return parts


def _values(d: ModeDifference, modes: Sequence[str], before: str, width: int) -> list[str]:
    """What is seen in which modes, those that see the same together."""
    groups: dict[Seen, list[str]] = {}
    for mode in modes:
        groups.setdefault(d.seen[mode], []).append(mode)
    text = "; ".join(f"{', '.join(who)}: {_words(seen)}" for seen, who in groups.items())
    return wrap(before + text, width, 6)


def _totals(outcome: Comparison, modes: Sequence[str]) -> str:
    counted = outcome.axis.rules
    rows = []
    for mode in modes:
        latencies = [s for c in outcome.compared for s in c.observed[mode].latencies]
        times = [f"{spread.quantile(latencies, q) * 1000:.1f}" if latencies else "-" for q in (0.5, 0.99)]
        rows.append([mode, *times, *([_rules(outcome.rules[mode].values())] if counted else [])])
    more = ["RULES OF A NODE"] if counted else []
    return table((outcome.axis.word.upper(), "P50 ms", "P99 ms", *more), rows)


def _rules(counts: Iterable[RuleCounts | None]) -> str:
    """Numbers of rules, as a range where nodes differ."""
    given = [c for c in counts if c is not None]
    parts = []
    for kind, words in _KINDS.items():
        numbers = [c.get(kind, 0) for c in given]
        if any(numbers):
            low, high = min(numbers), max(numbers)
            parts.append(f"{low} {words}" if low == high else f"{low}-{high} {words}")
    return ", ".join(parts) or "unknown (there is no nft program)"


def _verdict(compared: Sequence[Compared], word: str) -> str:
    found = behaviour(compared)
    if found == "same":
        return f"The {word}s behave alike."
    if found == "as documented":
        return f"The {word}s differ only as they are known to."
    number = sum(any(not d.is_known for d in c.differences) for c in compared)
    return f"The {word}s differ in {_number(number, 'request')}, and not as they are known to."


def _words(seen: Seen) -> str:
    return ", ".join(sorted(seen, key=lambda word: (word != ITSELF, word))) or "nothing"


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


# --- JSON -----------------------------------------------------------------------------------------------------


def as_data(outcome: Comparison, modes: Sequence[str], connections: int) -> dict[str, Any]:
    """The report as JSON-able data."""
    return {
        "modes": list(modes),
        "connections": connections,
        "behaviour": behaviour(outcome.compared),
        "requests": [_request_data(c) for c in outcome.compared],
        "rules": outcome.rules,
    }


def _request_data(c: Compared) -> dict[str, Any]:
    return {
        "request": str(c.ask),
        "namespace": c.ask.namespace,
        "what": c.ask.what,
        "reaches": c.situation.reaches,
        "observed": {mode: _observed_data(o) for mode, o in c.observed.items()},
        "differences": [
            {
                "aspect": d.aspect,
                "seen": {mode: sorted(seen) for mode, seen in d.seen.items()},
                "expected": d.is_known,
                "unexplained": [list(pair) for pair in d.unexplained],
                "known": [{"name": k.name, "reason": k.reason, "source": k.source} for k in d.expected],
            }
            for d in c.differences
        ],
    }


def _observed_data(o: Sample) -> dict[str, Any]:
    latency: Mapping[str, float] | None = None
    if o.latencies:
        quantiles = {"p50": 0.5, "p99": 0.99}
        latency = {name: round(spread.quantile(o.latencies, q) * 1000, 3) for name, q in quantiles.items()}
    return {
        "address": o.address,
        "tries": o.tries,
        "answered": o.answered,
        "status": dict(o.outcomes),
        "answer": dict(o.answers),
        "endpoints": dict(o.endpoints),
        "source": dict(o.sources),
        FAIRNESS: {"spread": fairness(o), "probability": round(spread.uniform(o.endpoints), 6)},
        "latency_ms": latency,
    }
