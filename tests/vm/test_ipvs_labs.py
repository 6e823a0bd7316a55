"""A whole lab in proxy mode ipvs: what people look at in a node, and a change of mode while it runs."""

from __future__ import annotations

import pytest

from emulab import Lab
from emulab.kernel import probe

pytestmark = pytest.mark.vm

CLUSTER = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: small}
spec: {nodes: 1, ingress: {replicas: 0}, proxy: {mode: MODE}}
"""
MANIFEST = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  {type: NodePort, clusterIP: 10.96.1.7, selector: {app: web}, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: server, labels: {app: web}}
spec: {containers: [{name: c, ports: [{containerPort: 8080}]}]}
"""


async def listing(lab: Lab) -> list[str]:
    done = await lab.exec("node1", "ipvsadm", "-Ln")
    assert done.status == 0, done.stderr
    return [" ".join(line.split()) for line in done.text.splitlines()]


async def asked(lab: Lab) -> str:
    return str((await lab.request("http://web/", source="pod/server")).json()["pod"])


async def test_a_nodes_table_and_device_and_a_change_of_mode() -> None:
    async with Lab.from_text(CLUSTER.replace("MODE", "ipvs"), MANIFEST) as lab:
        [pod] = await lab.get("Pod", "server")
        lines = await listing(lab)
        for server in ("10.96.1.7:80", "10.0.0.11:30080"):
            at = lines.index(f"TCP {server} rr")
            assert lines[at + 1] == f"-> {pod['status']['podIP']}:8080 Masq 1 0 0"
        assert not [line for line in lines if "127.0.0.1" in line]
        assert await asked(lab) == "server"
        for mode in ("nftables", "ipvs, scheduler: wlc"):
            await lab.apply(CLUSTER.replace("MODE", mode))
            assert await asked(lab) == "server"
            assert ("TCP 10.96.1.7:80 wlc" in await listing(lab)) == mode.startswith("ipvs")
        await lab.delete("Service", "web")
        assert "10.96.1.7" not in " ".join(await listing(lab))
        shown = await lab.exec("node1", "ip", "-4", "-o", "address", "show", "dev", "kube-ipvs0")
        assert "10.96.0.10/32" in shown.text and "10.96.1.7" not in shown.text


def test_a_scheduler_that_the_kernel_lacks_is_named() -> None:
    assert probe.missing_for("ipvs") == "" and probe.missing_for("ipvs", "wrr") == ""
    assert "scheduler nonsense" in probe.missing_for("ipvs", "nonsense")
