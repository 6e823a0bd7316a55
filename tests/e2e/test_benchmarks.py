"""`scripts/bench` still measures: each benchmark that is quick, once and as little as it can. No figure is judged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SMALLEST = {
    "balancer": ("--rounds", "1", "--seconds", "1"),
    "ingress": ("--rounds", "1", "--seconds", "1", "--only", "small,new"),
    "l7": ("--rounds", "1", "--seconds", "1"),
    "policy": ("--sizes", "2", "--world", "2", "--rounds", "1"),
    "scale": ("--nodes", "2", "--pods", "1"),
    "changes": ("--services", "20", "--repeats", "1"),
}
"""Those that take minutes or install something are not among them."""


def bench(verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts/benchmarks"), verb, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ)


@pytest.mark.parametrize("verb", SMALLEST)
def test_every_figure_can_be_measured(verb: str) -> None:
    done = bench(verb, *SMALLEST[verb], "-o", "json")
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads(done.stdout)["rows"]
    assert rows
    assert [row["what"] for row in rows if not row["values"]] == []
