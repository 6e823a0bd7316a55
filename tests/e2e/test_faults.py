"""Each fault of the library: its symptom is there, a trace says why, and once it is mended all is as before."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio

from emulab import Lab, ManifestError
from emulab.kinds.faults.fault import FaultKind
from emulab.kinds.faults.table import FAULTS

from .tools import emulab, eventually, output

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLUSTER = {"apiVersion": "emulab.dev/v1", "kind": "Cluster", "metadata": {"name": "c"}, "spec": {"nodes": 3}}
LABELS = {"app": "web"}
WEB = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": "web"},
    "spec": {
        "selector": {"matchLabels": LABELS},
        "template": {
            "metadata": {"labels": LABELS},
            "spec": {"containers": [{"name": "c", "image": "nginx", "ports": [{"containerPort": 80}]}]},
        },
    },
}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web"},
    "spec": {"selector": LABELS, "ports": [{"port": 80}]},
}
LOCAL = {
    **SERVICE,
    "metadata": {"name": "local"},
    "spec": {"selector": LABELS, "ports": [{"port": 80}], "internalTrafficPolicy": "Local"},
}
OTHERS = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "others"}}
IMPATIENT = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "impatient", "namespace": "others"},
    "spec": {
        "nodeName": "node2",
        "dnsConfig": {"options": [{"name": "timeout", "value": "1"}, {"name": "attempts", "value": "1"}]},
        "containers": [{"name": "c", "image": "pause"}],
    },
}
"""A pod that waits for names for 2 seconds, where others wait for 20."""
WORLD = "\n---\n".join(map(json.dumps, (CLUSTER, WEB, SERVICE, LOCAL, OTHERS, IMPATIENT)))
OUTSIDE = "198.51.100.53"  # of `dns`
TARGETS = {"node": "node2", "zone": "zone-b", "place": "node2"}
NAMES = [
    name
    for name, fault in FAULTS.items()
    if fault.target in TARGETS and name != "search-storm" and not fault.needs_mode and not fault.needs_network
]
"""For the others see `test_faults_services`, `test_calico_bgp` and tests/vm."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with Lab.from_text(WORLD) as made:
        yield made


async def words(lab: Lab) -> dict[str, str]:
    """What the words in braces stand for."""
    pods = {p["spec"]["nodeName"]: p for p in await lab.get("Pod", namespace="default") if not ending(p)}
    nodes = {n["metadata"]["name"]: n["status"]["addresses"][0]["address"] for n in await lab.get("Node")}
    services = {s["metadata"]["name"]: s["spec"]["clusterIP"] for s in await lab.get("Service")}
    found = {
        "service": services["web"],
        "service_name": "web",
        "local_service": services["local"],
        "names": services["kube-dns"],
        "outside_names": OUTSIDE,
        "held": "0",
    }
    for prefix, node in (("", "node2"), ("other_", "node1")):
        pod = pods[node]
        found |= {
            f"{prefix}pod": f"pod/{pod['metadata']['name']}",
            f"{prefix}pod_address": pod["status"]["podIP"],
            f"{prefix}address": nodes[node],
        }
    return {**found, "node": "node2", "other": "node1"}


def ending(pod: Mapping[str, Any]) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


async def works(lab: Lab, fault: FaultKind, known: Mapping[str, str]) -> bool:
    command = [word.format(**known) for word in fault.symptom.command]
    done = await lab.exec(fault.symptom.place.format(**known), *command)
    # dig is content with no answer at all if it is asked for few words
    return done.status == 0 and not done.stdout.startswith(b";;")


async def happen(lab: Lab, fault: FaultKind) -> None:
    """What has to come after the fault before it shows."""
    if fault.symptom.after == "pods-replaced":
        await replaced(lab, "default")
    elif fault.symptom.after == "name-servers-replaced":
        await replaced(lab, "kube-system")


async def replaced(lab: Lab, namespace: str) -> None:
    old = {p["metadata"]["name"] for p in await lab.get("Pod", namespace=namespace)}
    for name in old:
        await lab.delete("Pod", name, namespace)

    async def gone() -> bool:
        there = await lab.get("Pod", namespace=namespace)
        ready = [p for p in there if p["status"].get("phase") == "Running" and not ending(p)]
        return not old & {p["metadata"]["name"] for p in there} and len(ready) >= len(old)

    await eventually(gone)
    await lab.ready()


async def under_way(lab: Lab, fault: FaultKind, known: Mapping[str, str]) -> asyncio.Task[bool] | None:
    """A symptom that begins before its fault: its command once it has its connection."""
    if fault.symptom.after != "while-it-runs":
        return None
    waiting = asyncio.create_task(works(lab, fault, {**known, "held": "9"}))

    async def connected() -> bool:
        done = await lab.exec(known["pod"], "ss", "-tnH", "state", "established")
        return known["other_pod_address"].encode() in done.stdout

    await eventually(connected)
    return waiting


@pytest.mark.parametrize("name", NAMES)
async def test_symptom_explanation_mend(lab: Lab, name: str) -> None:
    fault = FAULTS[name]
    target, known = TARGETS[fault.target], await words(lab)
    known["target"] = target
    assert await works(lab, fault, known)
    waiting = await under_way(lab, fault, known)
    async with lab.fault(name, target, **fault.symptom.options) as own:
        await happen(lab, fault)
        known |= await words(lab)
        assert not await (waiting or works(lab, fault, known))
        status = (await lab.get("Fault", own))[0]["status"]
        assert (status["phase"], status["target"]) == ("Active", target)

    async def mended() -> bool:
        return await works(lab, fault, known)

    await eventually(mended, 30)
    if fault.traced is None:
        async with lab.fault(name, target):
            path = await lab.trace(f"http://{known['other_pod_address']}/", source=known["pod"], timeout=10)
        told = [note for note in path.notes if f"fault {name}-{target}: " in note]
        assert path.failure is None and told[0].endswith(f"emulab fault mend {name}-{target}"), path
        return
    async with lab.fault(name, target, **fault.traced.options):
        await happen(lab, fault)
        known |= await words(lab)
        if fault.traced.worn:
            await works(lab, fault, known)
        headers = {"X-Long": "x" * fault.traced.octets} if fault.traced.octets else {}
        url, place, where = fault.traced.url.format(**known), fault.traced.place.format(**known), "default"
        if name == "dns-blocked":
            url, place, where = "http://web.default/", "pod/impatient", "others"
        path = await lab.trace(url, source=place, headers=headers, namespace=where, timeout=2)
    assert path.failure is not None, path
    says = f"fault {name}-{target}: "
    assert says in path.failure.text and path.failure.remedy == f"emulab fault mend {name}-{target}", (
        path.failure
    )
    assert path.failure.reason in fault.reasons
    await eventually(mended, 30)
    path = await lab.trace(url, source=place, headers=headers, namespace=where, timeout=10)
    assert path.failure is None


async def test_faults_of_one_wire_add_up(lab: Lab) -> None:
    async def quickest() -> float:
        """Milliseconds there and back."""
        done = await lab.exec("node1", "ping", "-c", "3", "-i", "0.2", "-W", "2", "10.0.0.12")
        times = [float(word[5:]) for word in done.stdout.decode().split() if word.startswith("time=")]
        return min(times, default=0)

    async with (
        lab.fault("delay", "node2", delay="40ms", direction="to"),
        lab.fault("corrupt", "node2", corrupt="0.001%"),
        lab.fault("rate", "node2", rate="100mbit"),
        lab.fault("delay", "node1", delay="30ms", jitter="5ms", direction="to"),
    ):
        assert 65 <= await quickest() < 1000
        async with lab.fault("packet-loss", "node2", loss="100%"):
            assert not await quickest()
        assert 65 <= await quickest() < 1000
    assert 0 < await quickest() < 40


async def test_a_hidden_fault_is_found_out_by_evidence_alone(lab: Lab) -> None:
    put = await emulab("-l", lab.name, "fault", "put", "stale-vtep", "node2", "--hidden")
    assert put.status == 0 and b"stale" not in put.stdout.partition(b":")[2]
    known = await words(lab)
    path = await lab.trace(f"http://{known['pod_address']}/", source=known["other_pod"], timeout=2)
    assert path.failure is not None and path.failure.reason == "misled"
    assert "forwarding entry (FDB)" in path.failure.text and "fault " not in path.failure.text
    shown = await emulab("-l", lab.name, "fault", "status")
    assert b"<hidden>" in shown.stdout and b"node2" not in shown.stdout.split(b"<hidden>", 1)[1]
    done = await emulab("-l", lab.name, "fault", "mend")
    assert done.stdout == b"Nothing is broken\n"  # that anybody knows of
    done = await emulab("-l", lab.name, "fault", "mend", "overlay-blocked")
    assert done.status == 1 and b"stale" not in done.stderr
    done = await emulab("-l", lab.name, "fault", "mend", "stale-vtep")
    assert done.stdout == b"fault stale-vtep-node2: mended\n"


async def test_a_timeline_begins_and_ends_by_itself(lab: Lab) -> None:
    made = {"apiVersion": "emulab.dev/v1", "kind": "Fault", "metadata": {"name": "later"}}
    made["spec"] = {"fault": "node-lost", "target": "node3", "at": "1s", "for": "2s"}  # type: ignore[assignment]
    await lab.apply(json.dumps(made), ready=False)

    async def phase() -> str:
        return str((await lab.get("Fault", "later"))[0]["status"]["phase"])

    async def reached() -> bool:
        return (await lab.exec("node1", "ping", "-c", "1", "-W", "1", "10.0.0.13")).status == 0

    assert await phase() == "Pending" and await reached()

    async def active() -> bool:
        return await phase() == "Active"

    await eventually(active)
    assert not await reached()

    async def over() -> bool:
        return await phase() == "Mended"

    await eventually(over)
    await eventually(reached)
    told = [e["reason"] for e in await lab.events(about="Fault/later")]
    assert told == ["FaultPut", "FaultMended"]
    await lab.delete("Fault", "later", "")


async def test_what_is_wrong_is_refused_and_nothing_is_broken(lab: Lab) -> None:
    with pytest.raises(ManifestError, match='there is no fault "node-lots"; did you mean node-lost'):
        async with lab.fault("node-lots", "node1"):
            raise AssertionError
    with pytest.raises(ManifestError, match="there is no node node9"):
        async with lab.fault("node-lost", "node9"):
            raise AssertionError
    with pytest.raises(ManifestError, match="is not a percentage above 0"):
        async with lab.fault("packet-loss", "node1", loss="300"):
            raise AssertionError
    wrong = {"mend nothing": 1, "put": 2, "list x": 1, "status --for 3s": 2}
    for said, status in wrong.items():
        assert (await emulab("-l", lab.name, "fault", *said.split())).status == status
    assert await lab.get("Fault") == []
    assert await output(lab, "node1", "ping", "-c", "1", "10.0.0.12")


async def test_a_target_is_drawn_by_seed(lab: Lab) -> None:
    drawn = []
    for seed in (1, 1, 2, 3, 4, 5):
        async with lab.fault("node-lost", seed=seed) as own:
            drawn.append((await lab.get("Fault", own))[0]["status"]["target"])
            await asyncio.sleep(0)
    assert drawn[0] == drawn[1] and len(set(drawn)) > 1
