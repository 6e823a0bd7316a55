"""What Pods ask for beside what nodes have: the scheduler's sums and words, and a node's own."""

from __future__ import annotations

from typing import Any

import pytest
from controllers_store import Store, make, node, template, workload

from emulab.cluster.nodes import node_objects
from emulab.kinds.emulab.clusterview import Cluster, NodeSpec
from emulab.kinds.registry import NODE
from emulab.model.collection import Objects, PutStatus
from emulab.model.objects import Object


def sized(name: str, **allocatable: Any) -> Object:
    o = node(name)
    given = {**o.status["allocatable"], **{k.replace("_", "-"): v for k, v in allocatable.items()}}
    return o.replace(status={"allocatable": given, "capacity": given})


def container(requests: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"name": "c", "image": "i", "resources": {"requests": requests or {}, **more}}


def pod(name: str, requests: dict[str, Any] | None = None, **spec: Any) -> Object:
    return make("Pod", name, spec={"containers": [container(requests)], **spec}, status={"phase": "Pending"})


def refusal(store: Store, name: str = "p") -> str:
    (condition,) = store.get("Pod", name).status["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "Unschedulable")
    return str(condition["message"])


def where(store: Store, name: str) -> str | None:
    found: str | None = store.get("Pod", name).spec.get("nodeName")
    return found


def test_a_pod_that_no_node_has_room_for_waits_and_says_what_is_short() -> None:
    store = Store(
        sized("n1", cpu="2", memory="1Gi"), sized("n2", cpu="4"), pod("p", {"cpu": 8, "memory": "2Gi"})
    )
    store.settle()
    assert refusal(store) == "0/2 nodes are available: 1 Insufficient memory, 2 Insufficient cpu."


@pytest.mark.parametrize(
    ("asked", "short"),
    [
        ({"nvidia.com/gpu": 1}, "nvidia.com/gpu"),
        ({"ephemeral-storage": "200Gi"}, "ephemeral-storage"),
        ({"hugepages-2Mi": "4Mi", "memory": "1Mi"}, "hugepages-2Mi"),
        ({"cpu": "32001m"}, "cpu"),
        ({"memory": "137438953473"}, "memory"),
    ],
)
def test_what_a_node_has_is_declared_and_all_else_is_short(asked: dict[str, Any], short: str) -> None:
    store = Store(node("n1"), pod("p", asked))
    store.settle()
    assert refusal(store) == f"0/1 nodes are available: 1 Insufficient {short}."


def test_full_nodes_are_too_many_pods_and_short_at_once() -> None:
    store = Store(node("n1", pods=1), pod("old", nodeName="n1"), pod("p", {"cpu": 64}))
    store.settle()
    assert refusal(store) == "0/1 nodes are available: 1 Insufficient cpu, 1 Too many pods."


def test_what_runs_is_counted_and_what_has_ended_is_not() -> None:
    store = Store(
        sized("n1", cpu="1"),
        pod("a", {"cpu": "600m"}),
        pod("p", {"cpu": "500m"}),
    )
    store.settle()
    assert where(store, "a") == "n1" and refusal(store) == "0/1 nodes are available: 1 Insufficient cpu."
    ended = store.get("Pod", "a")
    store.put(ended.replace(status={**ended.status, "phase": "Succeeded"}))
    store.settle()
    assert where(store, "p") == "n1"


def test_init_containers_sidecars_overhead_and_the_pods_own_resources_count() -> None:
    first = {**container({"cpu": "900m"}), "name": "i"}
    sidecar = {**container({"cpu": "300m"}), "name": "s", "restartPolicy": "Always"}
    fits = pod("fits", {"cpu": "600m"}, initContainers=[sidecar], overhead={"cpu": "100m"})
    large = pod("large", {"cpu": "600m"}, initContainers=[sidecar, first])
    own = pod("own", {"cpu": "1m"}, resources={"requests": {"cpu": "1500m"}})
    limited = make("Pod", "limited", spec={"containers": [container(limits={"cpu": "1500m"})]})
    store = Store(sized("n1", cpu="1"), fits, large, own, limited)
    store.settle()
    assert where(store, "fits") == "n1"
    for name in ("large", "own", "limited"):
        assert refusal(store, name) == "0/1 nodes are available: 1 Insufficient cpu."


def test_the_node_of_which_least_is_asked_is_taken() -> None:
    busy = pod("busy", {"cpu": 3}, nodeName="n1")
    store = Store(
        sized("n1", cpu="4"), sized("n2", cpu="4"), busy, *(pod(f"x{n}", nodeName="n2") for n in range(3))
    )
    store.put(pod("p"))
    store.settle()
    assert where(store, "p") == "n2", (
        "three Pods that ask for nothing are less than one that asks for nearly all"
    )


def test_replicas_beyond_the_room_wait_each_with_its_reason() -> None:
    web = workload("Deployment", "web", 5, template=template("web"))
    web.spec["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1"}}
    store = Store(sized("n1", cpu="2"), sized("n2", cpu="1"), web)
    store.settle()
    nodes = sorted(str(p.spec.get("nodeName")) for p in store.pods())
    assert nodes == ["None", "None", "n1", "n1", "n2"]
    waiting = next(p.name for p in store.pods() if "nodeName" not in p.spec)
    assert refusal(store, waiting) == "0/2 nodes are available: 2 Insufficient cpu."


def test_a_daemon_waits_where_its_node_has_no_room() -> None:
    agent = workload("DaemonSet", "agent")
    agent.spec["template"]["spec"]["containers"][0]["resources"] = {"requests": {"memory": "1Gi"}}
    store = Store(sized("n1", memory="2Gi"), sized("n2", memory="512Mi"), agent)
    store.settle()
    assert sorted(str(p.spec.get("nodeName")) for p in store.pods()) == ["None", "n1"]
    store.put(sized("n2", memory="4Gi"))
    store.settle()
    assert sorted(str(p.spec.get("nodeName")) for p in store.pods()) == ["n1", "n2"]


def test_a_node_refuses_a_pod_that_names_it_and_asks_for_more_than_it_has() -> None:
    runs = pod("a", {"cpu": "1500m"}, nodeName="n1")
    runs = runs.replace(status={"phase": "Running", "podIPs": [{"ip": "10.244.1.2"}]})
    fits = pod("q", {"cpu": "500m", "x.com/gpu": 1}, nodeName="n1")
    store = Store(sized("n1", cpu="2"), runs, pod("p", {"cpu": "600m"}, nodeName="n1"), fits)
    store.settle()
    assert store.get("Pod", "q").status["phase"] == "Pending", (
        "what a node knows nothing of is none of its business"
    )
    failed = store.get("Pod", "p").status
    assert failed["phase"] == "Failed"
    assert failed["reason"] == "OutOfcpu"
    assert failed["message"] == (
        "Pod was rejected: Node didn't have enough resource: cpu, requested: 600, used: 1500, capacity: 2000"
    )


def test_a_pod_has_its_class_from_the_first() -> None:
    web = workload("Deployment", "web", 1)
    web.spec["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1"}}
    store = Store(node("n1", pods=0), web)
    store.settle()
    assert [p.status["qosClass"] for p in store.pods()] == ["Burstable"]


def test_nodes_have_what_their_cluster_says() -> None:
    specs = (NodeSpec("n1", {}, "", {"cpu": 4, "x.com/gpu": 2, "pods": 500}), NodeSpec("n2", {}, ""))
    changes = node_objects(Cluster(nodes=specs), Objects([]))
    room = {c.key.name: c.status["allocatable"] for c in changes if isinstance(c, PutStatus)}
    default = {"ephemeral-storage": "100Gi", "hugepages-1Gi": "0", "hugepages-2Mi": "0", "memory": "128Gi"}
    assert room["n1"] == {**default, "cpu": "4", "pods": "253", "x.com/gpu": "2"}
    assert room["n2"] == {**default, "cpu": "32", "pods": "110"}


def test_a_node_that_is_given_more_has_it_and_keeps_the_rest_of_its_status() -> None:
    before, after = (Cluster(nodes=(NodeSpec("n1", {}, "", {"cpu": cpu}),)) for cpu in (1, 2))
    made = {c.key: c.status for c in node_objects(before, Objects([])) if isinstance(c, PutStatus)}
    ((key, status),) = made.items()
    there = next(c.object for c in node_objects(before, Objects([])) if not isinstance(c, PutStatus))  # type: ignore[union-attr]
    stored = Objects([there.replace(status=status)])
    assert key == NODE.key("", "n1") and not node_objects(before, stored)
    (change,) = node_objects(after, stored)
    assert isinstance(change, PutStatus)
    assert {**change.status, "allocatable": 0, "capacity": 0} == {**status, "allocatable": 0, "capacity": 0}
    assert change.status["capacity"]["cpu"] == change.status["allocatable"]["cpu"] == "2"
