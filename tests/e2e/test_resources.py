"""What programs may use of the machine, with programs that want more."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from emulab.kernel.cgroups.hierarchies import hierarchies

from .crashes import ORDINARY, User, eventually

MIB = 1 << 20
HOG = (
    "import time; time.sleep(0.3); held = bytearray(200 << 20); print(len(held), flush=True); time.sleep(600)"
)
SPIN = "while True: pass"
BOMB = """
import threading, time
threading.stack_size(65536)
count = 1
try:
    while True:
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        count += 1
except RuntimeError as error:
    print(count, error, flush=True)
time.sleep(600)
"""


def pod(name: str, code: str, resources: dict[str, Any] | None = None, **spec: Any) -> str:
    """A Pod whose one container runs some Python."""
    container = {
        "name": "main",
        "image": "python",
        "command": ["python3", "-c", code],
        "resources": resources or {},
    }
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}}
    return json.dumps({**manifest, "spec": {"containers": [container], "restartPolicy": "Never", **spec}})


class Machine:
    """Commands of somebody with a lab."""

    def __init__(self, user: User, folder: Path) -> None:
        self.user = user
        self._folder = folder

    def up(self, *pods: str) -> None:
        file = self._folder / "pods.yaml"
        file.write_text("\n---\n".join(pods))
        os.chmod(file, 0o644)
        done = self.user.run("up", str(file), "--wait=false")
        assert done.returncode == 0, done.stderr
        self.user.note()

    def told(self, *words: str) -> str:
        done = self.user.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def status(self, name: str) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.told("get", "pod", name, "-o", "json"))["status"]
        return status

    def state(self, name: str) -> dict[str, Any]:
        containers = self.status(name).get("containerStatuses") or [{}]
        state: dict[str, Any] = containers[0].get("state") or {}
        return state

    def runs(self, name: str) -> None:
        assert eventually(lambda: "running" in self.state(name)), self.status(name)

    def cgroup(self, name: str, file: str) -> str:
        """What a file of the container's cgroup says."""
        tops = [f"{top}/emulab/{self.user.lab}/default.{name}/main/{file}" for top in hierarchies().folders]
        return next(path for top in tops if (path := Path(top)).exists()).read_text()


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Machine]:
    assert not hierarchies().missing, hierarchies().missing
    yield from machine(User(0), tmp_path)


@pytest.fixture
def ordinary(tmp_path: Path) -> Iterator[Machine]:
    yield from machine(User(os.geteuid() or ORDINARY), tmp_path)


def machine(user: User, folder: Path) -> Iterator[Machine]:
    for path in (folder, *folder.parents):
        with suppress(PermissionError):
            path.chmod(path.stat().st_mode | 0o111)  # so that others get to the file
    try:
        yield Machine(user, folder)
        down = user.run("down")
        assert down.returncode == 0, down.stderr
        user.assert_gone()
    finally:
        user.close()


def killed_for_want_of_memory(machine: Machine, name: str) -> None:
    assert eventually(lambda: "terminated" in machine.state(name)), machine.status(name)
    ended = machine.state(name)["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


def used(machine: Machine) -> dict[str, list[str]]:
    """What `top` says that each pod uses: processor and memory."""
    lines = machine.told("top", "pods", "--no-headers").splitlines()
    return {line.split()[0]: line.split()[1:] for line in lines}


@pytest.mark.root
def test_limits_are_in_force(root: Machine) -> None:
    limit = {"limits": {"memory": "64Mi", "cpu": "200m"}, "requests": {"cpu": "100m"}}
    root.up(pod("hog", HOG, limit), pod("spin", SPIN, limit), pod("free", HOG))

    killed_for_want_of_memory(root, "hog")
    status = root.status("hog")
    assert (status["qosClass"], status["phase"]) == ("Burstable", "Failed")
    assert status["containerStatuses"][0]["resources"] == {
        "limits": {"memory": "64Mi", "cpu": "200m"},
        "requests": {"memory": "64Mi", "cpu": "100m"},
    }
    assert "OOMKilled" in root.told("get", "pod", "hog")
    assert "ended with status 137: OOMKilled" in root.told("events", "--for", "pod/hog")
    assert eventually(lambda: root.told("logs", "free") == f"{200 * MIB}\n", 60)

    # Processor time: what is used is what may be, and the kernel says that it was held back.
    root.runs("spin")
    time.sleep(0.5)
    throttled = dict(line.split() for line in root.cgroup("spin", "cpu.stat").splitlines())
    assert int(throttled["nr_throttled"]) > 0
    # Of a machine that halts between looking at the clock and at the use, one look says nothing.
    looks = [used(root) for _ in range(4)]
    assert any(100 <= int(rows["spin"][0].removesuffix("m")) <= 320 for rows in looks), looks
    assert all(int(rows["free"][1].removesuffix("Mi")) >= 200 for rows in looks)

    # What is run in a container is bounded with it.
    hungry = root.user.run("exec", "pod/spin", "--", "python3", "-c", "bytearray(100 << 20)")
    assert hungry.returncode == 137, hungry


@pytest.mark.root
def test_no_more_processes_than_usual(root: Machine) -> None:
    """The last one that is born is the 4096th, and others have room for theirs."""
    root.up(pod("bomb", BOMB), pod("other", SPIN, {"limits": {"cpu": "200m"}}))
    assert eventually(lambda: root.told("logs", "bomb").strip() != "", 120), "it found no end"
    count, _, why = root.told("logs", "bomb").strip().partition(" ")
    assert 4000 < int(count) <= 4096 and "can't start new thread" in why
    assert int(root.cgroup("bomb", "pids.max")) == 4096
    assert root.told("exec", "pod/other", "--", "echo", "well") == "well\n"

    # A Pod that is gone leaves nothing, though it was killed at once.
    assert root.user.run("delete", "pod", "bomb", "--now").returncode == 0
    folders = [Path(f"{top}/emulab/{root.user.lab}/default.bomb") for top in hierarchies().folders]
    assert eventually(lambda: not any(map(Path.exists, folders))), folders


@pytest.mark.root
def test_a_container_that_is_started_again_begins_with_nothing_used(root: Machine) -> None:
    once = "import os; os.path.exists('/proc/self') and bytearray(200 << 20)"
    root.up(pod("hog", once, {"limits": {"memory": "48Mi"}}, restartPolicy="Always"))
    assert eventually(lambda: root.status("hog")["containerStatuses"][0]["restartCount"] >= 1)
    last = root.status("hog")["containerStatuses"][0]["lastState"]["terminated"]
    assert (last["reason"], last["exitCode"]) == ("OOMKilled", 137)


@pytest.mark.root
def test_a_program_that_fails_for_itself_is_not_taken_for_one_without_memory(root: Machine) -> None:
    limit = {"limits": {"memory": "64Mi"}}
    child = "import os\nif os.fork() == 0: os.kill(os.getpid(), 9)"
    root.up(pod("fails", "raise SystemExit(137)", limit), pod("child", child, limit))
    for name, expected in (("fails", ("Error", 137)), ("child", ("Completed", 0))):
        assert eventually(lambda name=name: "terminated" in root.state(name)), root.status(name)  # type: ignore[misc]
        ended = root.state(name)["terminated"]
        assert (ended["reason"], ended["exitCode"]) == expected


@pytest.mark.root
def test_a_pod_without_room_to_begin_says_so(root: Machine) -> None:
    root.up(pod("tiny", "pass", {"limits": {"memory": "64Ki"}}))

    def failed() -> bool:
        return "terminated" in root.state("tiny")

    assert eventually(failed), root.status("tiny")
    ended = root.state("tiny")["terminated"]
    assert ended["exitCode"] in (128, 137) and ended["reason"] in ("StartError", "OOMKilled"), ended


@pytest.mark.root
def test_a_lab_that_is_killed_leaves_no_cgroup(root: Machine) -> None:
    root.up(pod("spin", SPIN, {"limits": {"cpu": "100m"}}))
    root.runs("spin")
    folders = [Path(f"{top}/emulab/{root.user.lab}") for top in hierarchies().folders]
    assert all(map(Path.is_dir, folders))
    os.kill(root.user.supervisor(), 9)
    root.user.assert_gone()
    assert not any(map(Path.exists, folders))


def test_what_is_not_delegated_is_said(ordinary: Machine) -> None:
    """The program runs as it did, and everybody is told: by an Event, by doctor, and not by a status."""
    ordinary.up(
        pod("hog", HOG, {"limits": {"memory": "64Mi"}, "requests": {"cpu": "100m"}}), pod("spin", SPIN)
    )
    assert eventually(lambda: ordinary.told("logs", "hog") == f"{200 * MIB}\n")
    told = ordinary.told("events", "--for", "pod/hog", "--types", "Warning")
    assert "NotBounded" in told
    assert (
        "cpu, memory of container main isn't bounded: cpu: its cgroups aren't this user's to write to" in told
    )
    assert "NotBounded" not in ordinary.told("events", "--for", "pod/spin")
    checks = {check["name"]: check for check in json.loads(ordinary.told("doctor", "-o", "json"))["checks"]}
    assert checks["cgroups"]["state"] == "optional"
    assert "systemd-run --user --scope" in checks["cgroups"]["remedy"]
    # What is used is told all the same, by the processes.
    rows = {
        row.split()[0]: row.split()[1:] for row in ordinary.told("top", "pods", "--no-headers").splitlines()
    }
    assert int(rows["spin"][0].removesuffix("m")) > 100
    assert int(rows["hog"][1].removesuffix("Mi")) >= 200


@pytest.fixture
def delegated(tmp_path: Path) -> Iterator[Machine]:
    """An ordinary user who was given cgroups of his own, as a service manager does it, and runs his commands there."""
    tops = hierarchies().folders
    given = [Path(top, f"e2e-{os.getpid()}-delegated") for top in tops]
    if hierarchies().unified:
        raise AssertionError("tests/vm has its own, where nobody else changes cgroups")
    try:
        for folder in given:
            (folder / "session").mkdir(parents=True)
            for path in (folder, folder / "session"):
                for owned in (path, path / "cgroup.procs"):
                    os.chown(owned, ORDINARY, ORDINARY)
        yield from machine(Delegated(ORDINARY, given), tmp_path)
        assert not [below for folder in given for below in folder.iterdir() if below.name == "emulab"]
    finally:
        for folder in given:
            for path in (folder / "session", folder):
                with suppress(FileNotFoundError):
                    os.rmdir(path)


class Delegated(User):
    def __init__(self, uid: int, given: list[Path]) -> None:
        super().__init__(uid)
        self._given = given

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        before = Path("/proc/self/cgroup").read_text()
        try:
            for folder in self._given:
                (folder / "session/cgroup.procs").write_text(str(os.getpid()))
            return super().start(*arguments)
        finally:
            for line in before.splitlines():
                _, controllers, path = line.split(":", 2)
                for folder in self._given:
                    if folder.parent.name in controllers.split(","):
                        Path(f"{folder.parent}{path}/cgroup.procs").write_text(str(os.getpid()))


@pytest.mark.root
def test_what_is_delegated_to_an_ordinary_user_bounds_his_containers(delegated: Machine) -> None:
    delegated.up(pod("hog", HOG, {"limits": {"memory": "64Mi"}}), pod("bomb", BOMB))
    killed_for_want_of_memory(delegated, "hog")
    assert eventually(lambda: delegated.told("logs", "bomb").strip() != "")
    assert int(delegated.told("logs", "bomb").split()[0]) <= 4096
    assert "NotBounded" not in delegated.told("events")
