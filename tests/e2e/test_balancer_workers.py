"""A balancer of several processes looks like one, and loses none of its clients when one of them is killed."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from emulab import Lab

from .tools import connect, datagram, emulab, eventually, output, response

pytestmark = pytest.mark.asyncio(loop_scope="module")

URL = "http://203.0.113.70"
WORLD = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - {name: c, image: example/web, ports: [{containerPort: 8080}, {containerPort: 5353, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{name: tcp, port: 80, targetPort: 8080}, {name: udp, port: 80, protocol: UDP, targetPort: 5353}]
---
"""
BALANCER = """
apiVersion: emulab.dev/v1
kind: LoadBalancer
metadata: {{name: several}}
spec:
  network: internet
  address: 203.0.113.70
  ports: [80, "80/UDP"]
  workers: {}
  target: {{service: {{name: web, port: 80}}}}
"""
ASKED = 40  # each over a connection of its own: by whatever hash, some come to each worker


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with Lab.from_text(WORLD + BALANCER.format(2)) as lab:
        yield lab


async def workers(lab: Lab) -> set[str]:
    """Who listens at the balancer's address, by process id."""
    found = await output(lab, "several", "ss", "-Hltnp", "src", "203.0.113.70")
    return set(re.findall(r"pid=(\d+)", found))


async def ask(lab: Lab) -> list[str]:
    told = await output(
        lab, "client", "curl", "-sS", "-o", "/dev/null", "-H", "Connection: close", "-w", "%{http_code} ",
        f"{URL}/?[1-{ASKED}]",
    )  # fmt: skip
    return told.split()


async def sessions(lab: Lab) -> int:
    [found] = await lab.get("LoadBalancer", "several", "")
    page = await output(lab, "several", "curl", "-sS", f"http://{found['status']['address']}:8404/metrics")
    number = re.search(
        r'^haproxy_frontend_sessions_total\{proxy="tcp/203\.0\.113\.70/80"\} (\d+)', page, re.M
    )
    assert number, page
    return int(number[1])


async def test_all_connections_are_counted_whoever_had_them(lab: Lab) -> None:
    assert len(await workers(lab)) == 2
    before = await sessions(lab)
    assert await ask(lab) == ["200"] * ASKED
    assert await sessions(lab) == before + ASKED
    text = (await emulab("-l", lab.name, "describe", "loadbalancer", "several")).text
    assert re.search(r"^Workers: +2$", text, re.M) and f"{before + ASKED} in all" in text


async def test_datagrams_of_each_client_go_there_and_back(lab: Lab) -> None:
    for number in range(20):  # each from a port of its own
        payload = b"datagram %d" % number
        assert payload in await datagram(lab, "client", "203.0.113.70", 80, payload)


async def test_a_trace_has_what_either_of_them_tells(lab: Lab) -> None:
    for _ in range(6):
        trace = await lab.trace(f"{URL}/")
        events = [hop.event for hop in trace.hops if hop.place == "several"]
        assert "proxy-accept" in events and "proxy-connect" in events


async def test_one_that_is_killed_is_started_again(lab: Lab) -> None:
    for victim in sorted(
        await workers(lab), key=int, reverse=True
    ):  # the leader, which was the first, as well
        await output(lab, "several", "kill", "-9", victim)

        async def others(victim: str = victim) -> bool:
            there = await workers(lab)
            return len(there) == 2 and victim not in there

        await eventually(others)
        assert await ask(lab) == ["200"] * ASKED


async def test_there_may_be_more_or_fewer_of_them_at_any_time(lab: Lab) -> None:
    """Who is served goes on, whoever serves it: one that isn't needed any more has time to end."""
    kept = [await connect(lab, "client", "203.0.113.70", 80) for _ in range(6)]
    for number in (3, 1, 2):
        await lab.apply(BALANCER.format(number))

        async def as_many(number: int = number) -> bool:
            return len(await workers(lab)) == number

        await eventually(as_many)
        assert await ask(lab) == ["200"] * ASKED
        for reader, writer in kept:
            writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            assert (await response(reader))[0] == 200
    for _, writer in kept:
        writer.close()
