"""Programs that volumes bring along, and what else a container starts with: its folder, long words and variables."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from emulab import Lab

from .tools import emulab, eventually, output

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.privilege]

SCRIPTS = {
    "run.sh": "#!/bin/sh\necho script of $0 in $(pwd)\nexec sleep 1000\n",
    "main.py": "import time; print('python of a volume', flush=True); time.sleep(1000)\n",
}
LONG = "x" * 100_000
"""A word may have 128 KiB, and all together a quarter of the stack (execve(2))."""


def pod(name: str, command: list[str], source: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "example/app", "command": command, **more}
    spec: dict[str, Any] = {"terminationGracePeriodSeconds": 1, "containers": [container]}
    if source is not None:
        container["volumeMounts"] = [{"name": "v", "mountPath": "/app"}]
        spec["volumes"] = [{"name": "v", **source}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


CONFIG = {"configMap": {"name": "scripts", "defaultMode": 0o755}}
BROUGHT = pod("brought", ["/app/mine", "-c", "echo brought; exec sleep 1000"], {"emptyDir": {}})
BROUGHT["spec"]["initContainers"] = [
    {**BROUGHT["spec"]["containers"][0], "name": "i", "command": ["cp", "/bin/sh", "/app/mine"]}
]
LENGTHS = "echo $# ${#10}; exec sleep 1000"
PODS = {
    "script": ["script of /app/run.sh in /", pod("script", ["/app/run.sh"], CONFIG, image="busybox")],
    "shell": [
        "script of /app/run.sh in /not",
        pod("shell", ["sh", "/app/run.sh"], CONFIG, workingDir="/not", image="alpine"),
    ],
    "python": ["python of a volume", pod("python", ["python3", "main.py"], CONFIG, workingDir="/app", image="python")],
    "brought": ["brought", BROUGHT],
    "away": ["/not/there/yet", pod("away", ["sh", "-c", "pwd; exec sleep 1000"], workingDir="/not/there/yet")],
    "words": ["10 100000", pod("words", ["bash", "-c", LENGTHS, "sh", *[LONG] * 10])],
    "variables": [
        "1000000",
        pod(
            "variables",
            ["sh", "-c", "echo $((${#V0} * $(env | grep -c ^V[0-9]=x))); exec sleep 1000"],
            env=[{"name": f"V{number}", "value": LONG} for number in range(10)],
        ),
    ],
}  # fmt: skip
WORLD: list[Any] = [
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "scripts"}, "data": SCRIPTS},
    *(o for _, o in PODS.values()),
]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with Lab.from_text("\n---\n".join(map(json.dumps, WORLD))) as made:
        yield made


@pytest.mark.parametrize("name", PODS)
async def test_it_is_no_stand_in_that_runs(lab: Lab, name: str) -> None:
    async def said() -> bool:
        return (await emulab("-l", lab.name, "logs", name, "-c", "c")).text == PODS[name][0]

    await eventually(said, 30)
    (found,) = await lab.get("Pod", name, "default")
    assert "emulab.dev/stand-ins" not in found["metadata"].get("annotations", {})


async def test_what_comes_later_may_be_as_long(lab: Lab) -> None:
    words = ["bash", "-c", LENGTHS.partition(";")[0], "sh", *[LONG] * 10]
    assert await output(lab, "pod/variables", *words) == "10 100000"
