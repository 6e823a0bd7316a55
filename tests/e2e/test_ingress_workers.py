"""An ingress of several processes (`spec.ingress.workers`): all of them serve, and seen from outside they are one."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from emulab import KernelError, Lab
from emulab.lab.folders import rundir

from .tools import VIP, all_healthy, connect, emulab, eventually, output, pods, program, response

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.privilege]

WORKERS = 3

WORLD = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: web, image: example/web:1, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""


def cluster(**ingress: Any) -> str:
    spec = {"ingress": ingress}
    return json.dumps(
        {"apiVersion": "emulab.dev/v1", "kind": "Cluster", "metadata": {"name": "emulab"}, "spec": spec}
    )


def rule(name: str) -> str:
    backend = "{service: {name: web, port: {number: 80}}}"
    return f"""
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {name}}}
spec:
  ingressClassName: nginx
  rules:
    - {{host: {name}.test, http: {{paths: [{{path: /, pathType: Prefix, backend: {backend}}}]}}}}
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with Lab.from_text(cluster(workers=WORKERS), WORLD, rule("shop")) as made:
        yield made


async def server(lab: Lab) -> str:
    (pod,) = await pods(lab, "ingress-nginx")
    return f"ingress-nginx.{pod['metadata']['name']}/controller"


async def workers(lab: Lab) -> list[dict[str, int]]:
    try:
        found: list[dict[str, int]] = (await lab.server_status(await server(lab))).get("workers", [])
    except KernelError:  # it has just ended
        return []
    return found


async def asked(lab: Lab, host: str = "shop.test") -> int:
    """The status of one request, on a connection of its own."""
    reader, writer = await connect(lab, "client", VIP, 80)
    try:
        writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        status, _, _ = await response(reader)
    finally:
        writer.close()
    return status


async def counted(lab: Lab) -> int:
    """Requests that the controller's page has counted."""
    (pod,) = await pods(lab, "ingress-nginx")
    page = await output(lab, "web", "curl", "-s", f"{pod['status']['podIP']}:10254/metrics")
    family = r'^nginx_ingress_controller_requests\{.*host="shop\.test".*\} (\S+)$'
    return int(sum(float(value) for value in re.findall(family, page, re.MULTILINE)))


def process_of(lab: Lab, pid: int) -> int:
    """The host's number of a process of the lab."""
    supervisor = json.loads((rundir.folder(lab.name) / "lab.json").read_text())["pid"]
    space = os.readlink(f"/proc/{supervisor}/ns/pid")
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            if process.name.isdigit() and os.readlink(process / "ns/pid") == space:
                told = re.search(r"^NSpid:.*?(\d+)$", (process / "status").read_text(), re.MULTILINE)
                if told is not None and int(told[1]) == pid:
                    return int(process.name)
    raise AssertionError(f"there is no process {pid} in lab {lab.name}")


def parent(process: int) -> int:
    told = re.search(r"^PPid:\s+(\d+)$", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    assert told is not None
    return int(told[1])


async def test_all_of_them_serve(lab: Lab) -> None:
    before = {one["pid"]: one["requests"] for one in await workers(lab)}
    assert len(before) == WORKERS
    assert Counter([await asked(lab) for _ in range(90)]) == {200: 90}
    after = {one["pid"]: one["requests"] - before[one["pid"]] for one in await workers(lab)}
    assert sum(after.values()) >= 90  # health checks of the balancer come, too
    assert min(after.values()) >= 9, "a third each, by the kernel's hash of the connection"


async def test_what_they_count_is_one_figure(lab: Lab) -> None:
    before = await counted(lab)
    for _ in range(30):
        assert await asked(lab) == 200
    assert await counted(lab) == before + 30
    status = await lab.server_status(await server(lab))
    assert status["requests"] == sum(one["requests"] for one in status["workers"])
    log = await emulab("-l", lab.name, "logs", "-n", "ingress-nginx", "deploy/ingress-nginx-controller")
    lines = [line for line in log.stdout.decode().splitlines() if "[default-web-80]" in line]
    assert lines and all(line.count("GET / HTTP/1.1") == 1 for line in lines), "lines of several are whole"


async def test_a_rule_that_comes_is_every_ones(lab: Lab) -> None:
    await lab.apply(rule("new"))
    assert Counter([await asked(lab, "new.test") for _ in range(30)]) == {200: 30}
    await lab.delete("Ingress", "new")
    assert Counter([await asked(lab, "new.test") for _ in range(30)]) == {404: 30}


async def test_a_trace_sees_the_one_that_served(lab: Lab) -> None:
    for _ in range(WORKERS * 2):
        told = await lab.trace("http://shop.test/")
        assert told.status == 200
        events = [hop.event for hop in told.hops]
        assert {"proxy-accept", "proxy-connect"} <= set(events)


async def test_one_that_is_killed_is_started_again(lab: Lab) -> None:
    before = await counted(lab)
    victim, *others = [one["pid"] for one in await workers(lab)]
    os.kill(process_of(lab, victim), signal.SIGKILL)

    async def replaced() -> bool:
        there = [one["pid"] for one in await workers(lab)]
        return len(there) == WORKERS and victim not in there and set(others) < set(there)

    await eventually(replaced)
    assert Counter([await asked(lab) for _ in range(60)]) == {200: 60}
    assert await counted(lab) >= before + 60, "what it had counted when somebody last asked stays counted"
    assert all(one["requests"] for one in await workers(lab)), "the new one serves, too"


async def test_all_begin_anew_where_the_first_process_is_killed(lab: Lab) -> None:
    before = {one["pid"] for one in await workers(lab)}
    os.kill(parent(process_of(lab, min(before))), signal.SIGKILL)

    async def replaced() -> bool:
        there = {one["pid"] for one in await workers(lab)}
        return len(there) == WORKERS and not there & before

    await eventually(replaced)
    await lab.ready()
    await all_healthy(lab)
    assert Counter([await asked(lab) for _ in range(30)]) == {200: 30}


async def test_more_and_fewer_of_them_fail_nobody(lab: Lab) -> None:
    """A change of their number under load: no connection is refused, or ends without its answer."""
    outcomes: Counter[str] = Counter()
    over = False

    async def ask() -> None:
        while not over:
            try:
                outcomes[str(await asked(lab))] += 1
            except (OSError, EOFError, asyncio.IncompleteReadError) as error:
                outcomes[repr(error)] += 1

    before = await counted(lab)
    load = [asyncio.ensure_future(ask()) for _ in range(4)]
    for number in (1, 4, 2, WORKERS):
        await lab.apply(cluster(workers=number))
        wanted = number if number > 1 else 0

        async def there(wanted: int = wanted) -> bool:
            return len(await workers(lab)) == wanted

        await eventually(there)
        await asyncio.sleep(1.5)  # those that leave have gone
    over = True
    await asyncio.gather(*load)
    assert set(outcomes) == {"200"}, outcomes
    assert await counted(lab) == before + outcomes["200"], "nothing is lost of what those counted who left"


async def test_the_controllers_own_configuration_outranks_the_cluster(lab: Lab) -> None:
    data = {"use-proxy-protocol": "true", "worker-processes": "2"}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "data": data}
    metadata = {"name": "ingress-nginx-controller", "namespace": "ingress-nginx"}
    await lab.apply(json.dumps({**config, "metadata": metadata}))

    async def two() -> bool:
        return len(await workers(lab)) == 2

    await eventually(two)
    assert await asked(lab) == 200


MOST = 40
FAILING = f"""
apiVersion: v1
kind: Pod
metadata: {{name: failing, labels: {{app: failing}}}}
spec:
  containers:
    - name: c
      command: {program("failing_server.py", "8080", "503")}
      ports: [{{containerPort: 8080}}]
      readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}
---
{WORLD.replace("web", "failing").partition("---")[2]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: failing}}
spec:
  host: failing
  trafficPolicy: {{outlierDetection: {{consecutive5xxErrors: {MOST}, maxEjectionPercent: 100, baseEjectionTime: 1h}}}}
---
{rule("failing").replace("name: web", "name: failing")}
"""


async def left_out(lab: Lab) -> bool:
    """Whether a request on a connection of its own is refused by the ingress itself, as no server is left."""
    reader, writer = await connect(lab, "client", VIP, 80)
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: failing.test\r\nConnection: close\r\n\r\n")
        status, _, body = await response(reader)
    finally:
        writer.close()
    assert status == 503
    return bool(body)  # the server's own answer has none


async def test_who_fails_all_of_them_together_is_left_out_by_all(lab: Lab) -> None:
    """None of them sees as many failures by itself."""
    await lab.apply(FAILING)
    failures = 0
    while not await left_out(lab):
        failures += 1
        assert failures < MOST + 10
    assert failures >= MOST

    async def by_all() -> bool:
        return all([await left_out(lab) for _ in range(12)])

    assert await eventually(by_all)


@pytest.mark.parametrize(
    ("engine", "file", "line"),
    [
        ("nginx", "/etc/nginx/nginx.conf", "worker_processes 2;"),
        ("haproxy", "/etc/haproxy/haproxy.cfg", "nbthread 2"),
    ],
)
async def test_real_programs_have_as_many(engine: str, file: str, line: str) -> None:
    async with Lab.from_text(cluster(engine=engine, workers=2), WORLD, rule("shop")) as lab:
        controller = ("-n", "ingress-nginx", "deploy/ingress-nginx-controller")
        said = await emulab("-l", lab.name, "exec", *controller, "--", "grep", "-F", line, file)
        assert said.status == 0, said.stderr
        assert Counter([await asked(lab) for _ in range(20)]) == {200: 20}
        await lab.apply(rule("new"))  # which is in use once workers of the older configuration have gone
        assert Counter([await asked(lab, "new.test") for _ in range(20)]) == {200: 20}
