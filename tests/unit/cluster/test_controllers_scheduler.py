"""The scheduler: which node, and which words when there is none."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from controllers_store import Store, conditions, make, node, template, workload

from emulab.cluster.controllers import placement
from emulab.model.objects import Object

ZONED = (node("a1", "a"), node("a2", "a"), node("b1", "b"))


def where(store: Store) -> dict[str, int]:
    return dict(Counter(str(pod.spec.get("nodeName")) for pod in store.pods()))


def pod(name: str, labels: dict[str, str] | None = None, **spec: Any) -> Object:
    return make(
        "Pod", name, metadata={"labels": labels or {"app": "x"}}, spec=spec, status={"phase": "Pending"}
    )


def refusal(store: Store, name: str = "p") -> str:
    (condition,) = store.get("Pod", name).status["conditions"]
    assert (condition["type"], condition["status"]) == ("PodScheduled", "False")
    assert condition["reason"] == "Unschedulable"
    return str(condition["message"])


def spread(key: str = "topology.kubernetes.io/zone", app: str = "web", **more: Any) -> dict[str, Any]:
    selector = {"matchLabels": {"app": app}}
    constraint = {
        "topologyKey": key,
        "maxSkew": 1,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": selector,
    }
    return template(app, topologySpreadConstraints=[{**constraint, **more}])


def test_replicas_of_one_owner_are_spread_whatever_else_runs() -> None:
    others = [pod(f"other{n}", nodeName="a1") for n in range(5)]
    store = Store(*ZONED, *others, workload("Deployment", "web", 6))
    store.settle()
    assert Counter(p.spec["nodeName"] for p in store.pods() if "web" in p.name) == {"a1": 2, "a2": 2, "b1": 2}


def test_bare_pods_go_where_fewest_run_then_by_the_nodes_order() -> None:
    store = Store(*ZONED, pod("old", nodeName="a1"), pod("p"), pod("q"), pod("r"))
    store.settle()
    assert [store.get("Pod", n).spec["nodeName"] for n in "pqr"] == ["a2", "b1", "a1"]
    assert conditions(store.get("Pod", "p")) == {"PodScheduled": "True"}


def test_pods_that_are_alike_ask_all_nodes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node is asked when it is next, so that thousands of Pods and nodes aren't multiplied."""
    asked = Counter[str]()
    real = placement.has_room

    def counting(ledger: placement.Ledger, node: Object) -> bool:
        asked["nodes"] += 1
        return real(ledger, node)

    monkeypatch.setattr(placement, "has_room", counting)
    nodes = [node(f"n{n}") for n in range(30)]
    store = Store(*nodes, workload("Deployment", "web", 90), workload("Deployment", "db", 15))
    store.settle()
    assert asked["nodes"] <= 2 * (90 + 15), "not 30 for each"
    assert {*where(store).values()} <= {3, 4}
    per_workload = Counter((p.name.split("-")[0], p.spec["nodeName"]) for p in store.pods())
    assert {n for (name, _), n in per_workload.items() if name == "web"} == {3}


def test_a_scheduled_pod_keeps_its_template_and_gets_only_a_node() -> None:
    store = Store(node("n"), pod("p", containers=[{"name": "c"}], hostname="h"))
    store.settle()
    assert store.get("Pod", "p").spec == {"containers": [{"name": "c"}], "hostname": "h", "nodeName": "n"}


def _required(**expression: Any) -> dict[str, Any]:
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"nodeSelector": {"topology.kubernetes.io/zone": "b"}}, "b1"),
        ({"nodeSelector": {"kubernetes.io/hostname": "a2"}}, "a2"),
        (_required(key="topology.kubernetes.io/zone", operator="NotIn", values=["a"]), "b1"),
        (_required(key="kubernetes.io/hostname", operator="In", values=["a2", "c"]), "a2"),
        (_required(key="gpu", operator="DoesNotExist"), "a1"),
    ],
)
def test_selectors_and_affinity_choose(spec: dict[str, Any], expected: str) -> None:
    store = Store(*ZONED, pod("p", **spec))
    store.settle()
    assert store.get("Pod", "p").spec["nodeName"] == expected


AFFINITY = "node(s) didn't match Pod's node affinity/selector"


@pytest.mark.parametrize(
    ("nodes", "spec", "message"),
    [
        ([], {}, "no nodes available to schedule pods"),
        ([node("n1"), node("n2")], {"nodeSelector": {"x": "y"}}, f"0/2 nodes are available: 2 {AFFINITY}."),
        (
            [node("n1")],
            _required(key="cores", operator="Gt", values=["3"]),
            f"0/1 nodes are available: 1 {AFFINITY}.",
        ),
        ([node("n1", unschedulable=True)], {}, "0/1 nodes are available: 1 node(s) were unschedulable."),
        (
            [node("n1", pods=0), node("n2", pods="0"), node("n3", unschedulable=True)],
            {},
            "0/3 nodes are available: 1 node(s) were unschedulable, 2 Too many pods.",
        ),
    ],
)
def test_an_unschedulable_pod_says_why(nodes: list[Object], spec: dict[str, Any], message: str) -> None:
    store = Store(*nodes, pod("p", **spec))
    store.settle()
    assert refusal(store) == message
    assert "nodeName" not in store.get("Pod", "p").spec and store.get("Pod", "p").status["phase"] == "Pending"


def test_a_pending_pod_is_bound_once_a_node_comes() -> None:
    store = Store(pod("p"))
    store.settle()
    store.put(node("late"))
    store.settle()
    assert store.get("Pod", "p").spec["nodeName"] == "late"
    assert conditions(store.get("Pod", "p")) == {"PodScheduled": "True"}


def test_nodes_take_as_many_pods_as_they_allow_ending_ones_included() -> None:
    store = Store(node("n1", pods="2"), node("n2", pods=1), workload("Deployment", "web", 4))
    store.converge()
    assert where(store) == {"n1": 2, "n2": 1, "None": 1}
    full = next(p for p in store.pods() if p.spec.get("nodeName") == "n2")
    store.delete(full.key)
    store.settle()
    assert where(store) == {"n1": 2, "None": 2}
    store.kubelet()
    store.settle()
    assert where(store) == {"n1": 2, "n2": 1, "None": 1}


def test_ending_replicas_take_room_but_do_not_stand_for_their_workload() -> None:
    store = Store(node("n1"), node("n2"), workload("ReplicaSet", "web", 2))
    store.converge()
    store.put(pod("other", nodeName="n1"))
    store.delete(next(p for p in store.pods() if p.spec["nodeName"] == "n1" and p.name != "other").key)
    store.settle()
    assert where(store) == {"n1": 2, "n2": 1}


def test_a_pod_for_a_node_that_is_not_there_stays_as_it_is() -> None:
    store = Store(node("n1"), pod("p", nodeName="nowhere"))
    assert store.settle() == 0


def test_hard_spread_counts_domains_not_nodes() -> None:
    store = Store(*ZONED, workload("Deployment", "web", 4, template=spread()))
    store.settle()
    assert where(store) == {"a1": 1, "a2": 1, "b1": 2}


def test_hard_spread_refuses_what_would_skew() -> None:
    store = Store(
        node("a1", "a"), node("b1", "b", pods=1), workload("Deployment", "web", 4, template=spread())
    )
    store.settle()
    assert where(store) == {"a1": 2, "b1": 1, "None": 1}
    (waiting,) = [p for p in store.pods() if not p.spec.get("nodeName")]
    assert refusal(store, waiting.name) == (
        "0/2 nodes are available: 1 Too many pods, 1 node(s) didn't match pod topology spread constraints."
    )


def test_hard_spread_needs_the_label_and_looks_at_eligible_nodes_only() -> None:
    only_a = {**spread()["spec"], "nodeSelector": {"topology.kubernetes.io/zone": "a"}}
    store = Store(*ZONED, workload("Deployment", "web", 4, template={**spread(), "spec": only_a}))
    store.settle()
    assert where(store) == {"a1": 2, "a2": 2}
    store = Store(node("n1"), workload("Deployment", "web", 1, template=spread()))
    store.settle()
    assert "(missing required label)" in refusal(store, store.pods()[0].name)


def test_soft_spread_prefers_but_does_not_refuse() -> None:
    soft = spread(whenUnsatisfiable="ScheduleAnyway")
    store = Store(*ZONED, workload("Deployment", "web", 4, template=soft))
    store.settle()
    assert where(store) == {"a1": 1, "a2": 1, "b1": 2}
    store = Store(node("a1", "a"), node("b1", "b", pods=0), workload("Deployment", "web", 3, template=soft))
    store.settle()
    assert where(store) == {"a1": 3}


def _affinity(kind: str) -> dict[str, Any]:
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}}
    return template("web", affinity={kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}})


def test_pod_anti_affinity_keeps_apart_and_affinity_together() -> None:
    store = Store(*ZONED, workload("Deployment", "web", 4, template=_affinity("podAntiAffinity")))
    store.settle()
    assert where(store) == {"a1": 1, "a2": 1, "b1": 1, "None": 1}
    store = Store(*ZONED, workload("Deployment", "web", 3, template=_affinity("podAffinity")))
    store.settle()
    assert where(store) == {"a1": 3}


def test_a_host_port_is_given_once_a_node() -> None:
    ports = {"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 8080}]}]}
    store = Store(node("n1"), node("n2"), pod("p", **ports), pod("q", **ports), pod("r", **ports))
    store.settle()
    assert where(store) == {"n1": 1, "n2": 1, "None": 1}
    assert "free ports" in refusal(store, "r")
