"""Proxy mode ipvs in a lab of both families, IPv6 first: real connections by every way into a Service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import ip_address

import pytest
import pytest_asyncio

from emulab import Lab
from emulab.model.families import IPV4, IPV6, Family, family_of

pytestmark = [pytest.mark.vm, pytest.mark.asyncio(loop_scope="module")]

WORLD = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: both}
spec: {network: {families: [IPv6, IPv4]}, proxy: {mode: ipvs}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  ipFamilyPolicy: RequireDualStack
  type: LoadBalancer
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
---
apiVersion: v1
kind: Pod
metadata: {name: asker}
spec: {nodeName: node1, containers: [{name: c, ports: [{containerPort: 9999}]}]}
"""
NODE2 = {IPV4: "10.0.0.12", IPV6: "fd00:10::c"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with Lab.from_text(WORLD) as made:
        yield made


def host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def of(family: Family, addresses: list[str]) -> str:
    return next(a for a in addresses if family_of(ip_address(a)) is family)


@pytest.mark.parametrize("family", [IPV4, IPV6], ids=str)
async def test_a_service_is_reached_in_each_family(lab: Lab, family: Family) -> None:
    [web] = await lab.get("Service", "web", "default")
    [asker] = await lab.get("Pod", "asker", "default")
    own = of(family, [entry["ip"] for entry in asker["status"]["podIPs"]])
    address = of(family, web["spec"]["clusterIPs"])
    vip = of(family, [entry["ip"] for entry in web["status"]["loadBalancer"]["ingress"]])
    for source, to in (
        ("pod/asker", f"{host(address)}"),
        ("node1", f"{host(address)}"),
        ("client", f"{host(NODE2[family])}:30080"),
        ("client", host(vip)),
    ):
        answer = await lab.request(f"http://{to}/", source=source)
        assert answer.status == 200 and answer.json()["service"] == "web", (source, to)
        if source == "pod/asker":
            assert answer.json()["client"].rpartition(":")[0].strip("[]") == own
    with pytest.raises(OSError):  # a port that the address hasn't
        await lab.request(f"http://{host(address)}:81/", source="pod/asker", timeout=20)


async def test_a_trace_names_the_virtual_server_of_ipv6(lab: Lab) -> None:
    [web] = await lab.get("Service", "web", "default")
    address = of(IPV6, web["spec"]["clusterIPs"])
    path = await lab.trace(f"http://[{address}]/", source="pod/asker")
    assert path.status == 200 and path.failure is None
    dnat = path.first(event="dnat")
    assert dnat.destination == f"[{address}]:80" and f"[{address}]:80" in dnat.rule
