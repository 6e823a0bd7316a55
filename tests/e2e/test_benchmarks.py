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
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ)


# In the namespace of an ordinary user nobody may become root anew, as Debian's nginx does there.
VERBS = [pytest.param(verb, marks=[pytest.mark.root] * (verb == "balancer")) for verb in SMALLEST]


@pytest.mark.parametrize("verb", VERBS)
def test_every_figure_can_be_measured(verb: str) -> None:
    done = bench(verb, *SMALLEST[verb], "-o", "json")
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads(done.stdout)["rows"]
    assert rows
    assert [row["what"] for row in rows if not row["values"]] == []


def test_what_a_way_costs_is_what_other_programs_say() -> None:
    """By wrk, sockperf and iperf3, within what a busy machine does in between."""
    done = bench("peers", "--rounds", "1", "-o", "json")
    assert done.returncode == 0, done.stderr[-2000:]
    found = {row["what"]: row["value"] for row in json.loads(done.stdout)["rows"]}
    for way in ("loopback", "pod of this node", "pod of another node", "by VXLAN"):
        ours = found[f"{way}: latency, emulab"]
        assert found[f"{way}: latency, wrk"] / 5 < ours < found[f"{way}: latency, wrk"] * 5, way
        assert found[f"{way}: latency, sockperf"] / 10 < ours < found[f"{way}: latency, sockperf"] * 10, way
        peer = found[f"{way}: throughput, iperf3"]
        assert peer / 10 < found[f"{way}: throughput, emulab"] < peer * 10, way
