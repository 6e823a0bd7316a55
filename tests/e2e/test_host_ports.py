"""Host ports, as the CNI plug-in portmap makes them."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from emulab import Lab

from .proxyworld import pod
from .tools import CLIENT, NODE1, NODE2, datagram, eventually, output, refused

pytestmark = pytest.mark.asyncio(loop_scope="module")

UDP = pod("later", "node1", ports="{containerPort: 8081, hostPort: 5353, protocol: UDP}")
WORLD = (
    pod(
        "web",
        "node1",
        ports="{containerPort: 8080, hostPort: 80}, {containerPort: 8081, hostPort: 81, protocol: UDP},"
        " {containerPort: 8082, hostPort: 82, hostIP: 10.0.0.11}",
    )
    + pod("asker", "node2")
    + """
apiVersion: apps/v1
kind: Deployment
metadata: {name: many}
spec:
  replicas: 2
  selector: {matchLabels: {app: many}}
  template:
    metadata: {labels: {app: many}}
    spec: {containers: [{name: c, ports: [{containerPort: 8080, hostPort: 9000}]}]}
"""
)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with Lab.from_text(WORLD) as made:
        yield made


@pytest.mark.parametrize("place", ["client", "node2", "node1", "pod/asker", "pod/web"])
async def test_a_host_port_leads_to_the_pod(lab: Lab, place: str) -> None:
    """From outside, from nodes, from other pods, and from the pod itself."""
    answer = (await lab.request(f"http://{NODE1}/", source=place)).json()
    assert (answer["pod"], answer["port"]) == ("web", 8080)
    if place == "client":
        assert answer["client"].startswith(f"{CLIENT}:"), "the source is kept"
    assert await datagram(lab, place, NODE1, 81, b"hello") == b"hello"


async def test_the_nodes_loopback_address_is_one_of_its_own(lab: Lab) -> None:
    assert (await lab.request("http://127.0.0.1/", source="node1")).json()["pod"] == "web"


async def test_a_host_port_of_one_address(lab: Lab) -> None:
    assert (await lab.request(f"http://{NODE1}:82/")).status == 200
    await refused(lab, "node1", "127.0.0.1", 82)


async def test_other_nodes_have_no_such_port(lab: Lab) -> None:
    await refused(lab, "client", NODE2, 80)


async def test_one_pod_of_a_port_on_each_node(lab: Lab) -> None:
    """The scheduler keeps them apart, and a third one waits."""
    for address in (NODE1, NODE2):
        assert (await lab.request(f"http://{address}:9000/")).status == 200
    await lab.scale("many", 3)

    async def told() -> bool:
        pods = await lab.get("Pod", namespace="default")
        return any(
            "2 node(s) didn't have free ports for the requested pod ports" in c.get("message", "")
            for p in pods
            for c in p["status"].get("conditions") or ()
        )

    await eventually(told)
    await lab.scale("many", 2)


async def test_a_trace_tells_whose_port_it_is(lab: Lab) -> None:
    path = await lab.trace(f"http://{NODE1}/")
    (hop,) = [h for h in path.hops if h.event == "dnat"]
    assert hop.place == "node1"
    assert hop.object == "host port 80 of pod default/web → pod default/web"
    assert re.match(r"ip cni_hostport hostports: tcp dport 80 dnat to 10\.244\.1\.\d+:8080", hop.rule)


async def test_a_flow_that_began_before_the_pod_comes_to_it(lab: Lab) -> None:
    """Rules are asked about new flows alone, so a flow of UDP that goes on is forgotten when the port comes."""
    loop = asyncio.get_running_loop()
    with await lab.socket("client", socket.SOCK_DGRAM) as sock:
        sock.bind((CLIENT, 40053))

        async def asked() -> bytes:
            try:
                await loop.sock_sendto(sock, b"?", (NODE1, 5353))
                async with asyncio.timeout(0.3):
                    return (await loop.sock_recvfrom(sock, 100))[0]
            except (TimeoutError, OSError):
                return b""

        assert await asked() == b""
        sending = asyncio.ensure_future(eventually(asked))
        await lab.apply(UDP)
        assert await sending == b"?"
    await lab.delete("Pod", "later")


async def test_the_rules_go_with_the_pod(lab: Lab) -> None:
    await lab.delete("Pod", "web")

    async def gone() -> bool:
        tables = await output(lab, "node1", "nft", "list", "table", "ip", "cni_hostport")
        return "dport 80 " not in tables and "dport 9000 " in tables

    await eventually(gone)
    await refused(lab, "client", NODE1, 80)
