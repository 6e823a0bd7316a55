"""Zones that are far from each other: what nodes and their pods send each other is late, and no more than a rate."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from emulab import Lab

from .proxyworld import pod
from .tools import NODE1, NODE2, output

pytestmark = pytest.mark.asyncio(loop_scope="module")
NODE3 = "10.0.0.13"
CLUSTER = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: far}
spec:
  nodes: [{name: node1, zone: a}, {name: node2, zone: b}, {name: node3, zone: a}]
  ingress: {replicas: 0}
  network: {links: [LINK]}
---"""
LINK = "{from: zone/a, to: zone/b, delay: 50ms, rate: 20mbit}"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with Lab.from_text(
        CLUSTER.replace("LINK", LINK) + pod("near", "node1") + pod("far", "node2")
    ) as made:
        yield made


async def quickest(lab: Lab, source: str, address: str) -> float:
    """The shortest of some round trips, in milliseconds."""
    shown = await output(lab, source, "ping", "-c", "5", "-i", "0.05", "-q", address)
    return float(shown.rpartition("=")[2].split("/")[0])


async def address(lab: Lab, name: str) -> str:
    [found] = await lab.get("Pod", name, "default")
    return str(found["status"]["podIP"])


async def test_the_way_there_and_back_is_long_between_zones_alone(lab: Lab) -> None:
    for source, target in (("node1", NODE2), ("node2", NODE3), ("pod/near", await address(lab, "far"))):
        assert await quickest(lab, source, target) >= 100
    for source, target in (("node1", NODE3), ("node3", NODE1), ("client", NODE2)):
        assert await quickest(lab, source, target) < 50


async def test_a_rate_is_kept_towards_the_other_zone(lab: Lab) -> None:
    far = await address(lab, "far")
    begun = time.monotonic()
    answer = await lab.request(f"http://{far}:8080/bytes/1000000", source="pod/near")
    assert answer.status == 200 and len(answer.body) == 1_000_000
    assert time.monotonic() - begun > 0.3, "eight million bits, of which 20 pass in a microsecond"


async def test_links_come_and_go_in_a_running_lab(lab: Lab) -> None:
    await lab.apply(CLUSTER.replace("LINK", ""))
    assert await quickest(lab, "node1", NODE2) < 50
    await lab.apply(CLUSTER.replace("LINK", "{from: zone/b, to: zone/a, loss: 100%}"))
    for source, target in (("node1", NODE2), ("node2", NODE3)):
        asked = await lab.exec(source, "ping", "-c", "3", "-i", "0.05", "-W", "1", target)
        assert asked.status == 1, "nothing arrives"
    assert await quickest(lab, "node1", NODE3) < 50
    seen = await lab.trace(f"http://{await address(lab, 'far')}:8080/", source="pod/near", timeout=3)
    assert seen.failure is not None and "Cluster far spec.network.links[0].loss: 100 %" in seen.failure.text
    await lab.apply(CLUSTER.replace("LINK", LINK))
    assert await quickest(lab, "node1", NODE2) >= 100
