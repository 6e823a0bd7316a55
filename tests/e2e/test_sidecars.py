"""Sidecars: init containers that go on running (KEP-753), as programs and as stand-ins."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from emulab import Lab

from .proxyworld import service
from .tools import cluster_ip, emulab, eventually, is_ready, mounted, output, sharing

pytestmark = pytest.mark.asyncio(loop_scope="module")


def program(name: str, steps: Path, more: str = "") -> dict[str, Any]:
    """A container that says in a file that it begins, and that it was ended; `more` is done meanwhile."""
    told = f"trap 'echo {name} ended >> {steps}; exit 0' TERM; echo {name} >> {steps}"
    return {"name": name, "command": ["sh", "-c", f"{told}; while :; do sleep 0.05; {more}\ndone"]}


def pod(name: str, inits: list[dict[str, Any]], main: dict[str, Any], **spec: Any) -> str:
    metadata = {"name": name, "labels": {"app": name}}
    containers = {"initContainers": inits, "containers": [main]}
    return json.dumps(
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**containers, **spec}}
    )


def lines(steps: Path) -> list[str]:
    return steps.read_text().splitlines() if steps.exists() else []


async def told(steps: Path, *expected: str) -> None:
    """Waits until these lines are there, in this order."""

    async def there() -> bool:
        return len(lines(steps)) >= len(expected)

    await eventually(there)
    assert lines(steps) == list(expected)


async def status(lab: Lab, name: str) -> dict[str, Any]:
    found = await lab.get("Pod", name)
    return dict(found[0]["status"]) if found else {}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sidecars")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    async with Lab.from_text(
        sharing(tmp_path_factory.getbasetemp()), pod("asker", [], {"name": "c"})
    ) as made:
        yield made


async def test_a_sidecar_starts_in_its_turn_and_ends_last(lab: Lab, folder: Path) -> None:
    steps, opened, quit_ = folder / "steps", folder / "opened", folder / "quit"
    side = program("side", steps, f"[ ! -e {quit_} ] || {{ rm {quit_}; exit 1; }}")
    always, port = {"restartPolicy": "Always"}, {"name": "metrics", "containerPort": 9100}
    startup = {"exec": {"command": ["test", "-e", str(opened)]}, "periodSeconds": 1, "failureThreshold": 300}
    inits = [
        {**side, **always, "startupProbe": startup},
        {"name": "once", "command": ["sh", "-c", f"echo once >> {steps}"]},
        {"name": "stand", **always, "ports": [port]},
    ]
    web = service("mesh", "{selector: {app: mesh}, ports: [{port: 80, targetPort: metrics}]}")
    assert (
        await lab.apply(mounted(pod("mesh", inits, program("main", steps)), folder), web, ready=False) == []
    )

    await told(steps, "side")
    await asyncio.sleep(1.0)  # its startup probe hasn't passed, so nothing else begins
    await told(steps, "side")
    opened.touch()

    async def ready() -> bool:
        found = await lab.get("Pod", "mesh")
        return bool(found and is_ready(found[0]))

    await eventually(ready)
    await told(steps, "side", "once", "main")
    row = (await emulab("-l", lab.name, "get", "pod", "mesh")).text.splitlines()[1]
    assert row.split()[:4] == ["mesh", "3/3", "Running", "0"]
    answer = await output(lab, "pod/asker", "curl", "-s", f"http://{await cluster_ip(lab, 'mesh')}/")
    assert (json.loads(answer)["pod"], json.loads(answer)["port"]) == ("mesh", 9100)
    states = {s["name"]: s for s in (await status(lab, "mesh"))["initContainerStatuses"]}
    assert states["once"]["state"]["terminated"]["reason"] == "Completed"
    assert "running" in states["side"]["state"] and "running" in states["stand"]["state"]

    said = await emulab("-l", lab.name, "exec", "pod/mesh", "-c", "side", "--", "cat", "/proc/1/cmdline")
    assert b"echo side ended" in said.stdout
    for container, status_ in (("side", 0), ("once", 0), ("nobody", 1)):
        assert (await emulab("-l", lab.name, "logs", "mesh", "-c", container)).status == status_

    quit_.touch()

    async def back() -> bool:
        [again] = [s for s in (await status(lab, "mesh"))["initContainerStatuses"] if s["name"] == "side"]
        return bool(again["restartCount"] == 1 and again["started"])

    await eventually(back)
    await told(steps, "side", "once", "main", "side")
    await lab.delete("Pod", "mesh")

    async def gone() -> bool:
        return not await lab.get("Pod", "mesh")

    await eventually(gone)
    await told(steps, "side", "once", "main", "side", "main ended", "side ended")


async def test_a_pod_whose_work_is_done_is_not_held_up_by_its_sidecar(lab: Lab, folder: Path) -> None:
    steps = folder / "job"
    side = {**program("side", steps), "restartPolicy": "Always"}
    wait = f"until [ -e {steps} ]; do sleep 0.05; done"
    main = {"name": "main", "command": ["sh", "-c", f"{wait}; echo done >> {steps}"]}
    await lab.apply(mounted(pod("job", [side], main, restartPolicy="Never"), folder), ready=False)

    async def over() -> bool:
        return bool((await status(lab, "job")).get("phase") == "Succeeded")

    await eventually(over)
    await told(steps, "side", "done", "side ended")


async def test_sidecars_part_from_work_that_is_done_as_from_a_pod_that_is_deleted(
    lab: Lab, folder: Path
) -> None:
    steps = folder / "parting"
    hook = {"preStop": {"exec": {"command": ["sh", "-c", f"echo hook >> {steps}"]}}}
    always, slow = {"restartPolicy": "Always"}, f"[ ! -e {steps}.done ] || sleep 0.3"
    inits = [
        {**program("one", steps), **always, "lifecycle": hook},
        {**program("two", steps, slow), **always},
    ]
    wait = f"until grep -q two {steps}; do sleep 0.05; done"
    main = {"name": "main", "command": ["sh", "-c", f"{wait}; echo done >> {steps}"]}
    await lab.apply(mounted(pod("parting", inits, main, restartPolicy="Never"), folder), ready=False)

    async def over() -> bool:
        phase = (await status(lab, "parting")).get("phase")
        assert phase != "Succeeded" or "one ended" in lines(steps)  # not before the last sidecar has ended
        return bool(phase == "Succeeded")

    await eventually(over)
    assert sorted(lines(steps)) == ["done", "hook", "one", "one ended", "two", "two ended"]
    assert lines(steps)[:3] == ["one", "two", "done"] and lines(steps)[-1] == "one ended"


async def test_sidecars_without_a_program_stay_beside_a_job_and_go_with_it(lab: Lab) -> None:
    main = {"name": "main", "command": ["curl", "-sSf", "http://localhost:9200/hostname"]}
    side = {"name": "side", "restartPolicy": "Always", "ports": [{"containerPort": 9200}]}
    made = json.loads(pod("lasting", [side], main, restartPolicy="Never"))
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "lasting"}}
    await lab.apply(json.dumps({**job, "spec": {"template": {"spec": made["spec"]}}}), ready=False)

    async def complete() -> bool:
        [found] = await lab.get("Job", "lasting")
        return bool(found.get("status", {}).get("succeeded") == 1)

    await eventually(complete)
    [found] = [p for p in await lab.get("Pod") if p["metadata"]["name"].startswith("lasting-")]
    [side_status] = found["status"]["initContainerStatuses"]
    assert side_status["state"]["terminated"]["exitCode"] == 0
    said = await emulab("-l", lab.name, "logs", "job/lasting", "-c", "main")
    assert said.text.strip() == found["metadata"]["name"]


async def test_a_pod_that_can_never_begin_ends_its_sidecars(lab: Lab, folder: Path) -> None:
    steps = folder / "never"
    inits = [
        {**program("side", steps), "restartPolicy": "Always"},
        {"name": "stand", "restartPolicy": "Always", "ports": [{"containerPort": 9300}]},
        {"name": "bad", "command": ["sh", "-c", f"until [ -e {steps} ]; do sleep 0.05; done; exit 3"]},
        {"name": "behind", "restartPolicy": "Always", "ports": [{"containerPort": 9301}]},
    ]
    await lab.apply(
        mounted(pod("never", inits, {"name": "main"}, restartPolicy="Never"), folder), ready=False
    )

    async def failed() -> bool:
        return bool((await status(lab, "never")).get("phase") == "Failed")

    await eventually(failed)
    await told(steps, "side", "side ended")
    states = {s["name"]: s["state"] for s in (await status(lab, "never"))["initContainerStatuses"]}
    assert states["bad"]["terminated"]["exitCode"] == 3 and "terminated" in states["stand"]
    assert "waiting" in states["behind"], "it has never begun"
