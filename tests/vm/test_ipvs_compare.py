"""`emulab compare` with IPVS: what sets it apart is seen, and is what the list of known differences says.

Beside one other mode alone, as a lab takes half a minute to build in the VM; the others are compared outside.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from e2e.test_compare import differences

pytestmark = pytest.mark.vm

SERVICE, VIP, NOBODY, UNUSED = "10.96.1.7", "203.0.113.31", "10.96.1.8", "10.111.255.254"
WORLD = f"""
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {{name: twins}}
spec: {{nodes: 2, ingress: {{replicas: 0}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: east, labels: {{app: web}}}}
spec: {{nodeName: node1, containers: [{{name: c, ports: [{{containerPort: 8080}}]}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: west, labels: {{app: web}}}}
spec: {{nodeName: node2, containers: [{{name: c, ports: [{{containerPort: 8080}}]}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: asker}}
spec: {{nodeName: node1, containers: [{{name: c}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  type: LoadBalancer
  clusterIP: {SERVICE}
  loadBalancerIP: {VIP}
  externalTrafficPolicy: Local
  selector: {{app: web}}
  ports: [{{port: 80, targetPort: 8080}}]
---
apiVersion: v1
kind: Service
metadata: {{name: nobody}}
spec: {{clusterIP: {NOBODY}, selector: {{app: none}}, ports: [{{port: 80}}]}}
"""


def seen(found: dict[str, dict[str, Any]], request: str, aspect: str) -> dict[str, Any]:
    """What each mode showed, where they differ."""
    return dict(found[request][aspect]["seen"])


async def test_ipvs_differs_from_the_others_as_it_is_known_to(tmp_path: Path) -> None:
    file = tmp_path / "world.yaml"
    file.write_text(WORLD)
    local, port = f"pod/asker=http://{VIP}/", f"node1={SERVICE}:4444"
    nobody, unused = f"pod/asker=http://{NOBODY}/", f"pod/asker={UNUSED}:80"
    options = ("--proxy", "iptables,ipvs", "--connections", "40", "--wait", "12s")
    found = await differences(*options, str(file), "--", local, port, nobody, unused)
    # The asker's node has one of the two endpoints.
    assert seen(found, local, "endpoints") == {
        "iptables": ["default/east", "default/west"],
        "ipvs": ["default/east"],
    }
    statuses = seen(found, port, "status")
    assert statuses["ipvs"] == ["TCP reset"] != statuses["iptables"]
    assert seen(found, nobody, "status") == {"iptables": ["ICMP port unreachable"], "ipvs": ["TCP reset"]}
    assert found[unused] == {}, "both send it on, by the default route"
