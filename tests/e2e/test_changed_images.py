"""Images, and the time that a Pod may be active, changed while the Pod runs: followed as the kubelet follows them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from imagearchives import Image, file, layer, programs

from .imagelabs import container, emulab, eventually, loaded

pytestmark = pytest.mark.privilege

SCRIPT = "trap 'echo ended; exit 0' TERM; echo I am $NAME; while :; do sleep 0.1; done"
TOOLS = layer(file("tmp/x", ""), *programs("sh", "sleep", "echo", "cat"))
CLUSTER = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: one}
spec: {nodes: 1}
---
"""


def image(name: str) -> Image:
    return Image(TOOLS, Entrypoint=["/bin/sh", "-c", SCRIPT], Env=["PATH=/bin", f"NAME={name}"])


def pod(name: str, image: str, spec: dict[str, Any] | None = None, **more: Any) -> str:
    whole = {
        "terminationGracePeriodSeconds": 5,
        "containers": [{"name": "c", "image": image, **more}],
        **(spec or {}),
    }
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": whole})


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("EMULAB_IMAGE_DIR", str(tmp_path / "images"))
    monkeypatch.setenv("EMULAB_LAB", f"e2e-changed-{os.getpid()}")
    for name in ("one", "two"):
        loaded(tmp_path, f"{name}:1", image(name))
    yield tmp_path
    emulab("down")


def apply(lab: Path, *manifests: str, verb: str = "apply") -> None:
    (lab / "some.yaml").write_text("\n---\n".join(manifests))
    words = (
        ("up", "--wait=false", str(lab / "some.yaml"))
        if verb == "up"
        else ("apply", "-f", str(lab / "some.yaml"))
    )
    done = emulab(*words)
    assert done.returncode == 0 and "isn't followed" not in done.stderr, done.stderr


def events(pod: str) -> str:
    return emulab("events", "--for", f"pod/{pod}").stdout


def runs(image: str, restarts: int) -> Any:
    """Whether a container runs that image, as its life of that number."""
    name = image if "." in image.partition("/")[0] else f"docker.io/library/{image}"
    return lambda s: s["ready"] and s["image"] in (image, name) and s["restartCount"] == restarts


def test_a_container_begins_anew_with_another_image(lab: Path) -> None:
    hooked = {
        "lifecycle": {"preStop": {"exec": {"command": ["/bin/sh", "-c", "echo hooked > /proc/1/fd/1"]}}}
    }
    never = {"restartPolicy": "Never"}
    probed = {"ports": [{"containerPort": 8080}], "readinessProbe": {"httpGet": {"port": 8080}}}
    done = {"command": ["true"]}
    first = [
        pod("program", "one:1", never, **hooked), pod("stand-in", "example/a", **probed), pod("mixed", "example/a"),
        pod("host", "busybox:1", command=["sh", "-c", SCRIPT]), pod("over", "busybox:1", never, **done),
    ]  # fmt: skip
    apply(lab, CLUSTER + first[0], *first[1:], verb="up")
    for name, was in {
        "program": "one:1",
        "stand-in": "example/a",
        "mixed": "example/a",
        "host": "busybox:1",
    }.items():
        eventually(name, runs(was, 0))
    eventually("over", lambda s: s["phase"] == "Succeeded")
    apply(
        lab, pod("program", "two:1", never, **hooked), pod("stand-in", "example/b", **probed), pod("mixed", "two:1"),
        pod("host", "busybox:2", command=["sh", "-c", SCRIPT]), pod("over", "busybox:2", never, **done),
    )  # fmt: skip
    for name, now in {
        "program": "two:1",
        "stand-in": "example/b",
        "mixed": "two:1",
        "host": "busybox:2",
    }.items():
        status = eventually(name, runs(now, 1))
        assert status["phase"] == "Running" and "terminated" in status["lastState"], name
        assert "Container c definition changed, will be restarted" in events(name)
    assert emulab("logs", "program").stdout == "I am two\n"
    assert emulab("logs", "program", "--previous").stdout == "I am one\nhooked\nended\n", (
        "gracefully, with its hook"
    )
    assert emulab("logs", "mixed").stdout == "I am two\n"
    assert "two@sha256:" in container("program")["imageID"]
    over = container("over")
    assert (over["image"], over["restartCount"]) == ("busybox:1", 0), (
        "what has ended for good isn't begun again"
    )

    # From a program to a stand-in, and to another program at once.
    apply(lab, pod("mixed", "example/c"), pod("program", "one:1", never, **hooked))
    eventually("mixed", runs("example/c", 2))
    apply(lab, pod("mixed", "one:1"))
    eventually("mixed", runs("one:1", 3))
    eventually("program", runs("one:1", 2))
    assert emulab("logs", "mixed").stdout == "I am one\n"


def test_a_stand_in_has_the_port_when_the_program_has_ended(lab: Path) -> None:
    """Nobody else can listen there as long as the program of the image before goes on."""
    answers = "trap '' TERM; while :; do printf 'HTTP/1.0 200 OK\\r\\n\\r\\nimage' | nc -l -N 8080; done"
    served = layer(file("tmp/x", ""), *programs("sh", "nc"))
    loaded(lab, "web:1", Image(served, Entrypoint=["/bin/sh", "-c", answers], Env=["PATH=/bin"]))
    probed = {
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"httpGet": {"port": 8080}, "periodSeconds": 1},
    }
    short = {"terminationGracePeriodSeconds": 2}
    apply(lab, CLUSTER + pod("web", "web:1", short, **probed), verb="up")
    eventually("web", runs("web:1", 0))
    for number, name in enumerate(("example/web", "web:1"), 1):
        apply(lab, pod("web", name, short, **probed))
        eventually("web", runs(name, number))
        address = json.loads(emulab("get", "pod", "web", "-o", "json").stdout)["status"]["podIP"]
        said = emulab("exec", "node1", "--", "curl", "-s", "--retry", "3", f"http://{address}:8080/").stdout
        assert ('"pod": "web"' in said) if name == "example/web" else said == "image", said


def test_a_container_that_waits_waits_no_longer(lab: Path) -> None:
    """For an image that isn't there, or for its next try: as people mend a Pod with a misspelt image."""
    strict = CLUSTER.replace("nodes: 1", "nodes: 1, pods: {missingImages: fail}")
    loaded(lab, "fails:1", Image(TOOLS, Entrypoint=["/bin/sh", "-c", "exit 3"], Env=["PATH=/bin"]))
    init = {"initContainers": [{"name": "i", "image": "tow:1", "command": ["echo", "hello"]}]}
    names = ("pulls", "crashes", "begins")
    apply(
        lab, strict + pod("pulls", "tow:1"), pod("crashes", "fails:1"), pod("begins", "one:1", init), verb="up"
    )  # fmt: skip
    eventually("pulls", lambda s: s["state"].get("waiting", {}).get("reason") == "ImagePullBackOff")
    eventually("crashes", lambda s: s["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff")
    init["initContainers"][0]["image"] = "two:1"
    begun = time.monotonic()
    apply(lab, pod("pulls", "two:1"), pod("crashes", "two:1"), pod("begins", "one:1", init))
    restarts = {name: eventually(name, lambda s: s["ready"])["restartCount"] for name in names}
    assert time.monotonic() - begun < 8, "a back-off of 10 s or more isn't waited for"
    assert restarts["pulls"] == restarts["begins"] == 0 and restarts["crashes"] >= 2
    assert emulab("logs", "begins", "-c", "i").stdout == "hello\n"


def test_a_sidecar_begins_anew_and_its_pod_goes_on(lab: Path) -> None:
    def with_sidecar(image: str) -> str:
        return pod(
            "p", "example/a", {"initContainers": [{"name": "s", "image": image, "restartPolicy": "Always"}]}
        )

    apply(lab, CLUSTER + with_sidecar("one:1"), verb="up")
    eventually("p", lambda s: s["ready"])
    apply(lab, with_sidecar("two:1"))
    assert "Init container s definition changed" in events("p")
    end = time.monotonic() + 30
    while emulab("logs", "p", "-c", "s").stdout != "I am two\n":
        assert time.monotonic() < end
        time.sleep(0.1)
    assert container("p")["restartCount"] == 0


def test_the_time_that_a_pod_may_be_active_may_come_nearer(lab: Path) -> None:
    def limited(seconds: int | None) -> str:
        return pod("p", "one:1", {"activeDeadlineSeconds": seconds} if seconds else {})

    apply(lab, CLUSTER + limited(None), verb="up")
    eventually("p", lambda s: s["ready"])
    apply(lab, limited(1000))
    time.sleep(1.5)
    assert container("p")["phase"] == "Running"
    apply(lab, limited(1))
    eventually("p", lambda s: s["phase"] == "Failed")
    assert "DeadlineExceeded" in events("p")
