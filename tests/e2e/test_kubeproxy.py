"""kube-proxy as it speaks for itself on every node, what balancers ask it, and the mode in which it is a process."""

from __future__ import annotations

import asyncio
import collections
import json
import re
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from emulab import Lab

from .tools import (
    CLIENT,
    NODE1,
    NODE2,
    cluster_ip,
    connect,
    conntrack,
    datagram,
    eventually,
    node_port,
    output,
    refused,
    response,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLUSTER = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: proxies}
spec: {proxy: {mode: MODE}}
---
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: LABEL}}
spec:
  nodeName: NODE
  terminationGracePeriodSeconds: 1
  containers:
    - name: c
      ports:
        - {name: http, containerPort: 8080}
        - {name: echo, containerPort: 8081, protocol: UDP}
---
"""


def pod(name: str, node: str, label: str = "web") -> str:
    return POD.replace("NAME", name).replace("NODE", node).replace("LABEL", label)


def service(name: str, spec: str, label: str = "web") -> str:
    ports = (
        "[{name: http, port: 80, targetPort: http}, {name: echo, port: 80, protocol: UDP, targetPort: echo}]"
    )
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{{spec}selector: {{app: {label}}}, ports: {ports}}}
---
"""


WORLD = (
    pod("one", "node1")
    + pod("two", "node2")
    + pod("asker", "node2", "asker")
    + pod("moving", "node1", "moving")
    + service("web", "")
    + service("ports", "type: NodePort, ")
    + service("nobody", "type: NodePort, ", "nobody")
    + service(
        "sticky",
        "sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 1}}, ",
    )
    + service("loyal", "sessionAffinity: ClientIP, ")
    + service("edge", "type: LoadBalancer, externalTrafficPolicy: Local, ", "moving")
    + service("direct", "type: LoadBalancer, allocateLoadBalancerNodePorts: false, ")
    + service("near", "internalTrafficPolicy: Local, ", "moving")
)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[Lab]:
    """In the mode that a lab has without being asked."""
    async with Lab.from_text(WORLD) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def process() -> AsyncIterator[Lab]:
    """In userspace mode."""
    async with Lab.from_text(CLUSTER.replace("MODE", "userspace") + WORLD) as made:
        yield made


async def curl(lab: Lab, place: str, url: str) -> tuple[int, str, str]:
    """Status, headers in lower case and body."""
    text = await output(lab, place, "curl", "-si", "-m", "30", url)
    head, _, body = text.replace("\r\n", "\n").partition("\n\n")
    return int(head.split()[1]), head.lower(), body


async def metrics(lab: Lab, node: str) -> dict[str, float]:
    _, _, body = await curl(lab, node, "http://127.0.0.1:10249/metrics")
    lines = [line.rsplit(" ", 1) for line in body.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


async def ask(lab: Lab, source: str, address: str, port: int = 80) -> dict[str, Any]:
    """The stand-in's answer over a connection of its own."""
    reader, writer = await connect(lab, source, address, port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    _, _, body = await response(reader)
    writer.close()
    answer: dict[str, Any] = json.loads(body)
    return answer


async def balancer(lab: Lab, name: str) -> str:
    [found] = await lab.get("Service", name)
    return str(found["status"]["loadBalancer"]["ingress"][0]["ip"])


# What it tells


async def test_every_node_tells_the_mode_from_inside_itself(lab: Lab, process: Lab) -> None:
    for made, mode in ((lab, "nftables"), (process, "userspace")):
        for node in ("node1", "node2"):
            status, head, body = await curl(made, node, "http://127.0.0.1:10249/proxyMode")
            assert (status, body) == (200, mode) and "content-type: text/plain" in head
    for source in ("node1", "node2"):
        await refused(lab, source, NODE1, 10249)  # on loopback alone


async def test_metrics_have_kube_proxys_names_and_count_syncs(lab: Lab) -> None:
    before = await metrics(lab, "node1")
    family = '{ip_family="IPv4"}'
    assert {
        f"kubeproxy_sync_proxy_rules_duration_seconds_count{family}",
        f"kubeproxy_sync_full_proxy_rules_duration_seconds_count{family}",
        f"kubeproxy_sync_partial_proxy_rules_duration_seconds_sum{family}",
        'kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family="IPv4",le="16.384"}',
        'kubeproxy_network_programming_duration_seconds_bucket{ip_family="IPv4",le="0.25"}',
        f"kubeproxy_sync_proxy_rules_last_timestamp_seconds{family}",
        "kubeproxy_sync_proxy_rules_endpoint_changes_total",
        "kubeproxy_sync_proxy_rules_service_changes_total",
        'kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family="IPv4",traffic_policy="internal"}',
        f"kubeproxy_sync_proxy_rules_nftables_sync_failures_total{family}",
        'kubeproxy_proxy_healthz_total{code="200"}',
    } <= before.keys()
    assert before[f"kubeproxy_sync_full_proxy_rules_duration_seconds_count{family}"] == 1
    assert 0 < before[f"kubeproxy_sync_proxy_rules_duration_seconds_sum{family}"] < 60
    await lab.apply(pod("three", "node2"))
    after = await metrics(lab, "node1")
    for name in (
        f"kubeproxy_sync_proxy_rules_duration_seconds_count{family}",
        f"kubeproxy_network_programming_duration_seconds_count{family}",
        f"kubeproxy_sync_proxy_rules_last_timestamp_seconds{family}",
        "kubeproxy_sync_proxy_rules_endpoint_changes_total",
    ):
        assert after[name] > before[name], name
    failures = f"kubeproxy_sync_proxy_rules_nftables_sync_failures_total{family}"
    assert after[failures] == before[failures] == 0
    await lab.delete("Pod", "three")


async def test_metrics_of_local_policies_without_a_local_endpoint(lab: Lab) -> None:
    name = 'kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family="IPv4",traffic_policy="%s"}'
    for node, number in (("node1", 0.0), ("node2", 2.0)):  # two ports of a Service each
        found = await metrics(lab, node)
        assert [found[name % policy] for policy in ("internal", "external")] == [number, number], node


@pytest.mark.parametrize("source", ["node1", "node2", "pod/asker"])
async def test_healthz_is_on_all_addresses_of_a_node(lab: Lab, source: str) -> None:
    for path in ("healthz", "livez"):
        status, head, body = await curl(lab, source, f"http://{NODE1}:10256/{path}")
        assert status == 200 and "content-type: application/json" in head
        told = json.loads(body)
        assert told["healthy"] is True and told["status"]["IPv4"]["healthy"] is True
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", told["currentTime"])
        assert told["lastUpdated"] == told["currentTime"] and ("nodeEligible" in told) == (path == "healthz")
    if source == "node1":
        assert (await curl(lab, source, "http://127.0.0.1:10256/livez"))[0] == 200
        assert (await curl(lab, source, "http://127.0.0.1:10256/"))[0] == 404


@pytest.mark.privilege
async def test_one_server_has_the_sockets_of_all_nodes(lab: Lab) -> None:
    status = await lab.server_status("kube-proxy")
    assert status["sockets"] == 2 * 3  # metrics, healthz and one Service's health


# Health of Services, and balancers


async def test_a_health_check_node_port_follows_the_pods_of_its_node(lab: Lab) -> None:
    [found] = await lab.get("Service", "edge")
    port = found["spec"]["healthCheckNodePort"]

    async def states() -> list[int]:
        return [(await curl(lab, "node2", f"http://{node}:{port}/"))[0] for node in (NODE1, NODE2)]

    assert await states() == [200, 503]
    status, head, body = await curl(lab, "public-lb", f"http://{NODE1}:{port}/healthz")
    assert json.loads(body) == {
        "service": {"namespace": "default", "name": "edge"},
        "localEndpoints": 1,
        "serviceProxyHealthy": True,
    }
    assert status == 200 and "x-load-balancing-endpoint-weight: 1" in head
    assert "x-content-type-options: nosniff" in head
    vip = await balancer(lab, "edge")
    assert (await ask(lab, "client", vip))["pod"] == "moving"

    await lab.apply(pod("moved", "node2", "moving"))
    assert await states() == [200, 200]
    await lab.delete("Pod", "moving")
    assert await states() == [503, 200]

    async def moved() -> bool:
        frontends = (await lab.server_status("lb-default-edge"))["frontends"]
        healthy = [{n for n, t in f["targets"].items() if t["healthy"]} for f in frontends.values()]
        return len(healthy) == 2 and all(found == {"node2"} for found in healthy)

    await eventually(moved)  # for TCP and for UDP: each has checks of its own
    for _ in range(4):
        assert (await ask(lab, "client", vip))["pod"] == "moved"
        assert await datagram(lab, "client", vip, 80, b"hello") == b"hello"

    await lab.delete("Pod", "moved")
    assert await states() == [503, 503]
    await lab.apply(pod("back", "node1", "moving"))
    assert await states() == [200, 503]


async def test_a_health_check_node_port_goes_with_its_policy(lab: Lab) -> None:
    [found] = await lab.get("Service", "edge")
    port = found["spec"]["healthCheckNodePort"]
    await lab.apply(service("edge", "type: LoadBalancer, externalTrafficPolicy: Local, ", "moving"))
    [same] = await lab.get("Service", "edge")
    assert same["spec"]["healthCheckNodePort"] == port
    await lab.apply(service("edge", "type: LoadBalancer, ", "moving"))
    [other] = await lab.get("Service", "edge")
    assert "healthCheckNodePort" not in other["spec"]
    await refused(lab, "node2", NODE1, port)
    await lab.apply(service("edge", "type: LoadBalancer, externalTrafficPolicy: Local, ", "moving"))
    assert (await curl(lab, "node1", f"http://{NODE1}:{port}/"))[0] == 200


async def test_a_balancer_reaches_pods_itself_where_there_are_no_node_ports(lab: Lab) -> None:
    [found] = await lab.get("Service", "direct")
    assert not any(p.get("nodePort") for p in found["spec"]["ports"])
    vip = await balancer(lab, "direct")
    seen = [await ask(lab, "client", vip) for _ in range(6)]
    assert {a["pod"] for a in seen} == {"one", "two"}
    assert {a["client"].rpartition(":")[0] for a in seen} == {found["status"]["address"]}
    assert await datagram(lab, "client", vip, 80, b"hello") == b"hello"
    assert (await ask(lab, "pod/asker", vip))["pod"] in ("one", "two"), "on the node, by its rules"


# The process


async def test_the_process_stands_between_client_and_pod(process: Lab) -> None:
    address = await cluster_ip(process, "web")
    seen = [await ask(process, "pod/asker", address) for _ in range(6)]
    assert {a["pod"] for a in seen} == {"one", "two"}
    assert {a["client"].rpartition(":")[0] for a in seen} <= {NODE2, "10.244.2.0"}, "the node's proxy"
    assert await datagram(process, "pod/asker", address, 80, b"hello") == b"hello"
    tracked = await conntrack(process, "node2", "-p", "tcp", "--orig-dst", address)
    ports = {int(m) for line in tracked for m in re.findall(rf"src={NODE2} dst=\S+ sport=(\d+)", line)}
    assert ports and min(ports) >= 61000
    sockets = await output(process, "node2", "ss", "-Hltn")
    assert all(f"{NODE2}:{port}" in sockets for port in ports)
    status = await process.server_status("node2/kube-proxy")
    assert sum(t["total"] for f in status["frontends"].values() for t in f["targets"].values()) >= 7


async def test_the_process_serves_node_ports_and_the_node_itself(process: Lab) -> None:
    tcp, udp = await node_port(process, "ports", "http"), await node_port(process, "ports", "echo")
    for source in ("pod/asker", "node2"):
        for node in (NODE1, NODE2):
            assert (await ask(process, source, node, tcp))["pod"] in ("one", "two")
            assert await datagram(process, source, node, udp, b"hello") == b"hello"
    assert (await ask(process, "node1", await cluster_ip(process, "web")))["pod"] in ("one", "two")
    await refused(process, "node1", "127.0.0.1", tcp)
    assert (await ask(process, "client", await balancer(process, "direct")))["pod"] in ("one", "two")
    seen = await ask(process, "client", await balancer(process, "edge"))
    assert seen["pod"] == "moving" and not seen["client"].startswith(CLIENT)


@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
async def test_without_endpoints_the_process_is_never_asked(process: Lab, udp: bool) -> None:
    address = await cluster_ip(process, "nobody")
    port = await node_port(process, "nobody", "echo" if udp else "http")

    async def dropped() -> dict[str, int]:
        frontends = (await process.server_status("node2/kube-proxy"))["frontends"]
        return {key: f["dropped"] for key, f in frontends.items() if not f["targets"]}

    before = await dropped()
    for source, to, number in (("pod/asker", address, 80), ("node2", address, 80), ("node1", NODE2, port)):
        await refused(process, source, to, number, udp=udp)
    assert before and await dropped() == before


async def test_the_process_keeps_clients_for_the_timeout(process: Lab) -> None:
    loyal, address = await cluster_ip(process, "loyal"), await cluster_ip(process, "sticky")
    for source in ("pod/asker", "pod/one", "node1"):  # hours: none of them is ever away for too long
        answers = {(await ask(process, source, loyal))["pod"] for _ in range(5)}
        assert len(answers) == 1, source
    await renewed(process, address)
    chosen = collections.Counter[str]()
    for _ in range(4):
        await asyncio.sleep(1.1)
        chosen[(await ask(process, "pod/asker", address))["pod"]] += 1
    assert set(chosen) == {"one", "two"}, "who stayed away is dealt out again"


async def renewed(lab: Lab, address: str) -> None:
    """Coming again before the second of affinity is over begins it anew. What was away for longer proves nothing."""
    now = asyncio.get_running_loop().time
    for _ in range(10):
        begun = last = now()
        first, in_time = (await ask(lab, "pod/asker", address))["pod"], True
        while in_time and last - begun < 1.5:
            await asyncio.sleep(0.5)
            before = now()
            pod = (await ask(lab, "pod/asker", address))["pod"]
            in_time, last = now() - last < 0.95, before
            assert pod == first or not in_time
        if in_time:
            return
    raise AssertionError("there was never an answer in time")


async def test_changes_of_endpoints_leave_connections_of_the_process_alone(process: Lab) -> None:
    address = await cluster_ip(process, "web")
    reader, writer = await connect(process, "pod/asker", address, 80)

    async def once() -> str:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        return str(json.loads((await response(reader))[2])["pod"])

    first = await once()
    with await process.socket("pod/asker", socket.SOCK_DGRAM) as sock:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, (address, 80))

        async def echoed() -> bool:
            await loop.sock_sendall(sock, b"hello")
            async with asyncio.timeout(15):
                return await loop.sock_recv(sock, 100) == b"hello"

        assert await echoed()
        await process.apply(pod("extra", "node1"))
        assert await once() == first
        other = "two" if first == "one" else "one"
        await process.delete("Pod", other)
        assert await once() == first and await echoed(), "whichever had the flow: another one takes it on"
        await process.delete("Pod", "extra")
        assert await once() == first and await echoed()
    writer.close()

    async def gone() -> bool:
        return not await process.get("Pod", other)

    await eventually(gone)  # applied while it is terminating, it would go all the same
    await process.apply(pod(other, "node2" if other == "two" else "node1"))

    async def both() -> bool:
        return {(await ask(process, "pod/asker", address))["pod"] for _ in range(20)} == {"one", "two"}

    await eventually(both)


async def test_a_running_cluster_changes_its_mode(process: Lab) -> None:
    """Into the other mode and back; what the kernel has translated goes on through the first of the changes."""
    address = await cluster_ip(process, "web")
    await process.apply(CLUSTER.replace("MODE", "nftables"))
    reader, writer = await connect(process, "pod/asker", address, 80)
    request = b"GET /clientip HTTP/1.1\r\nHost: x\r\n\r\n"
    writer.write(request)
    _, _, before = await response(reader)
    [asker] = await process.get("Pod", "asker")
    assert before.decode().startswith(asker["status"]["podIP"])
    await process.apply(CLUSTER.replace("MODE", "userspace"))
    writer.write(request)
    assert (await response(reader))[2] == before
    writer.close()
    assert (await ask(process, "pod/asker", address))["client"].startswith((NODE2, "10.244.2.0"))
    assert (await curl(process, "node1", "http://127.0.0.1:10249/proxyMode"))[2] == "userspace"


async def test_no_connection_is_refused_while_the_process_takes_over(process: Lab) -> None:
    """It listens before the rules lead to it."""
    address = await cluster_ip(process, "web")
    for before in ("nftables", "iptables"):
        await process.apply(CLUSTER.replace("MODE", before))
        answered = collections.Counter[int]()

        async def come_anew(client: int, answered: collections.Counter[int]) -> None:
            while True:
                async with asyncio.timeout(20):
                    assert (await ask(process, "pod/asker", address))["pod"] in ("one", "two")
                answered[client] += 1

        clients = [asyncio.ensure_future(come_anew(n, answered)) for n in range(4)]

        async def some_more(answered: collections.Counter[int], clients: list[asyncio.Future[None]]) -> None:
            known = answered.copy()

            async def more() -> bool:
                failed = any(c.done() for c in clients)
                return failed or all(answered[n] >= known[n] + 3 for n in range(len(clients)))

            await eventually(more)

        await some_more(answered, clients)
        await process.apply(CLUSTER.replace("MODE", "userspace"))
        await some_more(answered, clients)
        for client in clients:
            client.cancel()
        ends = await asyncio.gather(*clients, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends), (before, ends)
