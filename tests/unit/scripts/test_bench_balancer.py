"""The parts of `scripts/bench balancer` that need no load."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPTS = str(Path(__file__).resolve().parents[3] / "scripts")


@pytest.fixture(autouse=True)
def scripts_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(SCRIPTS)
    yield
    for name in [n for n in sys.modules if n.partition(".")[0] == "benchmarks"]:
        del sys.modules[name]


def test_each_side_is_compared_by_its_own_goal() -> None:
    from benchmarks.balancer import _rows

    figures = {
        "small": {"emulab": [95.0, 90.0], "haproxy": [100.0, 100.0], "nat": [120.0, 120.0]},
        "small CPU": {"emulab": [11.0], "haproxy": [10.0]},
        "idle": {"emulab": [1000.0], "haproxy": [3000.0]},
    }
    rows = {(row.what.strip(), row.unit, round(row.estimate.value, 4)): row.verdict for row in _rows(figures)}
    assert rows["emulab / haproxy", "ratio", 0.9247] == "ok"
    assert rows["nat / haproxy", "ratio", 1.2] == "MISSED"
    assert rows["emulab / haproxy", "ratio", 1.1] == ""
    assert rows["idle connection, emulab", "bytes", 1000.0] == "ok"
    assert rows["idle connection, haproxy", "bytes", 3000.0] == ""
