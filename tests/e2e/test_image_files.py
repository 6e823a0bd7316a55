"""What images bring along that is special: volumes, links to nowhere, layers that hide others, file capabilities."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from imagearchives import Image, file, folder, layer, link, programs

from .imagelabs import container, emulab, eventually, loaded

pytestmark = pytest.mark.privilege

ROOT = os.geteuid() == 0
NET_RAW = 1 << 13
CAPABLE = {
    "SCHILY.xattr.security.capability": struct.pack("<5I", 0x02000001, NET_RAW, 0, 0, 0).decode("latin-1")
}
"""A file's attribute with that capability, permitted and effective (linux/capability.h)."""
LOOP = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
BASE = layer(
    folder("etc"),
    file("etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1001:1002::/app:/bin/sh\n"),
    file("etc/group", "root:x:0:\napp:x:1002:\n"),
    link("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf"),
    link("etc/hosts", "/no/such/hosts"),
    link("etc/hostname", "name"),
    folder("var/lib/data", 0o750, uid=1001, gid=1002),
    file("var/lib/data/seed", "of the image\n", 0o640, uid=1001, gid=1002),
    folder("cache"),
    file("cache/seed", "covered\n"),
    folder("opaque"),
    *(file(f"opaque/{name}", "lowest\n") for name in ("one", "two")),
    *(file(f"hidden/{name}", "lowest\n") for name in ("one", "two")),
    folder("tmp", 0o1777),
    *programs("sh", "sleep", "cat", "ls", "id", "mv", "stat", "grep", "wc"),
)
MIDDLE = layer(
    file("opaque/.wh..wh..opq"),
    file("opaque/three", "middle\n"),
    file("hidden/.wh.one"),
    file("hidden/three", "middle\n"),
    file("bin/raw", programs("cat")[0][1], 0o755, pax_headers=CAPABLE),
)  # fmt: skip
TOP = layer(
    file("hidden/one", "top\n"),
    file("hidden/.wh.three"),
    file("opaque/.wh.three"),
    file("opaque/four", "top\n"),
)
DATA = Image(
    BASE, MIDDLE, TOP, Entrypoint=["/bin/sh", "-c", LOOP], Env=["PATH=/bin"], User="app",
    Volumes={"/var/lib/data": {}, "/cache": {}, "/fresh/folder": {}},
)  # fmt: skip
PODS = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: one}
spec: {nodes: 1, pods: {runtime: RUNTIME}}
---
apiVersion: v1
kind: Pod
metadata: {name: data}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: c
      image: "data:1"
      securityContext: {readOnlyRootFilesystem: true}
      volumeMounts: [{name: room, mountPath: /cache/}]
  volumes: [{name: room, emptyDir: {}}]
---
apiVersion: v1
kind: Pod
metadata: {name: again}
spec:
  containers:
    - name: c
      image: "data:1"
      command: [sh, -c]
      args: ["ls /var/lib/data; echo mine > /var/lib/data/mine; sleep 0.5; exit 1"]
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("EMULAB_IMAGE_DIR", str(tmp_path / "images"))
    monkeypatch.setenv("EMULAB_LAB", f"e2e-imagefiles-{os.getpid()}")
    yield tmp_path
    emulab("down")


def sh(script: str, pod: str = "data") -> str:
    done = emulab("exec", f"pod/{pod}", "--", "/bin/sh", "-c", script)
    assert done.returncode == 0, (script, done.stdout, done.stderr)
    return done.stdout


@pytest.mark.parametrize("runtime", ["builtin", "crun", "runc"])
def test_what_is_special_about_an_images_files(lab: Path, runtime: str) -> None:
    loaded(lab, "data:1", DATA)
    (lab / "lab.yaml").write_text(PODS.replace("RUNTIME", runtime))
    up = emulab("up", str(lab / "lab.yaml"), "--wait=false")
    assert up.returncode == 0 and "isn't on this host" not in up.stderr, up.stderr
    eventually("data", lambda s: s["ready"])

    # Its volumes can be written to though the root can't, and have what the image has there, with owner and mode.
    assert sh("cat /var/lib/data/seed; stat -c '%a %u %g' /var/lib/data /var/lib/data/seed") == (
        "of the image\n750 1001 1002\n640 1001 1002\n" if ROOT else "of the image\n750 0 0\n640 0 0\n"
    )
    sh("echo changed > /var/lib/data/seed; echo mine > /var/lib/data/mine")
    refused = emulab("exec", "pod/data", "--", "/bin/sh", "-c", "echo > /tmp/mine")
    assert refused.returncode != 0 and "Read-only" in refused.stderr
    assert sh("ls /fresh/folder /cache; echo > /cache/mine; ls /cache") == "/cache:\n\n/fresh/folder:\nmine\n"
    assert sh("id -u") == ("1001\n" if ROOT else "0\n")
    assert sh("grep -c ' /var/lib/data \\| /fresh/folder \\| /cache ' /proc/self/mountinfo") == "3\n"

    # Links to nowhere are followed in the image's own root.
    assert sh("cat /etc/hostname") == "data\n"
    assert "nameserver" in sh("cat /etc/resolv.conf /run/systemd/resolve/stub-resolv.conf")
    assert "Kubernetes-managed" in sh("cat /no/such/hosts")

    # What layers hide.
    assert sh("ls /opaque; cat /opaque/four") == "four\ntop\n"
    assert sh("ls /hidden; cat /hidden/one /hidden/two") == "one\ntwo\ntop\nlowest\n"

    # A file's capabilities are its program's, of whatever user.
    effective = sh("raw /proc/self/status | grep CapEff").split()[1]
    assert (int(effective, 16) == NET_RAW) if ROOT else int(effective, 16)

    # Each life of a container has volumes of its own.
    eventually("again", lambda s: s["restartCount"] >= 1 and "running" in s["state"])
    assert emulab("logs", "again").stdout == "seed\n"
    assert container("data")["restartCount"] == 0, emulab("events", "--for", "pod/data").stdout
