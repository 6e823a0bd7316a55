"""StatefulSets: identity and order. DaemonSets: one Pod a node."""

from __future__ import annotations

from controllers_store import Store, images, make, names, node, template, workload

from emulab.model.collection import Delete, Put

NODES = (node("node1"), node("node2"))


def db(replicas: int = 3, **spec: object) -> Store:
    store = Store(*NODES, workload("StatefulSet", "db", replicas, **{"serviceName": "db", **spec}))
    store.settle()
    return store


def created(store: Store) -> list[str]:
    """Names of the Pods in the order in which they were made."""
    made: dict[str, None] = {}
    for changes in store.seen:
        made.update({c.object.name: None for c in changes if isinstance(c, Put) and c.object.kind == "Pod"})
    return list(made)


def deleted(store: Store) -> list[str]:
    return [c.key.name for changes in store.seen for c in changes if isinstance(c, Delete)]


def test_ordered_ready_makes_the_next_pod_when_the_one_before_is_ready() -> None:
    store = db()
    assert names(store.pods()) == ["db-0"]
    store.run(store.get("Pod", "db-0"), ready=False)
    store.settle()
    assert names(store.pods()) == ["db-0"]
    store.run(store.get("Pod", "db-0"))
    store.settle()
    assert names(store.pods()) == ["db-0", "db-1"]
    store.converge()
    assert created(store) == ["db-0", "db-1", "db-2"]


def test_parallel_makes_and_deletes_all_at_once() -> None:
    store = db(podManagementPolicy="Parallel")
    assert names(store.pods()) == ["db-0", "db-1", "db-2"]
    store.converge()
    store.edit("StatefulSet", "db", replicas=1)
    store.settle()
    assert names(store.pods()) == ["db-0"]


def test_identity() -> None:
    store = db(1)
    (pod,) = store.pods()
    revision = store.get("StatefulSet", "db").status["updateRevision"]
    assert pod.labels == {
        "app": "db",
        "statefulset.kubernetes.io/pod-name": "db-0",
        "apps.kubernetes.io/pod-index": "0",
        "controller-revision-hash": revision,
    }
    assert (pod.spec["hostname"], pod.spec["subdomain"]) == ("db-0", "db")


def test_start_ordinal() -> None:
    store = db(2, ordinals={"start": 5})
    store.converge()
    assert names(store.pods()) == ["db-5", "db-6"]


def test_scale_down_takes_the_highest_and_waits_until_it_is_gone() -> None:
    store = db()
    store.converge()
    store.edit("StatefulSet", "db", replicas=1)
    store.settle()
    assert deleted(store) == ["db-2"]
    store.kubelet()
    store.settle()
    assert deleted(store) == ["db-2", "db-1"]
    store.converge()
    assert names(store.pods()) == ["db-0"]


def test_rolling_update_goes_from_the_highest_and_waits_for_readiness() -> None:
    store = db()
    store.converge()
    store.edit("StatefulSet", "db", template=template("db", "v2"))
    store.settle()
    assert deleted(store) == ["db-2"]
    store.kubelet(start=lambda pod: False)  # the old one goes, the new one doesn't start
    store.settle()
    assert deleted(store) == ["db-2"] and images([store.get("Pod", "db-2")]) == {"v2"}
    status = store.get("StatefulSet", "db").status
    assert status["currentRevision"] != status["updateRevision"] and status["updatedReplicas"] == 1
    store.converge()
    assert deleted(store) == ["db-2", "db-1", "db-0"] and images(store.pods()) == {"v2"}
    status = store.get("StatefulSet", "db").status
    assert status["currentRevision"] == status["updateRevision"]
    assert {k: status[k] for k in ("replicas", "readyReplicas", "currentReplicas")} == dict.fromkeys(
        ("replicas", "readyReplicas", "currentReplicas"), 3
    )


def test_a_partition_keeps_lower_ordinals_at_their_revision_even_when_they_are_remade() -> None:
    store = db(updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 2}})
    store.converge()
    store.edit("StatefulSet", "db", template=template("db", "v2"))
    store.converge()
    store.delete(store.get("Pod", "db-0").key)
    store.converge()
    assert [images([store.get("Pod", f"db-{n}")]) for n in range(3)] == [{"v1"}, {"v1"}, {"v2"}]


def test_on_delete_updates_what_somebody_deletes() -> None:
    store = db(2, updateStrategy={"type": "OnDelete"})
    store.converge()
    store.edit("StatefulSet", "db", template=template("db", "v2"))
    store.converge()
    assert deleted(store) == []
    store.delete(store.get("Pod", "db-0").key)
    store.converge()
    assert [images([store.get("Pod", f"db-{n}")]) for n in range(2)] == [{"v2"}, {"v1"}]


def test_a_failed_pod_is_made_anew_under_its_name() -> None:
    store = db(1)
    store.converge()
    pod = store.get("Pod", "db-0")
    store.put(pod.replace(status={**pod.status, "phase": "Failed"}))
    store.converge()
    assert deleted(store) == ["db-0"] and len(store.ready()) == 1


def test_a_strangers_pod_of_that_name_is_left_alone() -> None:
    store = Store(*NODES, make("Pod", "db-0", spec={}), workload("StatefulSet", "db", 2))
    store.converge()
    assert names(store.all("Pod")) == ["db-0"] and deleted(store) == []


def agent(**spec: object) -> Store:
    nodes = [
        make("Node", f"node{n}", "", metadata={"labels": {"disk": "ssd" if n < 3 else "hdd"}})
        for n in range(4)
    ]
    store = Store(*nodes, workload("DaemonSet", "agent", **spec))
    store.settle()
    return store


def test_a_daemonset_has_one_pod_on_each_fitting_node() -> None:
    store = agent(template=template("agent", nodeSelector={"disk": "ssd"}))
    assert [pod.spec["nodeName"] for pod in store.pods()] == ["node0", "node1", "node2"]
    assert store.get("DaemonSet", "agent").status["numberReady"] == 0
    store.converge()
    assert store.get("DaemonSet", "agent").status == {
        "currentNumberScheduled": 3,
        "desiredNumberScheduled": 3,
        "numberMisscheduled": 0,
        "numberReady": 3,
        "updatedNumberScheduled": 3,
        "numberAvailable": 3,
        "observedGeneration": 1,
    }


def test_a_daemonset_follows_the_nodes() -> None:
    store = agent(template=template("agent", nodeSelector={"disk": "ssd"}))
    store.converge()
    store.put(store.get("Node", "node0", "").replace(metadata={"name": "node0", "labels": {"disk": "hdd"}}))
    store.put(node("node9").replace(metadata={"name": "node9", "labels": {"disk": "ssd"}}))
    store.converge()
    assert sorted(pod.spec["nodeName"] for pod in store.pods()) == ["node1", "node2", "node9"]


def test_a_daemonset_names_its_pods_by_node() -> None:
    few, many = agent(template=template("agent", nodeSelector={"disk": "ssd"})), agent()
    assert set(names(agent().pods())) == set(names(many.pods())) and len(few.pods()) == 3
    victim = many.pods()[1]
    many.delete(victim.key)
    many.settle()
    assert victim.name in names(many.pods())


def test_a_daemonset_updates_one_node_at_a_time() -> None:
    store = agent()
    store.converge()
    store.edit("DaemonSet", "agent", template=template("agent", "v2"))
    for _ in range(30):
        store.settle()
        assert len(store.ready()) >= 3
        store.kubelet()
    assert images(store.pods()) == {"v2"} and len(store.ready()) == 4


def test_a_daemonsets_broken_pods_are_updated_at_once() -> None:
    store = agent()
    store.converge()
    for pod in store.pods()[:2]:
        store.run(pod, ready=False)
    store.edit("DaemonSet", "agent", template=template("agent", "v2"))
    store.settle()
    assert len(deleted(store)) == 2 and len(store.ready()) == 2


def test_a_daemonset_waits_for_the_ending_pod_of_a_node() -> None:
    store = agent(updateStrategy={"type": "OnDelete"})
    store.converge()
    store.delete(store.pods()[0].key)
    store.settle()
    assert len(store.all("Pod")) == 4
    store.kubelet()
    store.settle()
    assert len(store.pods()) == 4


def test_pods_have_what_the_template_says_about_them() -> None:
    pods = template("agent")
    pods["metadata"]["finalizers"] = ["a.b/c"]
    store = Store(*NODES, workload("DaemonSet", "agent", template=pods))
    store.settle()
    assert [p.metadata["finalizers"] for p in store.pods()] == [["a.b/c"]] * 2


HOST_PORT = {"containers": [{"name": "c", "image": "x", "ports": [{"containerPort": 80, "hostPort": 8080}]}]}


def test_a_daemonset_waits_for_a_nodes_port() -> None:
    """As the scheduler says; it is bound once the port is free."""
    holder = make(
        "Pod", "holder", spec={"nodeName": "n1", **HOST_PORT}, status={"podIPs": [{"ip": "10.0.0.1"}]}
    )
    daemon = workload("DaemonSet", "agent", template=template("agent", **HOST_PORT))
    store = Store(node("n1"), node("n2"), holder, daemon)
    store.settle()
    waiting, placed = sorted(
        (p for p in store.pods() if p.name != "holder"), key=lambda p: str(p.spec.get("nodeName") or "")
    )
    assert placed.spec["nodeName"] == "n2"
    (condition,) = waiting.status["conditions"]
    assert (
        condition["reason"] == "Unschedulable" and "1 node(s) didn't have free ports" in condition["message"]
    )
    assert store.get("DaemonSet", "agent").status["desiredNumberScheduled"] == 2
    store.settle()
    assert len(store.pods()) == 3
    store.delete(holder.key)
    store.settle()
    assert sorted(p.spec["nodeName"] for p in store.pods()) == ["n1", "n2"]


def test_a_node_refuses_a_pod_whose_port_it_has_given_away() -> None:
    holder = make(
        "Pod", "holder", spec={"nodeName": "n1", **HOST_PORT}, status={"podIPs": [{"ip": "10.0.0.1"}]}
    )
    second, other = (make("Pod", n, spec={"nodeName": n, **HOST_PORT}) for n in ("n1", "n2"))
    store = Store(node("n1"), node("n2"), second, other, holder)
    store.settle()
    status = store.get("Pod", "n1").status
    assert (status["phase"], status["reason"]) == ("Failed", "NodePorts")
    assert status["message"] == "Pod was rejected: Predicate NodePorts failed"
    assert store.get("Pod", "n2").status.get("phase") != "Failed"
