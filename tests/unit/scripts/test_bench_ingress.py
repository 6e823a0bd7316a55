"""The parts of `scripts/bench ingress` that need no load."""

from __future__ import annotations

import io
import sys
import time
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


def test_of_a_program_that_complains_of_every_request_a_few_lines_are_shown() -> None:
    from benchmarks.sides import SAID_MAX, Complaints

    complaints = Complaints("nginx.conf", io.BytesIO(b"broken header\n" * 1000))
    deadline = time.monotonic() + 5
    while "nginx.conf: and 995 lines more" not in complaints.lines() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert complaints.lines() == ["nginx.conf: broken header"] * SAID_MAX + ["nginx.conf: and 995 lines more"]
