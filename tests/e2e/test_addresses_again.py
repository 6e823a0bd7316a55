"""Addresses and ports that go from one Service to another, what kube-proxy leaves alone, and what it sets nodes to."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from emulab import Lab

from .proxyworld import pod, service
from .tools import NODE1, cluster_ip, datagram, output

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORLD = (
    """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: again}
spec: {proxy: {conntrack: {tcpCloseWaitTimeout: 10m, tcpBeLiberal: true}}}
---"""
    + pod("web", "node1", ports="{containerPort: 8080}, {containerPort: 8081, protocol: UDP}")
    + pod("asker", "node2")
    + service(
        "both",
        "{type: NodePort, selector: {app: web}, ports: [{name: t, port: 80, targetPort: 8080},"
        " {name: u, port: 80, protocol: UDP, targetPort: 8081}]}",
    )
    + service("plain", "{selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}")
)
BALANCED = "{type: LoadBalancer, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with Lab.from_text(WORLD) as made:
        yield made


async def test_an_address_that_another_service_gets_is_reached_at_once(lab: Lab) -> None:
    """Neighbours know the right MAC address of it: it goes with the address."""
    seen = []
    for name in ("former", "latter", "third"):
        await lab.apply(service(name, BALANCED))
        [o] = await lab.get("Service", name, "default")
        seen.append((o["status"]["address"], o["status"]["loadBalancer"]["ingress"][0]["ip"]))
        begun = time.monotonic()
        answer = await lab.request(f"http://{seen[-1][1]}/", timeout=10)
        assert answer.status == 200 and time.monotonic() - begun < 1.5
        await lab.delete("Service", name)
    assert len(set(seen)) == 1, "the addresses were given again"


async def test_one_node_port_for_both_protocols(lab: Lab) -> None:
    [o] = await lab.get("Service", "both", "default")
    (number,) = {p["nodePort"] for p in o["spec"]["ports"]}
    assert (await lab.request(f"http://{NODE1}:{number}/")).status == 200
    assert await datagram(lab, "client", NODE1, number, b"echo") == b"echo"


@pytest.mark.parametrize(
    "label", ["service.kubernetes.io/headless", "service.kubernetes.io/service-proxy-name"]
)
async def test_what_kube_proxy_leaves_alone(lab: Lab, label: str) -> None:
    """The name has its address all the same, and nobody serves that."""
    address = await cluster_ip(lab, "plain")
    url = f"http://{address}/hostname"
    assert (await lab.request(url, source="pod/asker")).status == 200
    text = service("plain", "{selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}")
    await lab.apply(text.replace("{name: plain}", f'{{name: plain, labels: {{{label}: ""}}}}'))
    assert await lab.resolve("plain.default", "pod/asker") == address
    with pytest.raises((OSError, TimeoutError)):
        await lab.request(url, source="pod/asker", timeout=0.5)
    await lab.apply(text)
    assert (await lab.request(url, source="pod/asker")).status == 200


async def test_connection_tracking_is_as_kube_proxy_sets_it(lab: Lab) -> None:
    """24 h for what is established, as its default is; what the Cluster says; and the kernel's own for the rest."""

    async def setting(place: str, name: str) -> str:
        return (await output(lab, place, "cat", f"/proc/sys/net/netfilter/nf_conntrack_{name}")).strip()

    for node in ("node1", "node2"):
        assert await setting(node, "tcp_timeout_established") == "86400"
        assert await setting(node, "tcp_timeout_close_wait") == "600"
        assert await setting(node, "tcp_be_liberal") == "1"
        assert await setting(node, "udp_timeout") == "30"
    assert await setting("client", "tcp_timeout_established") == "432000"
    await lab.apply(WORLD.partition("---")[0].replace("10m", "1h0m0s"))
    assert await setting("node1", "tcp_timeout_close_wait") == "3600"
