"""Wires that hold what they carry, by netem, which this kernel has."""

from __future__ import annotations

from pathlib import Path

import pytest

from emulab.kernel import probe

pytestmark = pytest.mark.vm


def test_doctor_says_that_netem_holds_packets(tmp_path: Path) -> None:
    check = next(f for f in probe.features(tmp_path) if f.name == "delay line")
    assert not check.problem and "by netem" in check.purpose, check
