"""The kubelet's part with real programs: hooks, grace periods, deadlines, gates, and what containers are told."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from emulab import EmulabError, Lab

from .tools import emulab, eventually, mounted, output, sharing

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORLD = """
apiVersion: v1
kind: Service
metadata: {name: early-db}
spec: {selector: {app: db}, ports: [{name: sql, port: 5432}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db, labels: {app: db}}
spec: {containers: [{name: c, image: x, ports: [{containerPort: 5432}]}]}
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    async with Lab.from_text(sharing(tmp_path_factory.getbasetemp()), WORLD) as made:
        yield made


def pod(name: str, script: str = "", grace: int = 30, spec: Any = None, **container: Any) -> str:
    """A Pod that runs a shell script, or a stand-in where there is none, as JSON."""
    one = {"name": "main", "image": "x", **container}
    if script:
        one["command"] = ["sh", "-c", script]
    whole = {"containers": [one], "terminationGracePeriodSeconds": grace, **(spec or {})}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": whole})


async def status_of(lab: Lab, name: str) -> dict[str, Any]:
    found = await lab.get("Pod", name, "default")
    return dict(found[0].get("status") or {}) if found else {}


async def container_of(lab: Lab, name: str) -> dict[str, Any]:
    statuses = (await status_of(lab, name)).get("containerStatuses") or [{}]
    return dict(statuses[0])


async def conditions_of(lab: Lab, name: str) -> dict[str, dict[str, str]]:
    return {c["type"]: c for c in (await status_of(lab, name)).get("conditions") or ()}


async def events_of(lab: Lab, name: str) -> list[tuple[str, str]]:
    return [
        (o["reason"], o["message"])
        for o in await lab.get("Event", namespace="default")
        if o["involvedObject"]["name"] == name
    ]


async def shown(lab: Lab, name: str) -> str:
    """The column STATUS."""
    done = await emulab("-l", lab.name, "get", "pod", name)
    return done.text.splitlines()[-1].split()[2]


async def gone(lab: Lab, name: str) -> None:
    async def check() -> bool:
        return not await status_of(lab, name)

    await eventually(check)


def written(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


async def lines(path: Path, count: int) -> list[str]:
    async def check() -> list[str]:
        found = written(path)
        return found if len(found) >= count else []

    return await eventually(check)


async def restarted(lab: Lab, name: str) -> dict[str, Any]:
    async def check() -> dict[str, Any]:
        found = await container_of(lab, name)
        return found if found.get("restartCount") else {}

    return await eventually(check)


ILL = {"periodSeconds": 1, "failureThreshold": 1, "exec": {"command": ["false"]}}


async def test_who_fails_its_liveness_has_its_grace(lab: Lab, tmp_path: Path) -> None:
    """K1 and K3: the hook runs, then SIGTERM comes, and there is time to end."""
    log = tmp_path / "log"
    script = f"trap 'echo term >>{log}; sleep 3; echo over >>{log}; exit 0' TERM; while :; do sleep 0.1; done"
    hook = {"preStop": {"exec": {"command": ["sh", "-c", f"echo hook >>{log}"]}}}
    await lab.apply(
        mounted(pod("patient", script, 20, livenessProbe=ILL, lifecycle=hook), tmp_path), ready=False
    )
    assert (await lines(log, 3))[:3] == ["hook", "term", "over"]
    assert (await restarted(lab, "patient"))["lastState"]["terminated"]["exitCode"] == 0
    await lab.delete("Pod", "patient")


async def test_a_probes_own_grace_comes_first(lab: Lab, tmp_path: Path) -> None:
    second = tmp_path / "second"
    meek, deaf = "trap 'exit 0' TERM", f"touch {second}; trap '' TERM"
    script = f"if test -e {second}; then {meek}; else {deaf}; fi; while :; do sleep 0.1; done"
    probe = {**ILL, "terminationGracePeriodSeconds": 1}
    begun = time.monotonic()
    await lab.apply(mounted(pod("stubborn", script, 300, livenessProbe=probe), tmp_path), ready=False)
    assert (await restarted(lab, "stubborn"))["lastState"]["terminated"]["exitCode"] == 137
    assert time.monotonic() - begun < 60
    # It may be just starting, and deaf for want of a trap then.
    await emulab("-l", lab.name, "delete", "pod", "stubborn", "--grace-period=1")


async def test_a_pod_that_drains_is_not_asked_whether_it_lives(lab: Lab, tmp_path: Path) -> None:
    """K2: one SIGTERM, no SIGKILL, and readiness is still looked at."""
    log, well = tmp_path / "log", tmp_path / "well"
    well.touch()
    script = f"trap 'echo term >>{log}; sleep 4; echo over >>{log}; exit 0' TERM; while :; do sleep 0.1; done"
    alive = {"periodSeconds": 1, "failureThreshold": 1, "exec": {"command": ["test", "-e", str(well)]}}
    await lab.apply(mounted(pod("drains", script, 30, livenessProbe=alive, readinessProbe=alive), tmp_path))
    await emulab("-l", lab.name, "delete", "pod", "drains", "--wait=false")
    await lines(log, 1)
    well.unlink()

    async def unready() -> bool:
        return not (await container_of(lab, "drains")).get("ready", True)

    await eventually(unready)
    await gone(lab, "drains")
    assert written(log) == ["term", "over"]
    told = [message for reason, message in await events_of(lab, "drains") if reason == "Killing"]
    assert told == ["Stopping container main"]


async def test_hooks_by_http(lab: Lab) -> None:
    """K4 and K6: a stand-in is asked after its start and before its end."""
    hook = {way: {"httpGet": {"path": f"/{way}", "port": 8080}} for way in ("postStart", "preStop")}
    hook["preStop"] = {"httpGet": {"path": "/delay/2", "port": 8080}}
    await lab.apply(pod("asked", ports=[{"containerPort": 8080}], lifecycle=hook))
    following = asyncio.ensure_future(emulab("-l", lab.name, "logs", "-f", "asked"))
    await emulab("-l", lab.name, "delete", "pod", "asked", "--wait=false")
    await gone(lab, "asked")
    said = (await following).stdout.decode()
    assert '"GET /postStart HTTP/1.1" 200' in said and '"GET /delay/2 HTTP/1.1" 200' in said
    assert said.count("kube-lifecycle/") == 2


async def test_a_hook_behind_the_start_that_fails_ends_the_container(lab: Lab, tmp_path: Path) -> None:
    """K6: and until it has ended, the container isn't said to run."""
    go = tmp_path / "go"
    script = f"echo started; until test -e {go}; do sleep 0.05; done; exit 7"
    hook = {"postStart": {"exec": {"command": ["sh", "-c", script]}}}
    await lab.apply(mounted(pod("greeted", "exec sleep 100", 1, lifecycle=hook), tmp_path), ready=False)

    async def told() -> list[str]:
        return [message for reason, message in await events_of(lab, "greeted") if reason == "Started"]

    await eventually(told)
    await asyncio.sleep(0.3)
    assert "running" not in (await container_of(lab, "greeted"))["state"]
    go.touch()
    await restarted(lab, "greeted")
    failed = [
        message for reason, message in await events_of(lab, "greeted") if reason == "FailedPostStartHook"
    ]
    assert failed and failed[0].startswith("PostStartHook failed: ") and "exited with 7: started" in failed[0]
    await lab.delete("Pod", "greeted")


async def test_a_hook_joins_the_programs_namespaces(lab: Lab, tmp_path: Path) -> None:
    """`kill 1` is how many a preStop ends its program."""
    log = tmp_path / "log"
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "kill -USR1 1; sleep 1"]}}}
    script = f"trap 'echo told >{log}; exit 0' USR1; while :; do sleep 0.1; done"
    await lab.apply(mounted(pod("told", script, lifecycle=hook), tmp_path))
    await emulab("-l", lab.name, "delete", "pod", "told", "--wait=false")
    await gone(lab, "told")
    assert written(log) == ["told"]


async def test_a_gate_holds_a_pod_up(lab: Lab) -> None:
    """K10."""
    gate = "example.com/balancer"
    await lab.apply(pod("gated", spec={"readinessGates": [{"conditionType": gate}]}), ready=False)

    async def held() -> bool:
        return (await conditions_of(lab, "gated")).get("ContainersReady", {}).get("status") == "True"

    await eventually(held)
    ready = (await conditions_of(lab, "gated"))["Ready"]
    assert (ready["status"], ready["reason"]) == ("False", "ReadinessGatesNotReady")
    wide = (await emulab("-l", lab.name, "get", "pod", "gated", "-o", "wide")).text.splitlines()[-1]
    assert wide.split()[-1] == "0/1"
    patch = json.dumps({"status": {"conditions": [{"type": gate, "status": "True"}]}})
    done = await emulab("-l", lab.name, "patch", "pod", "gated", "--subresource=status", "-p", patch)
    assert done.text == "pod/gated patched"
    await lab.ready()
    conditions = await conditions_of(lab, "gated")
    assert conditions["Ready"]["status"] == conditions[gate]["status"] == "True"
    await lab.delete("Pod", "gated")


async def test_containers_are_told_of_the_services_that_there_are(lab: Lab) -> None:
    """K11."""
    late = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "late"},
        "spec": {"ports": [{"port": 1}]},
    }
    await lab.apply(pod("told-of", "env; exec sleep 100"))
    await lab.apply(pod("not-told", "env; exec sleep 100", spec={"enableServiceLinks": False}))
    await lab.apply(json.dumps(late))
    told = (await emulab("-l", lab.name, "logs", "told-of")).text.splitlines()
    (address,) = [o["spec"]["clusterIP"] for o in await lab.get("Service", "early-db", "default")]
    assert {f"EARLY_DB_SERVICE_HOST={address}", f"EARLY_DB_PORT_5432_TCP=tcp://{address}:5432"} <= {*told}
    assert "EARLY_DB" not in (await emulab("-l", lab.name, "logs", "not-told")).text
    inside = await output(lab, "told-of", "env")
    assert "EARLY_DB_SERVICE_PORT_SQL=5432" in inside and "LATE_SERVICE_HOST" not in inside


async def test_a_pod_has_its_deadline(lab: Lab) -> None:
    """K14."""
    await lab.apply(pod("late", "exec sleep 1000", 1, spec={"activeDeadlineSeconds": 1}), ready=False)

    async def failed() -> bool:
        return (await status_of(lab, "late")).get("phase") == "Failed"

    await eventually(failed)
    status = await status_of(lab, "late")
    assert (status["reason"], status["message"]) == (
        "DeadlineExceeded",
        "Pod was active on the node longer than the specified deadline",
    )
    assert "terminated" in status["containerStatuses"][0]["state"]
    assert await shown(lab, "late") == "Error"
    assert (
        "DeadlineExceeded",
        "Pod was active on the node longer than specified deadline",
    ) in await events_of(lab, "late")
    await lab.delete("Pod", "late")


async def test_a_stand_in_has_its_pods_deadline(lab: Lab) -> None:
    body = pod("stood-in-late", spec={"activeDeadlineSeconds": 1, "terminationGracePeriodSeconds": 1})
    await lab.apply(body, ready=False)

    async def ended() -> bool:
        status = await status_of(lab, "stood-in-late")
        return status.get("phase") == "Failed" and "terminated" in status["containerStatuses"][0]["state"]

    await eventually(ended)
    with pytest.raises(EmulabError, match="Pod default/stood-in-late is Failed: Pod was active on the node"):
        await lab.apply(pod("beside-it"))  # whatever is planned anew doesn't begin it again
    container = (await status_of(lab, "stood-in-late"))["containerStatuses"][0]
    assert "terminated" in container["state"] and not container["ready"]
    for name in ("stood-in-late", "beside-it"):
        await lab.delete("Pod", name)


@pytest.mark.parametrize(
    ("name", "policy", "status", "words"),
    [
        ("well", "Never", 0, {"Completed"}),
        ("badly", "Never", 3, {"Error"}),
        ("again", "OnFailure", 3, {"Error", "CrashLoopBackOff"}),
        ("always", "Always", 0, {"Completed", "CrashLoopBackOff"}),
    ],
)
async def test_ended_programs_in_kubectls_words(
    lab: Lab, name: str, policy: str, status: int, words: set[str]
) -> None:
    await lab.apply(pod(name, f"echo last words; exit {status}", spec={"restartPolicy": policy}), ready=False)

    async def ended() -> bool:
        found = await container_of(lab, name)
        return "terminated" in found.get("state", {}) or bool(found.get("restartCount", 0) > 0)

    await eventually(ended)

    async def told() -> bool:
        return await shown(lab, name) in words

    await eventually(told)
    if status:
        found = await container_of(lab, name)
        end = found["state"].get("terminated") or found["lastState"]["terminated"]
        assert (end["exitCode"], end["reason"], end["message"]) == (3, "Error", "last words")
        assert ("Exited", "Container main ended with status 3: last words") in await events_of(lab, name)
    await lab.delete("Pod", name)


@pytest.mark.parametrize(
    ("name", "policy", "script", "words"),
    [
        ("waits", "Always", "sleep 100", {"Init:0/1"}),
        ("fails", "Never", "exit 1", {"Init:Error"}),
        ("tries", "Always", "exit 1", {"Init:Error", "Init:CrashLoopBackOff"}),
    ],
)
async def test_init_containers_in_kubectls_words(
    lab: Lab, name: str, policy: str, script: str, words: set[str]
) -> None:
    inits = {"initContainers": [{"name": "i", "command": ["sh", "-c", script]}], "restartPolicy": policy}
    await lab.apply(pod(name, grace=1, spec=inits), ready=False)

    async def told() -> bool:
        return await shown(lab, name) in words

    await eventually(told)
    await lab.delete("Pod", name)


async def test_health_by_grpc(lab: Lab) -> None:
    probe = {"periodSeconds": 1, "grpc": {"port": 9000, "service": "any"}}
    await lab.apply(pod("grpc", readinessProbe=probe, livenessProbe=probe))
    assert (await container_of(lab, "grpc"))["ready"]
    assert (
        '"POST /grpc.health.v1.Health/Check HTTP/2.0" 200'
        in (await emulab("-l", lab.name, "logs", "grpc")).stdout.decode()
    )
    await lab.delete("Pod", "grpc")
