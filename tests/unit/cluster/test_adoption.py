"""Adoption: what a selector chooses and nobody controls, and what it chooses no more."""

from __future__ import annotations

from typing import Any

import pytest
from controllers_store import Store, make, names, node, template, workload

from emulab.model.objects import Object

NODES = (node("node1"), node("node2"))


def owner(o: Object) -> str:
    return next((str(r["name"]) for r in o.metadata.get("ownerReferences") or () if r.get("controller")), "")


def orphaned(store: Store, kind: str, child: str) -> list[str]:
    """Deletes the workload `web` without those that it owns; their names."""
    uid = store.get(kind, "web").metadata["uid"]
    store.delete(store.get(kind, "web").key)
    left = [o for o in store.all(child) if any(r["uid"] == uid for r in o.metadata["ownerReferences"])]
    for o in left:
        store.objects[o.key] = o.replace(
            metadata={name: value for name, value in o.metadata.items() if name != "ownerReferences"}
        )
    store.converge()
    return names(left)


@pytest.mark.parametrize(
    ("kind", "child"),
    [
        ("ReplicaSet", "Pod"),
        ("StatefulSet", "Pod"),
        ("DaemonSet", "Pod"),
        ("ReplicationController", "Pod"),
        ("Deployment", "ReplicaSet"),
        ("StatefulSet", "ControllerRevision"),
        ("DaemonSet", "ControllerRevision"),
    ],
)
def test_what_was_left_behind_is_taken_over(kind: str, child: str) -> None:
    spec = {"selector": {"app": "web"}} if kind == "ReplicationController" else {}
    web = workload(kind, "web", 2)
    web = web.replace(spec={**web.spec, **spec})
    store = Store(*NODES, web)
    store.converge()
    left = orphaned(store, kind, child)
    assert names(store.all(child)) == left and {owner(o) for o in store.all(child)} == {""}
    store.put(web)
    store.converge()
    assert names(store.all(child)) == left and {owner(o) for o in store.all(child)} == {"web"}


def test_a_pod_that_has_its_labels_no_more_lives_on_beside_another_one() -> None:
    store = Store(*NODES, workload("Deployment", "web", 1))
    store.converge()
    (pod,) = store.pods()
    store.put(pod.replace(metadata={**pod.metadata, "labels": {"app": "under-test"}}))
    store.converge()
    assert len(store.pods()) == 2 and owner(store.get("Pod", pod.name)) == ""
    store.put(pod.replace(metadata={**store.get("Pod", pod.name).metadata, "labels": pod.labels}))
    store.converge()
    assert len(store.pods()) == 1


def test_who_takes_nothing() -> None:
    stranger = make("Pod", "stranger", metadata={"labels": {"app": "web"}}, spec=template()["spec"])
    ended = make(
        "Pod",
        "ended",
        metadata={"labels": {"app": "web"}},
        spec=template()["spec"],
        status={"phase": "Failed"},
    )
    elsewhere = make("Pod", "far", "other", metadata={"labels": {"app": "web"}}, spec=template()["spec"])
    store = Store(*NODES, stranger, ended, elsewhere, workload("StatefulSet", "web", 1))
    store.converge()
    assert owner(store.get("Pod", "stranger")) == ""  # a StatefulSet takes those of its names alone
    store.put(workload("ReplicaSet", "web", 1))
    store.converge()
    assert owner(store.get("Pod", "stranger")) == "web" and owner(store.get("Pod", "ended")) == ""
    assert owner(store.get("Pod", "far", "other")) == ""


def job(name: str) -> Object:
    spec: dict[str, Any] = {
        "manualSelector": True,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]},
        },
    }
    defaults = {"backoffLimit": 6, "completionMode": "NonIndexed", "parallelism": 1, "completions": 1}
    more = {"podReplacementPolicy": "TerminatingOrFailed", "suspend": False}
    return make("Job", name, spec={**defaults, **more, **spec})


def test_a_job_with_a_selector_of_its_own_goes_on_with_anothers_pods() -> None:
    store = Store(*NODES, job("web"))
    store.converge()
    left = orphaned(store, "Job", "Pod")
    store.put(job("next"))
    store.converge()
    assert names(store.pods()) == left and owner(store.pods()[0]) == "next"
    (pod,) = store.pods()
    assert "batch.kubernetes.io/job-tracking" in pod.metadata["finalizers"]
    store.put(pod.replace(status={**pod.status, "phase": "Succeeded"}))
    store.settle()
    assert {c["type"] for c in store.get("Job", "next").status["conditions"]} >= {"Complete"}
