"""Deletion in the foreground: what an object owns goes before it, level by level."""

from __future__ import annotations

from typing import Any

from controllers_store import Store, names, node, workload

from emulab.cluster.admission.deletion import FOREGROUND_DELETION


def test_the_last_to_go_is_who_owned_them_all() -> None:
    store = Store(node("node1"), workload("Deployment", "web", 2))
    store.converge()
    web = store.get("Deployment", "web")
    marked: dict[str, Any] = {
        "deletionTimestamp": "2023-11-14T22:13:20Z",
        "finalizers": [FOREGROUND_DELETION],
    }
    store.put(web.replace(metadata={**web.metadata, **marked}))
    store.settle()
    assert store.pods() == [] and len(store.all("Pod")) == 2  # they have a while to end
    (rs,) = store.all("ReplicaSet")
    assert rs.metadata["finalizers"] == [FOREGROUND_DELETION] and "deletionTimestamp" in rs.metadata
    store.kubelet()
    store.settle()
    assert names([*store.all("Pod"), *store.all("ReplicaSet"), *store.all("Deployment")]) == []


def test_who_owns_nothing_goes_at_once() -> None:
    store = Store(workload("Deployment", "web", 0))
    marked: dict[str, Any] = {
        "deletionTimestamp": "2023-11-14T22:13:20Z",
        "finalizers": [FOREGROUND_DELETION],
    }
    web = store.get("Deployment", "web")
    store.put(web.replace(metadata={**web.metadata, **marked}))
    store.settle()
    assert store.all("Deployment") == []
