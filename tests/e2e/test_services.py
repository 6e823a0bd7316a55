"""Services of every type: what is translated, what is masqueraded, what is refused."""

from __future__ import annotations

import collections
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from emulab import Lab
from emulab.model.families import IPV6

from .families import At, at_of, lab_in, worlds_of
from .tools import (
    INTERPRETER,
    capture,
    cluster_ip,
    conntrack,
    datagram,
    eventually,
    is_ready,
    mounted,
    name,
    output,
    pods,
    program,
    refused,
    sharing,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORLD = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          ports:
            - {name: http, containerPort: 8080}
            - {name: echo, containerPort: 8081, protocol: UDP}
            - {containerPort: 9443}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports:
    - {name: http, port: 80, targetPort: http}
    - {name: echo, port: 80, protocol: UDP, targetPort: echo}
    - {name: admin, port: 8443, targetPort: 9443}
---
apiVersion: v1
kind: Service
metadata: {name: ports}
spec:
  type: NodePort
  selector: {app: web}
  ports:
    - {name: http, port: 80, targetPort: http, nodePort: 30080}
    - {name: echo, port: 80, protocol: UDP, targetPort: echo, nodePort: 30080}
---
apiVersion: v1
kind: Service
metadata: {name: edge}
spec:
  type: LoadBalancer
  selector: {app: web}
  ports:
    - {name: http, port: 8000, targetPort: http}
    - {name: echo, port: 8000, protocol: UDP, targetPort: echo}
---
apiVersion: v1
kind: Service
metadata: {name: fenced}
spec:
  type: LoadBalancer
  loadBalancerSourceRanges: [192.0.2.0/24]
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}]
---
apiVersion: v1
kind: Service
metadata: {name: empty}
spec:
  type: NodePort
  selector: {app: nobody}
  ports:
    - {name: http, port: 80, nodePort: 30081}
    - {name: echo, port: 80, protocol: UDP, nodePort: 30081}
---
apiVersion: v1
kind: Service
metadata: {name: outside}
spec: {type: ExternalName, externalName: web.default.svc.cluster.local}
---
apiVersion: v1
kind: Service
metadata: {name: self}
spec:
  selector: {app: self}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Pod
metadata: {name: lonely, labels: {app: self}}
spec:
  nodeName: node1
  containers: [{name: lonely, ports: [{containerPort: 8080}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: asker}
spec:
  nodeName: node2
  containers: [{name: asker, ports: [{containerPort: 8080}]}]
---
apiVersion: emulab.dev/v1
kind: Client
metadata: {name: office}
spec: {network: vpc}
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=worlds_of("services"))
async def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    async with lab_in(request.param, sharing(tmp_path_factory.getbasetemp()), WORLD) as made:
        yield made


@pytest.fixture
def at(lab: Lab) -> At:
    return at_of(lab)


async def ip_of(lab: Lab, pod: str) -> str:
    [found] = await lab.get("Pod", pod, "default")
    return str(found["status"]["podIP"])


MANY = 60
"""Connections that miss one of three pods once in 10^10 times: 3 * (2/3)^60."""


async def sources(lab: Lab, url: str, source: str, count: int = MANY) -> set[tuple[str, str]]:
    """Node of the answering pod and the source address that it saw, of many requests."""
    answers = [(await lab.request(url, source=source)).json() for _ in range(count)]
    return {(a["node"], a["client"].rsplit(":", 1)[0].strip("[]")) for a in answers}


async def test_a_pod_keeps_its_source_to_a_cluster_ip(lab: Lab, at: At) -> None:
    """Pods on both nodes see the asking pod's own address; conntrack on its node has no source translation."""
    own, service = await ip_of(lab, "asker"), await cluster_ip(lab, "web")
    seen = await sources(lab, "http://web/", "pod/asker")
    assert seen == {("node1", own), ("node2", own)}
    lines = [x for x in await conntrack(lab, "node2", "-p", "tcp") if f"src={own} dst={service}" in x]
    assert len(lines) >= MANY
    for line in lines:
        assert re.search(
            rf"src={own} dst={service} sport=\d+ dport=80 src={at.pod} dst={own} sport=8080", line
        )


async def test_a_node_is_masqueraded_to_a_cluster_ip(lab: Lab, at: At) -> None:
    """Pods on the other node see the node's overlay address, which is the way back over VXLAN."""
    service = await cluster_ip(lab, "web")
    seen = await sources(lab, f"http://{at.host(service)}/", "node1")
    assert {node for node, _ in seen} == {"node1", "node2"}
    assert {source for node, source in seen if node == "node2"} == {at("10.244.1.0")}
    assert {source for node, source in seen if node == "node1"} <= {at.node1, at("10.244.1.0")}


async def test_a_pod_reaches_itself_through_its_service(lab: Lab, at: At) -> None:
    """Hairpin: the only endpoint asks its own Service and is answered by itself, seeing its node's address."""
    own = await ip_of(lab, "lonely")
    async with capture(lab, "pod/lonely", "tcp port 8080") as seen:
        answer = (await lab.request("http://self/", source="pod/lonely")).json()
        await seen.until(rf"> {re.escape(own)}\.8080: Flags \[P")
    assert answer["pod"] == "lonely"
    source = answer["client"].rpartition(":")[0].strip("[]")
    assert source != own and source in {at.node1, at("10.244.1.0")}


@pytest.mark.parametrize("place", ["client", "office", "node1", "node2", "pod/asker"])
async def test_a_node_port_is_open_on_every_node(lab: Lab, at: At, place: str) -> None:
    """From outside, from the vpc, from nodes and from pods; TCP and UDP under one number."""
    for node in (at.node1, at.node2):
        answer = await lab.request(f"http://{at.host(node)}:30080/", source=place)
        assert answer.status == 200 and answer.json()["service"] in ("web", "ports", "edge", "fenced")
        assert await datagram(lab, place, node, 30080, b"over udp") == b"over udp"


async def test_a_node_port_masquerades(lab: Lab, at: At) -> None:
    """Pods see the address of the node that took the packet, so that the answer comes back through it."""
    seen = await sources(lab, f"http://{at.host(at.node1)}:30080/", "client")
    assert {node for node, _ in seen} == {"node1", "node2"}
    assert {source for node, source in seen if node == "node2"} == {at("10.244.1.0")}
    assert at.client not in {source for _, source in seen}
    lines = await conntrack(lab, "node1", "-p", "tcp", "--orig-src", at.client)
    assert any(
        re.search(rf"src={at.client} dst={at.node1} \S+ dport=30080 src={at.pod} dst=(?!{at.client})", x)
        for x in lines
    )


async def test_a_load_balancer_service_answers_at_its_address_and_its_name(lab: Lab, at: At) -> None:
    """TCP and UDP, by the VIP in its status and by the name that the public DNS has by itself."""
    [service] = await lab.get("Service", "edge", "default")
    [entry] = service["status"]["loadBalancer"]["ingress"]
    assert entry["ip"].startswith(at("203.0.113.1")[:-1])
    assert await lab.resolve("edge.default.lb.test") == entry["ip"]
    answers = [(await lab.request("http://edge.default.lb.test:8000/")).json() for _ in range(MANY)]
    assert {a["pod"] for a in answers} == {name(p) for p in await pods(lab, app="web")}
    assert {a["host"] for a in answers} == {"edge.default.lb.test:8000"}
    assert await datagram(lab, "client", entry["ip"], 8000, b"x" * 1200) == b"x" * 1200
    balancer = "lb-default-edge"
    async with capture(lab, balancer, "tcp port 8000 or tcp portrange 30000-32767") as seen:
        await lab.request(f"http://{at.host(entry['ip'])}:8000/")
        await seen.until(rf"{at.client}\.\d+ > {re.escape(entry['ip'])}\.8000: Flags \[P")
        await seen.until(rf"{at.own}\.\d+ > ({at.node1}|{at.node2})\.3\d+: Flags \[P")


async def test_a_load_balancer_service_refuses_who_is_not_in_its_ranges(lab: Lab, at: At) -> None:
    """`loadBalancerSourceRanges` keeps the client out at once."""
    address = await lab.resolve("fenced.default.lb.test")
    with pytest.raises(OSError) as caught:
        await lab.request(f"http://{at.host(address)}/", timeout=20)
    assert not isinstance(caught.value, TimeoutError)


async def test_an_external_name_is_another_name(lab: Lab) -> None:
    """A pod that asks for the ExternalName Service gets what the name stands for."""
    answer = await lab.request("http://outside/", source="pod/asker")
    assert answer.status == 200 and answer.json()["pod"] in {name(p) for p in await pods(lab, app="web")}
    assert answer.json()["host"] == "outside"


async def test_named_and_numbered_target_ports(lab: Lab, at: At) -> None:
    """A port by name and one by number lead to the ports of the pod, TCP and UDP apart."""
    service = await cluster_ip(lab, "web")
    assert (await lab.request(f"http://{at.host(service)}/", source="pod/asker")).json()["port"] == 8080
    assert (await lab.request(f"http://{at.host(service)}:8443/", source="pod/asker")).json()["port"] == 9443
    async with capture(lab, "pod/asker", "udp") as seen:
        assert await datagram(lab, "pod/asker", service, 80, b"udp beside tcp") == b"udp beside tcp"
        await seen.until(rf"{at.ip} {re.escape(service)}\.80 > .*UDP, length 14")


@pytest.mark.parametrize("place", ["pod/asker", "pod/lonely", "node1"])
@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
async def test_a_cluster_ip_without_endpoints_refuses_at_once(lab: Lab, place: str, udp: bool) -> None:
    """Not a timeout: a reset, or ICMP port unreachable for UDP."""
    await refused(lab, place, await cluster_ip(lab, "empty"), 80, udp)


@pytest.mark.parametrize("place", ["client", "office", "pod/asker", "node2"])
@pytest.mark.parametrize("node", ["10.0.0.11", "10.0.0.12"])
async def test_a_node_port_without_endpoints_refuses_at_once(lab: Lab, at: At, place: str, node: str) -> None:
    """TCP and UDP, from wherever."""
    await refused(lab, place, at(node), 30081)
    await refused(lab, place, at(node), 30081, udp=True)


async def test_refusals_are_a_reset_and_an_icmp_message(lab: Lab, at: At) -> None:
    """What the client's interface sees: RST from the node, and ICMP port unreachable."""
    async with capture(lab, "client", f"host {at.node1} and (tcp port 30081 or {at.icmp})") as seen:
        await refused(lab, "client", at.node1, 30081)
        await refused(lab, "client", at.node1, 30081, udp=True)
        await seen.until(rf"{at.ip} {at.node1}\.30081 > {at.client}\.\d+: Flags \[R")
        said = rf"{at.node1} udp port 30081 unreachable"
        if at.family is IPV6:  # tcpdump's other words
            said = rf"destination unreachable, unreachable port, {at.node1} udp port 30081"
        await seen.until(rf"{at.ip} {at.node1} > {at.client}: {at.icmp.upper()},? {said}")


async def test_an_unknown_port_of_a_cluster_ip_is_refused(lab: Lab) -> None:
    """A port that the Service doesn't have, TCP and UDP, from a pod and from a node."""
    service = await cluster_ip(lab, "web")
    for place in ("pod/asker", "node1"):
        await refused(lab, place, service, 81)
        await refused(lab, place, service, 81, udp=True)


async def test_an_address_that_no_service_has_is_not_answered_by_anyone_outside(lab: Lab, at: At) -> None:
    """Packets for unused cluster IPs end on the node: none of them gets into the vpc."""
    services = "fd00:96::/112" if at.family is IPV6 else "10.96.0.0/12"
    async with capture(lab, "router", f"net {services} or tcp port 30080", link="vpc") as seen:
        for place in ("pod/asker", "node1"):
            with pytest.raises((OSError, TimeoutError)):
                await lab.request(f"http://{at.host(at('10.96.200.200'))}/", source=place, timeout=0.4)
        await lab.request(
            f"http://{at.host(at.node1)}:30080/"
        )  # passes the router, so that the capture is known to work
        await seen.until(rf"{at.client}\.\d+ > {at.node1}\.30080")
    assert not seen.matching(at("10.96.0.0").removesuffix("0.0"))


CHOOSER = """
import collections, json, socket, sys
seen = collections.Counter()
for _ in range(int(sys.argv[2])):
    with socket.create_connection((sys.argv[1], 80), 60) as sock:
        sock.sendall(b"GET /hostname HTTP/1.0\\r\\n\\r\\n")
        answer = b""
        while chunk := sock.recv(4096):
            answer += chunk
    seen[answer.partition(b"\\r\\n\\r\\n")[2].decode()] += 1
print(json.dumps(seen))
"""


async def test_the_choice_among_endpoints_is_fair(lab: Lab) -> None:
    """900 connections over three pods: chi-square with two degrees of freedom, passed once in 100 million times.

    Shares of 45, 27.5 and 27.5 % are found 19 times in 20.
    """
    text = await output(lab, "pod/asker", INTERPRETER, "-c", CHOOSER, await cluster_ip(lab, "web"), "900")
    seen = collections.Counter(json.loads(text))
    assert set(seen) == {name(p) for p in await pods(lab, app="web")} and sum(seen.values()) == 900
    assert sum((n - 300) ** 2 / 300 for n in seen.values()) < 36.8, seen


GATED = """
apiVersion: v1
kind: Service
metadata: {{name: gated}}
spec:
  selector: {{app: gated}}
  ports: [{{port: 80, targetPort: web}}]
---
apiVersion: v1
kind: Pod
metadata: {{name: gated, labels: {{app: gated}}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: gate
      command: {command}
      ports: [{{name: web, containerPort: 8080}}]
      readinessProbe:
        httpGet: {{path: /ready, port: web}}
        periodSeconds: 1
        failureThreshold: 1
        timeoutSeconds: 30
"""


async def test_readiness_opens_and_closes_a_service(lab: Lab, tmp_path: Path) -> None:
    """An unready pod gets no traffic; once its probe succeeds it does; once it fails again, it doesn't."""
    file = tmp_path / "open"
    manifest = mounted(GATED.format(command=program("gate.py", "8080", str(file))), tmp_path)
    try:
        await readiness_follows(lab, manifest, file)
    finally:
        await lab.delete("Pod", "gated")
        await lab.delete("Service", "gated")


async def readiness_follows(lab: Lab, manifest: str, file: Path) -> None:
    await lab.apply(manifest, ready=False)
    service = await cluster_ip(lab, "gated")

    async def listening() -> bool:
        try:
            return (
                await lab.request(
                    f"http://{at_of(lab).host(await ip_of(lab, 'gated'))}:8080/ready", source="node1"
                )
            ).status == 503
        except OSError:
            return False

    async def endpoint_ready() -> bool | None:
        slices = [
            s for s in await lab.get("EndpointSlice", namespace="default") if name(s).startswith("gated")
        ]
        conditions = [e["conditions"] for s in slices for e in s["endpoints"]]
        return conditions[0]["ready"] if conditions else None

    async def closed() -> bool:
        try:
            await refused(lab, "pod/asker", service, 80)
        except AssertionError:
            return False
        return True

    await eventually(listening)
    assert await endpoint_ready() is False
    await refused(lab, "pod/asker", service, 80)
    [pod] = await lab.get("Pod", "gated", "default")
    assert not is_ready(pod) and pod["status"]["phase"] == "Running"

    await output(lab, "pod/gated", "touch", str(file))
    await lab.ready()
    assert await endpoint_ready() is True
    assert (await lab.request("http://gated/", source="pod/asker")).text() == "gated"

    await output(lab, "pod/gated", "rm", str(file))

    async def unready() -> bool:
        return await endpoint_ready() is False

    await eventually(unready)
    await eventually(closed)  # the rules follow the EndpointSlice


async def test_endpoints_follow_a_deleted_pod(lab: Lab, at: At) -> None:
    """A pod that was deleted gets no new connection from the moment that `delete` returns."""
    victim = name((await pods(lab, app="web"))[0])
    await lab.delete("Pod", victim)
    service = await cluster_ip(lab, "web")
    seen = {
        (await lab.request(f"http://{at.host(service)}/hostname", source="pod/asker")).text()
        for _ in range(15)
    }
    assert victim not in seen
    await lab.ready()
    assert len(await pods(lab, app="web")) == 3
