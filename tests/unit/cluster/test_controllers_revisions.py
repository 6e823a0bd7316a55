"""ControllerRevisions: what templates StatefulSets and DaemonSets have had."""

from __future__ import annotations

import pytest
from controllers_store import Store, images, names, node, template, workload


@pytest.fixture(params=["StatefulSet", "DaemonSet"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def a_lab(kind: str, **spec: object) -> Store:
    store = Store(node("node1"), node("node2"), workload(kind, "web", 2, **spec))
    store.converge()
    return store


def history(store: Store) -> dict[int, str]:
    """Revision → the image of its template."""
    found = {
        o.raw["revision"]: o.raw["data"]["spec"]["template"]["spec"]["containers"][0]["image"]
        for o in store.all("ControllerRevision")
    }
    return dict(sorted(found.items()))


def roll(store: Store, kind: str, image: str) -> None:
    store.edit(kind, "web", template=template("web", image))
    store.converge()


def test_each_template_is_kept_once_and_the_present_one_is_the_last(kind: str) -> None:
    store = a_lab(kind)
    assert history(store) == {1: "v1"}
    roll(store, kind, "v2")
    assert history(store) == {1: "v1", 2: "v2"}
    roll(store, kind, "v1")
    assert history(store) == {2: "v2", 3: "v1"} and images(store.pods()) == {"v1"}


def test_what_a_revision_is(kind: str) -> None:
    store = a_lab(kind)
    owner, (revision,) = store.get(kind, "web"), store.all("ControllerRevision")
    store.put(owner.replace(metadata={**owner.metadata, "annotations": {"a": "b"}}))
    (reference,) = revision.metadata["ownerReferences"]
    assert (reference["kind"], reference["uid"], reference["controller"]) == (
        kind,
        owner.metadata["uid"],
        True,
    )
    hashed = revision.name.removeprefix("web-")
    label = "controller.kubernetes.io/hash" if kind == "StatefulSet" else "controller-revision-hash"
    assert revision.labels == {"app": "web", label: hashed}
    assert revision.raw["data"] == {"spec": {"template": {**template("web"), "$patch": "replace"}}}
    of_pods = {pod.labels["controller-revision-hash"] for pod in store.pods()}
    assert of_pods == {revision.name if kind == "StatefulSet" else hashed}


def test_no_more_are_kept_than_the_limit_says(kind: str) -> None:
    store = a_lab(kind, revisionHistoryLimit=1)
    for image in ("v2", "v3", "v4"):
        roll(store, kind, image)
    assert history(store) == {3: "v3", 4: "v4"}
    store.edit(kind, "web", revisionHistoryLimit=0)
    store.converge()
    assert history(store) == {4: "v4"}


def test_one_that_pods_have_is_kept_whatever_the_limit() -> None:
    store = a_lab("StatefulSet", revisionHistoryLimit=0, updateStrategy={"type": "OnDelete"})
    roll(store, "StatefulSet", "v2")
    roll(store, "StatefulSet", "v3")
    assert history(store) == {1: "v1", 3: "v3"} and images(store.pods()) == {"v1"}


def test_below_a_partition_pods_are_remade_of_the_revision_that_is_kept() -> None:
    store = a_lab("StatefulSet", updateStrategy={"rollingUpdate": {"partition": 2}})
    roll(store, "StatefulSet", "v2")
    for pod in store.pods():
        store.delete(pod.key)
    store.kubelet()  # now nobody else knows the old template
    store.converge()
    assert names(store.pods()) == ["web-0", "web-1"] and images(store.pods()) == {"v1"}


def test_they_go_with_their_owner(kind: str) -> None:
    store = a_lab(kind)
    store.delete(store.get(kind, "web").key)
    store.converge()
    assert store.all("ControllerRevision") == []


def test_a_changed_cause_comes_to_the_replica_set() -> None:
    store = Store(node("node1"), workload("Deployment", "web"))
    store.converge()
    web, cause = store.get("Deployment", "web"), {"kubernetes.io/change-cause": "why"}
    store.put(web.replace(metadata={**web.metadata, "annotations": {**web.annotations, **cause}}))
    store.converge()
    (rs,) = store.all("ReplicaSet")
    assert cause.items() <= rs.annotations.items()
