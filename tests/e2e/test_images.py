"""Images that are loaded, listed and removed by the command, as root and as an ordinary user."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from imagearchives import Image, archive, file, layer, link, oci

from .imagelabs import emulab, eventually, loaded

pytestmark = pytest.mark.privilege

WEB = Image(
    layer(file("run", "#!/bin/sh\n", 0o755)), Entrypoint=["/run"], Env=["A=b"], User="app:app", Cmd=["x"]
)


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMULAB_IMAGE_DIR", str(tmp_path / "images"))
    return tmp_path


def test_an_image_is_loaded_listed_and_removed(images: Path) -> None:
    assert emulab("image", "ls").stdout == "No images are loaded; load one with: emulab image load ARCHIVE\n"
    source = images / "web.tar"
    source.write_bytes(archive(oci({"acme/web:1": WEB})))
    done = emulab("image", "load", str(source))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"docker.io/acme/web:1 loaded: {WEB.id[7:19]}, 10B, 1 of 1 layers unpacked\n"
    rows = emulab("image", "ls").stdout.splitlines()
    assert rows[0].split() == ["NAME", "IMAGE", "ID", "LAYERS", "SIZE", "LOADED"]
    assert rows[1].split()[:4] == ["docker.io/acme/web:1", WEB.id[7:19], "1", "10B"]
    (listed,) = json.loads(emulab("image", "ls", "-o", "json").stdout)
    assert listed["names"] == ["docker.io/acme/web:1"] and listed["id"] == WEB.id
    (details,) = json.loads(emulab("image", "inspect", "acme/web:1").stdout)
    assert details["config"]["Entrypoint"] == ["/run"] and details["config"]["Env"] == ["A=b"]
    assert (Path(details["layers"][0]["path"]) / "run").read_text() == "#!/bin/sh\n"
    assert emulab("image", "rm", "acme/web:1").stdout == "acme/web:1 removed\n"
    gone = emulab("image", "rm", "acme/web:1")
    assert gone.returncode == 1 and gone.stderr.startswith("emulab: there is no image 'acme/web:1'; ")
    assert json.loads(emulab("image", "ls", "-o", "json").stdout) == []


def test_what_docker_save_writes_comes_by_a_pipe(images: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "emulab", "image", "load", "-", "--name", "web"],
        input=archive(oci({"latest": WEB})),
        capture_output=True,
        env={**os.environ},
    )
    assert done.stdout.startswith(b"docker.io/library/web:latest loaded: "), done


def test_what_is_wrong_is_one_line(images: Path) -> None:
    evil = images / "evil.tar"
    evil.write_bytes(archive(oci({"evil": Image(layer(link("etc", "/etc"), file("etc/emulab-evil", "x")))})))
    cases = {
        (str(evil),): f"{evil}: layer ",
        (str(images / "none"),): f"{images}/none: No such file or directory\n",
        (str(images),): f"{images}: it is neither an OCI layout nor a Docker archive",
        (str(evil), "--name", "No Name"): "'No Name' is no name and tag of an image",
    }
    for words, said in cases.items():
        done = emulab("image", "load", *words)
        assert done.returncode == 1 and done.stderr.startswith(f"emulab: {said}"), done.stderr
        assert done.stderr.count("\n") == 1
    assert not os.path.exists("/etc/emulab-evil")
    for words in (
        ("image", "load"),
        ("image", "rm"),
        ("image", "load", "x", "--max-size", "much"),
        ("image", "x"),
    ):
        assert emulab(*words).returncode == 2


STRICT = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: strict}
spec: {nodes: 1, pods: {missingImages: fail}}
---
apiVersion: v1
kind: Pod
metadata: {name: waits}
spec: {containers: [{name: c, image: example.test/web:1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: never}
spec: {containers: [{name: c, image: example.test/other, imagePullPolicy: Never}]}
---
apiVersion: v1
kind: Pod
metadata: {name: nameless}
spec: {containers: [{name: c, image: "Not A Name"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: stands-in, annotations: {emulab.dev/program: standin}}
spec: {containers: [{name: c, image: example.test/other}]}
"""


@pytest.fixture
def lab(images: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = f"e2e-images-{os.getpid()}"
    monkeypatch.setenv("EMULAB_LAB", name)
    yield name
    emulab("down")


def test_where_images_are_asked_for_pods_wait_for_them(images: Path, lab: str) -> None:
    (images / "strict.yaml").write_text(STRICT)
    done = emulab("up", str(images / "strict.yaml"), "--wait=false")
    assert done.returncode == 0, done.stderr
    for pod, reason in {
        "waits": "ImagePullBackOff",
        "never": "ErrImageNeverPull",
        "nameless": "InvalidImageName",
    }.items():
        status = eventually(
            pod, lambda s, reason=reason: s["state"].get("waiting", {}).get("reason") == reason
        )
        assert status["phase"] == "Pending" and not status["ready"] and status["restartCount"] == 0
    eventually("stands-in", lambda s: s["ready"])
    row = emulab("get", "pods", "waits").stdout.splitlines()[1].split()
    assert row[:3] == ["waits", "0/1", "ImagePullBackOff"]
    events = emulab("events", "--for", "pod/waits").stdout
    for said in ("Failed to pull image", "Error: ErrImagePull", "Back-off pulling image"):
        assert said in events
    loaded(images, "example.test/web:1", WEB)
    status = eventually("waits", lambda s: bool(s.get("imageID")))
    (there,) = json.loads(emulab("image", "ls", "-o", "json").stdout)
    assert status["imageID"] == f"example.test/web@{there['digest']}"
    assert status["image"] == "example.test/web:1"
    # What the lab uses stays, and goes with it.
    assert emulab("image", "rm", "example.test/web:1").returncode == 0
    layers = Path(os.environ["EMULAB_IMAGE_DIR"]) / "layers"
    assert len(os.listdir(layers)) == 1
    assert emulab("down").returncode == 0
    emulab("image", "rm", "nothing")
    assert os.listdir(layers) == []
