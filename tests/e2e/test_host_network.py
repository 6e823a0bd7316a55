"""Pods at a node's address: the next one has the ports of the one before, in the same namespace, and often its name."""

from __future__ import annotations

from typing import Any

import pytest

from emulab import Lab

from .tools import emulab, eventually

WORLD = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: c}
spec: {nodes: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: asker}
spec: {containers: [{name: c, image: example/asker}]}
---"""
WORKLOAD = """
apiVersion: apps/v1
kind: KIND
metadata: {name: NAME}
spec:
  MORE
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec: {hostNetwork: true, terminationGracePeriodSeconds: 1, containers: [{name: c, CONTAINER}]}
---"""
STAND_IN = "image: example/web, ports: [{containerPort: PORT}]"
CONTROLLER = """
  image: registry.k8s.io/ingress-nginx/controller:v1.15.1, ports: [{containerPort: 80}],
  args: [/nginx-ingress-controller, --controller-class=example.com/own]"""


def workload(kind: str, name: str, container: str) -> str:
    text = WORKLOAD.replace("KIND", kind).replace("NAME", name).replace("CONTAINER", container)
    return text.replace("MORE", "serviceName: NAME".replace("NAME", name) if kind == "StatefulSet" else "")


@pytest.mark.parametrize("force", [(), ("--force", "--grace-period=0")], ids=["in good order", "by force"])
async def test_the_next_pod_serves(force: tuple[str, ...]) -> None:
    texts = [
        WORLD,
        workload("DaemonSet", "agent", STAND_IN.replace("PORT", "9111")),
        workload("StatefulSet", "set", STAND_IN.replace("PORT", "9222")),
        workload("StatefulSet", "edge", CONTROLLER),
    ]
    async with Lab.from_text("\n".join(texts)) as lab:
        before = await pods(lab)
        assert len(before) == 3 and await answers(lab, before)
        deleted = await emulab(
            "-l", lab.name, "delete", "pod", *(one["metadata"]["name"] for one in before), *force
        )
        assert deleted.status == 0, deleted.stderr
        uids = {one["metadata"]["uid"] for one in before}

        async def all_are_back() -> bool:
            found = await pods(lab)
            fresh = [one for one in found if one["metadata"]["uid"] not in uids]
            return len(fresh) == 3 and await answers(lab, fresh)

        await eventually(all_are_back)


async def pods(lab: Lab) -> list[dict[str, Any]]:
    found = await lab.get("Pod", namespace="default")
    return [one for one in found if one["metadata"]["name"] != "asker"]


async def answers(lab: Lab, there: list[dict[str, Any]]) -> bool:
    """Whether all of these are asked with success."""
    (address,) = {one["status"].get("hostIP", "") for one in there}
    for port, status in ((9111, "200"), (9222, "200"), (80, "404")):
        asked = await lab.exec(
            "pod/asker",
            "curl",
            "-sm",
            "5",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            f"http://{address}:{port}/",
        )
        if asked.text != status:
            return False
    return True
