"""How many Pods are made where more are asked for than nodes can run."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest
from controllers_store import Store, conditions, make, node, template, workload

from emulab.model.objects import Object

HUGE = 99_999_999
MOMENTS = 20.0  # seconds: far more than it takes, far less than making what is asked for


def two(pods: int = 20) -> list[Object]:
    return [node("n1", pods=pods), node("n2", pods=pods)]


def running(store: Store) -> dict[str, int]:
    """Pods by node; those that wait for one stand below None."""
    return dict(Counter(pod.spec.get("nodeName") for pod in store.pods()))


def condition(o: Object, kind: str) -> dict[str, Any]:
    return next((dict(c) for c in o.status.get("conditions") or () if c["type"] == kind), {})


@pytest.mark.parametrize(
    ("kind", "more"),
    [("Deployment", {}), ("ReplicaSet", {}), ("StatefulSet", {"podManagementPolicy": "Parallel"})],
)
def test_the_nodes_fill_and_few_more_pods_are_made(kind: str, more: dict[str, Any]) -> None:
    begun = time.process_time()
    store = Store(*two(), workload(kind, "web", HUGE, **more))
    store.settle()
    found = running(store)
    assert (found["n1"], found["n2"]) == (20, 20)
    assert 1 <= found[None] <= 40  # as many as run
    assert len({pod.name for pod in store.pods()}) == len(store.pods())
    failed = condition(store.get(kind, "web"), "ReplicaFailure")
    assert (failed["status"], failed["reason"]) == ("True", "FailedCreate")
    assert failed["message"] == (
        f"{len(store.pods())} of {HUGE} Pods are made: 2 nodes have room for 40, and more would only wait; "
        "give the Cluster more spec.nodes"
    )
    assert time.process_time() - begun < MOMENTS


def test_a_long_ordered_set_stops_at_the_pod_that_waits() -> None:
    store = Store(*two(5), workload("StatefulSet", "web", HUGE))
    for _ in range(40):
        store.settle()
        store.kubelet()
    assert running(store) == {"n1": 5, "n2": 5, None: 1}
    assert not condition(store.get("StatefulSet", "web"), "ReplicaFailure")


def test_a_little_too_much_is_made_whole_as_in_kubernetes() -> None:
    store = Store(*two(), workload("Deployment", "web", 60))
    store.settle()
    assert running(store) == {"n1": 20, "n2": 20, None: 20}
    assert "ReplicaFailure" not in conditions(store.get("Deployment", "web"))
    (waiting, *_) = [pod for pod in store.pods() if not pod.spec.get("nodeName")]
    assert condition(waiting, "PodScheduled")["message"] == "0/2 nodes are available: 2 Too many pods."


def test_many_owners_together_are_bounded_too() -> None:
    store = Store(*two(), *(workload("Deployment", f"web{n}", HUGE) for n in range(30)))
    store.settle()
    assert len(store.pods()) <= 40 + 40 + 30 * 10
    owners = Counter(pod.metadata["ownerReferences"][0]["name"] for pod in store.pods())
    assert len(owners) == 30  # each shows by some Pod why it can't run


def test_who_may_use_one_node_only_gets_all_of_it() -> None:
    """Room that an owner can't use is no reason to make without end, nor to stop early."""
    zoned = [node("a", "a", pods=30), *(node(f"b{n}", "b", pods=30) for n in range(3))]
    picky = template("picky", nodeSelector={"topology.kubernetes.io/zone": "a"})
    store = Store(*zoned, workload("ReplicaSet", "picky", HUGE, template=picky))
    store.settle()
    found = running(store)
    assert found.get("a") == 30 and set(found) == {"a", None}
    assert found[None] <= 120


def test_others_go_on_where_the_room_of_all_is_taken_by_those_who_wait() -> None:
    zoned = [node("a", "a", pods=30), node("b", "b", pods=100)]
    picky = template("picky", nodeSelector={"topology.kubernetes.io/zone": "a"})
    store = Store(
        *zoned, workload("ReplicaSet", "picky", HUGE, template=picky), workload("ReplicaSet", "web", 90)
    )
    store.settle()
    assert running(store)["b"] == 90


@pytest.mark.parametrize("name", ["n1", "nowhere"])
def test_a_template_that_names_its_node_is_bounded(name: str) -> None:
    """No scheduler says that there is no room: the count of the node does."""
    for network in (False, True):
        spec = template("web", nodeName=name, hostNetwork=network)
        store = Store(*two(), workload("ReplicaSet", "web", HUGE, template=spec))
        store.settle()
        assert len(store.pods()) <= 100


def test_the_cluster_s_own_come_before_a_crowd() -> None:
    dns = make("Pod", "dns", "kube-system", status={"phase": "Pending"})
    store = Store(
        *two(),
        workload("ReplicaSet", "web", HUGE),
        *(make("Pod", f"bare{n}", status={"phase": "Pending"}) for n in range(60)),
        dns,
    )
    store.settle()
    (found,) = [pod for pod in store.objects.values() if pod.name == "dns"]
    assert found.spec.get("nodeName")


def test_what_was_held_back_is_made_once_there_is_room_and_no_failure_stays() -> None:
    store = Store(*two(5), workload("Deployment", "web", 40))
    store.settle()
    assert conditions(store.get("Deployment", "web"))["ReplicaFailure"] == "True"
    store.put(node("n3", pods=100))
    store.settle()
    assert len(store.pods()) == 40 and all(pod.spec.get("nodeName") for pod in store.pods())
    assert "ReplicaFailure" not in conditions(store.get("Deployment", "web"))
    store.edit("Deployment", "web", replicas=HUGE)
    store.settle()
    store.edit("Deployment", "web", replicas=3)
    store.settle()
    store.kubelet()
    store.settle()
    assert len(store.pods()) == 3
    assert "ReplicaFailure" not in conditions(store.get("Deployment", "web"))
