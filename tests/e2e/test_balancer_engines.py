"""Balancers that are real programs: what is seen of them, and that a reload loses nothing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from emulab import KernelError, Lab

from .tools import connect, emulab, eventually, output, program

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORLD = f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec: {{containers: [{{name: c, image: example/web, ports: [{{containerPort: 8080}}]}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: mirror, labels: {{app: mirror}}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: mirror
      command: {program("mirror.py", "9100")}
      ports: [{{containerPort: 9100}}]
      readinessProbe: {{tcpSocket: {{port: 9100}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: mirror, annotations: {{balancer.emulab.dev/engine: haproxy}}}}
spec: {{type: LoadBalancer, loadBalancerIP: 203.0.113.70, selector: {{app: mirror}}, ports: [{{port: 9100}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{type: NodePort, selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}
"""

BALANCER = """
apiVersion: emulab.dev/v1
kind: LoadBalancer
metadata: {name: alb}
spec:
  network: internet
  address: 203.0.113.71
  ports: [80]
  engine: haproxy
  stickiness: 300
  target: {service: {name: web, port: 80}}
%s
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with Lab.from_text(WORLD, BALANCER % "") as lab:
        yield lab


async def test_its_configuration_is_there_to_be_read(lab: Lab) -> None:
    text = await output(lab, "alb", "cat", "/etc/haproxy/haproxy.cfg")
    assert "frontend tcp:203.0.113.71:80" in text
    assert re.search(r"server node1 10\.0\.0\.11:\d+ weight 1 check", text)
    # What is there is what haproxy itself takes for a configuration, but for sockets that it alone has.
    assert "bind fd@" in text and await output(lab, "alb", "ls", "/etc/haproxy") == "haproxy.cfg"


async def test_describe_says_what_serves(lab: Lab) -> None:
    assert re.search(
        r"^Engine: +haproxy$", (await emulab("-l", lab.name, "describe", "lb", "alb")).text, re.M
    )
    assert re.search(
        r"^Engine: +builtin$", (await emulab("-l", lab.name, "describe", "lb", "public-lb")).text, re.M
    )


async def used(lab: Lab) -> str:
    """The node that the balancer sends the client to.

    HAProxy's numbers are those of one of its processes: what the one before it counted is asked of that one, and where
    both take part in a question, it is asked again.
    """

    async def totals() -> dict[str, int]:
        targets = (await lab.server_status("alb"))["frontends"]["tcp/203.0.113.71/80"]["targets"]
        return {name: one["total"] for name, one in targets.items()}

    while True:
        before = await totals()
        assert (await lab.request("http://203.0.113.71/", timeout=20)).status == 200
        more = {
            name: total - before[name] for name, total in (await totals()).items() if total != before[name]
        }
        if list(more.values()) == [1]:
            return next(iter(more))


async def test_a_reload_loses_neither_connections_nor_who_stays_where(lab: Lab) -> None:
    """While somebody's requests come one after the other, and a client's connection is held, the configuration changes
    four times. HAProxy hands its table over beside its work: who asks right then may find it empty."""
    reader, writer = await connect(lab, "client", "203.0.113.70", 9100)
    before, generation = await used(lab), (await lab.server_status("alb"))["generation"]
    done, answers = asyncio.Event(), list[int]()

    async def ask() -> None:
        while not done.is_set():
            answers.append((await lab.request("http://203.0.113.71/", source="dns", timeout=20)).status)

    asking = asyncio.create_task(ask())
    try:
        for seconds in (50, 40, 30, 20):
            await lab.apply(BALANCER % f"  idleTimeout: {seconds}")
            told = f"haproxy, balancer.emulab.dev/idleTimeout: '{seconds}'}}"
            service = WORLD.split("---")[2].replace("haproxy}", told)
            await lab.apply(service)
    finally:
        done.set()
        await asking
    assert (await lab.server_status("alb"))["generation"] == generation + 4
    assert len(answers) > 4 and set(answers) == {200}
    assert await used(lab) == before
    writer.write(b"still here")
    assert await asyncio.wait_for(reader.readexactly(10), 20) == b"still here"
    writer.close()


async def test_who_is_not_healthy_stays_so_through_a_reload(lab: Lab) -> None:
    """The worker that begins is told who is healthy, and sends nobody to a node that isn't."""
    health = "  healthCheck: {path: /status/500, fall: 1, interval: 60}"
    await lab.apply(BALANCER % health, ready=False)

    async def judged() -> dict[str, bool]:
        frontends = (await lab.server_status("alb"))["frontends"]
        return {name: one["healthy"] for name, one in frontends["tcp/203.0.113.71/80"]["targets"].items()}

    async def sick() -> bool:
        return not any((await judged()).values())

    await eventually(sick)
    await lab.apply(BALANCER % f"{health}\n  idleTimeout: 9", ready=False)
    assert await sick()
    with pytest.raises(ConnectionError):
        await lab.request("http://203.0.113.71/", timeout=20)
    await lab.apply(BALANCER % "")


async def test_trace_says_who_was_refused_and_why(lab: Lab) -> None:
    await lab.apply(BALANCER % "  sourceRanges: [10.0.0.0/24]")
    path = await lab.trace("http://203.0.113.71/")
    assert path.failure is not None and path.failure.reason == "acl"
    assert "spec.sourceRanges of LoadBalancer alb allows 10.0.0.0/24 alone" in path.failure.text
    await lab.apply(BALANCER % "  healthCheck: {path: /status/500, fall: 1, interval: 0.2}", ready=False)

    async def refused() -> bool:
        path = await lab.trace("http://203.0.113.71/")
        return path.failure is not None and "no target is healthy: 0 of 2" in path.failure.text

    await eventually(refused)
    await lab.apply(BALANCER % "")


async def test_a_program_that_ends_is_started_again(lab: Lab) -> None:
    pid = (await lab.server_status("alb"))["pid"]
    await output(lab, "alb", "kill", "-9", str(pid))

    async def another() -> bool:
        try:
            now = await lab.server_status("alb")
        except KernelError:  # it ends just now
            return False
        return bool(now) and now["pid"] not in (0, pid)

    await eventually(another)

    async def serves() -> bool:
        try:
            return (await lab.request("http://203.0.113.71/", timeout=20)).status == 200
        except OSError:
            return False

    await eventually(serves)


async def test_the_engine_can_be_changed(lab: Lab) -> None:
    await lab.apply((BALANCER % "").replace("engine: haproxy", "engine: builtin"))
    assert (await lab.request("http://203.0.113.71/", timeout=20)).status == 200
    assert "engine" not in await lab.server_status("alb")
    await lab.apply(BALANCER % "")
    assert (await lab.request("http://203.0.113.71/", timeout=20)).status == 200
    assert (await lab.server_status("alb"))["engine"] == "haproxy"


async def test_what_it_can_not_do_is_said(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "udp.yaml"
    file.write_text((BALANCER % "").replace("ports: [80]", 'ports: [80, "53/UDP"]'))
    done = await emulab("-l", lab.name, "apply", "-f", str(file))
    assert "LoadBalancer/alb: haproxy takes no datagrams: 53/UDP is served by nobody" in done.stderr.decode()
    file.write_text(BALANCER % "  mode: nat")
    done = await emulab("-l", lab.name, "apply", "-f", str(file))
    assert (
        done.status == 1
        and "spec.engine: haproxy is a proxy: mode nat is of the engine builtin" in done.stderr.decode()
    )
    await lab.apply(BALANCER % "")
