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


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_container_is_in_its_cgroup_with_its_runtime(root: Machine, runtime: str) -> None:  # noqa: F811
    bounded = {"limits": {"cpu": "100m"}}
    root.up(cluster(runtime) + pod("hog", HOG, {"limits": {"memory": "64Mi"}}), pod("spin", SPIN, bounded))
    root.runs("spin")
    assert root.cgroup("spin", "cpu.max").split() == ["10000", "100000"]
    assert len(root.cgroup("spin", "cgroup.procs").split()) == 2, "the runtime, and what it runs"
    assert root.told("exec", "spin", "--", "cat", "/proc/self/cgroup") == "0::/\n"
    killed_for_want_of_memory(root, "hog")
