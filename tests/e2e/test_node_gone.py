"""A node that is taken out of a Cluster: what others have of it goes with it, and connections past it live on."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from emulab import Lab

from .proxyworld import pod, service
from .tools import NODE1, OF_ROOT, Streams, connect, eventually, output

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLUSTERS = {
    "flannel": "network: {plugin: flannel, FAMILIES}",
    "cilium": "network: {plugin: cilium, FAMILIES}",
    "wireguard": "network: {plugin: flannel, mode: wireguard, FAMILIES}",
    "ipvs": "network: {plugin: calico, FAMILIES}, proxy: {mode: ipvs}",
    "kube-router": "network: {plugin: kube-router, FAMILIES}",
}
NEEDING = {"wireguard", "ipvs", "kube-router"}
"""Those that need more than this machine's kernel may have."""
PARAMETERS = [
    pytest.param(name, marks=[pytest.mark.vm] if name in NEEDING else OF_ROOT if name == "cilium" else [])
    for name in CLUSTERS
]
CLUSTER = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: c}
spec: {nodes: [NODES], MORE, ingress: {replicas: 0}}
---"""
WORLD = (
    pod("one", "node1", "web")
    + pod("two", "node2", "web")
    + pod("three", "node3", "web")
    + pod("asker", "node1")
    + service(
        "web",
        "{selector: {app: web}, type: NodePort, ipFamilyPolicy: RequireDualStack,"
        " ports: [{port: 80, targetPort: 8080, nodePort: 30080}]}",
    )
    + service(
        "local",
        "{selector: {app: web}, type: NodePort, externalTrafficPolicy: Local,"
        " ports: [{port: 80, targetPort: 8080, nodePort: 30081}]}",
    )
)
OF_NODE2 = re.compile(r"\b(10\.0\.0\.12|10\.244\.2\.\d+|fd00:10::c|fd00:244:0:2:\S*)\b")
EVERYTHING = (
    "ip route show table all; ip -6 route show table all; ip neigh show nud permanent; ip -6 neigh show nud permanent;"
    " bridge fdb; nft list ruleset; command -v ipvsadm >/dev/null && ipvsadm -Ln | awk '$1 != \"->\" || $4 > 0'; true"
)
"""Of IPVS without what has weight 0, and is there for connections alone that it had."""


def cluster(kind: str, *nodes: str) -> str:
    more = CLUSTERS[kind].replace("FAMILIES", "families: [IPv4, IPv6]")
    return CLUSTER.replace("NODES", ", ".join(f"{{name: {n}}}" for n in nodes)).replace("MORE", more)


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=PARAMETERS)
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    async with Lab.from_text(cluster(request.param, "node1", "node2", "node3") + WORLD) as made:
        yield made


@pytest.fixture
def kind(lab: Lab, request: pytest.FixtureRequest) -> str:
    return str(request.node.callspec.params["lab"])


async def pod_of(streams: Streams) -> str:
    """Who answers on a connection that is kept."""
    reader, writer = streams
    writer.write(b"GET /hostname HTTP/1.1\r\nHost: web\r\n\r\n")
    async with asyncio.timeout(30):
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        assert length is not None, head
        return (await reader.readexactly(int(length[1]))).decode().strip()


async def test_nothing_of_a_node_that_goes_stays(lab: Lab, kind: str) -> None:
    addresses = (await lab.get("Service", "web", "default"))[0]["spec"]["clusterIPs"]
    asked = [("asker", address, 80) for address in addresses]
    asked += [("client", NODE1, 30080), ("client", NODE1, 30081), ("client", "fd00:10::b", 30080)]
    kept = [await connect(lab, *one) for one in asked for _ in range(5)]
    before = [await pod_of(streams) for streams in kept]
    shown = await output(lab, "node1", "sh", "-c", EVERYTHING)
    assert OF_NODE2.search(shown)
    await lab.apply(cluster(kind, "node1", "node3"), ready=False)

    async def gone() -> bool:
        return all(p["spec"].get("nodeName") != "node2" for p in await lab.get("Pod", namespace="default"))

    await eventually(gone)
    for streams, name in zip(kept, before, strict=True):
        if name != "two":
            assert await pod_of(streams) == name
        streams[1].close()
    for node in ("node1", "node3", "router"):
        shown = await output(lab, node, "sh", "-c", EVERYTHING)
        assert not (left := [line for line in shown.splitlines() if OF_NODE2.search(line)]), (node, left)
    if kind == "cilium":
        assert not OF_NODE2.search(str(await lab.frontends("node1")))


async def test_it_may_come_back(lab: Lab, kind: str) -> None:
    """What was kept of it would be in its way."""
    await lab.apply(cluster(kind, "node1", "node3", "node2") + pod("two", "node2", "web"))
    for address in (await lab.get("Service", "web", "default"))[0]["spec"]["clusterIPs"]:

        async def answers() -> bool:
            streams = await connect(lab, "asker", address, 80)  # noqa: B023
            name = await pod_of(streams)
            streams[1].close()
            return name == "two"

        await eventually(answers)
