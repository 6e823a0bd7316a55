"""Cgroups as values: where they can be had, and what bounds them, of either version."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from emulab.kernel.cgroups import hierarchies as looked_up
from emulab.kernel.cgroups.cgroup import Cgroup, container_cgroup
from emulab.kernel.cgroups.hierarchies import (
    NOT_ENABLED,
    NOT_OURS,
    Hierarchies,
    Mount,
    cgroup_mounts,
    highest_writable,
    parse_own,
)
from emulab.kernel.cgroups.limits import Limits, quota_of, shares_of, weight_of
from emulab.kernel.mounttable import entries

HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /docker/1 /sys/fs/cgroup/memory rw,relatime shared:5 - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""


def test_mounts_and_own_cgroups_are_read() -> None:
    cpu, memory, systemd, unified = cgroup_mounts(entries(HYBRID))
    assert (cpu.point, cpu.controllers) == ("/sys/fs/cgroup/cpu,cpuacct", {"cpu", "cpuacct"})
    assert (memory.root, memory.controllers) == ("/docker/1", {"memory"})
    assert not systemd.controllers and unified.unified
    own = parse_own("4:memory:/docker/1\n1:cpu,cpuacct:/a:b\n0::/user.slice\n")
    assert own == {"memory": "/docker/1", "cpu": "/a:b", "cpuacct": "/a:b", "": "/user.slice"}


def test_weights_are_runcs() -> None:
    """The values of opencontainers/cgroups: the least, the default and the most of either scale meet."""
    assert [weight_of(shares) for shares in (0, 2, 102, 1024, 262_144, 300_000)] == [
        1,
        1,
        17,
        100,
        10_000,
        10_000,
    ]


def test_quotas_and_shares_are_the_kubelets() -> None:
    assert [quota_of(millicores) for millicores in (0, 1, 100, 1500)] == [None, 1000, 10_000, 150_000]
    assert [shares_of(millicores) for millicores in (0, 1, 100, 1000, 1_000_000)] == [
        2,
        2,
        102,
        1024,
        262_144,
    ]


ALL = Limits(memory=1 << 20, quota=20_000, shares=1024, pids=7, dies_whole=True)


def test_both_versions_say_the_same() -> None:
    assert ALL.files(unified=True) == {
        "cpu": {"cpu.weight": "100", "cpu.max": "20000 100000"},
        "memory": {"memory.max": "1048576", "memory.swap.max": "0", "memory.oom.group": "1"},
        "pids": {"pids.max": "7"},
    }
    assert ALL.files(unified=False) == {
        "cpu": {"cpu.shares": "1024", "cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "20000"},
        "memory": {"memory.limit_in_bytes": "1048576", "memory.memsw.limit_in_bytes": "1048576"},
        "pids": {"pids.max": "7"},
    }
    assert Limits().files(True) == Limits().files(False) == {}


def test_a_container_is_in_one_cgroup_of_each_hierarchy() -> None:
    there = Hierarchies(False, {"cpu": "/c", "cpuacct": "/c", "memory": "/m"})
    found = container_cgroup(there, ("shop", "default.web", "main"), Limits(pids=9, memory=5), ALL)
    assert found.enter == [f"/{top}/emulab/shop/default.web/main" for top in "cm"]
    assert [(g.path, g.files) for g in found.groups if g.files] == [
        ("/c/emulab/shop/default.web/main", ALL.files(False)["cpu"]),
        ("/m/emulab/shop/default.web", Limits(memory=5).files(False)["memory"]),
        ("/m/emulab/shop/default.web/main", ALL.files(False)["memory"]),
    ]
    assert not any(group.enable for group in found.groups)
    assert Cgroup.of(asdict(found)).groups == tuple(found.groups)


def test_version_2_enables_controllers_down_to_the_pod_and_above_ours_what_is_missing() -> None:
    there = Hierarchies(True, {"cpu": "/g", "memory": "/g"}, enable=("cpu",))
    found = container_cgroup(there, ("shop", "default.web", "main"), ALL, ALL)
    assert [(g.path, list(g.enable), g.ours) for g in found.groups] == [
        ("/g", ["cpu"], False),
        ("/g/emulab", ["cpu", "memory"], True),
        ("/g/emulab/shop", ["cpu", "memory"], True),
        ("/g/emulab/shop/default.web", ["cpu", "memory"], True),
        ("/g/emulab/shop/default.web/main", [], True),
    ]
    assert all("pids.max" not in group.files for group in found.groups), "there is no such file"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A hierarchy of version 2 of which `user/app` is delegated."""
    for folder in ("", "user", "user/app", "user/app/scope"):
        (tmp_path / folder).mkdir(exist_ok=True)
        for name, text in (("procs", ""), ("controllers", "cpu memory io"), ("subtree_control", "memory")):
            (tmp_path / folder / f"cgroup.{name}").write_text(text)
        if folder:
            (tmp_path / folder / "cgroup.type").write_text("domain")
    return tmp_path


def of_version_2(monkeypatch: pytest.MonkeyPatch, tree: Path, writable: str, own: str) -> Hierarchies:
    monkeypatch.setattr(looked_up.os, "access", lambda path, mode: str(path).startswith(f"{tree}{writable}"))
    return looked_up._version_2(Mount("/", str(tree), frozenset(), True), own)


def test_what_is_delegated_is_found_from_anywhere_below_it(
    monkeypatch: pytest.MonkeyPatch, tree: Path
) -> None:
    found = of_version_2(monkeypatch, tree, "/user/app", "/user/app/scope")
    assert found == Hierarchies(
        True,
        {"cpu": f"{tree}/user/app", "memory": f"{tree}/user/app"},
        ["cpu"],
        {"pids": NOT_OURS},
    )
    assert of_version_2(monkeypatch, tree, "/nowhere", "/user/app").missing == dict.fromkeys(
        ("cpu", "memory", "pids"), NOT_OURS
    )


def test_a_folder_with_processes_gives_no_controllers_to_those_below(
    monkeypatch: pytest.MonkeyPatch, tree: Path
) -> None:
    (tree / "user/app/cgroup.procs").write_text("17\n")
    found = of_version_2(monkeypatch, tree, "/user/app", "/user/app")
    assert (list(found.tops), found.enable) == (["memory"], [])
    assert f"there are processes in {tree}/user/app" in found.missing["cpu"]


@pytest.mark.parametrize("managed", [True, False])
def test_the_top_of_a_machine_is_its_service_managers(
    monkeypatch: pytest.MonkeyPatch, tree: Path, managed: bool
) -> None:
    monkeypatch.setattr(looked_up.os.path, "isdir", lambda path: managed)
    found = of_version_2(monkeypatch, tree, "", "/user")
    assert list(found.enable) == ([] if managed else ["cpu"])
    assert found.missing.get("cpu") == (NOT_ENABLED.format(tree) if managed else None)


def test_a_process_outside_of_what_is_mounted_has_none(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").write_text("")
    inside = Mount("/docker/1", str(tmp_path), frozenset(), True)
    assert highest_writable(inside, "/docker/1/init") == str(tmp_path)
    tmp_path.chmod(0o755)
    assert highest_writable(Mount("/", f"{tmp_path}/none", frozenset(), True), "/../other") is None
