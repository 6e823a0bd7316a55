"""Whole labs in proxy mode ipvs: what people look at in a node, what a trace tells, and a change of mode."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from e2e.test_proxy_modes import ask
from e2e.tools import CLIENT, NODE1, connect, output
from e2e.tracing import host, traced

from emulab import Lab
from emulab.kernel import probe
from emulab.observe.path import Hop

pytestmark = [pytest.mark.vm, pytest.mark.asyncio(loop_scope="module")]

CLUSTER = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: small}
spec: {nodes: 2, ingress: {replicas: 0}, proxy: {mode: MODE}}
"""
SERVICE, NODE_PORT, KUBERNETES = "10.96.1.7", 30080, "10.96.0.1"
MANIFEST = f"""
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  type: NodePort
  clusterIP: {SERVICE}
  sessionAffinity: ClientIP
  selector: {{app: web}}
  ports: [{{port: 80, targetPort: 8080, nodePort: {NODE_PORT}}}]
---
apiVersion: v1
kind: Pod
metadata: {{name: server, labels: {{app: web}}}}
spec: {{nodeName: node2, containers: [{{name: c, ports: [{{containerPort: 8080}}]}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: asker}}
spec: {{nodeName: node1, containers: [{{name: c}}]}}
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with Lab.from_text(CLUSTER.replace("MODE", "ipvs"), MANIFEST) as made:
        yield made


async def ip_of(lab: Lab, pod: str) -> str:
    [found] = await lab.get("Pod", pod)
    return str(found["status"]["podIP"])


async def listing(lab: Lab) -> list[str]:
    """IPVS of node1 as ipvsadm prints it, and the addresses that it is asked for."""
    text = await output(lab, "node1", "sh", "-c", "ipvsadm -Ln; ip -4 -o address show dev kube-ipvs0")
    return [" ".join(line.split()) for line in text.splitlines()]


def dnat_of(path: Any, old: str, new: str) -> Hop:
    """The translation of the destination at node1: seen in packets, and known to conntrack."""
    hop: Hop = path.first(event="dnat", connection=1)
    assert hop.place == "node1" and hop.detail == f"destination {old} → {new}"
    assert hop.conntrack is not None
    assert hop.conntrack["before"].endswith(f" → {old}") and hop.conntrack["after"].endswith(f" → {new}")
    crossed = path.first(place="node1", event="forward", connection=1)
    assert crossed.destination == new and crossed.index > hop.index
    return hop


async def test_what_people_look_at_in_a_node(lab: Lab) -> None:
    lines = await listing(lab)
    for server in (f"{SERVICE}:80", f"{NODE1}:{NODE_PORT}"):
        at = lines.index(f"TCP {server} rr persistent 10800")
        assert lines[at + 1] == f"-> {await ip_of(lab, 'server')}:8080 Masq 1 0 0"
    assert not [line for line in lines if "127.0.0.1" in line]
    assert any(f"kube-ipvs0 inet {SERVICE}/32" in line for line in lines)


async def test_a_trace_from_a_pod_names_the_virtual_server(lab: Lab) -> None:
    own, server = await ip_of(lab, "asker"), await ip_of(lab, "server")
    path = await traced(lab, f"http://{SERVICE}/", "pod/asker")
    assert path.status == 200 and path.failure is None and not path.notes
    assert list(path.places) == ["default.asker", "node1", "node2", "default.server"]
    hop = dnat_of(path, f"{SERVICE}:80", f"{server}:8080")
    assert hop.rule == f"IPVS TCP {SERVICE}:80 rr persistent 10800"
    assert hop.object == "Service default/web port 80 → pod default/server"
    assert path.all(event="snat") == [] and path.all(event="drop") == []
    delivered = path.first(place="default.server", event="deliver")
    assert (host(delivered.source), delivered.destination) == (own, f"{server}:8080")
    # The end of the connection may be the asker's, as a flight of its own that is the last to be seen there.
    answers = path.all(place="default.asker", direction="response")
    assert answers and {h.source for h in answers} == {f"{SERVICE}:80"}


async def test_a_trace_of_a_node_port_shows_both_translations(lab: Lab) -> None:
    server = await ip_of(lab, "server")
    path = await traced(lab, f"http://{NODE1}:{NODE_PORT}/", "client")
    assert path.status == 200 and path.failure is None and not path.notes
    hop = dnat_of(path, f"{NODE1}:{NODE_PORT}", f"{server}:8080")
    assert hop.rule == f"IPVS TCP {NODE1}:{NODE_PORT} rr persistent 10800"
    assert hop.object == f"Service default/web port 80 (node port {NODE_PORT}) → pod default/server"
    snat = path.first(event="snat", place="node1", connection=1)
    assert host(snat.source) == CLIENT and snat.rule.startswith("ip kube-proxy nat-postrouting: ")
    assert "masquerade" in snat.rule
    assert host(path.first(place="default.server", event="deliver").source) != CLIENT


async def test_a_trace_of_what_the_node_itself_asks(lab: Lab) -> None:
    """It is translated before it is seen: conntrack alone knows what it was."""
    server = await ip_of(lab, "server")
    path = await traced(lab, f"http://{SERVICE}/", "node1")
    assert path.status == 200 and path.failure is None
    hop = path.first(event="dnat", connection=1)
    assert hop.place == "node1" and hop.detail == f"destination {SERVICE}:80 → {server}:8080"
    assert hop.rule == f"IPVS TCP {SERVICE}:80 rr persistent 10800"


async def test_a_network_policy_judges_where_a_service_leads(lab: Lab) -> None:
    """IPVS translates behind `input`, where the address of the Service, or of the node, is all that is to be seen; an
    endpoint of the node itself, as that of `kubernetes`, is judged behind IPVS."""
    server = await ip_of(lab, "server")

    async def passes(cidr: str, address: str = SERVICE, port: int = 80) -> bool:
        spec = {
            "podSelector": {},
            "policyTypes": ["Egress"],
            "egress": [{"to": [{"ipBlock": {"cidr": cidr}}]}],
        }
        kind = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "out"}}
        await lab.apply(json.dumps({**kind, "spec": spec}))
        try:
            async with asyncio.timeout(5):
                _, writer = await connect(lab, "asker", address, port)
        except TimeoutError:
            return False
        except ConnectionRefusedError:
            return True  # nobody listens, as a node says that has heard of it
        writer.close()
        return True

    assert await passes(f"{server}/32") and await passes(f"{server}/32", NODE1, NODE_PORT)
    assert not await passes(f"{SERVICE}/32") and not await passes(f"{NODE1}/32", NODE1, NODE_PORT)
    assert await passes(f"{NODE1}/32", KUBERNETES, 443) and not await passes("10.96.0.0/12", KUBERNETES, 443)
    await lab.delete("NetworkPolicy", "out")


async def test_a_cluster_network_policy_judges_what_a_service_leads_back(lab: Lab) -> None:
    """It comes by `output` then, from the pod to itself."""
    deny = [{"action": "Deny", "from": [{"namespaces": {}}]}]
    spec = {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}, "ingress": deny}
    kind = {"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy"}

    async def silent(address: str, port: int) -> bool:
        try:
            async with asyncio.timeout(5):
                _, writer = await connect(lab, "server", address, port)
        except TimeoutError:
            return True
        writer.close()
        return False

    assert not await silent(SERVICE, 80)
    await lab.apply(json.dumps({**kind, "metadata": {"name": "deny"}, "spec": spec}))
    assert await silent(SERVICE, 80) and not await silent(await ip_of(lab, "server"), 8080)
    await lab.delete("ClusterNetworkPolicy", "deny", "")


async def test_a_change_of_mode_and_of_services(lab: Lab) -> None:
    assert (await ask(lab, "pod/asker", SERVICE, 80))["pod"] == "server"
    for mode in ("nftables", "ipvs, scheduler: wlc"):
        await lab.apply(CLUSTER.replace("MODE", mode))
        assert (await ask(lab, "pod/asker", SERVICE, 80))["pod"] == "server"
        command = "ipvsadm -Ln -t 10.96.1.7:80 2>/dev/null || echo none"
        found = await output(lab, "node1", "sh", "-c", command)
        assert (f"TCP  {SERVICE}:80 wlc" in found) == mode.startswith("ipvs") != (found == "none")
    await lab.delete("Service", "web")
    lines = await listing(lab)
    assert SERVICE not in " ".join(lines) and any("10.96.0.10/32" in line for line in lines)


async def test_a_scheduler_that_the_kernel_lacks_is_named() -> None:
    assert probe.missing_for("ipvs") == "" and probe.missing_for("ipvs", "wrr") == ""
    assert "scheduler nonsense" in probe.missing_for("ipvs", "nonsense")
