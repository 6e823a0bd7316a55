"""Manifests whose programs aren't here: stand-ins take their places, and everything that the manifest asks of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from emulab import Lab

from .tools import emulab, eventually, name, output, pods

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORLD = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      initContainers: [{name: prepare, image: example/prepare, command: [/prepare-what]}]
      containers:
        - name: web
          image: example/web:1
          command: [/server-that-is-nowhere, --port=8080]
          ports: [{containerPort: 8080}, {containerPort: 8443, name: https}]
          startupProbe: {exec: {command: [sh, -c, "exec app-cli-of-nobody ping"]}}
          readinessProbe: {initialDelaySeconds: 300, httpGet: {path: /ready, port: https, scheme: HTTPS}}
          livenessProbe: {initialDelaySeconds: 300, httpGet: {path: /live, port: 9000}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: plain, port: 80, targetPort: 8080}, {name: https, port: 443, targetPort: https}]
---
apiVersion: v1
kind: Pod
metadata: {name: talker}
spec: {containers: [{name: c, image: busybox, args: [/bin/sh, -c, "echo started; exec sleep 1000"]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: forced, annotations: {emulab.dev/program: standin}}
spec: {containers: [{name: c, image: x, command: [sh, -c, "exit 3"], ports: [{containerPort: 80}]}]}
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with Lab.from_text(WORLD) as made:
        yield made


async def _events(lab: Lab, pod: str) -> list[tuple[str, str]]:
    return [
        (o["reason"], o["message"])
        for o in await lab.get("Event", namespace="default")
        if o["involvedObject"]["name"] == pod
    ]


async def test_what_isnt_here_is_stood_in_for(lab: Lab) -> None:
    (pod,) = await pods(lab, app="web")
    assert pod["metadata"]["annotations"] == {"emulab.dev/stand-ins": "prepare,web"}
    for url in ("http://web/x", "https://web/x"):
        answer = json.loads(await output(lab, "talker", "curl", "-sk", url))
        assert (answer["pod"], answer["path"]) == (name(pod), "/x")


async def test_a_program_of_the_image_that_a_probe_asks_for_is_told_of_once(lab: Lab) -> None:
    (pod,) = await pods(lab, app="web")
    told = [message for reason, message in await _events(lab, name(pod)) if reason == "StandIn"]
    assert [message.partition(" ")[0] for message in told] == [
        *("/prepare-what", "/server-that-is-nowhere", "app-cli-of-nobody"),
    ]


async def test_a_stand_in_logs_what_it_is_asked(lab: Lab) -> None:
    (pod,) = await pods(lab, app="web")
    await output(lab, "talker", "curl", "-s", "-A", "tester/1", "http://web/logged?x=1")

    async def logged() -> list[str]:
        done = await emulab("-l", lab.name, "logs", name(pod))
        return [line for line in done.stdout.decode().splitlines() if "tester/1" in line]

    (line,) = await eventually(logged)
    assert '"GET /logged?x=1 HTTP/1.1" 200 ' in line and line.endswith('"-" "tester/1"')


async def test_args_of_an_image_without_an_entrypoint_run(lab: Lab) -> None:
    async def logged() -> str:
        return (await emulab("-l", lab.name, "logs", "talker")).stdout.decode()

    assert await eventually(logged) == "started\n"


async def test_a_stand_in_may_be_asked_for(lab: Lab) -> None:
    (pod,) = await lab.get("Pod", "forced", "default")
    answer = json.loads(await output(lab, "talker", "curl", "-s", f"http://{pod['status']['podIP']}/"))
    assert answer["pod"] == "forced"
    described = (await emulab("-l", lab.name, "describe", "pod", "forced")).stdout.decode()
    assert "(isn't run: emulab's stand-in)" in described


async def test_the_command_line_warns(lab: Lab) -> None:
    text = WORLD.partition("---")[0].replace("name: web}", "name: again}", 1)
    done = await emulab("-l", lab.name, "apply", "-f", "-", stdin=text.encode())
    assert done.status == 0
    at = "(stdin):2: Deployment/again spec.template.spec"
    assert done.stderr.decode().splitlines() == [
        f"warning: {at}.initContainers[0].command: /prepare-what isn't on this host; the init container does nothing"
        " and ends well",
        f"warning: {at}.containers[0].command: /server-that-is-nowhere isn't on this host; a stand-in answers on 8080,"
        " 8443",
    ]
    planned = await emulab("plan", "-", stdin=text.encode())
    assert planned.stderr == done.stderr


async def test_an_exec_probe_of_a_program_that_is_here_is_run(lab: Lab) -> None:
    """A stand-in's liveness counts like anybody's."""
    probe = {
        "periodSeconds": 1,
        "failureThreshold": 1,
        "exec": {"command": ["cat", "/tmp/nobody-made-this-file"]},
    }
    container = {"name": "c", "image": "x", "ports": [{"containerPort": 80}], "livenessProbe": probe}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "ill"},
        "spec": {"containers": [container]},
    }
    await lab.apply(json.dumps(pod), ready=False)

    async def restarted() -> bool:
        (found,) = await lab.get("Pod", "ill", "default")
        return any(c["restartCount"] for c in found["status"].get("containerStatuses", ()))

    await eventually(restarted)
    await lab.delete("Pod", "ill", "default")


async def test_an_exec_probe_that_asks_the_images_own_server_passes(lab: Lab) -> None:
    """Also where this machine has such a program, which finds no server: here it is a function of the shell."""
    asks = ["bash", "-c", "redis-cli() { return 1; }; redis-cli ping"]
    probe = {"periodSeconds": 1, "failureThreshold": 1, "exec": {"command": asks}}
    container = {"name": "c", "image": "redis:7", "ports": [{"containerPort": 6379}]}
    metadata = {"name": "asked"}
    spec = {"containers": [{**container, "readinessProbe": probe, "livenessProbe": probe}]}
    await lab.apply(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}))
    told = (await emulab("-l", lab.name, "describe", "pod", "asked")).stdout.decode()
    assert "redis-cli asks a server that only the image has: what runs it passes" in told
    await lab.delete("Pod", "asked", "default")


async def test_a_stand_in_stays_for_its_pre_stop_hook_and_for_what_it_has_begun(lab: Lab) -> None:
    hook = {"preStop": {"exec": {"command": ["sleep", "4"]}}}
    container = {"name": "c", "image": "x", "ports": [{"containerPort": 80}], "lifecycle": hook}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "slow"},
        "spec": {"containers": [container]},
    }
    await lab.apply(json.dumps(pod))
    (found,) = await lab.get("Pod", "slow", "default")
    done = await emulab("-l", lab.name, "delete", "pod", "slow", "--wait=false")
    assert done.status == 0, done.stderr
    await output(lab, "talker", "sleep", "2.5")
    url = f"http://{found['status']['podIP']}"
    answer = json.loads(await output(lab, "talker", "curl", "-s", f"{url}/"))
    assert answer["pod"] == "slow"
    # What has begun by then has the grace period, though everybody else is gone.
    assert (
        json.loads(await output(lab, "talker", "curl", "-sm", "25", f"{url}/delay/4"))["path"] == "/delay/4"
    )

    async def gone() -> bool:
        return not await lab.get("Pod", "slow", "default")

    await eventually(gone)
