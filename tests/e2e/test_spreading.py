"""How an ingress spreads requests over endpoints, and what it spares them, with real clients through a whole lab."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from emulab import Lab
from emulab.kinds.images import engine_of

from .tools import (
    PROGRAMS,
    PYTHON,
    begun,
    connect,
    emulab,
    eventually,
    is_ready,
    name,
    output,
    pods,
    program,
    response,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

A_HUNDRED_THOUSANDTH = 39.4
"""Chi-square of 9 degrees of freedom: beyond it is one of 100,000 fair draws."""


def workload(name: str, app: str = "", replicas: int = 1, command: str = "") -> str:
    extra = f", command: {command}, readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}"
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{deployment: {name}}}}}
  template:
    metadata: {{labels: {{deployment: {name}, app: {app or name}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{{name: c, ports: [{{containerPort: 8080}}]{extra if command else ""}}}]
---
"""


def service(name: str) -> str:
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {name}}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
"""


def ingress(name: str, to: str, host: str = "", **annotations: str) -> str:
    prefix = "nginx.ingress.kubernetes.io/"
    wished = {prefix + key.replace("_", "-"): text for key, text in annotations.items()}
    return f"""
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {name}, annotations: {json.dumps(wished)}}}
spec:
  rules:
    - host: {host or name}.test
      http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: {to}, port: {{number: 80}}}}}}}}]}}
---
"""


def destination(name: str, **policy: Any) -> str:
    rule = {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": name}}
    return json.dumps({**rule, "spec": {"host": name, "trafficPolicy": policy}}) + "\n---\n"


TEN = (("spread", {}), ("each", {"service_upstream": "false"}), ("fast", {"load_balance": "ewma"}))
"""Ten pods behind three Services of their own, as an upstream is one for all Ingresses."""


def ten(name: str) -> str:
    return service(name).replace(f"{{app: {name}}}", "{app: ten}")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[Lab]:
    half_closed, half_failing = (
        program("broken.py", "8080", "close"),
        program("failing_server.py", "8080", "503"),
    )
    texts = [
        workload("ten", replicas=10),
        *(ten(name) + ingress(name, name, **wished) for name, wished in TEN),
        *(ten(name) for name in ("sticky", "hashed", "main")),
        ingress("sticky", "sticky", affinity="cookie", session_cookie_max_age="600"),
        ingress("hashed", "hashed", upstream_hash_by="$arg_user"),
        workload("new"),
        service("new"),
        ingress("main", "main"),
        ingress(
            "canary",
            "new",
            "main",
            canary="true",
            canary_by_header="X-Canary",
            canary_by_cookie="canary",
            canary_weight="30",
        ),
        workload("good", "half"),
        workload("closing", "half", command=half_closed),
        service("half"),
        service("half-off").replace("{app: half-off}", "{app: half}"),
        ingress("half", "half", service_upstream="false"),
        ingress("half-off", "half-off", service_upstream="false", proxy_next_upstream="off"),
        workload("well", "watched"),
        workload("failing", "watched", command=half_failing),
        service("watched"),
        ingress("watched", "watched"),
        destination("watched", outlierDetection={"consecutive5xxErrors": 3, "maxEjectionPercent": 50}),
        workload("bounded"),
        service("bounded"),
        ingress("bounded", "bounded"),
        destination(
            "bounded",
            connectionPool={"tcp": {"maxConnections": 2}, "http": {"http1MaxPendingRequests": 1}},
        ),
    ]
    async with Lab.from_text("".join(texts)) as made:
        yield made


async def load(lab: Lab, host: str, requests: int, connections: int, *files: Path) -> dict[str, Any]:
    """Sends so many requests over so many connections, one after the other on each."""
    arguments = map(str, (f"http://{host}.test/", requests, connections, *files))
    found: dict[str, Any] = json.loads(
        await output(lab, "client", PYTHON, str(PROGRAMS / "load.py"), *arguments)
    )
    return found


def chi_square(shares: dict[str, int], number: int) -> float:
    expected = sum(shares.values()) / number
    there = sum((share - expected) ** 2 / expected for share in shares.values())
    return there + (number - len(shares)) * expected


@pytest.mark.parametrize(("host", "connections"), [("spread", 1), ("spread", 50), ("each", 1), ("each", 50)])
async def test_requests_are_spread_evenly_however_few_the_clients(
    lab: Lab, host: str, connections: int
) -> None:
    """1,000 requests to 10 pods, over one connection or many: through the cluster IP, whose proxy draws for each
    connection, and straight to the endpoints, one after the other."""
    found = await load(lab, host, 1000, connections)
    assert found["outcome"] == {"200": found["requests"]}, found
    shares = found["pods"]
    assert chi_square(shares, 10) < A_HUNDRED_THOUSANDTH, shares
    if host == "each":
        assert max(shares.values()) - min(shares.values()) <= 1


async def test_ewma_asks_all(lab: Lab) -> None:
    found = await load(lab, "fast", 300, 8)
    assert len(found["pods"]) == 10 and found["outcome"] == {"200": found["requests"]}


async def asked(lab: Lab, url: str, **fields: str) -> Any:
    return await lab.request(url, headers={name.replace("_", "-"): text for name, text in fields.items()})


async def test_a_cookie_keeps_a_client_with_its_pod(lab: Lab, tmp_path: Path) -> None:
    """curl's cookie jar; without it, pods take turns."""
    kept = []
    for number in range(3):
        jar = tmp_path / f"jar{number}"
        curl = f"curl -s -c {jar} -b {jar} http://sticky.test/hostname"
        kept.append(
            (await output(lab, "client", "sh", "-c", f"for i in 1 2 3 4 5; do {curl}; echo; done")).split()
        )
    assert all(len(set(one)) == 1 and len(one) == 5 for one in kept)
    first = await asked(lab, "http://sticky.test/")
    cookie = first.headers["set-cookie"]
    assert "; Max-Age=600; Path=/; HttpOnly" in cookie
    seen = {(await asked(lab, "http://sticky.test/")).json()["pod"] for _ in range(12)}
    assert len(seen) > 1


async def test_a_key_leads_to_one_pod(lab: Lab) -> None:
    found = [
        {(await asked(lab, f"http://hashed.test/?user={n}")).json()["pod"] for _ in range(3)}
        for n in range(12)
    ]
    assert all(len(one) == 1 for one in found) and len(set.union(*found)) > 3


async def test_a_canary_by_header_cookie_and_weight(lab: Lab) -> None:
    async def service_of(**fields: str) -> str:
        return str((await asked(lab, "http://main.test/", **fields)).json()["service"])

    assert {await service_of(X_Canary="always") for _ in range(5)} == {"new"}
    assert "new" not in {await service_of(X_Canary="never", Cookie="canary=always") for _ in range(5)}
    assert {await service_of(X_Canary="what", Cookie="canary=always") for _ in range(5)} == {"new"}
    drawn = Counter([await service_of() for _ in range(200)])
    assert 30 < drawn["new"] < 95, "60 of 200 are expected; 4.6 standard deviations"


async def test_an_upstream_that_hangs_up_is_passed_over_unless_that_is_off(lab: Lab) -> None:
    fine = await load(lab, "half", 40, 1)
    assert fine["outcome"] == {"200": 40}
    cut = await load(lab, "half-off", 40, 1)
    assert cut["outcome"] == {"200": 20, "502": 20}


async def test_who_fails_in_a_row_is_left_out(lab: Lab) -> None:
    """Each second request fails, three times; then none does."""
    found = await load(lab, "watched", 60, 1)
    assert found["outcome"] == {"200": 57, "503": 3}
    assert (await load(lab, "watched", 20, 4))["outcome"]["200"] >= 20


async def test_so_many_requests_at_once(lab: Lab) -> None:
    """Two connections and one request that waits: of six at once three are refused, at once."""
    opened = [await connect(lab, "client", "203.0.113.10", 80) for _ in range(6)]
    for _, writer in opened:
        writer.write(b"GET /delay/1 HTTP/1.1\r\nHost: bounded.test\r\n\r\n")
    statuses = Counter([(await response(reader))[0] for reader, _ in opened])
    for _, writer in opened:
        writer.close()
    assert statuses == {200: 3, 503: 3}
    [answer] = [await lab.request("http://bounded.test/")]
    assert answer.status == 200


ODD = (
    workload("bound")
    + service("bound").replace("ports:", "sessionAffinity: ClientIP, ports:")
    + ingress("bound", "bound")
    + ingress("lost", "bound", "nowhere", canary="true", canary_weight="10")
    + destination("bound", connectionPool={"tcp": {"maxConnectionDuration": "1m"}})
)


async def test_what_is_not_as_one_may_think_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "odd.yaml"
    file.write_text(ODD)
    said = (await emulab("plan", str(file))).stderr.decode()
    assert (
        "ClientIP binds each ingress pod, which asks the backend of Ingress default/bound by the cluster IP"
        in said
    )
    assert (
        "nothing of nowhere.test/ goes to this canary: no Ingress that is no canary has this host and path"
        in said
    )
    assert "maxConnectionDuration: isn't followed" in said


# --- the end of an ingress pod

SEVERAL = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: several}
spec:
  nodes: [{name: node1, zone: a}, {name: node2, zone: b}, {name: node3, zone: c}]
  ingress: {replicas: 3}
---
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def several() -> AsyncIterator[Lab]:
    async with Lab.from_text(
        SEVERAL + workload("web", replicas=2) + service("web") + ingress("web", "web")
    ) as made:
        yield made


async def controllers(lab: Lab) -> list[dict[str, Any]]:
    return [pod for pod in await pods(lab, "ingress-nginx") if is_ready(pod)]


async def test_ingress_pods_are_in_all_zones(several: Lab) -> None:
    assert sorted(pod["spec"]["nodeName"] for pod in await controllers(several)) == [
        "node1",
        "node2",
        "node3",
    ]


async def test_no_request_fails_while_an_ingress_pod_ends(several: Lab, tmp_path: Path) -> None:
    """One that is under way is answered by the pod that ends, whose health fails before it closes its door."""
    over = tmp_path / "over"
    work = asyncio.ensure_future(load(several, "web", 500, 16, tmp_path / "begun", over))
    await begun(work, tmp_path / "begun")
    ends = (await controllers(several))[0]
    address = ends["status"]["podIP"]
    reader, writer = await connect(several, "node1", address, 80)
    writer.write(b"GET /delay/3 HTTP/1.1\r\nHost: web.test\r\n\r\n")
    await writer.drain()

    async def under_way() -> bool:
        served = await several.server_status(f"ingress-nginx.{name(ends)}/controller")
        return bool(served.get("requests"))

    await eventually(under_way)
    ending = asyncio.ensure_future(several.delete("Pod", name(ends), "ingress-nginx"))
    codes = []

    async def fails() -> bool:
        asked = await several.exec(
            *("node1", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "2"),
            f"http://{address}:10254/healthz",
        )
        codes.append(asked.text.strip())
        return codes[-1] in ("500", "000")

    await eventually(fails)
    status, headers, body = await response(reader)
    writer.close()
    assert (status, headers["connection"]) == (200, "close") and json.loads(body)["path"] == "/delay/3"
    assert "500" in codes, codes
    await ending
    over.touch()
    found = await work
    assert {key: n for key, n in found["outcome"].items() if key != "sent again"} == {
        "200": found["requests"]
    }


async def test_no_request_fails_while_another_engine_takes_over(several: Lab, tmp_path: Path) -> None:
    """It is a rollout: Pods that end have the engine that they began with."""
    over = tmp_path / "over"
    work = asyncio.ensure_future(load(several, "web", 500, 16, tmp_path / "begun", over))
    await begun(work, tmp_path / "begun")
    for engine in ("nginx", "builtin"):
        await several.apply(SEVERAL.replace("replicas: 3", f"replicas: 3, engine: {engine}"))

        async def has_taken_over(engine: str = engine) -> bool:
            there = await pods(several, "ingress-nginx")
            serve = {engine_of(pod["spec"]["containers"][0]["image"]) for pod in there}
            return serve == {engine} and len(there) == 3 and all(map(is_ready, there))

        await eventually(has_taken_over)
        for pod in await pods(several, "ingress-nginx"):
            served = await several.server_status(f"ingress-nginx.{name(pod)}/controller")
            assert served.get("engine", "builtin") == engine
    over.touch()
    found = await work
    assert {key: n for key, n in found["outcome"].items() if key != "sent again"} == {
        "200": found["requests"]
    }


def server_in(network: str) -> int:
    """The process of the server in a network namespace, as the host sees it."""
    for folder in Path("/proc").iterdir():
        try:
            if (
                os.readlink(folder / "ns/net") == network
                and b"ingress-nginx" in (folder / "comm").read_bytes()
            ):
                return int(folder.name)
        except OSError:
            continue  # no process, one that has ended, or somebody else's
    raise AssertionError(f"there is no server in {network}")


async def test_an_ingress_pod_that_dies_takes_no_more_with_it_than_it_had(
    several: Lab, tmp_path: Path
) -> None:
    """Killed under load, it can't answer what is under way; all else is answered by the others, at once."""

    async def all_there() -> bool:
        return len(await controllers(several)) == 3

    await eventually(all_there)
    over = tmp_path / "over"
    work = asyncio.ensure_future(load(several, "web", 1500, 16, tmp_path / "begun", over))
    await begun(work, tmp_path / "begun")
    dies = name((await controllers(several))[0])
    network = await output(several, f"pod/{dies}", "readlink", "/proc/self/ns/net", namespace="ingress-nginx")
    os.kill(server_in(network), signal.SIGKILL)

    async def lives_again() -> bool:
        [pod] = [pod for pod in await pods(several, "ingress-nginx") if name(pod) == dies]
        return bool(pod["status"]["containerStatuses"][0]["restartCount"] == 1 and is_ready(pod))

    await eventually(lives_again)
    over.touch()
    found = await work
    answered = found["outcome"]["200"]
    assert found["requests"] - answered <= 16, found["outcome"]
