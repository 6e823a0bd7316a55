"""The whole path of topologies/shop.yaml: what answers, and which way the packets went."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import socket
from collections.abc import AsyncIterator
from functools import partial

import pytest
import pytest_asyncio

from emulab import Lab

from .tools import (
    CLIENT,
    NODE1,
    NODE2,
    PUBLIC_LB,
    VIP,
    Capture,
    addresses,
    capture,
    cluster_ip,
    connect,
    conntrack,
    counters,
    eventually,
    exchange,
    held_requests,
    name,
    node_port,
    output,
    pods,
    program,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

URL = "http://shop.example.com/products/42"

HELD = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: held, annotations: {nginx.ingress.kubernetes.io/proxy-request-buffering: "off"}}
spec:
  rules:
    - host: held.example.com
      http:
        paths: [{path: /, pathType: Prefix, backend: {service: {name: product-service, port: {number: 80}}}}]
"""
"""Whose requests are with the pods before they are whole, so that several can be open at once."""

PAIR = f"""
apiVersion: v1
kind: Pod
metadata: {{name: near, labels: {{app: pair}}}}
spec:
  nodeName: node1
  containers:
    - name: echo
      ports: [{{containerPort: 9000}}, {{containerPort: 9000, protocol: UDP}}]
---
apiVersion: v1
kind: Pod
metadata: {{name: far, labels: {{app: pair}}}}
spec:
  nodeName: node2
  terminationGracePeriodSeconds: 1
  containers:
    - name: echo
      ports: [{{containerPort: 9000}}, {{containerPort: 9000, protocol: UDP}}]
    - name: mirror
      command: {program("mirror.py", "9100")}
      ports: [{{containerPort: 9100}}]
      readinessProbe: {{tcpSocket: {{port: 9100}}, periodSeconds: 1}}
"""

ROUTED = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: routed}
spec: {network: {mode: routed}}
---
"""


async def pod_ip(lab: Lab, pod: str) -> str:
    [found] = await lab.get("Pod", pod, "default")
    return str(found["status"]["podIP"])


async def ingress_pod(lab: Lab) -> tuple[str, str]:
    """Address and node of the ingress controller's pod."""
    [pod] = await pods(lab, "ingress-nginx")
    return pod["status"]["podIP"], pod["spec"]["nodeName"]


async def test_a_request_is_answered_by_a_pod_of_the_service(shop: Lab) -> None:
    """The answer names Service, Ingress, pod and node, and what it says of itself is true."""
    answer = await shop.request(URL)
    assert answer.status == 200
    facts = answer.json()
    assert (facts["service"], facts["ingress"], facts["namespace"]) == (
        "product-service",
        "shop-ingress",
        "default",
    )
    assert (facts["path"], facts["host"], facts["method"]) == ("/products/42", "shop.example.com", "GET")
    [pod] = [p for p in await pods(shop, app="product") if name(p) == facts["pod"]]
    assert facts["podIP"] == pod["status"]["podIP"] and facts["node"] == pod["spec"]["nodeName"]
    assert facts["port"] == 8080


@pytest.mark.privilege
async def test_curl_in_the_client_gets_the_answer(shop: Lab) -> None:
    """The client's own resolv.conf, C library and curl find the way."""
    done = await shop.exec("client", "curl", "-s", "-w", "\n%{http_code} %{remote_ip} %{local_ip}", URL)
    assert done.status == 0, done.stderr
    assert done.text.splitlines()[-1] == f"200 {VIP} {CLIENT}"


async def test_every_pod_answers_on_its_own_node(shop: Lab) -> None:
    """Of many connections from the ingress to the ClusterIP every pod gets some; the pods are on both nodes."""
    await shop.apply(HELD)
    answers = await held_requests(shop, VIP, "held.example.com", "/products/x", 60)
    assert {a["pod"] for a in answers} == {name(p) for p in await pods(shop, app="product")}
    assert len({a["pod"] for a in answers}) == 3
    assert {a["node"] for a in answers} == {"node1", "node2"}
    assert {a["client"].split(":")[0] for a in answers} == {(await ingress_pod(shop))[0]}


async def test_a_pod_on_the_other_node_is_reached_through_vxlan(shop: Lab) -> None:
    """UDP 8472 between the nodes carries ingress ↔ pod both ways; both VXLAN devices count them."""
    ingress, node = await ingress_pod(shop)
    other = "node2" if node == "node1" else "node1"
    await shop.apply(HELD)
    before, before_other = await counters(shop, node, "flannel.1"), await counters(shop, other, "flannel.1")
    async with capture(shop, node, "udp port 8472", "-T", "vxlan") as seen:
        # That one of the nodes, which has one pod of three, gets none of them happens once in 10^10 times.
        answers = await held_requests(shop, VIP, "held.example.com", "/products/vxlan", 60)
        remote = [a for a in answers if a["node"] == other]
        assert remote, "no answer came from the other node"
        for answer in remote:
            there, back = re.escape(f"{ingress}."), re.escape(f"{answer['podIP']}.8080")
            await seen.until(rf"IP {there}\d+ > {back}: ")
            await seen.until(rf"IP {back} > {there}\d+: ")
    outer = {(s.rsplit(".", 1)[0], d) for s, d in addresses(seen.matching("VXLAN"))}
    assert outer == {(NODE1, f"{NODE2}.8472"), (NODE2, f"{NODE1}.8472")}
    assert all("vni 1" in line for line in seen.matching("VXLAN"))
    local = [a["podIP"] for a in answers if a["node"] == node]
    assert local and not any(seen.matching(re.escape(f"{a}.8080")) for a in local), (
        "local traffic was tunnelled"
    )
    after, after_other = await counters(shop, node, "flannel.1"), await counters(shop, other, "flannel.1")
    packets = len(seen.matching("VXLAN"))
    assert packets >= 4 * len(remote)
    assert after["tx"] - before["tx"] >= 2 * len(remote) and after["rx"] - before["rx"] >= 2 * len(remote)
    assert after_other["rx"] - before_other["rx"] >= 2 * len(remote)


@pytest.mark.privilege
async def test_conntrack_shows_the_translation_from_cluster_ip_to_pod(shop: Lab) -> None:
    """The ingress's node tracks ingress → ClusterIP:80, answered by pod:8080."""
    ingress, node = await ingress_pod(shop)
    facts = (await shop.request("http://shop.example.com/products/conntrack")).json()
    service = await cluster_ip(shop, "product-service")
    source, port = facts["client"].split(":")
    assert source == ingress
    there = f"src={ingress} dst={service} sport={port} dport=80"
    back = f"src={facts['podIP']} dst={ingress} sport=8080 dport={port}"
    assert any(f"{there} {back}" in line for line in await conntrack(shop, node, "-p", "tcp"))


async def test_the_resolver_asks_once_and_then_answers_from_its_cache(shop: Lab) -> None:
    """`dns` sees one question for two of the client's; the second answer's TTL has counted down."""
    await shop.apply(
        """
        apiVersion: emulab.dev/v1
        kind: Zone
        metadata: {name: fresh.test}
        spec: {visibility: public, records: [{name: www, type: A, value: 203.0.113.10, ttl: 30}]}
        """
    )

    async def ttl() -> int:
        text = await output(shop, "client", "dig", "+noall", "+answer", "www.fresh.test")
        owner, left, _, kind, value = text.split()
        assert (owner, kind, value) == ("www.fresh.test.", "A", VIP)
        return int(left)

    question = r"198\.51\.100\.53\.\d+ > 198\.51\.100\.54\.53: .* A\? www\.fresh\.test"
    async with capture(shop, "dns", "port 53") as at_dns, capture(shop, "resolver", "port 53") as at_resolver:
        assert await ttl() == 30
        await at_dns.until(question)
        first = len(at_dns.matching(question))  # more than one if the first wasn't answered within a second

        async def lower() -> bool:
            return await ttl() < 30

        await eventually(lower, pause=0.2)
        questions = await at_resolver.until(
            r"198\.51\.100\.2\.\d+ > 198\.51\.100\.53\.53: .*www\.fresh\.test", 2
        )
    assert len(questions) >= 2
    assert len(at_dns.matching(question)) == first, at_dns.lines
    assert len(at_dns.matching(r"A\? www\.fresh\.test")) == first, "the client went past its resolver"


async def test_forwarding_headers_are_the_proxys_own(shop: Lab) -> None:
    """X-Forwarded-* say what the ingress saw; what the client claims is not believed."""
    claimed = {"X-Forwarded-For": "192.0.2.7", "X-Real-IP": "192.0.2.8", "X-Forwarded-Proto": "https"}
    first = (await shop.request(URL, headers=claimed)).json()["headers"]
    second = (await shop.request(URL)).json()["headers"]
    assert first["X-Forwarded-For"] == first["X-Real-Ip"] and "192.0.2.8" not in first["X-Real-Ip"]
    assert first["X-Original-Forwarded-For"] == ["192.0.2.7"]
    assert first["X-Forwarded-Proto"] == ["http"] and first["X-Forwarded-Host"] == ["shop.example.com"]
    assert first["X-Forwarded-Port"] == ["80"]
    [one], [two] = first["X-Request-Id"], second["X-Request-Id"]
    assert re.fullmatch("[0-9a-f]{32}", one) and re.fullmatch("[0-9a-f]{32}", two) and one != two


async def test_both_nodes_receive_from_the_balancer(shop: Lab) -> None:
    """The request's own bytes come from the balancer's address into both nodes, and each masquerades them."""
    port = await node_port(shop, "ingress-nginx-controller", "http", "ingress-nginx")
    expression = f"src {PUBLIC_LB} and dst port {port} and greater 100"
    async with (
        capture(shop, "node1", f"dst {NODE1} and {expression}", "-A") as one,
        capture(shop, "node2", f"dst {NODE2} and {expression}", "-A") as two,
    ):
        # In turn, unless one was found unhealthy meanwhile, as the machine had no time for its answer.
        for number in range(3):
            path = f"/products/both-{number}"
            seen = [
                (await shop.request(f"http://shop.example.com{path}")).json()["headers"] for _ in range(6)
            ]
            await eventually(partial(came, path, one, two))
            if len(one.matching(path)) == len(two.matching(path)) == 3:
                break
        assert len(one.matching(path)) == len(two.matching(path)) == 3
    assert {h["X-Real-Ip"][0] for h in seen} == {CLIENT}  # by a PROXY header, whichever node masquerades


async def came(path: str, *captures: Capture) -> bool:
    return sum(len(c.matching(f"GET {path} ")) for c in captures) >= 6


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pair(shop: Lab) -> Lab:
    """The shop with a pod on each node that we know by name."""
    await shop.apply(PAIR)
    return shop


async def fits(lab: Lab, target: str, size: int) -> bool:
    """Whether a datagram of `size` bytes, IP header included, comes back from `target` unfragmented."""
    loop = asyncio.get_running_loop()
    payload = os.urandom(size - 28)
    with await lab.socket("pod/near", socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO: set DF, never fragment
        await loop.sock_connect(sock, (target, 9000))
        try:
            await loop.sock_sendall(sock, payload)
        except OSError as error:
            assert error.errno == errno.EMSGSIZE
            return False
        async with asyncio.timeout(15):
            return await loop.sock_recv(sock, 1 << 16) == payload


async def test_the_overlay_leaves_1450_bytes(pair: Lab) -> None:
    """Pod links have MTU 1450; full packets cross with DF set, and are 1500 bytes outside."""
    assert (await counters(pair, "pod/near", "eth0"))["mtu"] == 1450
    far = await pod_ip(pair, "far")
    async with capture(pair, "node1", "udp port 8472", "-v", "-T", "vxlan") as seen:
        assert await fits(pair, far, 1400)
        assert await fits(pair, far, 1450)
        await seen.until(r"proto UDP.* length 1500\)")
    assert not await fits(pair, far, 1451)
    assert not seen.matching(r"flags \[\+\]|offset [1-9]"), "fragments"


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_ten_megabytes_cross_the_overlay_intact(pair: Lab, direction: str) -> None:
    """SHA-256 of 10 MB in each direction over VXLAN, with offloads on, is what was sent."""
    before = await counters(pair, "node1", "flannel.1")
    data = os.urandom(10_000_000)
    streams = await connect(pair, "pod/near", await pod_ip(pair, "far"), 9100)
    if direction == "up":
        assert await exchange(streams, b"SUM " + data) == hashlib.sha256(data).hexdigest().encode()
    else:
        assert hashlib.sha256(await exchange(streams, data)).digest() == hashlib.sha256(data).digest()
    after = await counters(pair, "node1", "flannel.1")
    grown = "tx" if direction == "up" else "rx"
    assert after[grown] - before[grown] > 100


async def test_a_megabyte_through_the_whole_path_is_counted_whole(shop: Lab) -> None:
    """A body just below the ingress's limit arrives whole; one above is 413."""
    answer = await shop.request(
        "http://shop.example.com/products/up", method="POST", body=os.urandom(1 << 20)
    )
    assert answer.status == 200 and answer.json()["bodyBytes"] == 1 << 20
    answer = await shop.request(
        "http://shop.example.com/products/up", method="POST", body=bytes((1 << 20) + 1)
    )
    assert answer.status == 413


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def routed() -> AsyncIterator[Lab]:
    async with Lab.from_text(ROUTED + PAIR) as lab:
        yield lab


async def test_routed_mode_has_no_encapsulation(routed: Lab) -> None:
    """Between nodes go the pods' own packets, 1500 bytes and unchanged sources; UDP 8472 is never seen."""
    near, far = await pod_ip(routed, "near"), await pod_ip(routed, "far")
    assert (await counters(routed, "pod/near", "eth0"))["mtu"] == 1500
    async with capture(routed, "node2", f"udp port 8472 or host {near}") as seen:
        assert await fits(routed, far, 1500)
        assert not await fits(routed, far, 1501)
        answer = await routed.request(f"http://{far}:9000/clientip", source="pod/near")
        assert answer.text().split(":")[0] == near
        await seen.until(rf"IP {re.escape(near)}\.\d+ > {re.escape(far)}\.9000: Flags")
        await seen.until(rf"IP {re.escape(far)}\.9000 > {re.escape(near)}\.\d+: Flags")
    assert not seen.matching("8472")
    data = os.urandom(3_000_000)
    assert await exchange(await connect(routed, "pod/near", far, 9100), data) == data
    links = await output(routed, "node1", "ip", "-d", "link", "show")
    assert "vxlan" not in links
