"""The cgroups of containers: what bounds them, what is told of them, and that a lab leaves none behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from emulab.kernel.cgroups import sweeping
from emulab.kernel.cgroups.cgroup import Cgroup, container_cgroup, join
from emulab.kernel.cgroups.hierarchies import hierarchies
from emulab.kernel.cgroups.limits import Limits
from emulab.kernel.cgroups.usage import oom_kills, usage

pytestmark = pytest.mark.root  # nobody else may write there

MIB = 1 << 20
NONE = Limits()


@pytest.fixture
def lab() -> Iterator[str]:
    assert hierarchies().tops, hierarchies().missing
    name = f"test-{os.getpid()}"
    yield name
    sweeping.sweep(name)
    assert not folders(name)


def folders(lab: str) -> list[str]:
    return [path for top in hierarchies().folders if os.path.isdir(path := f"{top}/emulab/{lab}")]


def cgroup(
    lab: str, container: str, limits: Limits = NONE, pod: Limits = NONE, of: str = "default.web"
) -> Cgroup:
    return container_cgroup(hierarchies(), (lab, of, container), pod, limits)


def started(cgroup: Cgroup, *argv: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv, preexec_fn=lambda: join(cgroup))


def python(cgroup: Cgroup, code: str) -> int:
    """The exit status of a program in a cgroup."""
    return started(cgroup, sys.executable, "-c", code).wait(30)


def written(cgroup: Cgroup, name: str) -> str:
    """What a file of the cgroup has, in whichever hierarchy that is."""
    return next(p for f in cgroup.enter if (p := Path(f, name)).exists()).read_text().strip()


def test_limits_are_in_force_in_the_pod_and_the_container(lab: str) -> None:
    one = cgroup(lab, "main", Limits(64 * MIB, 20_000, 512, 100, True), Limits(96 * MIB, 30_000, 1024, 200))
    assert python(one, "pass") == 0
    unified = hierarchies().unified
    expected = (
        {"memory.max": str(64 * MIB), "cpu.max": "20000 100000", "pids.max": "100", "memory.oom.group": "1"}
        if unified
        else {
            "memory.limit_in_bytes": str(64 * MIB),
            "cpu.cfs_quota_us": "20000",
            "cpu.shares": "512",
            "pids.max": "100",
        }
    )
    assert {name: written(one, name) for name in expected} == expected
    assert written(one, "../pids.max") == "200"
    assert sweeping.remove(one.enter)
    assert not any(os.path.exists(os.path.dirname(folder)) for folder in one.enter), (
        "the pod's is there still"
    )


def test_a_program_that_needs_more_memory_is_killed_and_that_is_counted(lab: str) -> None:
    one = cgroup(lab, "main", Limits(memory=48 * MIB, dies_whole=True))
    assert python(one, "x = bytearray(16 << 20)") == 0
    assert oom_kills(one.enter) == 0
    assert python(one, "x = bytearray(100 << 20)") == -9
    assert oom_kills(one.enter) >= 1  # who dies with it is counted, too


def test_a_pods_memory_is_that_of_its_containers_together(lab: str) -> None:
    hog, other = (cgroup(lab, name, Limits(), Limits(memory=64 * MIB)) for name in ("hog", "other"))
    assert python(other, "x = bytearray(40 << 20)") == 0
    assert python(hog, "x = bytearray(100 << 20)") == -9
    assert oom_kills(hog.enter) >= 1 and oom_kills(other.enter) == 0


def test_no_more_processes_than_allowed(lab: str) -> None:
    forks = "import os\nfor n in range(99):\n  if os.fork() == 0: os.kill(os.getpid(), 19)"
    one = cgroup(lab, "main", Limits(pids=10))
    process = started(one, sys.executable, "-c", forks)
    try:
        assert process.wait(30) == 1, "fork(2) failed with EAGAIN, and nothing else did"
        assert 9 <= int(written(one, "pids.current")) <= 10
    finally:
        kill_all(one)


def kill_all(cgroup: Cgroup) -> None:
    for pid in Path(cgroup.enter[0], "cgroup.procs").read_text().split():
        os.kill(int(pid), 9)


def test_usage_is_told(lab: str) -> None:
    one = cgroup(lab, "main")
    with started(one, sys.executable, "-c", "x = bytearray(50 << 20)\nwhile True: pass") as process:
        try:
            eventually(lambda: (told := usage(one.enter)) is not None and told.memory > 50 * MIB)
            first = usage(one.enter)
            assert first is not None
            eventually(lambda: (now := usage(one.enter)) is not None and now.cpu > first.cpu + 100_000_000)
        finally:
            process.kill()
    assert usage(["/nowhere"]) is None


def test_cgroups_of_a_dead_lab_are_removed(lab: str) -> None:
    one = cgroup(lab, "main")
    assert python(one, "pass") == 0
    assert folders(lab)
    sweeping.sweep(lab)
    assert not folders(lab)


def test_a_living_lab_of_the_same_name_keeps_all_that_is_there(lab: str) -> None:
    """Two users' or two run directories' labs may have one name: the cgroups of both are in one folder."""
    dead, living = cgroup(lab, "main", of="default.dead"), cgroup(lab, "main", of="default.living")
    assert python(dead, "pass") == 0
    with started(living, "sleep", "infinity") as process:
        try:
            sweeping.sweep(lab, seconds=0.05)
            assert all(map(os.path.isdir, (*dead.enter, *living.enter)))
            assert Path(living.enter[0], "cgroup.procs").read_text().split() == [str(process.pid)]
        finally:
            process.kill()
    sweeping.sweep(lab)
    assert not any(map(os.path.exists, dead.enter))


def test_processes_on_their_way_out_are_waited_for(lab: str) -> None:
    one = cgroup(lab, "main")
    with started(one, "sleep", "0.2"):
        sweeping.sweep(lab, seconds=60)
        assert not folders(lab)


def test_a_pod_that_is_gone_takes_its_cgroups_and_no_others(lab: str) -> None:
    gone, other = cgroup(lab, "main"), cgroup(lab, "main", of="default.other")
    assert python(gone, "pass") == python(other, "pass") == 0
    sweeping.remove_pod(lab, "default.web")
    assert not any(map(os.path.exists, gone.enter))
    assert all(map(os.path.isdir, other.enter))


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_a_container_has_left_behind_ends_with_it(lab: str) -> None:
    """As where all containers of a pod share a PID namespace: nobody else would end it."""
    one = cgroup(lab, "main")
    assert python(one, "import subprocess\nsubprocess.Popen(['sleep', 'infinity'])") == 0
    assert Path(one.enter[0], "cgroup.procs").read_text().split()
    assert sweeping.remove(one.enter)
    assert not any(map(os.path.exists, one.enter))
