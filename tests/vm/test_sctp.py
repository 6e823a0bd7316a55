"""SCTP with packets: Services of it, and policies that tell it from TCP, by each proxy and several networks of pods."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from e2e.tools import NODE1, NODE2, emulab, eventually

from emulab import Lab
from emulab.kinds.emulab.proxymodes import EBPF

pytestmark = [pytest.mark.vm, pytest.mark.asyncio(loop_scope="module")]

PORT, NODE_PORT, SAME_PORT = 7000, 30070, 7000
CLUSTERS = {
    "nftables": "network: {plugin: flannel, families: [IPv4, IPv6]}, proxy: {mode: nftables}",
    "iptables": "network: {plugin: calico, families: [IPv4, IPv6]}, proxy: {mode: iptables}",
    "ipvs": "network: {plugin: bridge, families: [IPv4, IPv6]}, proxy: {mode: ipvs}",
    "kube-router": "network: {plugin: kube-router, families: [IPv4, IPv6]}",
    "ebpf": "network: {plugin: cilium, families: [IPv4, IPv6]}",
}
CLUSTER = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: c}
spec: {nodes: 2, ingress: {replicas: 0}, MORE}
"""
SERVER = """
import os, socket, sys, threading
def serve(family):
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_SCTP) as listener:
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(("", PORT))
        listener.listen()
        while True:
            client, address = listener.accept()
            client.sendall(f"{os.uname().nodename} {address[0]}".encode())
            client.close()
for family in (socket.AF_INET, socket.AF_INET6):
    threading.Thread(target=serve, args=(family,)).start()
""".replace("PORT", str(PORT))
ASKING = """
import socket, sys
for host, port in zip(sys.argv[1::2], map(int, sys.argv[2::2])):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_SCTP) as sock:
        sock.settimeout(1.5)
        try:
            sock.connect((host, port))
            print(sock.recv(100).decode())
        except OSError as error:
            print(type(error).__name__)
"""
Target = tuple[str, int]


def pod(name: str, node: str, program: list[str]) -> dict[str, Any]:
    ports = [{"name": "diameter", "containerPort": PORT, "protocol": "SCTP"}]
    container = {"name": "c", "ports": ports, "command": program}
    labels = {"app": name}
    spec = {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}


def service(name: str, **port: Any) -> dict[str, Any]:
    ports = [{"protocol": "SCTP", "targetPort": "diameter", **port}]
    spec = {
        "type": "NodePort",
        "selector": {"app": "web"},
        "ipFamilyPolicy": "RequireDualStack",
        "ports": ports,
    }
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


WORLD = [
    pod("web", "node1", ["python3", "-c", SERVER]),
    pod("near", "node1", ["sleep", "inf"]),
    pod("far", "node2", ["sleep", "inf"]),
    service("web", port=36412, nodePort=NODE_PORT),
    service("same", port=SAME_PORT),
]


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=CLUSTERS)
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    async with Lab.from_text(
        CLUSTER.replace("MORE", CLUSTERS[request.param]), *map(json.dumps, WORLD)
    ) as made:
        yield made


@pytest.fixture
def mode(lab: Lab, request: pytest.FixtureRequest) -> str:
    return str(request.node.callspec.params["lab"])


async def asked(lab: Lab, source: str, *targets: Target) -> list[str]:
    """Who answers, and the source that it sees; or what went wrong."""
    words = [str(word) for target in targets for word in target]
    done = await lab.exec(source, "python3", "-c", ASKING, *words)
    assert done.status == 0, done
    return done.stdout.decode().splitlines()


async def addresses(lab: Lab, kind: str, name: str) -> list[str]:
    [found] = await lab.get(kind, name, "default")
    if kind == "Service":
        return [str(address) for address in found["spec"]["clusterIPs"]]
    return [entry["ip"] for entry in found["status"]["podIPs"]]


async def test_services_of_sctp_lead_to_pods(lab: Lab, mode: str) -> None:
    """In both families, to a port of another number and by node ports; BPF keeps the number, and says so."""
    own, there = await addresses(lab, "Pod", "far"), await addresses(lab, "Pod", "web")

    async def listens() -> bool:
        return all(a.startswith("web ") for a in await asked(lab, "pod/near", *((a, PORT) for a in there)))

    await eventually(listens)
    seen = [f"web {address}" for address in own]
    same = [(address, SAME_PORT) for address in await addresses(lab, "Service", "same")]
    assert await asked(lab, "pod/far", *same) == seen
    other = [(address, 36412) for address in await addresses(lab, "Service", "web")]
    by_node = [(node, NODE_PORT) for node in (NODE1, NODE2)]
    answers = await asked(lab, "pod/far", *other), await asked(lab, "client", *by_node)
    if mode == EBPF:
        assert not any(answer.startswith("web") for some in answers for answer in some), answers
        return
    assert answers[0] == seen and all(answer.startswith("web ") for answer in answers[1]), answers


def policy(**port: Any) -> str:
    spec = {"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [{"ports": [port]}]}
    kind = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "web"}}
    return json.dumps({**kind, "spec": spec})


async def test_policies_tell_sctp_from_tcp(lab: Lab) -> None:
    _, six = await addresses(lab, "Pod", "web")
    service, _ = await addresses(lab, "Service", "same")
    for allowed, port in (
        (True, {"protocol": "SCTP", "port": "diameter"}),
        (False, {"protocol": "TCP", "port": PORT}),
        (True, {"protocol": "SCTP", "port": PORT - 1, "endPort": PORT}),
        (False, {"protocol": "SCTP", "port": PORT + 1}),
    ):
        await lab.apply(policy(**port))
        answers = await asked(lab, "pod/far", (six, PORT), (service, SAME_PORT))
        wanted = "web" if allowed else "TimeoutError"
        assert [answer.split()[0] for answer in answers] == [wanted] * 2, port
        said = await emulab("-l", lab.name, "policy", "check", "far", f"web:{PORT}/sctp")
        assert (": allowed\n" in said.text) == allowed, said.text
    await lab.delete("NetworkPolicy", "web")
    assert await denied_by_cluster_policy(lab, service) == ["TimeoutError"]


async def denied_by_cluster_policy(lab: Lab, address: str) -> list[str]:
    protocols = [{"sctp": {"destinationPort": {"number": PORT}}}]
    rule = {"action": "Deny", "from": [{"namespaces": {}}], "protocols": protocols}
    subject = {"pods": {"podSelector": {"matchLabels": {"app": "web"}}}}
    spec = {"tier": "Admin", "priority": 1, "subject": subject, "ingress": [rule]}
    kind = {"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy"}
    await lab.apply(json.dumps({**kind, "metadata": {"name": "no-sctp"}, "spec": spec}))
    return await asked(lab, "pod/far", (address, SAME_PORT))
