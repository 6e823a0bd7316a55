"""The store: uids, versions, statuses, watches, graceful ends of objects, forks, and the way back."""

from __future__ import annotations

import re

import pytest
from lab_objects import obj, place, pod

from emulab.cluster.history import HISTORY, Event, Expired
from emulab.cluster.resolve import resolve
from emulab.cluster.store import Conflict, Store
from emulab.kinds.registry import CONFIG_MAP, NODE, POD
from emulab.model.collection import Delete, Put
from emulab.model.keys import Key
from emulab.model.objects import Object

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
    second = store.put_status(first.key, {"b": 2})
    assert second is not None
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
    assert events == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "3")]


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
    place(store, pod(status=WITH_ADDRESS, spec={"terminationGracePeriodSeconds": 0}))
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
    place(store, pod(status=WITH_ADDRESS))
    store.delete(P)
    marked = store.get(P)
    assert marked is not None and marked.metadata["deletionGracePeriodSeconds"] == 30


def test_who_deletes_a_pod_again_may_give_it_less_time_and_never_more() -> None:
    store = Store()
    place(store, pod(status=WITH_ADDRESS))
    store.delete(P, grace=60)
    for given, expected in ((90, 60), (None, 60), (5, 5), (30, 5)):
        store.delete(P, grace=given)
        marked = store.get(P)
        assert marked is not None and marked.metadata["deletionGracePeriodSeconds"] == expected
    store.delete(P, grace=0)
    assert store.get(P) is None


def test_pods_without_containers_go_at_once() -> None:
    for status in (
        {},
        {"phase": "Pending"},
        *({**WITH_ADDRESS, "phase": p} for p in ("Succeeded", "Failed")),
    ):
        store = Store()
        place(store, pod(status=status))
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
        again = place(store, pod(metadata={"uid": seen[-1]}, status={"phase": "Running"}))
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
    place(store, pod(status={"podIP": "10.244.1.2", "phase": "Pending"}))
    store.set_status(P, phase="Running")
    changed = store.get(P)
    assert changed is not None and changed.status == {"podIP": "10.244.1.2", "phase": "Running"}
    store.set_status(POD.key("default", "gone"), phase="Running")
    assert len(list(store.objects())) == 1


def test_a_status_is_written_by_itself() -> None:
    """Who reports how a thing is takes back nothing that was asked meanwhile, and the other way round."""
    store = Store()
    first = store.put(obj("Service", spec={"a": 1}))
    store.put_status(first.key, {"b": 1})
    changed = store.put(first.replace(spec={"a": 2}, status={"b": 0}))
    assert (changed.spec, changed.status) == ({"a": 2}, {"b": 1})
    store.set_status(first.key, c=2)
    told = store.get(first.key)
    assert told is not None and (told.spec, told.status) == ({"a": 2}, {"b": 1, "c": 2})
    version = store.version
    assert store.put(told.replace(status={})) is told and store.put_status(told.key, told.status) is told
    assert store.put_status(told.key, {}, uid="another's") is None and store.version == version


def test_a_write_may_be_for_one_version_alone() -> None:
    store = Store()
    first = store.put(obj("ConfigMap", data={"a": "1"}))
    second = store.put(first.replace(data={"a": "2"}), expected=first.metadata["resourceVersion"])
    for late in (first, obj("ConfigMap", "y")):
        with pytest.raises(Conflict, match="the object has been modified"):
            store.put(late.replace(data={"a": "3"}), expected="1")
    assert [o.raw["data"] for o in store.objects()] == [{"a": "2"}]
    with pytest.raises(Conflict, match="UID in the precondition"):
        store.delete(X, uid="another's")
    store.delete(X, uid=second.metadata["uid"])
    assert store.get(X) is None


def test_who_watches_from_a_version_hears_all_that_came_after_it() -> None:
    store = Store()
    store.put(obj("ConfigMap"))
    since = store.version
    store.put(obj("ConfigMap", data={"a": "1"}))
    store.remove(X)
    events: list[tuple[str, int]] = []
    store.watch(lambda e: events.append((e.type, e.version)), since)
    store.put(obj("ConfigMap", "y"))
    assert events == [("MODIFIED", 2), ("DELETED", 3), ("ADDED", 4)]
    with_nothing_new: list[Event] = []
    store.watch(with_nothing_new.append, store.version)
    assert with_nothing_new == []


def test_who_watches_from_a_version_that_is_forgotten_is_told_so() -> None:
    store = Store()
    for number in range(HISTORY + 1):
        store.put(obj("ConfigMap", data={"n": str(number)}))
    with pytest.raises(Expired, match="too old resource version: 0 "):
        store.watch(lambda _: None, since=0)
    events: list[int] = []
    store.watch(lambda e: events.append(e.version), since=1)
    assert events == list(range(2, HISTORY + 2))


def test_finalizers_hold_an_object_until_the_last_one_is_gone() -> None:
    store = Store()
    first = store.put(obj("ConfigMap", metadata={"finalizers": ["a", "b"]}))
    store.delete(X)
    marked = store.get(X)
    assert marked is not None and marked.metadata["deletionTimestamp"]
    version = store.version
    store.delete(X)
    store.remove(X)
    assert store.version == version, "marked once"
    store.put(marked.replace(metadata={**marked.metadata, "finalizers": ["b"]}))
    assert store.get(X) is not None
    store.put(marked.replace(metadata={**marked.metadata, "finalizers": []}))
    assert store.get(X) is None and store.put(obj("ConfigMap")).metadata["uid"] != first.metadata["uid"]


def test_a_pod_that_has_ended_waits_for_its_finalizers() -> None:
    store = Store()
    place(store, pod(status=WITH_ADDRESS, metadata={"finalizers": ["a"]}))
    store.delete(P)
    store.remove(P)  # the kubelet's word
    ended = store.get(P)
    assert ended is not None
    store.put(ended.replace(metadata={k: v for k, v in ended.metadata.items() if k != "finalizers"}))
    assert store.get(P) is None


def test_a_pod_that_runs_is_there_until_its_kubelet_says_so_whoever_lets_go_of_it() -> None:
    for kubelet_first in (False, True):
        store = Store()
        running = place(store, pod(status=WITH_ADDRESS, metadata={"finalizers": ["a"]}))
        key = running.key
        store.delete(key)

        def let_go(store: Store = store, key: Key = key) -> None:
            there = store.get(key)
            assert there is not None
            store.put(there.replace(metadata={**there.metadata, "finalizers": []}))

        def ended(store: Store = store, key: Key = key) -> None:
            store.remove(key)

        first, second = (ended, let_go) if kubelet_first else (let_go, ended)
        first()
        assert store.get(key) is not None
        second()
        assert store.get(key) is None


def test_what_did_not_change_is_not_copied_again() -> None:
    store = Store()
    store.put(obj("ConfigMap"))
    place(store, pod())
    first = store.objects()
    store.set_status(P, phase="Running")
    second = store.objects()
    assert first._kinds[CONFIG_MAP[:]] is second._kinds[CONFIG_MAP[:]]
    assert [o.status for o in first.kind(POD)] == [{}]
    assert [o.status for o in second.kind(POD)] == [{"phase": "Running"}]


def test_what_is_undone_is_written_anew() -> None:
    store = Store()
    store.put(obj("ConfigMap", "a", data={"k": "1"}))
    store.put(obj("ConfigMap", "b"))
    saved = store.objects()
    before = {o.key: _but_version(o) for o in store.objects()}
    store.put(obj("ConfigMap", "a", data={"k": "2"}))
    store.remove(CONFIG_MAP.key("default", "b"))
    store.put(obj("Secret", "c", metadata={"finalizers": ["f"]}))
    events: list[tuple[str, str, int]] = []
    store.watch(lambda e: events.append((e.type, e.object.name, e.version)))
    store.revert(saved)
    assert events == [("DELETED", "c", 6), ("MODIFIED", "a", 7), ("ADDED", "b", 8)]
    assert {o.key: _but_version(o) for o in store.objects()} == before
    store.put(obj("Secret", "d"))
    store.revert(saved)
    assert {o.key: _but_version(o) for o in store.objects()} == before, "it can be come back to again"


def test_how_a_pod_is_is_not_undone() -> None:
    store = Store()
    place(store, pod(status={"phase": "Pending"}))
    saved = store.objects()
    store.put(pod(metadata={"labels": {"a": "b"}}))
    store.set_status(P, phase="Running")
    store.revert(saved)
    now = store.get(P)
    assert now is not None and now.labels == {} and now.status == {"phase": "Running"}


def _but_version(o: Object) -> Object:
    return o.replace(metadata={k: v for k, v in o.metadata.items() if k != "resourceVersion"})


# a fork


def test_a_fork_is_another_store() -> None:
    store = Store()
    store.put(obj("ConfigMap", "a"))
    events: list[Event] = []
    store.watch(events.append)
    store.take_changes()
    fork, base = store.fork(), store.objects()
    fork.put(obj("ConfigMap", "a", data={"k": "1"}))
    fork.put(pod())
    fork.remove(CONFIG_MAP.key("default", "nobody"))
    assert events == [] and store.objects() is base and store.version == 1
    assert store.adopt(fork, base)
    assert [(e.type, e.object.name, e.version) for e in events] == [("MODIFIED", "a", 2), ("ADDED", "p", 3)]
    assert {o.key: _but_version(o) for o in store.objects()} == {
        o.key: _but_version(o) for o in fork.objects()
    }
    assert store.changes.before == {}, "whoever made the fork knows them"
    store.remove(P)
    again = store.put(pod(metadata={"uid": fork.objects().kind(POD)[0].metadata["uid"]}))
    assert again.metadata["uid"] != fork.objects().kind(POD)[0].metadata["uid"], (
        "a pod of a freed name is another"
    )


def test_whoever_has_worked_with_a_fork_knows_its_objects_again() -> None:
    store = Store()
    for name in "abc":
        store.put(obj("ConfigMap", name))
    events: list[Event] = []
    store.watch(events.append)
    fork, base = store.fork(), store.objects()
    fork.put(obj("ConfigMap", "new"))
    fork.put(obj("ConfigMap", "a", data={"k": "1"}))
    fork.remove(CONFIG_MAP.key("default", "b"))
    fork.put(obj("ConfigMap", "gone"))
    fork.remove(CONFIG_MAP.key("default", "gone"))
    fork.put(obj("ConfigMap", "a", data={"k": "2"}))
    planned = fork.objects()
    assert store.adopt(fork, base)
    assert store.objects() is planned and store.version == 9
    told = [(e.type, e.object.name, e.version, e.object.metadata["resourceVersion"]) for e in events]
    assert told == [("ADDED", "new", 4, "4"), ("DELETED", "b", 6, "6"), ("MODIFIED", "a", 9, "9")]
    again: list[Event] = []
    store.watch(again.append, since=4)
    assert again == events[1:]
    store.put(obj("ConfigMap", "new", data={"k": "1"}))
    assert planned.get(CONFIG_MAP.key("default", "new")) is not store.get(CONFIG_MAP.key("default", "new"))
    assert "data" not in planned.members(CONFIG_MAP)[CONFIG_MAP.key("default", "new")].raw


def test_statuses_that_came_meanwhile_stay() -> None:
    store = Store()
    place(store, pod(status={"phase": "Pending"}))
    store.take_changes()
    fork, base = store.fork(), store.objects()
    fork.put(pod(spec={"nodeName": "node1"}))
    store.set_status(P, phase="Running")
    assert store.adopt(fork, base)
    now = store.get(P)
    assert now is not None and now.spec["nodeName"] == "node1" and now.status == {"phase": "Running"}
    assert store.changes.before == {P: fork.get(P)}, "the fork knows nothing of it"


def test_what_both_have_changed_is_in_the_way() -> None:
    for partly in (False, True):
        store = Store()
        place(store, pod(status={"phase": "Pending"}))
        fork, base = store.fork(), store.objects()
        fork.put(pod(spec={"nodeName": "node1"}))
        fork.set_status(P, phase="Failed")
        fork.put(obj("ConfigMap"))
        store.set_status(P, phase="Running")
        assert not store.adopt(fork, base, partly)
        now = store.get(P)
        assert now is not None and now.status == {"phase": "Running"}
        assert ("nodeName" in now.spec, store.get(X) is not None) == (partly, partly)


def test_what_is_gone_meanwhile_stays_gone() -> None:
    store = Store()
    place(store, pod(status={"phase": "Pending"}))
    fork, base = store.fork(), store.objects()
    fork.set_status(P, phase="Failed")
    store.remove(P)
    assert not store.adopt(fork, base, partly=True) and store.get(P) is None
    fork, base = store.fork(), store.objects()
    fork.put(pod())
    store.put(pod())
    assert not store.adopt(fork, base, partly=True) and len(store.objects().kind(POD)) == 1


def test_a_status_that_comes_meanwhile_keeps_nothing_from_going() -> None:
    store = Store()
    place(store, pod(status={"phase": "Pending"}))
    store.put(obj("ConfigMap"))
    fork, base = store.fork(), store.objects()
    fork.remove(P)
    fork.remove(X)
    store.set_status(P, phase="Running", podIPs=[{"ip": "10.244.1.2"}])
    store.put(obj("ConfigMap", data={"a": "b"}))
    assert not store.adopt(fork, base, partly=True)
    now = store.get(P)
    assert now is not None and "deletionTimestamp" in now.metadata, "its program has time to end"
    assert store.get(X) is not None, "it isn't what was to go any more"


def test_the_same_end_is_no_contradiction() -> None:
    store = Store()
    store.put(pod())
    fork, base = store.fork(), store.objects()
    fork.remove(P)
    store.remove(P)
    assert store.adopt(fork, base) and store.get(P) is None
