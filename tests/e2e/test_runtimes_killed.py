"""What is left of OCI runtimes and their containers, whoever of them is killed: nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from .crashes import ORDINARY, User, eventually
from .test_containers import pod
from .test_runtimes import RUNTIMES, cluster
from .tools import AS_ROOT

pytestmark = pytest.mark.both_users


@pytest.fixture(
    params=[(runtime, root) for runtime in RUNTIMES for root in ((True, False) if AS_ROOT else (False,))]
)
def started(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[User]:
    """A lab of root's, or of an ordinary user's, in which a runtime runs containers."""
    runtime, root = request.param
    user = User(0 if root else os.geteuid() or ORDINARY)
    for path in (tmp_path, *tmp_path.parents):
        with suppress(PermissionError):
            path.chmod(path.stat().st_mode | 0o111)  # so that others get to the file
    file = tmp_path / "pods.yaml"
    shared = pod("both", {}, {}, shareProcessNamespace=True)
    file.write_text(cluster(runtime) + pod("alone", {}) + shared)
    file.chmod(0o644)
    try:
        user.up(str(file))
        yield user
    finally:
        user.close()


def test_a_lab_that_is_killed_leaves_nothing_of_its_runtime(started: User) -> None:
    """No process, mount, cgroup or file (`assert_gone` looks for all of them); runtimes' own folders are unused."""
    assert not any(os.path.exists(f"/run/{name}") and os.listdir(f"/run/{name}") for name in RUNTIMES)
    begun = [p for p in started.processes() if Path(f"/proc/{p}/exe").exists()]
    assert len(begun) > 3
    os.kill(started.supervisor(), 9)
    started.assert_gone()


def test_a_runtime_that_is_killed_takes_its_container_with_it(started: User) -> None:
    def running() -> list[int]:
        status = json.loads(started.run("get", "pod", "alone", "-o", "json").stdout)["status"]
        return [c["restartCount"] for c in status["containerStatuses"] if "running" in c["state"]]

    runtimes = [p for p in started.processes() if _program(p) in map(shutil.which, RUNTIMES)]
    assert runtimes and running() == [0]
    for pid in runtimes:
        os.kill(pid, 9)
    assert eventually(lambda: running() == [1]), started.run("describe", "pod", "alone").stdout
    down = started.run("down")
    assert down.returncode == 0, down.stderr
    started.assert_gone()


def _program(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
    return ""
