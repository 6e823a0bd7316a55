"""Workloads and the lives of containers: real programs, started, watched, restarted and ended."""

from __future__ import annotations

import asyncio
import collections
import json
import re
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from emulab import Lab

from .tools import begun, emulab, eventually, is_ready, mounted, name, output, pods, program

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORLD = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: three}
spec:
  nodes:
    - {name: node1, zone: a, labels: {disk: ssd}}
    - {name: node2, zone: b}
    - {name: node3, zone: b}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {containers: [{name: agent, ports: [{containerPort: 9100}]}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: fast}
spec:
  replicas: 3
  selector: {matchLabels: {app: fast}}
  template:
    metadata: {labels: {app: fast}}
    spec:
      nodeSelector: {disk: ssd}
      containers: [{name: fast, ports: [{containerPort: 80}]}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: even}
spec:
  replicas: 4
  selector: {matchLabels: {app: even}}
  template:
    metadata: {labels: {app: even}}
    spec:
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: topology.kubernetes.io/zone
          whenUnsatisfiable: DoNotSchedule
          labelSelector: {matchLabels: {app: even}}
      containers: [{name: even, ports: [{containerPort: 80}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: asker}
spec: {nodeName: node2, containers: [{name: asker, ports: [{containerPort: 9999}]}]}
"""

STATEFUL = """
apiVersion: v1
kind: Service
metadata: {{name: db}}
spec: {{clusterIP: None, selector: {{app: db}}, ports: [{{name: sql, port: 5432}}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec:
  replicas: 3
  serviceName: db
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: db
          command: {command}
          env: [{{name: ME, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}]
          ports: [{{containerPort: 5432}}]
          readinessProbe: {{httpGet: {{path: /ready, port: 5432}}, periodSeconds: 1, timeoutSeconds: 30}}
"""

ROLLING = """
apiVersion: v1
kind: Service
metadata: {{name: roll}}
spec: {{selector: {{app: roll}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: roll}}
spec:
  replicas: 3
  selector: {{matchLabels: {{app: roll}}}}
  template:
    metadata: {{labels: {{app: roll, version: {version}}}}}
    spec: {{containers: [{{name: roll, image: "roll:{version}", ports: [{{containerPort: 8080}}]}}]}}
"""

TALKER = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: green}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {token: s3cret}
---
apiVersion: v1
kind: Pod
metadata: {name: talker, labels: {tier: front}}
spec:
  nodeName: node3
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      command: [sh, -c]
      args: ['env | sort; echo "argument $(GREETING)"; echo to stderr >&2; exec sleep 1000']
      env:
        - {name: WHO, value: world}
        - {name: GREETING, value: hello $(WHO)}
        - {name: COLOUR, valueFrom: {configMapKeyRef: {name: settings, key: colour}}}
        - {name: TOKEN, valueFrom: {secretKeyRef: {name: keys, key: token}}}
        - {name: ME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: NS, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
        - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
        - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
        - {name: HOST, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
        - {name: TIER, valueFrom: {fieldRef: {fieldPath: "metadata.labels['tier']"}}}
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    shared = json.dumps([{"path": str(tmp_path_factory.getbasetemp()), "readOnly": False}])
    async with Lab.from_text(
        WORLD.replace("  nodes:", f"  pods: {{hostPaths: {shared}}}\n  nodes:", 1)
    ) as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that programs in pods share with the test, where they have it mounted."""
    return tmp_path


def read(path: Path) -> str:
    """What is in a file; nothing while it isn't there."""
    return path.read_text() if path.exists() else ""


def pod_of(pod: str, script: str, grace: int = 1, **extra: object) -> str:
    """A bare Pod that runs a shell script, as JSON (which is YAML)."""
    container = {"name": "main", "command": ["sh", "-c", script], **extra}
    spec: dict[str, object] = {"containers": [container], "terminationGracePeriodSeconds": grace}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod}, "spec": spec})


async def logs(lab: Lab, pod: str, *options: str) -> str:
    done = await emulab("-l", lab.name, "logs", pod, *options)
    assert done.status == 0, done.stderr
    return done.stdout.decode()


async def gone(lab: Lab, pod: str) -> None:
    async def check() -> bool:
        return not await lab.get("Pod", pod, "default")

    await eventually(check)


async def written(path: Path, lines: int = 1) -> list[str]:
    """The lines of a file, once there are so many."""

    async def check() -> list[str]:
        found = read(path).splitlines()
        return found if len(found) >= lines else []

    return await eventually(check)


async def test_a_daemon_set_has_a_pod_on_each_node(lab: Lab) -> None:
    nodes = [p["spec"]["nodeName"] for p in await pods(lab, app="agent")]
    assert sorted(nodes) == ["node1", "node2", "node3"]


async def test_a_node_selector_is_obeyed(lab: Lab) -> None:
    assert [p["spec"]["nodeName"] for p in await pods(lab, app="fast")] == ["node1"] * 3


async def test_pods_spread_over_zones(lab: Lab) -> None:
    """Two zones of one and of two nodes get two pods each."""
    zones = {"node1": "a", "node2": "b", "node3": "b"}
    counts = collections.Counter(zones[p["spec"]["nodeName"]] for p in await pods(lab, app="even"))
    assert counts == {"a": 2, "b": 2}


async def test_what_nobody_can_take_stays_pending_and_says_why(lab: Lab) -> None:
    """A pod whose nodeSelector fits no node is Pending with a condition that explains it, and runs nowhere."""
    manifest = json.loads(pod_of("homeless", "sleep 100"))
    manifest["spec"]["nodeSelector"] = {"disk": "tape"}
    await lab.apply(json.dumps(manifest), ready=False)
    [pod] = await lab.get("Pod", "homeless", "default")
    assert pod["status"].get("phase", "Pending") == "Pending" and "podIP" not in pod["status"]
    conditions = {c["type"]: c for c in pod["status"]["conditions"]}
    assert conditions["PodScheduled"]["status"] == "False" and conditions["PodScheduled"]["message"]
    await lab.delete("Pod", "homeless")
    await gone(lab, "homeless")


async def test_a_stateful_set_starts_in_order_with_stable_names(lab: Lab, folder: Path) -> None:
    """db-1 isn't made before db-0 is ready; names, hostnames and DNS names are the ordinals', also again."""
    await lab.apply(
        mounted(STATEFUL.format(command=program("gate.py", "5432", f"{folder}/$(ME).open")), folder),
        ready=False,
    )

    async def running(index: int) -> bool:
        found = {name(p): p for p in await pods(lab, app="db")}
        assert set(found) <= {f"db-{i}" for i in range(index + 1)}, "a pod was made before its turn"
        pod = found.get(f"db-{index}")
        return bool(pod and pod["status"].get("phase") == "Running" and not is_ready(pod))

    for index in range(3):
        await eventually(lambda index=index: running(index))  # type: ignore[misc]
        assert [s["metadata"]["name"] for s in await pods(lab, app="db")] == [
            f"db-{i}" for i in range(index + 1)
        ]
        (folder / f"db-{index}.open").touch()
    await lab.ready()
    for index in range(3):
        [pod] = await lab.get("Pod", f"db-{index}", "default")
        host = f"db-{index}.db.default.svc.cluster.local"
        assert await lab.resolve(f"db-{index}.db", "pod/asker") == pod["status"]["podIP"]
        assert (await lab.request(f"http://{host}:5432/", source="pod/asker")).text() == f"db-{index}"
        assert await output(lab, f"pod/db-{index}", "hostname") == f"db-{index}"
        assert host in await output(lab, f"pod/db-{index}", "cat", "/etc/hosts")
    [before] = await lab.get("Pod", "db-1", "default")
    await lab.delete("Pod", "db-1")

    async def again() -> bool:
        found = await lab.get("Pod", "db-1", "default")
        return bool(found and found[0]["metadata"]["uid"] != before["metadata"]["uid"] and is_ready(found[0]))

    await eventually(again)
    await lab.scale("db", 1, kind="StatefulSet")

    async def only_the_first() -> bool:
        return [name(p) for p in await lab.get("Pod", namespace="default") if name(p).startswith("db-")] == [
            "db-0"
        ]

    await eventually(only_the_first)


async def test_a_rolling_update_fails_no_request(lab: Lab, tmp_path: Path) -> None:
    """Every pod is replaced by one of the new template, and of 4,000 requests or more meanwhile each is answered."""
    await lab.apply(ROLLING.format(version="v1"))
    old = {name(p) for p in await pods(lab, app="roll")}
    file, over = tmp_path / "begun", tmp_path / "over"
    await lab.apply(mounted(pod_of("loader", "exec sleep 1000"), tmp_path))
    command = json.loads(program("load.py", "http://roll/x", "4000", "8", str(file), str(over)))
    work = asyncio.ensure_future(output(lab, "pod/loader", *command))
    await begun(work, file)
    await lab.apply(ROLLING.format(version="v2"), ready=False)

    async def updated() -> bool:
        found = await pods(lab, app="roll")
        return len(found) == 3 and all(
            p["metadata"]["labels"]["version"] == "v2" and is_ready(p) for p in found
        )

    await eventually(updated)
    over.touch()
    result = json.loads(await work)
    assert result["outcome"].get("200") == result["requests"] >= 4000, result
    assert old & set(result["pods"]), "the update was over before the load began"
    await lab.ready()
    new = {name(p) for p in await pods(lab, app="roll")}
    assert len(new) == 3 and not new & old
    seen = {(await lab.request("http://roll/hostname", source="pod/asker")).text() for _ in range(20)}
    assert seen <= new
    sets = [s for s in await lab.get("ReplicaSet", namespace="default") if name(s).startswith("roll-")]
    assert sorted(s["spec"]["replicas"] for s in sets) == [0, 3]


async def test_a_rolling_update_to_what_ends_at_once_stops(lab: Lab) -> None:
    """A program that ends at once was never ready, and so never available, as with a kubelet."""
    spec = {"containers": [{"name": "c", "image": "x", "command": ["sleep", "1000"]}]}
    labels = {"app": "stops"}
    template = {"metadata": {"labels": labels}, "spec": {**spec, "terminationGracePeriodSeconds": 0}}
    workload: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "stops"},
        "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": template},
    }
    await lab.apply(json.dumps(workload))
    before = {name(pod) for pod in await pods(lab, app="stops")}
    spec["containers"][0]["command"] = ["false"]
    template["spec"] = {**spec, "terminationGracePeriodSeconds": 0}
    await lab.apply(json.dumps(workload), ready=False)
    for _ in range(20):
        await asyncio.sleep(0.1)
        now = await pods(lab, app="stops")
        assert before <= {name(pod) for pod in now if is_ready(pod)}
    assert len(now) == 3
    await lab.delete("deploy", "stops")


async def test_a_container_is_restarted_after_its_program_ended(lab: Lab, folder: Path) -> None:
    """The program gets a signal and dies; the same pod runs a new one, and counts it."""
    await lab.apply(
        mounted(
            pod_of(
                "mortal", f"trap 'exit 3' TERM; echo $$$$ >> {folder}/lives; while :; do sleep 0.05; done"
            ),
            folder,
        )
    )
    await written(folder / "lives")  # PID 1 isn't sent what it doesn't handle yet
    [before] = await lab.get("Pod", "mortal", "default")
    # The kernel ends a PID namespace with its PID 1, and so may kill the shell that sent the signal.
    assert (await lab.exec("pod/mortal", "sh", "-c", "kill -TERM 1")).status in (0, 128 + signal.SIGKILL)

    async def restarted() -> bool:
        [pod] = await lab.get("Pod", "mortal", "default")
        [status] = pod["status"]["containerStatuses"]
        assert pod["metadata"]["uid"] == before["metadata"]["uid"]
        return bool(status["restartCount"] == 1 and is_ready(pod))

    await eventually(restarted)
    # PID 1 of its own namespace in each life; without a probe a pod is Ready before its program has said anything.
    assert await written(folder / "lives", 2) == ["1", "1"]
    [pod] = await lab.get("Pod", "mortal", "default")
    [status] = pod["status"]["containerStatuses"]
    assert status["lastState"]["terminated"]["exitCode"] == 3
    assert pod["status"]["podIP"] == before["status"]["podIP"]
    await lab.delete("Pod", "mortal")
    await gone(lab, "mortal")


async def test_a_program_that_succeeds_and_is_not_to_be_restarted(lab: Lab) -> None:
    """restartPolicy Never: the pod is Succeeded or Failed, by its exit status, and its address is free again."""
    for pod, code, phase in (("good", 0, "Succeeded"), ("bad", 7, "Failed")):
        manifest = json.loads(pod_of(pod, f"echo done; exit {code}"))
        manifest["spec"]["restartPolicy"] = "Never"
        await lab.apply(json.dumps(manifest), ready=False)

        async def ended(pod: str = pod, phase: str = phase) -> bool:
            [found] = await lab.get("Pod", pod, "default")
            return bool(found["status"].get("phase") == phase)

        await eventually(ended)
        [found] = await lab.get("Pod", pod, "default")
        assert found["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == code
        assert await logs(lab, pod) == "done\n"
        await lab.delete("Pod", pod)
        await gone(lab, pod)


async def test_environment_and_downward_api(lab: Lab) -> None:
    """Values, references to earlier ones, ConfigMap, Secret and fieldRef reach the program; logs show it."""
    await lab.apply(TALKER)

    async def said() -> str:
        text = await logs(lab, "talker")
        return text if "to stderr" in text else ""

    text = await eventually(said)
    [pod] = await lab.get("Pod", "talker", "default")
    for line in (
        "WHO=world",
        "GREETING=hello world",
        "COLOUR=green",
        "TOKEN=s3cret",
        "ME=talker",
        "NS=default",
        f"IP={pod['status']['podIP']}",
        "NODE=node3",
        f"HOST={pod['status']['hostIP']}",
        "TIER=front",
        "HOSTNAME=talker",
        "argument hello world",
    ):
        assert re.search(rf"(?m)^{re.escape(line)}$", text), f"{line} is not in\n{text}"
    assert await output(lab, "pod/talker", "sh", "-c", "echo $COLOUR $ME") == "green talker"


@pytest.mark.privilege
async def test_a_pods_program_sees_only_its_pod(lab: Lab) -> None:
    """Its own processes, its own interfaces, its own host name."""
    await lab.apply(pod_of("hermit", "exec sleep 1000"))
    [pod] = await lab.get("Pod", "hermit", "default")
    links = json.loads(await output(lab, "pod/hermit", "ip", "-j", "-4", "address"))
    found = {link["ifname"]: [a["local"] for a in link["addr_info"]] for link in links if link["addr_info"]}
    assert found == {"lo": ["127.0.0.1"], "eth0": [pod["status"]["podIP"]]}

    async def sleeping() -> list[str]:  # the shell has become the program, which nobody waits for
        script = "cat /proc/1/cmdline | tr '\\0' ' '; ls /proc"
        found = (await output(lab, "pod/hermit", "sh", "-c", script)).split("\n")
        return found if found[0].startswith("sleep 1000 ") else []

    commands = await eventually(sleeping)
    assert len([x for x in " ".join(commands).split() if x.isdigit() and x != "1000"]) < 6
    assert await output(lab, "pod/hermit", "hostname") == "hermit"


async def test_an_exec_probe_decides_over_readiness(lab: Lab, folder: Path) -> None:
    """A command in the container: its exit status is the pod's readiness, both ways."""
    probe = {"exec": {"command": ["test", "-e", f"{folder}/fine"]}, "periodSeconds": 1, "failureThreshold": 1}
    probe["timeoutSeconds"] = 30
    await lab.apply(mounted(pod_of("moody", "exec sleep 1000", readinessProbe=probe), folder), ready=False)

    async def state() -> tuple[bool, bool]:
        [pod] = await lab.get("Pod", "moody", "default")
        [status] = pod["status"].get("containerStatuses") or [{"state": {}}]
        return "running" in status["state"], is_ready(pod)

    async def unready() -> bool:
        return await state() == (True, False)

    async def ready() -> bool:
        return await state() == (True, True)

    await eventually(unready)
    (folder / "fine").touch()
    await eventually(ready)
    (folder / "fine").unlink()
    await eventually(unready)
    await lab.delete("Pod", "moody")
    await gone(lab, "moody")


async def test_a_liveness_probe_restarts_what_does_not_live(lab: Lab, folder: Path) -> None:
    """A container whose liveness probe fails is ended and started again; the pod stays."""
    probe = {
        "exec": {"command": ["sh", "-c", f"! test -e {folder}/ill || {{ echo unwell >&2; exit 1; }}"]},
        "periodSeconds": 1,
        "timeoutSeconds": 30,
        "failureThreshold": 3,  # the second life may be asked before it has got well
    }
    script = f"rm -f {folder}/ill; echo life >> {folder}/lives; exec sleep 1000"
    await lab.apply(mounted(pod_of("frail", script, livenessProbe=probe), folder))
    await written(folder / "lives")  # its first act is over
    (folder / "ill").touch()

    async def second_life() -> bool:
        [pod] = await lab.get("Pod", "frail", "default")
        return bool(pod["status"]["containerStatuses"][0]["restartCount"] == 1 and is_ready(pod))

    await eventually(second_life)
    assert await written(folder / "lives", 2) == ["life", "life"]
    told = [e for e in await lab.get("Event", "", "default") if e["involvedObject"]["name"] == "frail"]
    counts = {(e["reason"], e["message"]): e["count"] for e in told}
    assert counts["Unhealthy", "Liveness probe failed: unwell\n"] >= 3
    assert counts["Killing", "Container main failed liveness probe, will be restarted"] == 1
    assert counts["Created", "Created container: main"] == counts["Started", "Started container main"] == 2
    await lab.delete("Pod", "frail")
    await gone(lab, "frail")


@pytest.mark.privilege
async def test_a_program_may_end_in_its_own_way(lab: Lab, folder: Path) -> None:
    """SIGTERM first; the pod is there, terminating, until the program has said goodbye; then it is gone."""
    goodbye = f"while ! test -e {folder}/leave; do sleep 0.05; done; echo bye > {folder}/bye; exit 0"
    script = f"trap '{goodbye}' TERM; echo up > {folder}/up; while :; do sleep 0.05; done"
    await lab.apply(mounted(pod_of("polite", script, grace=60), folder))
    assert await written(folder / "up") == ["up"]
    await lab.delete("Pod", "polite")
    [pod] = await lab.get("Pod", "polite", "default")
    assert pod["metadata"]["deletionTimestamp"]
    (folder / "leave").touch()
    await gone(lab, "polite")
    assert (folder / "bye").read_text() == "bye\n"


@pytest.mark.privilege
async def test_a_program_that_does_not_end_is_killed_after_its_grace_period(lab: Lab, folder: Path) -> None:
    """Not before the grace period of a second, and long before the half minute that others have."""
    await lab.apply(
        mounted(
            pod_of("stubborn", f"trap '' TERM; echo up > {folder}/up; while :; do sleep 0.05; done"), folder
        )
    )
    await written(folder / "up")
    begun = time.monotonic()
    await lab.delete("Pod", "stubborn")
    await gone(lab, "stubborn")
    assert 0.9 < time.monotonic() - begun < 15


async def test_init_containers_run_one_after_the_other_before_the_rest(lab: Lab, folder: Path) -> None:
    """In order, each to its end, with the pod's network; a pod whose init container fails doesn't start."""
    steps = folder / "steps"
    init = [
        {"name": "one", "command": ["sh", "-c", f"sleep 0.3; echo one >> {steps}"]},
        {
            "name": "two",
            "command": ["sh", "-c", f"cat /sys/class/net/eth0/operstate >> {steps}; echo two >> {steps}"],
        },
    ]
    manifest = json.loads(pod_of("staged", f"echo main >> {steps}; exec sleep 1000"))
    manifest["spec"]["initContainers"] = init
    await lab.apply(mounted(json.dumps(manifest), folder))
    assert await written(steps, 4) == ["one", "up", "two", "main"]
    await lab.delete("Pod", "staged")
    await gone(lab, "staged")

    manifest = json.loads(pod_of("stuck", f"echo never > {folder}/never"))
    manifest["metadata"]["name"] = "stuck"
    manifest["spec"] |= {
        "initContainers": [{"name": "fails", "command": ["sh", "-c", "exit 4"]}],
        "restartPolicy": "Never",
    }
    await lab.apply(mounted(json.dumps(manifest), folder), ready=False)

    async def failed() -> bool:
        [pod] = await lab.get("Pod", "stuck", "default")
        return bool(pod["status"].get("phase") == "Failed")

    await eventually(failed)
    assert not (folder / "never").exists()
    await lab.delete("Pod", "stuck")
    await gone(lab, "stuck")


async def test_a_long_stateful_set_comes_up_pod_by_pod() -> None:
    """More pods, each waiting for the one before, than the reconcile loop takes in one go."""
    text = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: many}
spec:
  replicas: 70
  serviceName: many
  selector: {matchLabels: {app: many}}
  template:
    metadata: {labels: {app: many}}
    spec: {containers: [{name: c, image: x, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: many}
spec: {clusterIP: None, selector: {app: many}, ports: [{port: 80}]}
"""
    async with Lab.from_text(text) as made:
        (stateful,) = await made.get("StatefulSet", "many")
        assert stateful["status"]["readyReplicas"] == 70
        assert (
            await made.request("http://many-69.many.default.svc.cluster.local/hostname", "pod/many-0")
        ).text() == ("many-69")
