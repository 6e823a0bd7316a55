"""A lab that isn't Ready in time says why: each object with its reason, while the lab stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .tools import AS_ROOT, emulab

pytestmark = pytest.mark.asyncio(loop_scope="module")


def pod(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def runs(script: str, **more: Any) -> dict[str, Any]:
    return {"name": "c", "image": "x", "command": ["sh", "-c", script], **more}


LATE = [
    # By a PATH that everybody may search: of a folder that one may not, the shell says "Permission denied".
    pod("lost", containers=[runs("true; nobody-has-this", env=[{"name": "PATH", "value": "/usr/bin:/bin"}])]),
    pod("dies", containers=[runs("sleep 0.4; echo out of luck; exit 3")]),
    pod(
        "ill",
        containers=[
            runs(
                "exec sleep 1000",
                readinessProbe={"periodSeconds": 1, "httpGet": {"port": 8080}},
                image="busybox",
            )
        ],
    ),
    pod("homeless", nodeSelector={"disktype": "ssd"}, containers=[{"name": "c", "image": "x"}]),
    pod(
        "begins",
        initContainers=[{**runs("echo no; exit 1"), "name": "i"}],
        containers=[{"name": "c", "image": "x"}],
    ),
]


async def test_every_object_is_named_with_its_reason(tmp_path: Path) -> None:
    name, file = f"late{tmp_path.name[-6:]}".replace("_", "x"), tmp_path / "late.yaml"
    file.write_text("\n---\n".join(map(json.dumps, LATE)))
    try:
        up = await emulab("-l", name, "up", str(file), "--timeout", "6s")
        assert up.status == 1
        assert (await emulab("-l", name, "get", "pods")).status == 0
    finally:
        await emulab("-l", name, "down")
    lines = up.stderr.decode().splitlines()
    unplaced = (
        "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.; no node has disktype=ssd:"
        " Cluster spec: {nodes: [{name: node1, labels: {disktype: ssd}}, …]} gives it one"
    )
    assert (
        f"warning: {file}:7: Pod/homeless: 1 Pod can't be scheduled: {unplaced.replace('.;', ';')}" in lines
    )
    told = {
        line.split("default/")[1].split(" ")[0]: line.partition("Pod ")[2]
        for line in lines
        if "Pod default/" in line
    }
    assert set(told) == {"lost", "dies", "ill", "homeless", "begins"}
    assert (
        "CrashLoopBackOff" in told["lost"]
        and "ended with status 127: sh: 1: nobody-has-this: not found" in told["lost"]
    )
    assert "emulab.dev/program: standin" in told["lost"]
    assert "ended with status 3: out of luck" in told["dies"]
    assert told["ill"].startswith(
        "default/ill container c runs but is not ready; Readiness probe failed: Get "
    )
    assert told["ill"].endswith("connect: connection refused")
    assert told["homeless"] == f"default/homeless is Pending: {unplaced}"
    assert told["begins"].startswith("default/begins container i waits: CrashLoopBackOff")
    assert sum(line.startswith("emulab: not ready in time: ") for line in lines) == 1


async def test_what_has_completed_is_done(tmp_path: Path) -> None:
    """And nobody waits for what will never be."""
    name, file = f"done{tmp_path.name[-6:]}".replace("_", "x"), tmp_path / "done.yaml"
    web = {"name": "web", "image": "x", "ports": [{"containerPort": 8080}]}
    file.write_text(
        json.dumps(pod("two", restartPolicy="Never", containers=[web, {**runs("true"), "name": "once"}]))
    )
    try:
        up = await emulab("-l", name, "up", str(file), "--timeout", "30s")
        assert up.status == 0 and "all ready" in up.text, up.stderr
        listed = (await emulab("-l", name, "get", "pod", "two")).text.splitlines()[-1].split()
        assert listed[1:3] == ["1/2", "NotReady"]
    finally:
        await emulab("-l", name, "down")
    assert AS_ROOT or up.stderr == b""


async def test_nobody_waits_for_a_node_that_there_is_none_of(tmp_path: Path) -> None:
    name, file = f"vain{tmp_path.name[-6:]}".replace("_", "x"), tmp_path / "vain.yaml"
    container = {"name": "c", "image": "x"}
    file.write_text(json.dumps(pod("homeless", nodeSelector={"disktype": "ssd"}, containers=[container])))
    try:
        up = await emulab("-l", name, "up", str(file), "--timeout", "500s")
        assert up.status == 1
        assert (
            "emulab: not ready, and waiting won't help: Pod default/homeless is Pending: 0/2"
            in up.stderr.decode()
        )
        assert (await emulab("-l", name, "get", "pods")).status == 0
    finally:
        await emulab("-l", name, "down")
