"""What goes and what stays when objects are deleted: Namespaces, what finalizers hold, and who waits for it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from .tools import emulab, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

LAB = f"e2e-{os.getpid()}-deletion"

SHOP = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""
HELD = """
apiVersion: v1
kind: Pod
metadata: {name: held, namespace: shop, finalizers: [example.com/x]}
spec: {containers: [{name: c}]}
"""
LATE = "apiVersion: v1\nkind: Pod\nmetadata: {name: late, namespace: shop}\nspec: {containers: [{name: c}]}\n"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[None]:
    before = os.environ.get("EMULAB_LAB")
    os.environ["EMULAB_LAB"] = LAB
    try:
        up = await emulab("up", "-", stdin=f"{SHOP}---{HELD}".encode())
        assert up.status == 0, up.stderr
        yield
    finally:
        assert (await emulab("down")).status == 0
        del os.environ["EMULAB_LAB"]
        if before is not None:
            os.environ["EMULAB_LAB"] = before


async def names(kind: str, namespace: str = "shop") -> list[str]:
    done = await emulab("get", kind, "-n", namespace, "-o", "json")
    assert done.status == 0, done.stderr
    return [o["metadata"]["name"] for o in json.loads(done.stdout)["items"]]


async def test_a_namespace_is_terminating_until_it_is_empty(lab: None, tmp_path: Path) -> None:
    """Its Pods end, the one that a finalizer holds too, and nothing new comes in; then all of it is gone."""
    late, held = tmp_path / "late.yaml", tmp_path / "held.yaml"
    late.write_text(LATE)
    held.write_text(HELD)
    deleted = await emulab("delete", "ns", "shop", "--timeout", "3s")
    assert (deleted.status, deleted.text) == (1, 'namespace "shop" deleted')
    assert deleted.stderr == b"emulab: timed out waiting for the condition on namespaces/shop\n"
    assert "Terminating" in (await emulab("get", "ns", "shop")).text
    assert await names("pods") == ["held"] and await names("svc") == ["web"], "Pods go first"
    (pod,) = json.loads((await emulab("get", "po", "-n", "shop", "-o", "json")).stdout)["items"]
    assert pod["status"]["phase"] == "Succeeded"
    assert "example.com/x in 1 resource instances" in (await emulab("describe", "ns", "shop")).text
    refused = await emulab("apply", "-f", str(late))
    assert refused.status == 1 and refused.stderr.decode() == (
        f'emulab: {late}:1: pods "late" is forbidden: unable to create new content in namespace shop because it is'
        " being terminated\n"
    )
    waiting = asyncio.ensure_future(emulab("delete", "ns", "shop"))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    held.write_text(HELD.replace(", finalizers: [example.com/x]", ""))
    assert (await emulab("apply", "-f", str(held))).status == 0
    done = await waiting
    assert (done.status, done.text, done.stderr) == (0, 'namespace "shop" deleted', b"")
    assert (await emulab("get", "ns", "shop")).status == 1
    for kind in ("pods", "svc", "deploy", "rs", "endpointslices", "events"):
        assert await names(kind) == []
    assert "is forbidden: this namespace may not be deleted" in (
        (await emulab("delete", "ns", "kube-system")).stderr.decode()
    )
    assert (await emulab("apply", "-f", "-", stdin=SHOP.encode())).status == 0, "its name is free again"


async def test_a_pod_is_gone_when_its_deletion_returns(lab: None, tmp_path: Path) -> None:
    """Unless nobody wants to wait; and what a file has that isn't there keeps nothing else from going."""
    file = tmp_path / "two.yaml"
    file.write_text(
        "---\n".join(LATE.replace("namespace: shop", "").replace("late", n) for n in ("one", "two"))
    )
    assert (await emulab("up", str(file))).status == 0
    assert (await emulab("delete", "pod", "one")).status == 0
    assert await names("pods", "default") == ["two"]
    begun = await emulab("delete", "-f", str(file), "--wait=false")
    assert (begun.status, begun.text) == (1, 'pod "two" deleted from default namespace')
    missing = f'Error from server (NotFound): error when deleting "{file}": pods "one" not found\n'
    assert begun.stderr.decode() == missing

    async def gone() -> bool:
        return await names("pods", "default") == []

    await eventually(gone)
