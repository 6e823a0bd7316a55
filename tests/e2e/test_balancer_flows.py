"""Connections through a balancer of mode nat with two nodes go on when the other one takes over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from emulab import Lab

from .tools import CLIENT, connect, eventually, output, program

pytestmark = pytest.mark.asyncio(loop_scope="module")

SEEN, HIDDEN = "203.0.113.91", "203.0.113.92"
PORT = 9100
WORLD = f"""
apiVersion: v1
kind: Pod
metadata: {{name: mirror, labels: {{app: mirror}}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: mirror
      command: {program("mirror.py", str(PORT))}
      ports: [{{containerPort: {PORT}}}]
      readinessProbe: {{tcpSocket: {{port: {PORT}}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: mirror}}
spec: {{type: NodePort, selector: {{app: mirror}}, externalTrafficPolicy: Local, ports: [{{port: {PORT}}}]}}
"""
BALANCER = """
apiVersion: emulab.dev/v1
kind: LoadBalancer
metadata: {name: %s}
spec:
  network: internet
  address: %s
  mode: nat
  preserveClientIP: %s
  ports: [9100]
  replicas: 2
  target: {service: {name: mirror, port: 9100}}
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[Lab]:
    texts = (BALANCER % ("seen", SEEN, "true"), BALANCER % ("hidden", HIDDEN, "false"))
    async with Lab.from_text(WORLD, *texts) as lab:
        for name in ("seen", "hidden"):  # the node without the pod is left out

            async def judged(name: str = name) -> bool:
                [found] = await lab.get("LoadBalancer", name, "")
                return len(found["status"].get("unhealthyBackends", ())) == 1

            await eventually(judged)
        yield lab


@pytest.mark.parametrize(("name", "address"), [("seen", SEEN), ("hidden", HIDDEN)])
async def test_a_connection_survives_its_node(lab: Lab, name: str, address: str) -> None:
    """Whether the pod sees the client or the balancer, whose address moves along."""
    reader, writer = await connect(lab, "client", address, PORT)

    async def echoed(text: bytes) -> bool:
        writer.write(text)
        return await asyncio.wait_for(reader.readexactly(len(text)), 20) == text

    assert await echoed(b"before")

    async def known() -> bool:
        listed = await output(lab, f"{name}-2", "conntrack", "-L", "-p", "tcp", "--state", "ESTABLISHED")
        return f"src={CLIENT} dst={address}" in listed

    await eventually(known)
    await output(lab, name, "ip", "link", "set", "eth0", "down")
    begun = time.monotonic()
    assert await echoed(b"after")
    assert time.monotonic() - begun < 5  # TCP sends again after 0.2, 0.4, 0.8 … seconds
    assert (await lab.server_status(f"{name}-2/vrrp"))["state"] == "active"
    assert (await lab.server_status(f"{name}-2/vrrp"))["flows_taken"] > 0
    # And back again: the first node has been told of it, too.
    await output(lab, name, "ip", "link", "set", "eth0", "up")
    await output(lab, name, "ip", "route", "replace", "default", "via", "10.0.0.1")

    async def back() -> bool:
        return bool((await lab.server_status(f"{name}/vrrp"))["state"] == "active")

    await eventually(back)
    assert await echoed(b"again")
    writer.close()


async def test_what_is_over_is_forgotten_there_too(lab: Lab) -> None:
    reader, writer = await connect(lab, "client", SEEN, PORT)
    writer.write(b"ping")
    assert await asyncio.wait_for(reader.readexactly(4), 20) == b"ping"
    port = writer.get_extra_info("sockname")[1]
    entry = f"sport={port} dport={PORT}"

    async def there() -> bool:
        return entry in await output(lab, "seen-2", "conntrack", "-L")

    await eventually(there)
    writer.close()
    await output(lab, "seen", "conntrack", "-D", "-p", "tcp", "--orig-port-src", str(port))

    async def gone() -> bool:
        return not await there()

    await eventually(gone)
