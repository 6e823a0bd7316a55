"""What is left when a running lab is killed, or when commands get in each other's way: nothing, or a lab that works."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time

import pytest

from .crashes import (
    SHOP,
    User,
    assert_plain,
    children,
    eventually,
    finish,
    kill,
    moments_of_up,
    mounts,
    read,
)

pytestmark = pytest.mark.both_users


def test_kill_spawner(user: User) -> None:
    user.up()
    (spawner,) = children(user.supervisor())
    kill(spawner)
    user.assert_gone()
    user.up()
    assert user.answers()


KEEPING = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: keeps}
spec:
  containers:
    - name: main
      command: [sh, -c, "echo mine | tee /data/file /small/file /scratch/file; exec sleep 1000"]
      volumeMounts: [{name: data, mountPath: /data}, {name: small, mountPath: /small}, {name: s, mountPath: /scratch}]
  volumes:
    - {name: data, persistentVolumeClaim: {claimName: data}}
    - {name: small, emptyDir: {sizeLimit: 1Mi}}
    - {name: s, emptyDir: {}}
"""


def test_volumes_go_with_the_supervisor(user: User) -> None:
    """The host has never seen more of them than an empty folder."""
    manifest = user.run_dir / "keeps.yaml"
    manifest.write_text(KEEPING)
    manifest.chmod(0o644)
    user.up(str(manifest))
    read_back = user.run("exec", "pod/keeps", "--", "cat", "/data/file", "/small/file", "/scratch/file")
    assert read_back.stdout == "mine\n" * 3, read_back.stderr
    folder = user.run_dir / user.lab / "private"
    assert list(folder.iterdir()) == [] and not any(str(folder) in mount for mount in mounts())
    kill(user.supervisor())
    user.assert_gone()
    assert not folder.exists()


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


def test_stop_a_server(user: User) -> None:
    """SIGSTOP: nobody closes a connection, so only the lab itself can notice; its pod counts the restart."""
    user.up()
    (spawner,) = children(user.supervisor())
    (ingress,) = [pid for pid in children(spawner) if read(pid, "comm").startswith(b"ingress")]
    os.kill(ingress, signal.SIGSTOP)
    assert eventually(lambda: ingress not in children(spawner))
    assert eventually(user.answers)

    def restarts() -> list[int]:
        result = user.run("get", "pods", "-n", "ingress-nginx", "-o", "json")
        pods = json.loads(result.stdout)["items"]
        return [c["restartCount"] for pod in pods for c in pod["status"]["containerStatuses"]]

    assert eventually(lambda: restarts() == [1])
    log = (user.run_dir / user.lab / "supervisor.log").read_text()
    assert "doesn't answer any more, so it is killed" in log and log.count("doesn't answer any more") == 1


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


def test_what_a_killed_lab_said_last_is_told(user: User) -> None:
    user.up()
    kill(user.supervisor())
    user.assert_gone()
    asked = user.run("get", "pods")
    assert asked.returncode == 1
    log = user.run_dir / f"{user.lab}.log"
    text = log.read_text()
    last = re.escape(
        text.splitlines()[-1]
    )  # a balancer may tell of a backend after the supervisor's own word
    assert re.fullmatch(
        rf"emulab: lab '{user.lab}' is not up; it was last heard of at \S+Z, and the last line of its log is: {last}"
        rf" \(log: {log}\); start it with: .*\n",
        asked.stderr,
    )
    assert "released: " in text
    assert "Error" not in text, text  # what dies with its supervisor has nothing to complain of
    assert user.run("down").returncode == 0
    assert list(user.run_dir.iterdir()) == []


def test_a_lab_whose_folder_is_removed_ends(user: User) -> None:
    """Nobody could find it any more: it has to end by itself."""
    user.up()
    shutil.rmtree(user.run_dir / user.lab)
    user.assert_gone()
    user.up()
    (user.run_dir / user.lab).rename(user.run_dir / "elsewhere")
    assert eventually(lambda: not user.left())
    user.assert_gone()
    assert user.run("down", "--all").returncode == 0  # where it is now, it is a dead lab
    assert list(user.run_dir.iterdir()) == []
