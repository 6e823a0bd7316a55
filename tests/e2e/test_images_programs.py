"""Containers that run what their images have: what of it is found out before it fails, and who comes first."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from emulab import Lab

from .tools import emulab, eventually, output, pods

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORLD = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - {name: web, image: example/web, ports: [{containerPort: 8080}], readinessProbe: {httpGet: {port: 8080}}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: asks-once}
spec:
  restartPolicy: Never
  initContainers:
    - name: ask
      image: busybox
      args: [python3, -c, "import socket; socket.create_connection(('web', 80), 5); print('answered')"]
  containers: [{name: c, image: example/web}]
---
apiVersion: v1
kind: Pod
metadata: {name: test-connection, annotations: {helm.sh/hook: test}}
spec:
  restartPolicy: Never
  containers:
    - name: wget
      image: busybox
      command: [python3, -c]
      args: ["import socket; socket.create_connection(('web', 80), 5)"]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: store}
spec:
  serviceName: store
  selector: {matchLabels: {app: store}}
  template:
    metadata: {labels: {app: store}}
    spec:
      initContainers: [{name: copy, image: example/store, command: [cp, -r, /plugins-of-nobody, /opt/plugins]}]
      containers:
        - name: store
          image: example/store:1
          command: [sh, -c, "start-store-of-nobody --port=2181 && tail -f /dev/null"]
          ports: [{containerPort: 2181}]
---
apiVersion: v1
kind: Service
metadata: {name: store}
spec: {clusterIP: None, selector: {app: store}, ports: [{port: 2181}]}
---
apiVersion: v1
kind: Pod
metadata: {name: where}
spec: {containers: [{name: c, image: busybox, command: [sh, -c, "pwd; exec sleep 1000"]}]}
---
apiVersion: v1
kind: Pod
metadata: {generateName: once-}
spec: {containers: [{name: c, image: example/once}]}
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with Lab.from_text(WORLD) as made:
        yield made


async def test_an_init_container_that_asks_once_is_answered(lab: Lab) -> None:
    """Those who answer at once do so before a program asks them: it has one try."""
    (pod,) = [p for p in await lab.get("Pod", namespace="default") if p["metadata"]["name"] == "asks-once"]
    assert pod["status"]["phase"] == "Running"
    assert pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 0
    assert (await emulab("-l", lab.name, "logs", "asks-once", "-c", "ask")).text == "answered"
    [test] = await lab.get("Pod", "test-connection", "default")
    assert test["status"]["phase"] == "Succeeded"


async def test_a_script_of_the_image_is_stood_in_for(lab: Lab) -> None:
    (pod,) = await pods(lab, app="store")
    assert pod["metadata"]["annotations"]["emulab.dev/stand-ins"] == "copy,store"
    told = [o["message"] for o in await lab.get("Event", namespace="default") if o["reason"] == "StandIn"]
    assert "start-store-of-nobody isn't on this host: a stand-in takes its place" in told
    assert "/plugins-of-nobody isn't on this host: a stand-in takes its place" in told
    assert '"port":2181' in (await output(lab, "pod/where", "curl", "-s", "http://store:2181/")).replace(
        " ", ""
    )


async def test_programs_begin_in_the_root_folder(lab: Lab) -> None:
    async def said() -> bool:
        return (await emulab("-l", lab.name, "logs", "where")).text == "/"

    await eventually(said)
    assert (await output(lab, "pod/where", "sh", "-c", "pwd")).strip() == "/"
    assert (await output(lab, "deploy/web", "sh", "-c", "pwd")).strip() == "/"


async def test_a_name_is_made_up_and_found_again(lab: Lab) -> None:
    async def made() -> list[str]:
        found = await lab.get("Pod", namespace="default")
        return [p["metadata"]["name"] for p in found if p["metadata"]["name"].startswith("once-")]

    (first,) = await made()
    assert len(first) == len("once-") + 5
    await lab.apply(WORLD[WORLD.rindex("---") :])
    assert await made() == [first]
