"""The faults of Services, hosts and resolvers: symptom, what a trace says of it, and that all is well once mended."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio
from tlspairs import DAY, pair

from emulab import Lab
from emulab.kinds.faults.fault import FaultKind
from emulab.kinds.faults.scene import HOST_TARGET, RESOLVER_TARGET, SERVICE_TARGET
from emulab.kinds.faults.table import FAULTS

from .tools import emulab, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOST, MOVED = "shop.test", "www.moved.test"
PROBE = {"httpGet": {"path": "/healthz", "port": 80}, "periodSeconds": 1, "failureThreshold": 1}
TARGETS = {
    SERVICE_TARGET: {"readiness-flaps": "probed", "no-dns-egress": "probed"},
    HOST_TARGET: {},
    RESOLVER_TARGET: {},
}
USUAL = {SERVICE_TARGET: "web", HOST_TARGET: HOST, RESOLVER_TARGET: "resolver"}
NAMES = [name for name, fault in FAULTS.items() if fault.target in TARGETS or name == "search-storm"]


def daemons(name: str, **more: Any) -> list[dict[str, Any]]:
    """A DaemonSet, and a Service of its pods with a balancer of its own."""
    labels = {"app": name}
    container = {"name": "c", "image": "example/shop:1.0", "ports": [{"containerPort": 80}], **more}
    impatient = [{"name": "timeout", "value": "1"}, {"name": "attempts", "value": "1"}]  # for a name server
    spec = {"containers": [container], "dnsConfig": {"options": impatient}}
    template = {"metadata": {"labels": labels}, "spec": spec}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": labels}, "template": template},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"type": "LoadBalancer", "selector": labels, "ports": [{"port": 80}]},
        },
    ]


def ingress() -> list[dict[str, Any]]:
    files = dict(zip(("tls.crt", "tls.key"), pair(HOST, begin=time.time() - DAY), strict=True))
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    rule = {"host": HOST, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": {"name": "shop"},
            "data": {name: b64encode(text.encode()).decode() for name, text in files.items()},
        },
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {
                "name": "shop",
                "annotations": {"nginx.ingress.kubernetes.io/ssl-redirect": "false"},
            },
            "spec": {
                "ingressClassName": "nginx",
                "rules": [rule],
                "tls": [{"hosts": [HOST], "secretName": "shop"}],
            },
        },
    ]


def zone(address: str) -> str:
    record = {"name": "www", "type": "A", "value": address, "ttl": 1}
    o = {"apiVersion": "emulab.dev/v1", "kind": "Zone", "metadata": {"name": "moved.test"}}
    return json.dumps({**o, "spec": {"visibility": "public", "records": [record]}})


CLUSTER = {
    "apiVersion": "emulab.dev/v1",
    "kind": "Cluster",
    "metadata": {"name": "c"},
    "spec": {"ingress": {"upstream": "endpoints"}},  # whose connections the ingress keeps
}
WORLD = "\n---\n".join(
    map(json.dumps, (CLUSTER, *daemons("web"), *daemons("probed", readinessProbe=PROBE), *ingress()))
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with Lab.from_text(WORLD) as made:
        yield made


async def words(lab: Lab) -> dict[str, str]:
    """What the words in braces stand for."""
    pods = [
        p for p in await lab.get("Pod", namespace="default") if not p["metadata"].get("deletionTimestamp")
    ]
    services = {
        s["metadata"]["name"]: s["spec"]["clusterIP"] for s in await lab.get("Service", namespace="default")
    }
    asker = next(
        p["metadata"]["name"]
        for p in pods
        if p["metadata"]["labels"]["app"] == "probed" and p["spec"]["nodeName"] == "node2"
    )
    return {
        "pod": f"pod/{asker}",
        "service_name": "web",
        "service": services["web"],
        "probed_service": services["probed"],
        "moved": MOVED,
        "moved_to": '"service": "probed"',
    }


async def works(lab: Lab, fault: FaultKind, known: Mapping[str, str]) -> bool:
    command = [word.format(**known) for word in fault.symptom.command]
    return (await lab.exec(fault.symptom.place.format(**known), *command)).status == 0


async def balancer(lab: Lab, service: str) -> str:
    found = (await lab.get("Service", service, "default"))[0]
    return str(found["status"]["loadBalancer"]["ingress"][0]["ip"])


async def prepare(lab: Lab, fault: FaultKind) -> None:
    """What has to be so before the fault is there."""
    if fault.symptom.after == "record-moved":
        await lab.apply(zone(await balancer(lab, "web")))


async def happen(lab: Lab, fault: FaultKind) -> None:
    """What has to come after the fault before it shows."""
    match fault.symptom.after:
        case "record-moved":
            assert (await lab.request(f"http://{MOVED}/")).json()["service"] == "web"
            await lab.apply(zone(await balancer(lab, "probed")))
            await asyncio.sleep(1.1)  # the TTL
        case "kept-alive":
            for _ in range(8):  # each pod is asked
                assert (await lab.request(f"http://{HOST}/")).status == 200
            await asyncio.sleep(1.1)  # the backend's patience
        case "pods-not-ready":
            await eventually(lambda: endpoints(lab, "probed", 0))
        case "pods-replaced":
            old = {p["metadata"]["name"] for p in await pods_of(lab, "web")}
            for name in old:
                await lab.delete("Pod", name)

            async def replaced() -> bool:
                there = await pods_of(lab, "web")
                ready = [p for p in there if p["status"].get("phase") == "Running"]
                return not old & {p["metadata"]["name"] for p in there} and len(ready) == 2

            await eventually(replaced)
            await eventually(lambda: endpoints(lab, "web", 2))  # be they those of before


async def pods_of(lab: Lab, app: str) -> list[dict[str, Any]]:
    return [p for p in await lab.get("Pod", namespace="default") if p["metadata"]["labels"].get("app") == app]


async def endpoints(lab: Lab, service: str, number: int) -> bool:
    """Whether a Service has so many endpoints that are ready."""
    slices = await lab.get("EndpointSlice", namespace="default")
    own = (s for s in slices if s["metadata"]["labels"]["kubernetes.io/service-name"] == service)
    return sum(e["conditions"]["ready"] for s in own for e in s["endpoints"] or ()) == number


@pytest.mark.parametrize("name", NAMES)
async def test_symptom_explanation_mend(lab: Lab, name: str) -> None:
    fault = FAULTS[name]
    assert fault.traced is not None
    target = TARGETS.get(fault.target, {}).get(name) or USUAL.get(fault.target, "node2")
    known = {**await words(lab), "target": target}

    async def well() -> bool:
        return await works(lab, fault, known)

    await prepare(lab, fault)
    if fault.symptom.after != "record-moved":
        assert await well()
    async with lab.fault(name, target, **fault.traced.options) as own:
        assert (await lab.get("Fault", own))[0]["status"]["phase"] == "Active"
        await happen(lab, fault)
        assert not await well()
    await eventually(well, 30)
    await prepare(lab, fault)
    async with lab.fault(name, target, **fault.traced.options):
        await happen(lab, fault)
        url, place = fault.traced.url.format(**known), fault.traced.place.format(**known)
        path = await lab.trace(
            url,
            source=place,
            timeout=2,
            method=fault.traced.method or "GET",
            verify=fault.target == HOST_TARGET,
        )
    says, mend = f"fault {own}: ", f"emulab fault mend {own}"
    if fault.traced.notes:
        assert path.failure is None
        assert any(says in note and note.endswith(mend) for note in path.notes), path.notes
    else:
        assert path.failure is not None, path
        assert says in path.failure.text and path.failure.remedy == mend, path.failure
        assert path.failure.reason in fault.reasons
    await eventually(well, 30)
    path = await lab.trace(url, source=place, timeout=10, verify=False)
    assert path.failure is None and not any(says in note for note in path.notes)


async def test_a_stale_name_of_a_place_that_is_gone(lab: Lab) -> None:
    """Nobody has broken anything: a TTL that isn't over is enough."""
    await lab.apply(zone("203.0.113.77").replace('"ttl": 1', '"ttl": 300'))
    assert (await lab.exec("client", "getent", "hosts", MOVED)).status == 0
    await lab.apply(zone(await balancer(lab, "probed")))
    path = await lab.trace(f"http://{MOVED}/", timeout=2)
    assert path.failure is not None and path.failure.reason == "stale-name", path.failure
    assert "resolver answered www.moved.test with 203.0.113.77 from its cache" in path.failure.text
    flushed = await emulab("-l", lab.name, "dns", "flush", MOVED)
    assert flushed.status == 0 and path.failure.remedy.startswith(f"emulab dns flush {MOVED}")
    assert (await lab.trace(f"http://{MOVED}/", timeout=10)).failure is None


async def test_operators_see_why_pods_are_not_ready(lab: Lab) -> None:
    async with lab.fault("readiness-flaps", "probed", period="2s"):
        await eventually(lambda: endpoints(lab, "probed", 0))
        told = [e for e in await lab.events() if e["reason"] == "Unhealthy"]
        assert {e["message"] for e in told} == {
            "Readiness probe failed: HTTP probe failed with statuscode: 503"
        }
        await eventually(lambda: endpoints(lab, "probed", 2))
        await eventually(lambda: endpoints(lab, "probed", 0))
    await eventually(lambda: endpoints(lab, "probed", 2))


async def test_what_is_idempotent_is_tried_again(lab: Lab) -> None:
    """A keep-alive that is too short shows with a POST alone, as with nginx."""
    async with lab.fault("short-keep-alive", "web", timeout="1s"):
        for _ in range(2):
            for _ in range(8):
                assert (await lab.request(f"http://{HOST}/")).status == 200
            await asyncio.sleep(1.1)


async def test_a_target_that_is_not_there_is_refused(lab: Lab) -> None:
    wrong = {
        "slow-start nobody": "there is no service nobody",
        "stale-dns client": "there is no resolver client",
        "clock-skew shop.tset": "there is no host shop.tset",
        "slow-start a/b/c": "is not a DNS label",
        "readiness-flaps web": "none of its pods has a readinessProbe",
        "slow-start web --set seconds=soon": "is not a duration",
    }
    for said, text in wrong.items():
        done = await emulab("-l", lab.name, "fault", "put", *said.split())
        assert done.status == 1 and text in done.stderr.decode() and done.stderr.count(b"\n") == 1, done
    assert await lab.get("Fault") == []


async def test_a_readiness_probe_holds_requests_back_from_a_slow_start(lab: Lab) -> None:
    old = (await pods_of(lab, "probed"))[0]["metadata"]["name"]
    async with lab.fault("slow-start", "probed", seconds="4s"):
        await lab.delete("Pod", old)

        async def refused() -> bool:
            told = [e for e in await lab.events() if e["reason"] == "Unhealthy" and old not in str(e)]
            return any("connect: connection refused" in e["message"] for e in told)

        await eventually(refused)
        await eventually(lambda: endpoints(lab, "probed", 2))  # it is Ready once its time has come
