"""Pods by the hundreds in one change: their namespaces and names are made by processes beside the supervisor."""

from __future__ import annotations

import os
from pathlib import Path

from emulab import Lab
from emulab.lab.folders import rundir

REPLICAS = 620
MANY = f"""
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {{name: many}}
spec: {{nodes: 7}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {REPLICAS}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec: {{containers: [{{name: web, image: example/web, ports: [{{containerPort: 8080}}]}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}
"""


PORTS = "/proc/sys/net/ipv4/ip_unprivileged_port_start"


async def test_they_are_there_at_once_and_go_without_a_trace() -> None:
    async with Lab.from_text(MANY) as lab:
        pods = [name for p in await lab.get("pods") if (name := p["metadata"]["name"]).startswith("web-")]
        assert len(pods) == REPLICAS
        for name in (pods[0], pods[-1]):
            told = await lab.exec(name, "cat", PORTS)
            assert told.stdout.strip() == b"0", "each has its settings, whoever made it"
        said = {(await lab.request("http://web.default/", source=f"pod/{n}")).json()["pod"] for n in pods[:4]}
        assert said <= {*pods}
        if os.geteuid() == 0:
            assert len(names(f"{lab.name}.default.web-*")) == REPLICAS
        log = (rundir.folder(lab.name) / "supervisor.log").read_text()
        assert "Traceback" not in log
    assert not names(f"{lab.name}.*")


def names(pattern: str) -> list[Path]:
    return [*Path("/run/netns").glob(pattern)]
