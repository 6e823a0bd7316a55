"""Containers that run an image: its layers are their root, its words their program; and nothing of theirs is its."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from imagearchives import Image, file, folder, layer, link, programs

from .imagelabs import container, emulab, eventually, loaded

pytestmark = pytest.mark.privilege

ROOT = os.geteuid() == 0
ENTRY = """#!/bin/sh
trap 'echo ended by QUIT; exit 0' QUIT
echo "args: $@ A=$A B=$B pwd=$(pwd)"
id
echo mine > /app/written
cat /app/lower /app/changed
test -e /app/gone || echo nothing is gone
while :; do sleep 0.1; done
"""
BASE = layer(
    folder("etc"),
    file("etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1001:1002::/app:/bin/sh\n"),
    file("etc/group", "root:x:0:\napp:x:1002:\nmore:x:1003:app\n"),
    folder("app", 0o755, uid=1001, gid=1002),
    *(file(f"app/{name}", f"{name} below\n", uid=1001) for name in ("lower", "changed", "gone")),
    folder("tmp", 0o1777),
    *programs("sh", "sleep", "id", "cat", "ls"),
)
TOP = layer(
    file("entry", ENTRY, 0o755), file("app/changed", "changed above\n", uid=1001), file("app/.wh.gone"),
    link("app/out", "/etc/hostname"),
)  # fmt: skip
WEB = Image(
    BASE, TOP, Entrypoint=["/entry"], Cmd=["$$one", "$(A)"], Env=["A=b", "B=image", "PATH=/bin"], User="app",
    WorkingDir="/app", StopSignal="SIGQUIT",
)  # fmt: skip
MANIFESTS = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: one}
spec: {nodes: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 20
  containers: [{name: c, image: "web:1", env: [{name: B, value: manifest}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: own}
spec:
  restartPolicy: Never
  containers:
    - name: c
      image: docker.io/library/web:1
      command: [sh, -c]
      args: ["pwd; id -u; ls /app; echo more >> /app/lower; cat /app/lower; echo $0 '$(A)'", "word"]
      workingDir: /tmp
      securityContext: {runAsUser: 0}
---
apiVersion: v1
kind: Pod
metadata: {name: args}
spec:
  restartPolicy: Never
  initContainers: [{name: i, image: "web:1", command: [sh, -c, "id -u > /tmp/x; cat /tmp/x"]}]
  containers: [{name: c, image: "tools:1", args: [-c, "echo from args"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: nothing}
spec: {containers: [{name: c, image: "empty:1"}]}
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("EMULAB_IMAGE_DIR", str(tmp_path / "images"))
    monkeypatch.setenv("EMULAB_LAB", f"e2e-rooted-{os.getpid()}")
    yield tmp_path
    emulab("down")


def contents(folder: Path) -> dict[str, object]:
    """All that is below a folder, with its attributes."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        about = path.lstat()
        text = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path)] = (about.st_mode, about.st_uid, about.st_size, about.st_mtime_ns, text)
    return found


@pytest.mark.parametrize("runtime", ["builtin", "crun", "runc"])
def test_containers_run_their_images(lab: Path, runtime: str) -> None:
    loaded(lab, "web:1", WEB)
    loaded(
        lab, "tools:1", Image(BASE, Entrypoint=["/bin/sh"], Cmd=["-c", "echo from cmd"], Env=["PATH=/bin"])
    )
    loaded(lab, "empty:1", Image(layer(file("data", "x"))))
    before = contents(lab / "images" / "layers")
    world = MANIFESTS.replace("nodes: 1", f"nodes: 1, pods: {{runtime: {runtime}}}")
    (lab / "lab.yaml").write_text(world)
    up = emulab("up", str(lab / "lab.yaml"), "--wait=false")
    assert up.returncode == 0 and "isn't on this host" not in up.stderr, up.stderr
    eventually("web", lambda s: s["ready"])
    for pod in ("own", "args"):
        eventually(pod, lambda s: s["phase"] == "Succeeded")

    lines = emulab("logs", "web").stdout.splitlines()
    assert lines[0] == "args: $$one $(A) A=b B=manifest pwd=/app"
    assert lines[1] == (
        "uid=1001(app) gid=1002(app) groups=1002(app),1003(more)"
        if ROOT
        else "uid=0(root) gid=0(root) groups=0(root)"
    )
    assert lines[2:5] == ["lower below", "changed above", "nothing is gone"]
    own = emulab("logs", "own").stdout.splitlines()
    assert own == ["/tmp", "0", "changed", "lower", "out", "lower below", "more", "word $(A)"]
    assert emulab("logs", "args").stdout == "from args\n"
    assert emulab("logs", "args", "-c", "i").stdout == ("1001\n" if ROOT else "0\n")
    inside = emulab("exec", "pod/web", "--", "/bin/cat", "/app/written", "/app/out")
    assert inside.stdout == "mine\nweb\n", inside.stderr

    status = container("web")
    assert status["image"] == "docker.io/library/web:1"
    assert status["imageID"].startswith("docker.io/library/web@sha256:")
    failed = eventually("nothing", lambda s: bool(s.get("lastState")))
    assert "no command specified" in failed["lastState"]["terminated"]["message"]
    described = emulab("describe", "pod", "web").stdout
    assert "/entry" in described and "stand-in" not in described

    # It is ended by its own signal, and has written nothing of what it is made of.
    follower = emulab("delete", "pod", "web")
    assert follower.returncode == 0
    assert contents(lab / "images" / "layers") == before


def test_a_container_starts_again_though_its_image_has_been_removed(lab: Path) -> None:
    loaded(lab, "web:1", Image(BASE, Entrypoint=["/bin/sh", "-c", "sleep 1; exit 3"], Env=["PATH=/bin"]))
    pod = (
        "{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: c, image: 'web:1'}]}}"
    )
    (lab / "pod.yaml").write_text(pod)
    assert emulab("up", str(lab / "pod.yaml"), "--wait=false").returncode == 0
    eventually("web", lambda s: "running" in s["state"])
    assert emulab("image", "rm", "web:1").returncode == 0
    eventually("web", lambda s: s["restartCount"] >= 1 and "running" in s["state"])
