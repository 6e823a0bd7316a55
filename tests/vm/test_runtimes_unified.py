"""OCI runtimes where there are cgroups of version 2 alone, as on current systems."""

from __future__ import annotations

import pytest
from e2e.test_resources import (  # noqa: F401 (a fixture)
    HOG,
    SPIN,
    Machine,
    killed_for_want_of_memory,
    pod,
    root,
)
from e2e.test_runtimes import RUNTIMES, cluster
from test_cgroups_unified import unified  # noqa: F401 (a fixture for all of them)

pytestmark = pytest.mark.vm


def test_containers_are_in_their_cgroups_whatever_runs_them(root: Machine) -> None:  # noqa: F811
    """One lab for all: to bring another up takes longer here than all else."""
    bounded = {"limits": {"cpu": "100m"}}
    for runtime in RUNTIMES:  # Pods that are there keep theirs
        hog = pod(f"hog-{runtime}", HOG, {"limits": {"memory": "64Mi"}})
        root.up(cluster(runtime) + hog, pod(f"spin-{runtime}", SPIN, bounded))
    for runtime in RUNTIMES:
        name = f"spin-{runtime}"
        root.runs(name)
        assert root.cgroup(name, "cpu.max").split() == ["10000", "100000"]
        assert len(root.cgroup(name, "cgroup.procs").split()) == 2, "the runtime, and what it runs"
        assert root.told("exec", name, "--", "cat", "/proc/self/cgroup") == "0::/\n"
        killed_for_want_of_memory(root, f"hog-{runtime}")
