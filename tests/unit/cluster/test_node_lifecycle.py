"""Nodes that nobody hears of: when they aren't ready, what becomes of their Pods, and that they come back."""

from __future__ import annotations

from typing import Any

import pytest
from controllers_store import Store, conditions, make, node, service, workload

from emulab.cluster.controllers import next_due
from emulab.model.objects import Object

UNREACHABLE = "node.kubernetes.io/unreachable"


def fault(name: str = "node-lost", target: str = "node2", **spec: Any) -> Object:
    return make("Fault", f"{name}-{target}", "", spec={"fault": name, "target": target, **spec})


def ready(name: str, zone: str) -> Object:
    made = node(name, zone)
    return made.replace(status={**made.status, "conditions": [{"type": "Ready", "status": "True"}]})


def lab(*objects: Object, nodes: int = 3) -> Store:
    """Nodes in two zones, the second of which has one of them."""
    zones = ["zone-a", "zone-b", "zone-a", "zone-a"][:nodes]
    store = Store(*(ready(f"node{n}", zone) for n, zone in enumerate(zones, 1)), *objects)
    store.converge()
    return store


def later(store: Store, seconds: float) -> None:
    """Time passes, and kubelets that are heard of do their work."""
    store.now += seconds
    store.settle()
    store.kubelet(lambda pod: pod.spec["nodeName"] != "node2", end=False)
    store.settle()


def taints(store: Store, name: str = "node2") -> list[str]:
    return [f"{t['key']}:{t['effect']}" for t in store.get("Node", name, "").spec.get("taints") or ()]


def on(store: Store, name: str = "node2") -> list[Object]:
    return [pod for pod in store.all("Pod") if pod.spec.get("nodeName") == name]


def test_a_node_that_is_silent_for_long_enough_is_not_ready_and_comes_back() -> None:
    store = lab(workload("Deployment", "web", 3), service("web"))
    store.put(fault())
    store.settle()
    assert next_due(store.snapshot(), store.now) == store.now + 50
    later(store, 49)
    assert conditions(store.get("Node", "node2", ""))["Ready"] == "True" and not taints(store)
    later(store, 1)
    condition = store.get("Node", "node2", "").status["conditions"][0]
    assert (condition["status"], condition["reason"]) == ("Unknown", "NodeStatusUnknown")
    assert condition["message"] == "Kubelet stopped posting node status."
    assert taints(store) == [f"{UNREACHABLE}:NoSchedule", f"{UNREACHABLE}:NoExecute"]
    (pod,) = on(store)
    assert conditions(pod)["Ready"] == "False"
    endpoints = [e for s in store.all("EndpointSlice") for e in s.raw["endpoints"]]
    assert sorted(e["nodeName"] for e in endpoints if e["conditions"]["ready"]) == ["node1", "node3"]
    told = [(t.about.kind, t.reason, t.message, t.component) for t in store.told][-2:]
    assert told == [
        ("Node", "NodeNotReady", "Node node2 status is now: NodeNotReady", "node-controller"),
        ("Pod", "NodeNotReady", "Node is not ready", "node-controller"),
    ]
    del store.objects[fault().key]
    store.settle()
    assert conditions(store.get("Node", "node2", ""))["Ready"] == "True" and not taints(store)
    told = [(t.reason, t.message) for t in store.told][-2:]
    assert told[0] == ("TaintManagerEviction", f"Cancelling deletion of Pod default/{pod.name}")
    assert told[1] == ("NodeReady", "Node node2 status is now: NodeReady")


def test_pods_are_deleted_once_they_tolerate_it_no_longer() -> None:
    soon = {"tolerations": [{"key": UNREACHABLE, "operator": "Exists", "tolerationSeconds": 5}]}
    for_ever = {"tolerations": [{"operator": "Exists"}]}
    pods = {
        "usual": {},
        "soon": soon,
        "for-ever": for_ever,
    }
    container = {"name": "c", "image": "i"}
    store = lab(
        *(
            make("Pod", n, spec={"nodeName": "node2", "containers": [container], **s})
            for n, s in pods.items()
        ),
        workload("DaemonSet", "agent"),
        fault(),
    )

    def ending() -> set[str]:
        return {pod.name for pod in on(store) if "deletionTimestamp" in pod.metadata}

    later(store, 50)
    assert ending() == set()
    later(store, 5)
    assert ending() == {"soon"}
    later(store, 294)
    assert ending() == {"soon"}
    later(store, 1)
    assert ending() == {"soon", "usual"}
    gone = next(pod for pod in on(store) if pod.name == "usual")
    assert next(c for c in gone.status["conditions"] if c["type"] == "DisruptionTarget")["reason"] == (
        "DeletionByTaintManager"
    )
    assert [t.message for t in store.told if t.reason == "TaintManagerEviction"] == [
        "Marking for deletion Pod default/soon",
        "Marking for deletion Pod default/usual",
    ]
    assert next_due(store.snapshot(), store.now) is None


def test_nobody_new_is_placed_there() -> None:
    store = lab(fault(), nodes=2)
    later(store, 50)
    store.put(workload("Deployment", "web", 2))
    store.converge()
    assert len(on(store, "node1")) == 2 and not on(store)
    picky = {"nodeName": "", "nodeSelector": {"kubernetes.io/hostname": "node2"}, "containers": []}
    store.put(make("Pod", "picky", spec={**picky, "containers": [{"name": "c", "image": "i"}]}))
    store.settle()
    (told,) = [t.message for t in store.told if t.reason == "FailedScheduling"]
    assert "1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }" in told


def test_nodes_of_a_zone_are_evicted_one_after_the_other() -> None:
    store = lab(fault("zone-lost", "zone-a"), nodes=3)
    later(store, 50)
    lost = ("node1", "node3")
    assert [f"{UNREACHABLE}:NoExecute" in taints(store, name) for name in lost] == [True, False]
    assert next_due(store.snapshot(), store.now) == store.now + 10
    later(store, 10)
    assert all(f"{UNREACHABLE}:NoExecute" in taints(store, name) for name in lost)


@pytest.mark.parametrize("names", [["node1", "node2", "node3"]])
def test_when_all_are_lost_nobody_is_evicted(names: list[str]) -> None:
    store = lab(*(fault(target=name) for name in names))
    later(store, 400)
    assert all(conditions(store.get("Node", name, ""))["Ready"] == "Unknown" for name in names)
    assert not any(f"{UNREACHABLE}:NoExecute" in taints(store, name) for name in names)


def test_the_times_are_the_clusters() -> None:
    spec = {"nodeLifecycle": {"nodeMonitorGracePeriod": "2s", "defaultTolerationSeconds": 3}}
    store = lab(make("Cluster", "c", "", spec=spec), workload("Deployment", "web", 3), fault())
    later(store, 2)
    assert taints(store)
    later(store, 3)
    assert all("deletionTimestamp" in pod.metadata for pod in on(store))
    assert len([pod for pod in store.ready() if pod.spec["nodeName"] != "node2"]) == 3


def test_loss_of_some_packets_cuts_nobody_off() -> None:
    store = lab(fault("packet-loss", set={"loss": "99%"}))
    later(store, 1000)
    assert conditions(store.get("Node", "node2", ""))["Ready"] == "True"
