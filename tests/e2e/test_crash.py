"""What is left of a lab when something of it is killed: nothing, or all of it, working.

Every test runs the real command line in processes of its own, as root and as an ordinary user. Processes of
a lab are known by a variable in their environment or by their descent from its supervisor; nothing else is ever
killed.
The points at which something is killed are random but seeded, so a failure can be run again.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from .crashes import SHOP, User, children, eventually, finish, read

ORDINARY = 54321  # a user id that nobody has, for when the tests run as root
SEED = int(os.environ.get("EMULAB_CRASH_SEED", "2026"))
POINTS = 5  # kills a user and a verb: twenty in all

# More pods, another Service and a real program, so that an `apply` has a middle.
MORE = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: product, labels: {app: product}}
spec:
  replicas: 12
  selector: {matchLabels: {app: product, tier: backend}}
  template:
    metadata: {labels: {app: product, tier: backend}}
    spec: {containers: [{name: product, image: "shop/product:1.0", ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: second}
spec: {selector: {app: product}, ports: [{port: 81, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: real}
spec: {containers: [{name: sleeper, image: "any:1", command: [sleep, "1000"]}]}
"""


def assert_plain(result: subprocess.CompletedProcess[str]) -> None:
    """Asserts that a failed command said so in plain words."""
    assert result.returncode in (0, 1), result
    assert "Traceback" not in result.stderr
    assert result.returncode == 0 or result.stderr.startswith("emulab: "), result


def kill(pid: int) -> bool:
    """kill -9; returns whether there was anybody to kill."""
    if pid == 0:  # which would be all of the test run
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def kill_earliest(user: User) -> bool:
    """kill -9 of the supervisor, at its start of the process that is about to fork it.

    That process is stopped first: what it forks between a look and the kill would live on, and be a lab that works.
    """
    first = user.earliest()
    if first:
        with suppress(ProcessLookupError):
            os.kill(first, signal.SIGSTOP)
        assert eventually(lambda: not re.search(rb"^State:\t[RSD]", read(first, "status"), re.MULTILINE))
    met = [kill(pid) for pid in (first, user.earliest())]
    return any(met)


def pause_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


@pytest.fixture(params=["root", "ordinary"] if os.geteuid() == 0 else ["ordinary"])
def user(request: pytest.FixtureRequest) -> Iterator[User]:
    user = User(0 if request.param == "root" else os.geteuid() or ORDINARY)
    try:
        listed = user.run("labs")
        assert listed.returncode == 0, listed.stderr
        before = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout
        yield user
        after = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout
        assert after == before
    finally:
        user.close()


def moments(user: User, *command: str, count: int = POINTS) -> list[float]:
    """Random moments of a command's life, one in each equal part of it. Runs it once to know how long it takes."""
    begun = time.monotonic()
    result = user.run(*command)
    assert result.returncode == 0, result.stderr
    taken = time.monotonic() - begun
    rng = random.Random(f"{SEED} {command[0]} {user.uid}")
    return [taken * (i + rng.random()) / count for i in range(count)]


def moments_of_up(user: User, count: int = POINTS) -> list[float]:
    found = moments(user, "up", SHOP, count=count)
    user.note()
    assert user.answers()
    assert user.run("down").returncode == 0
    user.assert_gone()
    return found


def test_kill_supervisor_during_up(user: User) -> None:
    killed = 0
    for moment in moments_of_up(user):
        end = time.monotonic() + moment
        process = user.start("up", SHOP)
        eventually(lambda: user.earliest() != 0)
        pause_until(end)
        user.note()
        killed += kill_earliest(user)
        assert_plain(finish(process))
        user.assert_gone()
    assert killed == POINTS
    user.up()
    assert user.answers()


def test_kill_supervisor_during_apply(user: User) -> None:
    more = user.run_dir / "more.yaml"
    more.write_text(MORE)
    more.chmod(0o644)
    user.up()
    for moment in moments(user, "apply", "-f", str(more)):
        user.run("down")
        user.up()
        assert user.answers()  # so the `up` after each crash works
        end = time.monotonic() + moment
        process = user.start("apply", "-f", str(more))
        pause_until(end)
        user.note()
        assert kill(user.supervisor())
        assert_plain(finish(process))
        user.assert_gone()
    user.up()
    assert user.answers()


def test_kill_starting_command(user: User) -> None:
    killed = 0
    for moment in moments_of_up(user):
        process = user.start("up", SHOP)
        time.sleep(moment * 0.9)
        user.note()
        process.kill()
        # It may have been quicker than the one that was measured, up to the very last moment: a supervisor that was
        # busy when it was told to stay may have heard of it only after the end of who told it.
        ended = finish(process).returncode
        assert eventually(lambda: user.released() or not user.left())
        if ended == 0 or user.released():
            assert user.run("down").returncode == 0
        else:
            killed += 1
        user.assert_gone()
    assert killed
    user.up()
    assert user.answers()


def test_kill_spawner(user: User) -> None:
    user.up()
    (spawner,) = children(user.supervisor())
    kill(spawner)
    user.assert_gone()
    user.up()
    assert user.answers()


def test_kill_each_server(user: User) -> None:
    user.up()
    (spawner,) = children(user.supervisor())
    servers = children(spawner)
    assert len(servers) >= 6, "resolver, dns, public-lb, cluster DNS, ingress and stand-ins"
    for server in servers:
        kill(server)
        assert eventually(lambda server=server: server not in children(spawner))
        assert eventually(lambda: len(children(spawner)) == len(servers))
        assert eventually(user.answers), f"no answer after the end of {server}"
    assert user.labs() == [user.lab]
    result = user.run("scale", "deployment/product", "--replicas", "4")
    assert result.returncode == 0, f"the lab reconciles no more: {result.stderr}"


def test_kill_one_of_two_labs(user: User) -> None:
    other = f"{user.lab}-b"
    user.up()
    result = user.run("-l", other, "up", SHOP)
    assert result.returncode == 0, result.stderr
    before = children(children(user.supervisor())[0])
    assert user.answers() and user.answers(other)
    user.note(other)
    kill(user.supervisor(other))
    assert eventually(lambda: user.labs() == [user.lab])
    assert user.answers()
    assert children(children(user.supervisor())[0]) == before
    assert not any(other in name for name in user.files())
    result = user.run("-l", other, "up", SHOP)
    assert result.returncode == 0, result.stderr
    assert user.answers() and user.answers(other)
    assert user.run("down").returncode == 0
    assert user.answers(other)


def test_down_during_up(user: User) -> None:
    for moment in moments_of_up(user, 12):
        process = user.start("up", SHOP)
        time.sleep(moment)
        user.note()
        down = user.run("down")
        assert down.returncode == 0, down.stderr
        up = finish(process)
        assert_plain(up)
        if up.returncode == 0 and user.labs():  # `down` came before there was anything
            assert user.answers()
            assert user.run("down").returncode == 0
        user.assert_gone()


def test_two_ups_at_once(user: User) -> None:
    for _ in range(3):
        results = [finish(p) for p in [user.start("up", SHOP) for _ in range(2)]]
        for result in results:
            assert_plain(result)
        assert any(r.returncode == 0 for r in results), results
        assert all(user.lab in r.stderr for r in results if r.returncode != 0), results
        user.note()
        supervisors = [
            p for p in user.processes() if re.search(rb"^NSpid:.*\t1$", read(p, "status"), re.MULTILINE)
        ]
        assert supervisors == [user.supervisor()]
        assert user.answers()
        assert user.run("down").returncode == 0
        user.assert_gone()
