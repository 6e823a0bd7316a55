"""Pods that have addresses of another node's block, as none is left: they are reached in every mode, by packets."""

from __future__ import annotations

import pytest

from emulab import Lab

from .proxyworld import pod
from .tools import output

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLUSTER = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: c}
spec:
  podCIDR: 10.244.0.0/25
  network: {plugin: calico, mode: MODE}
  ingress: {replicas: 0}
---
"""
WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 65
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {nodeName: node1, containers: [{name: c, image: example/web, ports: [{containerPort: 8080}]}]}
"""
SECOND = 64
"""The last octet with which the block of node2 begins."""


async def test_borrowed_addresses_are_reached_in_every_mode() -> None:
    async with Lab.from_text(CLUSTER.replace("MODE", "vxlan") + WEB, pod("far", "node2")) as lab:
        pods = [o for o in await lab.get("Pod") if o["metadata"]["name"].startswith("web-")]
        addresses = {o["status"]["podIP"]: o["metadata"]["name"] for o in pods}
        borrowed = sorted(a for a in addresses if int(a.rpartition(".")[2]) > SECOND)
        own = next(a for a in addresses if a not in borrowed)
        assert len(borrowed) >= 2 and len(addresses) == 65
        for mode, device in (("vxlan", "vxlan.calico"), ("bgp", "eth0")):
            await lab.apply(CLUSTER.replace("MODE", mode))
            shown = await output(lab, "node2", "ip", "route", "get", borrowed[0])
            assert f"dev {device} " in shown
            for address in (borrowed[0], borrowed[-1], own):
                host = await output(
                    lab, "pod/far", "curl", "-s", "-m", "5", f"http://{address}:8080/hostname"
                )
                assert host == addresses[address]
        # The router, which has learned both, takes the more specific one.
        assert "via 10.0.0.11" in await output(lab, "router", "ip", "route", "get", borrowed[0])
        assert "via 10.0.0.12" in await output(lab, "router", "ip", "route", "get", "10.244.0.127")
