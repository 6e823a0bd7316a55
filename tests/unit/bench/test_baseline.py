"""Which figures got worse: beyond noise, beyond what is tolerated, and not because the machine is slower."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from emulab.bench.baseline import changes, read
from emulab.bench.figures import FigureRow, document, ratio, table
from emulab.errors import UserError

FIGURES = {"p50": 100.0, "requests": 9000.0, "cpu": 40.0}


_ODD = '{"benchmark": "path", "version": 1, "samples": {"a": {"b": {"p50": ["x"]}}}}'


def run(seed: int, machine: float = 1.0, noise: float = 0.03, **worse: float) -> dict[str, Any]:
    """A result. `machine`: how many times slower it is; `worse`: by figure, how many times worse."""
    draw = Random(seed)

    def sample(value: float) -> list[float]:
        return [value * draw.gauss(1, noise) for _ in range(20)]

    values = {n: v * machine if n != "requests" else v / machine for n, v in FIGURES.items()}
    for name, times in worse.items():
        values[name] *= 1 / times if name == "requests" else times
    ways = {"loopback": {"p50": sample(60.0 * machine)}, "VXLAN": {n: sample(v) for n, v in values.items()}}
    return {"benchmark": "path", "version": 1, "samples": {"path": ways}}


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("machine", [1.0, 3.0, 0.5])
def test_the_same_on_another_machine_is_no_change(seed: int, machine: float) -> None:
    assert changes(run(seed), run(100 + seed, machine)) == []


@pytest.mark.parametrize("figure", FIGURES)
def test_what_got_worse_is_told(figure: str) -> None:
    [found] = changes(run(1), run(2, 1.4, **{figure: 1.3}))
    assert (found.way, found.measure, found.worse) == ("VXLAN", figure, True)
    assert found.text.endswith("% worse")
    [found] = changes(run(1, **{figure: 1.3}), run(2))
    assert not found.worse and found.text.endswith("% better")


def test_what_is_tolerated_or_lost_in_noise_is_not() -> None:
    assert changes(run(1), run(2, p50=1.3), tolerance=0.5) == []
    assert changes(run(1, noise=0.4), run(2, noise=0.4, p50=1.1)) == []


def test_documents_that_are_none() -> None:
    for text in ("", "[]", "{}", '{"benchmark": "path"}', _ODD):
        with pytest.raises(UserError, match=r"old\.json: is no result of emulab bench"):
            read(text, "old.json")
    with pytest.raises(UserError, match="is of version 0 and not 1"):
        read(json.dumps({**run(1), "version": 0}), "old.json")
    with pytest.raises(UserError, match="the baseline is of bench overlay"):
        changes({**run(1), "benchmark": "overlay"}, run(1))


def test_goals_are_reached_missed_or_neither() -> None:
    draw = Random(1)
    low = tuple(draw.gauss(100, 1) for _ in range(10))
    high = tuple(value * 1.2 for value in low)
    loud = tuple(draw.gauss(110, 60) for _ in range(6))
    assert (
        FigureRow("a", low, "µs", 105).verdict == "ok" and FigureRow("a", high, "µs", 105).verdict == "MISSED"
    )
    assert FigureRow("a", loud, "µs", 105).verdict in ("ok", "noise")
    assert FigureRow("a", low, "1/s", 105, least=True).verdict == "MISSED"
    compared = ratio("high / low", high, low, 1.1)
    assert compared.verdict == "MISSED" and abs(compared.estimate.value - 1.2) < 1e-9
    shown = document([compared, FigureRow("none", (), "µs")], ["a note"])
    assert [row["value"] for row in shown["rows"]] == [compared.estimate.value, None] and shown["rows"][0][
        "low"
    ]
    assert "MISSED" in table([compared, FigureRow("none", (), "µs")], ["a note"])
