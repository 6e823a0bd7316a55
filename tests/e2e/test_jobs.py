"""Jobs run to their end: real programs, stand-ins, indexes, failures, and what a user sees of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from emulab import Lab

from .tools import emulab, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


def job(name: str, script: str = "", image: str = "busybox", **spec: Any) -> str:
    """A Job whose container runs a shell script, or that has only an image."""
    run = {"command": ["sh", "-c", script]} if script else {}
    pods = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1}
    pods["containers"] = [{"name": "main", "image": image, **run}]
    spec = {"template": {"spec": pods}, **spec}
    return json.dumps({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec})


WORLD = "\n---\n".join(
    (
        job("once", "echo all is done"),
        job("each", "echo $JOB_COMPLETION_INDEX of $(hostname)", completions=3, completionMode="Indexed"),
        job("image", image="example/migrate:1"),
        job("long", "exec sleep 1000"),
        job("kept", "exec sleep 1000", suspend=True),
    )
)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with Lab.from_text(WORLD) as made:
        yield made


async def cli(lab: Lab, *arguments: str, stdin: str = "") -> str:
    done = await emulab("-l", lab.name, *arguments, stdin=stdin.encode())
    assert done.status == 0, done.stderr.decode()
    return done.text


async def rows(lab: Lab, *what: str) -> dict[str, list[str]]:
    """The rows of a table, without ages, by their first column."""
    _, *lines = (await cli(lab, "get", *what)).splitlines()
    return {words[0]: words[1:] for words in map(str.split, lines)}


async def test_what_has_run_to_its_end_is_complete(lab: Lab) -> None:
    for name in ("once", "each", "image"):
        await cli(lab, "wait", "--for=condition=complete", f"job/{name}", "--timeout=60s")
    table = await rows(lab, "jobs")
    assert {name: words[:2] for name, words in table.items()} == {
        "each": ["Complete", "3/3"],
        "image": ["Complete", "1/1"],
        "kept": ["Suspended", "0/1"],
        "long": ["Running", "0/1"],
        "once": ["Complete", "1/1"],
    }
    pods = await rows(lab, "pods", "-l", "job-name in (once, each, image)")
    assert len(pods) == 5 and {tuple(words[:3]) for words in pods.values()} == {("0/1", "Completed", "0")}
    assert await cli(lab, "logs", "job/once") == "all is done"
    described = await cli(lab, "describe", "job", "once")
    assert "Pods Statuses:    0 Active (0 Ready) / 1 Succeeded / 0 Failed" in described
    assert "SuccessfulCreate" in described and "Job completed" in described


async def test_following_a_log_ends_with_what_is_written_into_it(lab: Lab) -> None:
    assert await cli(lab, "logs", "-f", "job/once") == "all is done"
    assert (
        await cli(lab, "logs", "-f", "job/image") == ""
    )  # whose container has written nothing, and never will


async def test_each_index_has_its_variable_and_its_host_name(lab: Lab) -> None:
    await cli(lab, "wait", "--for=condition=complete", "job/each", "--timeout=60s")
    names = await rows(lab, "pods", "-l", "job-name=each")
    logs = {await cli(lab, "logs", name) for name in names}
    assert logs == {f"{index} of each-{index}" for index in range(3)}


async def test_a_suspended_job_begins_when_it_is_resumed_and_goes_with_its_pods(lab: Lab) -> None:
    assert not (await cli(lab, "get", "pods", "-l", "job-name=kept", "-o", "name")).split()
    await cli(lab, "apply", "-f", "-", stdin=job("kept", "exec sleep 1000"))
    (pod,) = (await cli(lab, "get", "pods", "-l", "job-name=kept", "-o", "name")).split()
    await cli(lab, "wait", "--for=condition=ready", pod, "--timeout=60s")
    await cli(lab, "delete", "job", "kept")

    async def gone() -> bool:
        return not (await cli(lab, "get", "pods", "-l", "job-name=kept", "-o", "name")).split()

    await eventually(gone)


async def test_a_pod_that_is_deleted_while_it_runs_has_failed_and_goes_with_its_program(lab: Lab) -> None:
    (pod,) = (await cli(lab, "get", "pods", "-l", "job-name=long", "-o", "name")).split()
    await cli(lab, "delete", pod)  # which returns once it is gone

    async def replaced() -> bool:
        (status,) = (json.loads(await cli(lab, "get", "job", "long", "-o", "json"))["status"],)
        return bool(status.get("failed") == 1 and status.get("active") == 1)

    await eventually(replaced)


async def test_a_failed_job_is_named_as_what_is_not_ready(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "fails.yaml"
    file.write_text(job("fails", "echo no luck; exit 3", backoffLimit=0))
    await cli(lab, "apply", "-f", str(file))
    await cli(lab, "wait", "--for=condition=failed", "job/fails", "--timeout=60s")
    up = await emulab("-l", lab.name, "up", str(file), "--timeout", "1s")
    limit = "BackoffLimitExceeded: Job has reached the specified backoff limit"
    assert up.status == 1 and f"Job default/fails has failed: {limit}" in up.stderr.decode()
    assert (await rows(lab, "job", "fails"))["fails"][:2] == ["Failed", "0/1"]
    await cli(lab, "delete", "job", "fails")
    await lab.ready()


async def test_what_may_not_change_is_refused(lab: Lab) -> None:
    done = await emulab("-l", lab.name, "apply", "-f", "-", stdin=job("once", "echo other").encode())
    assert done.status == 1 and b"spec.template: can't be changed; delete the Job first" in done.stderr


def cron(name: str, schedule: str, **spec: Any) -> str:
    made = json.loads(job("x", "date"))
    whole = {"schedule": schedule, "jobTemplate": {"spec": made["spec"]}, **spec}
    return json.dumps(
        {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name}, "spec": whole}
    )


async def test_a_cron_job_runs_by_its_schedule(lab: Lab) -> None:
    both = "\n---\n".join((cron("tick", "@every 1s"), cron("never", "0 0 1 1 *", suspend=True)))
    await cli(lab, "apply", "-f", "-", stdin=both)

    async def succeeded() -> bool:
        raw = json.loads(await cli(lab, "get", "cronjob", "tick", "-o", "json"))
        return "lastSuccessfulTime" in (raw.get("status") or {})

    await eventually(succeeded)
    table = await rows(lab, "cj")
    assert table["never"][:8] == ["0", "0", "1", "1", "*", "<none>", "True", "0"]
    assert table["tick"][:4] == ["@every", "1s", "<none>", "False"]
    assert any(name.startswith("tick-") for name in await rows(lab, "jobs"))
    events = await cli(lab, "events", "--for", "cronjob/tick")
    assert "SuccessfulCreate" in events and "SawCompletedJob" in events
    await cli(lab, "delete", "cronjob", "tick")


async def test_a_cron_job_is_tried_by_hand(lab: Lab) -> None:
    await cli(lab, "apply", "-f", "-", stdin=cron("never", "0 0 1 1 *", suspend=True))
    assert await cli(lab, "create", "job", "--from=cronjob/never", "now") == "job.batch/now created"
    assert (
        await cli(lab, "create", "job", "hi", "--image=busybox", "--", "echo", "hello")
        == "job.batch/hi created"
    )
    for name in ("now", "hi"):
        await cli(lab, "wait", "--for=condition=complete", f"job/{name}", "--timeout=60s")
    assert await cli(lab, "logs", "job/hi") == "hello"
    again = await emulab("-l", lab.name, "create", "job", "--from=cronjob/never", "now")
    assert again.status == 1
    assert again.stderr == b'Error from server (AlreadyExists): jobs.batch "now" already exists\n'
    await cli(lab, "delete", "job", "now", "hi")
