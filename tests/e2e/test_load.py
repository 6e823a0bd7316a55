"""Load through the whole path while the Deployment behind it changes size: no request fails."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from emulab import Lab

from .tools import PROGRAMS, PYTHON, begun, eventually, is_ready, output, pods

pytestmark = pytest.mark.asyncio(loop_scope="module")

REQUESTS, CONNECTIONS = 10_000, 64


async def replicas_ready(lab: Lab, count: int) -> None:
    async def settled() -> bool:
        found = await pods(lab, app="product")
        return len(found) == count and all(is_ready(p) for p in found)

    await eventually(settled, 20, pause=0.05)


async def load(lab: Lab, requests: int, connections: int, *file: Path) -> dict[str, dict[str, int]]:
    """Sends exactly so many requests from the client and returns what came of them; a `file` is made meanwhile."""
    script, url = str(PROGRAMS / "load.py"), "http://shop.example.com/products/load"
    arguments = map(str, (requests, connections, *file))
    result: dict[str, dict[str, int]] = json.loads(
        await output(lab, "client", PYTHON, script, url, *arguments)
    )
    return result


async def test_no_request_fails_while_the_deployment_is_scaled(shop: Lab, tmp_path: Path) -> None:
    """10,000 requests over 64 connections, 3 → 6 → 2 meanwhile: 10,000 answers with status 200."""
    await load(shop, 200, 8)  # warm
    work = asyncio.ensure_future(load(shop, REQUESTS, CONNECTIONS, tmp_path / "begun"))
    await begun(work, tmp_path / "begun")
    await shop.scale("product", 6)
    await replicas_ready(shop, 6)
    during = not work.done()
    await asyncio.sleep(0.5)
    await shop.scale("product", 2)
    during = during and not work.done()
    result = await work
    assert during, "the load was over before the scaling"
    assert result["outcome"].get("200") == REQUESTS, result
    assert sum(v for k, v in result["outcome"].items() if k != "sent again") == REQUESTS, result
    assert sum(result["pods"].values()) == REQUESTS
    await replicas_ready(shop, 2)
    assert len(result["pods"]) >= 3


async def test_fresh_connections_do_not_fail_either(shop: Lab, tmp_path: Path) -> None:
    """The same with clients that open a connection for each request, straight to the ClusterIP from a node."""
    [service] = await shop.get("Service", "product-service", "default")
    url = f"http://{service['spec']['clusterIP']}/products/fresh"
    script = (
        "import sys, urllib.request\n"
        "for _ in range(600):\n"
        "    with urllib.request.urlopen(sys.argv[1], timeout=5) as answer:\n"
        "        assert answer.status == 200\n"
        "    open(sys.argv[2], 'w').close()\n"
        "print('done')\n"
    )
    await shop.scale("product", 2)
    file = tmp_path / "begun"
    work = asyncio.ensure_future(output(shop, "node1", PYTHON, "-c", script, url, str(file)))
    await begun(work, file)
    for count in (5, 1, 4, 2):
        await asyncio.sleep(0.15)
        await shop.scale("product", count)
    assert await work == "done"
    await replicas_ready(shop, 2)
