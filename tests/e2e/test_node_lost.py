"""A node that nobody hears of: Services leave its pods out, others take their place, and it comes back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from emulab import Lab

from .tools import emulab, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

LABELS = {"app": "web"}
WORLD: list[dict[str, Any]] = [
    {
        "apiVersion": "emulab.dev/v1",
        "kind": "Cluster",
        "metadata": {"name": "c"},
        "spec": {
            "nodes": 3,
            "nodeLifecycle": {"nodeMonitorGracePeriod": "1s", "defaultTolerationSeconds": 2},
            "ingress": {"replicas": 0},
        },
    },
    {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": LABELS},
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {"containers": [{"name": "c", "image": "nginx", "ports": [{"containerPort": 80}]}]},
            },
        },
    },
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": LABELS, "ports": [{"port": 80}]},
    },
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with Lab.from_text("\n---\n".join(map(json.dumps, WORLD))) as made:
        yield made


async def pods(lab: Lab, node: str) -> dict[str, bool]:
    """The web pods of a node, and whether each is ending."""
    found = [p for p in await lab.get("Pod", namespace="default") if p["spec"].get("nodeName") == node]
    return {p["metadata"]["name"]: bool(p["metadata"].get("deletionTimestamp")) for p in found}


async def state(lab: Lab, node: str) -> str:
    conditions = (await lab.get("Node", node))[0]["status"]["conditions"]
    return str(next(c["status"] for c in conditions if c["type"] == "Ready"))


async def answers(lab: Lab, times: int = 12) -> bool:
    """Whether the Service answers each of so many requests of a node."""
    address = (await lab.get("Service", "web", "default"))[0]["spec"]["clusterIP"]
    loop = f"for i in $(seq {times}); do curl -sf -m 2 -o /dev/null http://{address}/ || exit 1; done"
    return (await lab.exec("node1", "sh", "-c", loop)).status == 0


async def test_a_lost_node_is_found_out_and_comes_back(lab: Lab) -> None:
    async def is_ready(wanted: str) -> bool:
        return await state(lab, "node2") == wanted

    assert await answers(lab) and await is_ready("True")
    (before,) = await pods(lab, "node2")
    async with lab.fault("node-lost", "node2"):
        await eventually(lambda: is_ready("Unknown"))
        assert await answers(lab)  # nobody is sent to the pod there
        shown = await emulab("-l", lab.name, "get", "nodes")
        assert [line.split()[1] for line in shown.stdout.decode().splitlines()[1:]] == [
            "Ready",
            "NotReady",
            "Ready",
        ]

        async def evicted() -> bool:
            elsewhere = {**await pods(lab, "node1"), **await pods(lab, "node3")}
            return (await pods(lab, "node2")).get(before, False) and len(elsewhere) == 3

        await eventually(evicted)
        reasons = [e["reason"] for e in await lab.events(about=f"Pod/{before}")]
        assert reasons[-2:] == ["NodeNotReady", "TaintManagerEviction"]  # nothing of its kubelet's
        assert [e["reason"] for e in await lab.events(about="Node/node2")] == ["NodeNotReady"]
    await eventually(lambda: is_ready("True"))

    async def gone() -> bool:
        return not await pods(lab, "node2")

    await eventually(gone)  # its kubelet has heard of the eviction
    assert [e["reason"] for e in await lab.events(about="Node/node2")] == ["NodeNotReady", "NodeReady"]


async def test_who_does_not_want_to_wait_for_a_lost_kubelet(lab: Lab) -> None:
    loose = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "loose"}}
    spec = {
        "nodeName": "node3",
        "containers": [{"name": "c", "image": "nginx"}],
        "tolerations": [{"operator": "Exists"}],  # nobody evicts it
    }
    await lab.apply(json.dumps({**loose, "spec": spec}))
    async with lab.fault("node-lost", "node3"):
        done = await emulab("-l", lab.name, "delete", "pod", "loose", "--wait=false")
        assert done.status == 0 and (await pods(lab, "node3"))["loose"]
        done = await emulab("-l", lab.name, "delete", "pod", "loose", "--grace-period=0", "--force")
        assert done.status == 0 and "loose" not in await pods(lab, "node3")
        # A Pod that is to run there waits, as nobody there hears of it.
        await lab.apply(json.dumps({**loose, "spec": spec}), ready=False)
        assert (await lab.get("Pod", "loose", "default"))[0]["status"].get("phase", "Pending") == "Pending"

    async def runs() -> bool:
        return (await lab.get("Pod", "loose", "default"))[0]["status"].get("phase") == "Running"

    await eventually(runs)
    await lab.delete("Pod", "loose")
