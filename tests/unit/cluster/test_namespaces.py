"""The life of Namespaces: held by a finalizer of their own, emptied at their end, Pods first, and gone then."""

from __future__ import annotations

from typing import Any

import pytest
from controllers_store import workload
from lab_objects import obj, pod

from emulab.cluster.admission.merge import admit
from emulab.cluster.events import Recorder
from emulab.cluster.resolve import resolve
from emulab.cluster.store import Forbidden, Store
from emulab.kinds.registry import CONFIG_MAP, DEPLOYMENT, EVENT, NAMESPACE, POD, SERVICE
from emulab.model.collection import NORMAL, Tell
from emulab.model.keys import Key
from emulab.model.objects import Object

NOW = 1_700_000_000.0
SHOP = NAMESPACE.key("", "shop")
HELD = CONFIG_MAP.key("shop", "held")


def namespace(**fields: Any) -> Object:
    return obj("Namespace", "shop", "", **fields)


def in_shop(o: Object, **metadata: Any) -> Object:
    return o.replace(metadata={**o.metadata, "namespace": "shop", **metadata})


def held(*finalizers: str) -> Object:
    return in_shop(obj("ConfigMap", "held"), **({"finalizers": list(finalizers)} if finalizers else {}))


def lab(*objects: Object) -> Store:
    store = Store()
    for o in (namespace(), *objects):
        admit(store, o)
    return store


def there(store: Store, key: Key) -> Object:
    o = store.get(key)
    assert o is not None
    return o


def kinds(store: Store) -> set[str]:
    return {o.kind for o in store.objects() if o.namespace == "shop"}


def condition(store: Store, type_: str) -> tuple[str, str]:
    found = next(c for c in there(store, SHOP).status["conditions"] if c["type"] == type_)
    return found["status"], found["message"]


def test_a_new_one_is_active_and_held_by_the_namespace_controller() -> None:
    store = lab()
    assert there(store, SHOP).spec == {"finalizers": ["kubernetes"]}
    assert there(store, SHOP).status == {"phase": "Active"}
    assert admit(store, namespace()) == "unchanged"
    assert admit(store, namespace(spec={"finalizers": ["example.com/mine"]})) == "unchanged"
    other = obj("Namespace", "other", "", spec={"finalizers": ["example.com/mine"]})
    admit(store, other)
    assert there(store, other.key).spec == {"finalizers": ["example.com/mine", "kubernetes"]}


def test_it_is_terminating_until_nothing_is_left_in_it() -> None:
    store = lab(held("example.com/x"), in_shop(obj("ConfigMap", "free")))
    store.delete(SHOP)
    marked = there(store, SHOP)
    assert marked.metadata["deletionTimestamp"] and "deletionGracePeriodSeconds" not in marked.metadata
    assert marked.status == {"phase": "Terminating"}
    resolve(store, NOW)
    assert [o.name for o in store.objects().kind(CONFIG_MAP)] == ["held"]
    assert condition(store, "NamespaceContentRemaining") == (
        "True",
        "Some resources are remaining: configmaps. has 1 resource instances",
    )
    assert condition(store, "NamespaceFinalizersRemaining") == (
        "True",
        "Some content in the namespace has finalizers remaining: example.com/x in 1 resource instances",
    )
    assert condition(store, "NamespaceDeletionContentFailure")[0] == "False"
    version = store.version
    resolve(store, NOW + 60)
    assert store.version == version, "nothing is said twice"
    assert admit(store, held()) == "configured"
    resolve(store, NOW)
    assert store.get(SHOP) is None and kinds(store) == set()


def test_one_with_nothing_in_it_goes_at_once() -> None:
    store = lab()
    store.delete(SHOP)
    resolve(store, NOW)
    assert store.get(SHOP) is None


def test_a_finalizer_of_its_metadata_holds_it_too() -> None:
    store = Store()
    admit(store, namespace(metadata={"finalizers": ["example.com/x"]}))
    store.delete(SHOP)
    resolve(store, NOW)
    assert there(store, SHOP).spec == {"finalizers": []}
    admit(store, namespace())
    assert store.get(SHOP) is None


def test_pods_go_first_and_nothing_is_made_in_their_place() -> None:
    store = lab(
        *(in_shop(workload("Deployment", "web", 2)), in_shop(workload("StatefulSet", "db", 1))),
        in_shop(workload("DaemonSet", "agent")),
        in_shop(obj("Service", "web", spec={"selector": {"app": "web"}, "ports": [{"port": 80}]})),
    )
    resolve(store, NOW)
    pods = store.objects().kind(POD, "shop")
    assert len(pods) == 5
    for one in pods:
        store.set_status(one.key, phase="Running")
    store.delete(SHOP)
    resolve(store, NOW)
    assert all(p.metadata.get("deletionTimestamp") for p in store.objects().kind(POD, "shop"))
    assert {"Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Service", "EndpointSlice"} < kinds(store)
    for one in pods[:4]:
        store.remove(one.key)
        resolve(store, NOW)
        assert there(store, DEPLOYMENT.key("shop", "web")) and there(store, SERVICE.key("shop", "web"))
    store.remove(pods[4].key)
    resolve(store, NOW)
    assert store.get(SHOP) is None and kinds(store) == set()


def test_nothing_new_is_created_in_one_that_ends_and_what_is_there_may_change() -> None:
    store = lab(held("example.com/x"))
    store.delete(SHOP)
    for o, resource in (
        (in_shop(pod("late")), "pods"),
        (in_shop(workload("Deployment", "late")), "deployments.apps"),
    ):
        with pytest.raises(Forbidden) as refused:
            admit(store, o)
        assert str(refused.value) == (
            f'{o.position}: {resource} "late" is forbidden: unable to create new content in namespace shop because it'
            " is being terminated"
        )
    assert admit(store, held("example.com/x").replace(data={"a": "b"})) == "configured"
    assert admit(store, pod("elsewhere")) == "created"


def test_events_go_with_it_and_none_is_told_in_one_that_ends() -> None:
    store = lab(held("example.com/x"))
    recorder = Recorder(store)

    def tell(message: str) -> None:
        recorder.tell([Tell(there(store, HELD), NORMAL, "Did", message, "tester")], NOW)

    tell("it did")
    store.delete(SHOP)
    tell("it did")
    tell("it did more")
    (event,) = store.objects().kind(EVENT)
    assert (event.raw["message"], event.raw["count"]) == ("it did", 2)
    resolve(store, NOW)
    assert store.objects().kind(EVENT) == []


def test_finalizers_of_a_spec_are_qualified_names_too() -> None:
    check = NAMESPACE.definition.check
    assert not check(dict(namespace(spec={"finalizers": ["kubernetes", "example.com/x"]}).raw))
    assert check(dict(namespace(spec={"finalizers": ["a b"]}).raw))
    assert check(dict(namespace(spec={"finalizers": "kubernetes"}).raw))
