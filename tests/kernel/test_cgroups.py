"""The cgroups of containers: what a dead lab left goes, and a living lab of the same name keeps its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from emulab.kernel.processes import cgroups

pytestmark = pytest.mark.root  # nobody else may write there


@pytest.fixture
def lab() -> Iterator[str]:
    if cgroups.hierarchy() is None:
        pytest.skip("cgroup v2 is not mounted here, or not writable: containers then have no cgroups")
    name = f"test-{os.getpid()}"
    yield name
    cgroups.sweep(name)


def test_a_sweep_takes_what_is_empty(lab: str) -> None:
    path = Path(cgroups.create(lab, "web-1"))
    assert path.is_dir()
    cgroups.sweep(lab)
    assert not path.parent.exists()


def test_a_sweep_leaves_all_of_a_lab_in_which_something_runs(lab: str) -> None:
    """Two users' or two run directories' labs may have one name: the cgroups of both are in one folder."""
    dead, living = (Path(cgroups.create(lab, name)) for name in ("dead-1", "living-1"))
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            (living / "cgroup.procs").write_text(str(process.pid))
            cgroups.sweep(lab, seconds=0.05)
            assert dead.is_dir() and living.is_dir()
            assert (living / "cgroup.procs").read_text().split() == [str(process.pid)]
        finally:
            process.kill()
    cgroups.sweep(lab)
    assert not living.parent.exists()


def test_a_sweep_waits_for_what_is_on_its_way_out(lab: str) -> None:
    path = Path(cgroups.create(lab, "web-1"))
    with subprocess.Popen(["sleep", "0.2"]) as process:
        (path / "cgroup.procs").write_text(str(process.pid))
        cgroups.sweep(lab, seconds=60)
    assert not path.exists()
