"""Of objects that are to be deleted some may be refused, which is no reason to keep the others."""

from __future__ import annotations

from lab_objects import obj, place

from emulab.cluster.admission.deletion import Deletion, delete
from emulab.cluster.admission.merge import admit
from emulab.cluster.brought import notes_of_deletion
from emulab.cluster.store import Store
from emulab.kinds.registry import CLUSTER, CONFIG_MAP, NAMESPACE
from emulab.model.keys import Key
from emulab.model.objects import NOWHERE, Object, Position

THERE, MISSING = CONFIG_MAP.key("default", "x"), CONFIG_MAP.key("default", "y")


def test_what_goes_and_what_is_refused() -> None:
    store = Store()
    uid = store.put(obj("ConfigMap")).metadata["uid"]
    outcome = delete(store, [Deletion(MISSING, "f.yaml"), Deletion(THERE, "f.yaml")], ignore_missing=False)
    assert outcome.deleted == [(THERE, uid)] and store.get(THERE) is None
    assert outcome.refused == [("NotFound", 'configmaps "y" not found', "f.yaml")]
    assert delete(store, [Deletion(MISSING)], ignore_missing=True) == ([], [])
    nobodys = Key("example.dev", "Gadget", "", "x")
    assert delete(store, [Deletion(nobodys)], False).refused == [("NotFound", 'Gadget "x" not found', "")]


def test_namespaces_that_no_cluster_can_do_without_stay() -> None:
    store = Store()
    for name in ("default", "kube-system", "kube-public"):  # and it isn't told whether they are there
        key = NAMESPACE.key("", name)
        if name != "kube-public":
            admit(store, obj("Namespace", name, ""))
        message = f'namespaces "{name}" is forbidden: this namespace may not be deleted'
        for ignore_missing in (False, True):
            assert delete(store, [Deletion(key)], ignore_missing) == ([], [("Forbidden", message, "")])
    assert [bool(o.metadata.get("deletionTimestamp")) for o in store.objects().kind(NAMESPACE)] == [
        False,
        False,
    ]


def test_a_namespace_that_is_ending_may_be_deleted_again() -> None:
    store = Store()
    admit(store, obj("Namespace", "shop", ""))
    asked = [Deletion(NAMESPACE.key("", "shop"))]
    first, second = (delete(store, asked, False) for _ in range(2))
    assert first == second and len(first.deleted) == 1


def test_the_cluster_that_a_lab_stands_on_stays() -> None:
    store = Store()
    place(store, obj("Cluster", "c", "", spec={"podCIDR": "10.8.0.0/16"}))
    (refused,) = delete(store, [Deletion(CLUSTER.key("", "c"))], False).refused
    assert refused == (
        "Forbidden",
        "Cluster/c: spec.podCIDR can't be changed in a running lab, and would be the default's without it",
        "",
    )


def controller(name: str = "mine", position: Position | None = None) -> Object:
    image = "registry.k8s.io/ingress-nginx/controller:v1.11.0"
    spec = {"template": {"spec": {"containers": [{"name": "controller", "image": image}]}}}
    o = obj("Deployment", name, "ingress-nginx", spec=spec)
    return o if position is None else Object(o.raw, position)


def test_what_the_end_of_an_ingress_controller_means() -> None:
    store = Store()
    own = store.put(controller("ingress-nginx-controller", NOWHERE))
    comes_back = "that comes back when a Cluster is applied, or another one of yours"
    assert notes_of_deletion(store.objects(), [own.key, THERE]) == [
        f"Deployment/ingress-nginx-controller was the lab's own ingress controller: {comes_back}"
    ]
    store.delete(own.key)
    mine = store.put(controller())
    assert notes_of_deletion(store.objects(), [mine.key]) == [
        f"Deployment/mine was the ingress controller for which the lab's own stands aside: {comes_back}"
    ]
    assert notes_of_deletion(store.objects(), [THERE]) == []
    refused = delete(store, [Deletion(own.key)], False).refused
    assert refused == [
        (
            "NotFound",
            'deployments.apps "ingress-nginx-controller" not found: the lab\'s own ingress controller stands aside for '
            "Deployment/mine",
            "",
        )
    ]
