"""The store: uids, versions, graceful ends of pods, and the way back."""

from __future__ import annotations

import re

from lab_objects import obj, pod

from emulab.cluster.resolve import resolve
from emulab.cluster.store import Event, Store
from emulab.kinds.registry import CONFIG_MAP, NODE, POD
from emulab.model.collection import Delete, Put

X = CONFIG_MAP.key("default", "x")
P = POD.key("default", "p")
WITH_ADDRESS = {"phase": "Running", "podIPs": [{"ip": "10.244.1.2"}]}


def test_a_new_object_gets_what_a_server_adds() -> None:
    store = Store()
    stored = store.put(obj("ConfigMap", data={"a": "1"}))
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", stored.metadata["uid"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", stored.metadata["creationTimestamp"])
    assert (stored.metadata["generation"], stored.metadata["resourceVersion"]) == (1, "1")
    assert stored.raw["data"] == {"a": "1"} and store.get(X) is stored and store.version == 1
    assert str(stored.position) == "f.yaml:3"


def test_generation_counts_changes_of_the_spec_alone() -> None:
    store = Store()
    first = store.put(obj("Service", spec={"a": 1}))
    second = store.put(first.replace(status={"b": 2}))
    third = store.put(second.replace(spec={"a": 2}))
    fourth = store.put(third.replace(metadata={**third.metadata, "labels": {"l": "v"}}))
    assert [o.metadata["generation"] for o in (first, second, third, fourth)] == [1, 1, 2, 2]
    assert [o.metadata["resourceVersion"] for o in (first, second, third, fourth)] == ["1", "2", "3", "4"]
    kept = {(o.metadata["uid"], o.metadata["creationTimestamp"]) for o in (first, second, third, fourth)}
    assert len(kept) == 1


def test_a_put_that_changes_nothing_is_none() -> None:
    store = Store()
    events: list[Event] = []
    first = store.put(obj("ConfigMap"))
    store.watch(events.append)
    assert store.put(first) is first and store.version == 1 and events == []


def test_an_object_that_replaces_another_keeps_its_identity() -> None:
    store = Store()
    first = store.put(obj("ConfigMap", data={"a": "1"}))
    second = store.put(obj("ConfigMap", data={"a": "2"}))
    assert second.metadata["uid"] == first.metadata["uid"] and second.raw["data"] == {"a": "2"}


def test_watchers_are_told_until_they_stop() -> None:
    store = Store()
    events: list[tuple[str, str]] = []
    stop = store.watch(lambda e: events.append((e.type, e.object.metadata["resourceVersion"])))
    first = store.put(obj("ConfigMap"))
    store.put(first.replace(data={"a": "1"}))
    store.remove(X)
    store.remove(X)
    stop()
    store.put(obj("ConfigMap"))
    assert events == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")]


def test_a_watcher_may_stop_while_it_is_told() -> None:
    store = Store()
    seen: list[str] = []

    def once(event: Event) -> None:
        seen.append(event.type)
        stop()

    stop = store.watch(once)
    store.watch(lambda e: seen.append(f"other {e.type}"))
    store.put(obj("ConfigMap"))
    store.remove(X)
    assert seen == ["ADDED", "other ADDED", "other DELETED"]


def test_a_snapshot_does_not_change() -> None:
    store = Store()
    store.put(obj("ConfigMap", "a"))
    before = store.objects()
    assert store.objects() is before
    store.put(obj("ConfigMap", "b"))
    assert [o.name for o in before.kind(CONFIG_MAP)] == ["a"]
    assert [o.name for o in store.objects().kind(CONFIG_MAP)] == ["a", "b"]


def test_a_pod_that_runs_is_only_marked() -> None:
    store = Store()
    store.put(pod(status=WITH_ADDRESS, spec={"terminationGracePeriodSeconds": 0}))
    store.delete(P)
    marked = store.get(P)
    assert marked is not None and marked.metadata["deletionGracePeriodSeconds"] == 0
    assert marked.metadata["deletionTimestamp"] and marked.metadata["generation"] == 1
    version = store.version
    store.delete(P)
    assert store.version == version, "marked once"
    store.remove(P)
    assert store.get(P) is None and store.objects().kind(POD) == []


def test_the_grace_is_thirty_seconds_where_nothing_is_said() -> None:
    store = Store()
    store.put(pod(status=WITH_ADDRESS))
    store.delete(P)
    marked = store.get(P)
    assert marked is not None and marked.metadata["deletionGracePeriodSeconds"] == 30


def test_pods_without_containers_go_at_once() -> None:
    for status in (
        {},
        {"phase": "Pending"},
        *({**WITH_ADDRESS, "phase": p} for p in ("Succeeded", "Failed")),
    ):
        store = Store()
        store.put(pod(status=status))
        store.delete(P)
        assert store.get(P) is None, status
    store = Store()
    store.put(obj("ConfigMap"))
    store.apply([Delete(X), Delete(X), Put(obj("ConfigMap", "y"))])
    assert [o.name for o in store.objects()] == ["y"]


def test_a_pod_of_a_freed_name_is_another_pod() -> None:
    """Controllers derive uids from names; the second web-0 must not be taken for the first."""
    store = Store()
    uid = "11111111-2222-5333-8444-555555555555"
    seen = []
    for _ in range(3):
        seen.append(store.put(pod(metadata={"uid": uid})).metadata["uid"])
        again = store.put(pod(metadata={"uid": seen[-1]}, status={"phase": "Running"}))
        assert again.metadata["uid"] == seen[-1]
        store.remove(P)
    assert seen[0] == uid and len(set(seen)) == 3


def test_no_generated_name_comes_back() -> None:
    """A client that asks for the Pod which it deleted must not find another one; Kubernetes draws at random."""
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}}
    spec = {"selector": {"matchLabels": {"app": "web"}}, "template": template}
    store, seen = Store(), set[str]()
    store.put(obj("Deployment", "web", spec={**spec, "replicas": 2}))
    store.put(obj("DaemonSet", "agent", spec=spec))
    for _ in range(5):
        _, objects = resolve(store, 0.0)
        names = {pod.name for pod in objects.kind(POD)}
        assert len(names) == 2 + len(objects.kind(NODE)) and seen.isdisjoint(names)
        seen |= names
        for pod_ in objects.kind(POD):
            store.remove(pod_.key)


def test_set_status_keeps_the_other_fields() -> None:
    store = Store()
    store.put(pod(status={"podIP": "10.244.1.2", "phase": "Pending"}))
    store.set_status(P, phase="Running")
    changed = store.get(P)
    assert changed is not None and changed.status == {"podIP": "10.244.1.2", "phase": "Running"}
    store.set_status(POD.key("default", "gone"), phase="Running")
    assert len(list(store.objects())) == 1


def test_what_did_not_change_is_not_copied_again() -> None:
    store = Store()
    store.put(obj("ConfigMap"))
    store.put(pod())
    first = store.save()
    store.put(pod(status={"phase": "Running"}))
    second = store.save()
    assert second[CONFIG_MAP] is first[CONFIG_MAP] and second[POD] is not first[POD]
    assert first[POD][P].status != second[POD][P].status
    store.restore(first)
    store.remove(X)
    assert X in first[CONFIG_MAP] and CONFIG_MAP in store.save() and not store.save()[CONFIG_MAP]


def test_restore_is_the_way_back() -> None:
    store = Store()
    store.put(obj("ConfigMap", "a", data={"k": "1"}))
    store.put(obj("ConfigMap", "b"))
    saved = store.save()
    before = {o.key: o for o in store.objects()}
    store.put(obj("ConfigMap", "a", data={"k": "2"}))
    store.remove(CONFIG_MAP.key("default", "b"))
    store.put(obj("Secret", "c"))
    version = store.version
    store.restore(saved)
    assert {o.key: o for o in store.objects()} == before
    assert store.version > version, "versions never go back"
    store.put(obj("Secret", "d"))
    store.restore(saved)
    assert {o.key: o for o in store.objects()} == before, "a saved state can be used again"
