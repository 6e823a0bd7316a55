"""Golden copies of the plans of topologies/: EMULAB_UPDATE_GOLDEN=1 writes them anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from emulab.lab.offline import offline_world
from emulab.model.sources import read_sources
from emulab.plan.render import render

TOPOLOGIES = Path(__file__).parents[3] / "topologies"
GOLDEN = Path(__file__).parent / "golden"
FILES = sorted(TOPOLOGIES.glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_plan(path: Path) -> None:
    text = render(offline_world(read_sources([path]))[1])
    golden = GOLDEN / f"{path.stem}.txt"
    if os.environ.get("EMULAB_UPDATE_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        golden.write_text(text)
    assert golden.exists(), f"no golden copy of {path.name}; run with EMULAB_UPDATE_GOLDEN=1"
    assert text == golden.read_text()


def test_there_is_a_topology_for_every_golden_copy() -> None:
    assert FILES and {p.stem for p in GOLDEN.glob("*.txt")} <= {p.stem for p in FILES}
