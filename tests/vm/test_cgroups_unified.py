"""Cgroups of version 2 alone, as current systems have them: the tests of any version, and what only this one has."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.crashes import ORDINARY, become_user
from e2e.test_resources import (  # noqa: F401 (fixtures and tests, which run here once more)
    Machine,
    killed_for_want_of_memory,
    pod,
    root,
    test_a_container_that_is_started_again_begins_with_nothing_used,
    test_a_lab_that_is_killed_leaves_no_cgroup,
    test_limits_are_in_force,
)
from readable import checkout_for, python_for
from test_cgroups import (  # noqa: F401
    lab,
    test_a_living_lab_of_the_same_name_keeps_all_that_is_there,
    test_a_pods_memory_is_that_of_its_containers_together,
    test_a_program_that_needs_more_memory_is_killed_and_that_is_counted,
    test_limits_are_in_force_in_the_pod_and_the_container,
    test_no_more_processes_than_allowed,
    test_usage_is_told,
)

from emulab.kernel import libc
from emulab.kernel.cgroups.hierarchies import CONTROLLERS, hierarchies

pytestmark = pytest.mark.vm
TOP = Path("/sys/fs/cgroup")


@pytest.fixture(scope="module", autouse=True)
def unified() -> Iterator[None]:
    """The machine's cgroups as a service manager would have them, but that nobody enables any controller."""
    if not (TOP / "cgroup.controllers").exists():
        libc.mount("cgroup2", str(TOP), "cgroup2")
    before = (TOP / "cgroup.subtree_control").read_text()
    hierarchies.cache_clear()
    found = hierarchies()
    assert found.unified and not found.missing and found.folders == (str(TOP),)
    assert set(found.enable) == set(CONTROLLERS) - set(before.split())
    yield
    assert (TOP / "cgroup.subtree_control").read_text() == before, (
        "what labs enabled is taken back with the last"
    )
    assert not (TOP / "emulab").exists()


def test_a_container_dies_whole(root: Machine) -> None:  # noqa: F811
    """The first process is killed with the child that takes too much (memory.oom.group)."""
    code = "import os, time\nif os.fork() == 0: bytearray(200 << 20)\ntime.sleep(600)"
    root.up(pod("parent", code, {"limits": {"memory": "64Mi"}}))
    killed_for_want_of_memory(root, "parent")


IN_DELEGATED = """
import os, sys
from emulab.kernel.cgroups import sweeping
from emulab.kernel.cgroups.cgroup import container_cgroup, join
from emulab.kernel.cgroups.hierarchies import hierarchies
from emulab.kernel.cgroups.limits import Limits
there = hierarchies()
assert there.unified and not there.missing, there
limits = Limits(memory=64 << 20, quota=20_000, shares=512, pids=100, dies_whole=True)
cgroup = container_cgroup(there, ("mine", "default.web", "main"), limits, limits)
if (child := os.fork()) == 0:
    join(cgroup)
    print(there.folders, *(open(f"{cgroup.enter[0]}/{name}").read().strip() for name in ("memory.max", "cpu.max")))
    sys.stdout.flush()
    os.execvp("python3", ["python3", "-c", "bytearray(200 << 20)"])
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
sweeping.sweep("mine")
print(open(f"{there.folders[0]}/cgroup.subtree_control").read().split())
"""


def test_what_is_delegated_is_used_and_given_back() -> None:
    """As systemd delegates: the folder and its files are the user's, whose processes are in one below it."""
    given = TOP / "delegated"
    before = (TOP / "cgroup.subtree_control").read_text().split()
    added = [name for name in CONTROLLERS if name not in before]
    (TOP / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in added))
    try:
        (given / "session").mkdir(parents=True)
        for path in (given, given / "session"):
            for owned in (
                path,
                *(path / f"cgroup.{name}" for name in ("procs", "subtree_control", "threads")),
            ):
                os.chown(owned, ORDINARY, ORDINARY)
        enter = f'echo 0 > {given}/session/cgroup.procs; exec "$@"'
        command = [*become_user(ORDINARY), python_for(ORDINARY), "-c", IN_DELEGATED]
        environment = {**os.environ, "PYTHONPATH": str(checkout_for(ORDINARY))}
        done = subprocess.run(
            ["sh", "-c", enter, "sh", *command], capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [f"('{given}',) {64 << 20} 20000 100000", "-9", "[]"]
    finally:
        for path in (given / "session", given):
            path.rmdir()
        if added:
            (TOP / "cgroup.subtree_control").write_text(" ".join(f"-{name}" for name in added))
