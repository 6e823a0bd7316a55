"""Load through the whole path while the Deployment behind it changes size: no request fails."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from emulab import Lab

from .tools import PROGRAMS, PYTHON, begun, eventually, is_ready, output, pods

pytestmark = pytest.mark.asyncio(loop_scope="module")

REQUESTS, CONNECTIONS = 10_000, 64


async def replicas_ready(lab: Lab, count: int) -> None:
    async def settled() -> bool:
        found = await pods(lab, app="product")
        return len(found) == count and all(is_ready(p) for p in found)

    await eventually(settled, pause=0.05)


async def load(lab: Lab, requests: int, connections: int, *files: Path) -> dict[str, Any]:
    """Sends so many requests from the client, more of them until it is over, and returns what came of them."""
    script, url = str(PROGRAMS / "load.py"), "http://shop.example.com/products/load"
    arguments = map(str, (requests, connections, *files))
    result: dict[str, Any] = json.loads(await output(lab, "client", PYTHON, script, url, *arguments))
    return result


async def test_no_request_fails_while_the_deployment_is_scaled(shop: Lab, tmp_path: Path) -> None:
    """10,000 requests and more over 64 connections, 3 → 6 → 2 meanwhile: as many answers with status 200."""
    await load(shop, 200, 8)  # warm
    over = tmp_path / "over"
    work = asyncio.ensure_future(load(shop, REQUESTS, CONNECTIONS, tmp_path / "begun", over))
    await begun(work, tmp_path / "begun")
    await shop.scale("product", 6)
    await replicas_ready(shop, 6)
    await asyncio.sleep(0.5)
    await shop.scale("product", 2)
    await replicas_ready(shop, 2)
    assert not work.done(), "the load was over before the scaling"
    over.touch()
    result = await work
    sent = result["requests"]
    assert result["outcome"].get("200") == sent >= REQUESTS, result
    assert sum(v for k, v in result["outcome"].items() if k != "sent again") == sent, result
    assert sum(result["pods"].values()) == sent
    await replicas_ready(shop, 2)
    assert len(result["pods"]) >= 3


async def test_fresh_connections_do_not_fail_either(shop: Lab, tmp_path: Path) -> None:
    """The same with clients that open a connection for each request, straight to the ClusterIP from a node."""
    [service] = await shop.get("Service", "product-service", "default")
    url = f"http://{service['spec']['clusterIP']}/products/fresh"
    script = (
        "import os, sys, urllib.request\n"
        "number = 0\n"
        "while number < 600 or not os.path.exists(sys.argv[3]):\n"
        "    with urllib.request.urlopen(sys.argv[1], timeout=20) as answer:\n"
        "        assert answer.status == 200\n"
        "    open(sys.argv[2], 'w').close()\n"
        "    number += 1\n"
        "print('done')\n"
    )
    await shop.scale("product", 2)
    file = tmp_path / "begun"
    over = tmp_path / "over"
    work = asyncio.ensure_future(output(shop, "node1", PYTHON, "-c", script, url, str(file), str(over)))
    await begun(work, file)
    for count in (5, 1, 4, 2):
        await asyncio.sleep(0.15)
        await shop.scale("product", count)
    assert not work.done(), "the load was over before the scaling"
    over.touch()
    assert await work == "done"
    await replicas_ready(shop, 2)
