"""Events are told once and then counted, as client-go's EventCorrelator does it."""

from __future__ import annotations

from typing import Any

from controllers_store import Store as Lab
from controllers_store import node, workload
from lab_objects import obj, place, pod

from emulab.cluster.events import BURST, INTERVAL, MAX_SIMILAR, REFILL, TTL, Recorder
from emulab.cluster.resolve import resolve
from emulab.cluster.store import Store
from emulab.kinds.registry import EVENT, POD, REPLICA_SET
from emulab.model.collection import NORMAL, WARNING, Tell
from emulab.model.objects import Object

NOW = 1_700_000_000.0


def told(about: Object, message: str = "it did", reason: str = "Did", host: str = "") -> Tell:
    return Tell(about, NORMAL, reason, message, "tester", host)


def events(store: Store) -> list[dict[str, Any]]:
    return [dict(o.raw) for o in store.objects().kind(EVENT)]


def test_what_an_event_says() -> None:
    store = Store()
    about = place(store, pod(metadata={"uid": "u"}))
    recorder = Recorder(store)
    recorder.tell([Tell(about, WARNING, "Killing", "no", "kubelet", "node1", "spec.containers{c}")], NOW)
    (event,) = events(store)
    metadata = event.pop("metadata")
    assert metadata["namespace"] == "default" and metadata["name"].startswith("p.")
    assert event == {
        "apiVersion": "v1",
        "kind": "Event",
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": "default",
            "name": "p",
            "uid": "u",
            "resourceVersion": "1",
            "fieldPath": "spec.containers{c}",
        },
        "type": "Warning",
        "reason": "Killing",
        "message": "no",
        "count": 1,
        "source": {"component": "kubelet", "host": "node1"},
        "reportingComponent": "kubelet",
        "reportingInstance": "node1",
        "firstTimestamp": "2023-11-14T22:13:20Z",
        "lastTimestamp": "2023-11-14T22:13:20Z",
    }


def test_what_is_told_again_is_counted() -> None:
    store = Store()
    recorder, one, other = Recorder(store), store.put(obj("Service", "a")), store.put(obj("Service", "b"))
    recorder.tell([told(one), told(other), told(one, reason="Else"), told(one, host="node1")], NOW)
    recorder.tell([told(one), told(one)], NOW + 60)
    found = [
        (e["involvedObject"]["name"], e["reason"], e["count"], e["lastTimestamp"][11:]) for e in events(store)
    ]
    assert found == [
        ("a", "Did", 3, "22:14:20Z"),
        ("b", "Did", 1, "22:13:20Z"),
        ("a", "Else", 1, "22:13:20Z"),
        ("a", "Did", 1, "22:13:20Z"),
    ]
    assert events(store)[0]["firstTimestamp"][11:] == "22:13:20Z"


def test_an_object_of_a_freed_name_has_events_of_its_own() -> None:
    store = Store()
    recorder, first = Recorder(store), store.put(obj("Service", "a"))
    recorder.tell([told(first)], NOW)
    store.remove(first.key)
    recorder.tell([told(store.put(obj("Service", "a")))], NOW)
    assert [e["count"] for e in events(store)] == [1, 1]
    assert len({e["involvedObject"]["uid"] for e in events(store)}) == 2


def test_many_similar_ones_become_one() -> None:
    store = Store()
    recorder, about = Recorder(store), store.put(obj("Service"))
    recorder.tell([told(about, f"message {n}") for n in range(MAX_SIMILAR + 5)], NOW)
    found = [(e["message"], e["count"]) for e in events(store)]
    assert found[:-1] == [(f"message {n}", 1) for n in range(MAX_SIMILAR - 1)]
    assert found[-1] == (f"(combined from similar events): message {MAX_SIMILAR + 4}", 6)


def test_after_a_pause_they_are_told_one_by_one_again() -> None:
    store = Store()
    recorder, about = Recorder(store), store.put(obj("Service"))
    recorder.tell([told(about, f"message {n}") for n in range(MAX_SIMILAR - 1)], NOW)
    recorder.tell([told(about, "late")], NOW + INTERVAL + 1)
    assert events(store)[-1]["message"] == "late"


def test_who_tells_too_much_is_counted_and_seen_later() -> None:
    store = Store()
    recorder, about = Recorder(store), store.put(obj("Service"))
    for _ in range(BURST + 10):
        recorder.tell([told(about)], NOW)
    assert [e["count"] for e in events(store)] == [BURST]
    recorder.tell([told(about)], NOW + REFILL)
    assert [e["count"] for e in events(store)] == [BURST + 11]
    recorder.tell([told(about)], NOW + REFILL)
    assert [e["count"] for e in events(store)] == [BURST + 11]


def test_events_go_after_an_hour() -> None:
    store = Store()
    recorder, about = Recorder(store), store.put(obj("Service"))
    recorder.tell([told(about), told(about, reason="Else")], NOW)
    recorder.tell([told(about)], NOW + 100)
    recorder.sweep(NOW + TTL + 50)
    assert [(e["reason"], e["count"]) for e in events(store)] == [("Did", 2)]
    recorder.sweep(NOW + TTL + 101)
    assert events(store) == []
    recorder.tell([told(about)], NOW + TTL + 102)
    assert [e["count"] for e in events(store)] == [3], "as the component remembers it"


def test_of_a_cluster_s_own_object_is_told_in_default() -> None:
    store = Store()
    Recorder(store).tell([told(store.put(obj("Node", "node1", "")))], NOW)
    assert store.objects().kind(EVENT, "default")


# what controllers tell


def said(lab: Lab) -> list[tuple[str, str, str]]:
    return [(t.about.kind, t.reason, t.message) for t in lab.told]


def test_workloads_tell_what_they_make() -> None:
    lab = Lab(node("node1"), workload("Deployment", "web", 2))
    lab.settle()
    rs = next(o for o in lab.objects.values() if o.type == REPLICA_SET)
    pods = [o.name for o in lab.objects.values() if o.type == POD]
    assert said(lab)[:3] == [
        ("Deployment", "ScalingReplicaSet", f"Scaled up replica set {rs.name} from 0 to 2"),
        *(("ReplicaSet", "SuccessfulCreate", f"Created pod: {name}") for name in pods),
    ]
    assert said(lab)[3:] == [
        ("Pod", "Scheduled", f"Successfully assigned default/{name} to node1") for name in pods
    ]
    lab.kubelet()
    lab.told.clear()
    lab.put(workload("Deployment", "web", 1))
    lab.settle()
    assert said(lab)[0] == (
        "Deployment",
        "ScalingReplicaSet",
        f"Scaled down replica set {rs.name} from 2 to 1",
    )
    assert said(lab)[1][:2] == ("ReplicaSet", "SuccessfulDelete") and len(said(lab)) == 2


def test_sets_tell_it_in_their_own_words() -> None:
    lab = Lab(node("node1"), workload("StatefulSet", "db", 1), workload("DaemonSet", "agent"))
    lab.settle()
    pod_ = next(o.name for o in lab.objects.values() if o.type == POD and o.name.startswith("agent"))
    assert ("StatefulSet", "SuccessfulCreate", "create Pod db-0 in StatefulSet db successful") in said(lab)
    assert ("DaemonSet", "SuccessfulCreate", f"Created pod: {pod_}") in said(lab)
    lab.kubelet()
    lab.told.clear()
    lab.put(workload("StatefulSet", "db", 0))
    lab.settle()
    assert said(lab) == [("StatefulSet", "SuccessfulDelete", "delete Pod db-0 in StatefulSet db successful")]


def test_a_pod_without_a_node_tells_so_once() -> None:
    lab = Lab(workload("Deployment", "web", 1))
    lab.settle()
    lab.settle()
    failed = [t for t in said(lab) if t[1] == "FailedScheduling"]
    assert failed == [("Pod", "FailedScheduling", "no nodes available to schedule pods")]


def test_what_is_told_on_a_fork_is_told_once_it_is_adopted() -> None:
    store = Store()
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}},
    }
    store.put(obj("Deployment", "web", spec=spec, metadata={}))
    fork, base = store.fork(), store.objects()
    resolve(fork, NOW)
    assert store.take_told() == []
    assert store.adopt(fork, base)
    Recorder(store).tell(store.take_told(), NOW)
    scheduled = next(e for e in events(store) if e["reason"] == "Scheduled")
    made = store.get(POD.key("default", scheduled["involvedObject"]["name"]))
    assert made is not None and scheduled["involvedObject"]["uid"] == made.metadata["uid"]
    assert {e["count"] for e in events(store)} == {1}
