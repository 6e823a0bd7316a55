"""topologies/multi-container.yaml: several containers share one pod."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from emulab import Lab
from emulab.errors import ManifestError

from .tools import TOPOLOGIES, name, output, pods, refused

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with Lab.from_files(TOPOLOGIES / "multi-container.yaml") as made:
        yield made


async def test_the_containers_share_one_loopback(lab: Lab) -> None:
    """Each reaches the other at localhost, in both directions, in the same pod."""
    for pod in [name(p) for p in await pods(lab, app="duo")]:
        target = f"pod/{pod}"
        greeting = await output(lab, target, "curl", "-s", "http://localhost:9000/", container="web")
        assert greeting == f"hello from {pod}"
        answer = await output(
            lab, target, "curl", "-s", "http://localhost:8080/hostname", container="greeter"
        )
        assert answer == pod
        spaces = {
            await output(lab, target, "readlink", "/proc/self/ns/net", container=c)
            for c in ("web", "greeter")
        }
        assert len(spaces) == 1


async def test_both_containers_are_reached_from_outside(lab: Lab) -> None:
    """One Service with two ports, one Ingress with two paths."""
    names = {name(p) for p in await pods(lab, app="duo")}
    assert (await lab.request("http://duo.example.com/")).json()["pod"] in names
    greeting = (await lab.request("http://duo.example.com/greet")).text().strip()
    assert greeting.removeprefix("hello from ") in names


async def test_another_pods_loopback_is_another(lab: Lab) -> None:
    """What listens on a pod's localhost isn't on the node's."""
    await refused(lab, "node1", "127.0.0.1", 9000)


async def test_a_port_clash_is_an_error_before_anything_is_built() -> None:
    """Two containers of one pod with the same port: file, line and path are told."""
    clash = """
apiVersion: v1
kind: Pod
metadata: {name: clash}
spec:
  containers:
    - name: one
      ports: [{containerPort: 8080}]
    - name: two
      ports: [{containerPort: 8080}]
"""
    with pytest.raises(ManifestError) as caught:
        async with Lab.from_text(clash):
            raise AssertionError("the lab was built")
    [problem] = caught.value.problems
    assert problem.startswith("text1:10: Pod/clash spec.containers[1].ports[0]") and "8080" in problem
