"""EndpointSlices and garbage collection."""

from __future__ import annotations

from typing import Any

import pytest
from controllers_store import Store, make, names, node, service, template, workload

from emulab.cluster.controllers import reconcile
from emulab.kinds.registry import POD
from emulab.model.collection import Delete
from emulab.model.objects import Object

NODES = (node("node1", "a"), node("node2", "b"))


def web(replicas: int = 2, **spec: Any) -> Store:
    store = Store(*NODES, workload("Deployment", "web", replicas), service("web", **spec))
    store.converge()
    return store


def endpoints(store: Store, name: str = "web") -> list[dict[str, Any]]:
    found = [s for s in store.all("EndpointSlice") if s.labels.get("kubernetes.io/service-name") == name]
    return [dict(e) for s in found for e in s.raw["endpoints"]]


def states(store: Store) -> list[tuple[bool, bool, bool]]:
    """ready, serving, terminating of each endpoint."""
    return [tuple(e["conditions"].values()) for e in endpoints(store)]  # type: ignore[misc]


def running(name: str, ip: str, labels: dict[str, str] | None = None, **spec: Any) -> Object:
    ready = {"type": "Ready", "status": "True"}
    ips = ip.split(",")
    status = {"phase": "Running", "podIP": ips[0], "podIPs": [{"ip": i} for i in ips], "conditions": [ready]}
    spec = {"nodeName": "node1", **template()["spec"], **spec}
    return make("Pod", name, metadata={"labels": labels or {"app": "web"}}, spec=spec, status=status)


def test_a_services_slice() -> None:
    store = web()
    (found,) = store.all("EndpointSlice")
    assert found.name.startswith("web-") and len(found.name) == len("web-") + 5
    assert found.labels == {
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    assert found.metadata["ownerReferences"][0]["uid"] == store.get("Service", "web").metadata["uid"]
    assert found.raw["addressType"] == "IPv4"
    assert found.raw["ports"] == [{"name": "http", "protocol": "TCP", "port": 8080}]
    first, second = sorted(store.pods(), key=lambda pod: pod.name)
    assert [e["addresses"] for e in found.raw["endpoints"]] == [
        [first.status["podIP"]],
        [second.status["podIP"]],
    ]
    assert found.raw["endpoints"][0] == {
        "addresses": [first.status["podIP"]],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "targetRef": {
            "kind": "Pod",
            "namespace": "default",
            "name": first.name,
            "uid": first.metadata["uid"],
        },
        "nodeName": first.spec["nodeName"],
        "zone": {"node1": "a", "node2": "b"}[first.spec["nodeName"]],
    }


@pytest.mark.parametrize(
    ("ready", "ending", "publish", "expected"),
    [
        (True, False, False, (True, True, False)),
        (False, False, False, (False, False, False)),
        (True, True, False, (False, True, True)),
        (False, True, False, (False, False, True)),
        (False, False, True, (True, False, False)),
        (True, True, True, (True, True, True)),
    ],
)
def test_conditions(ready: bool, ending: bool, publish: bool, expected: tuple[bool, bool, bool]) -> None:
    pod = running("p", "10.244.0.5")
    status = {**pod.status, "conditions": [{"type": "Ready", "status": str(ready)}]}
    metadata = {**pod.metadata, **({"deletionTimestamp": "2023-11-14T22:13:20Z"} if ending else {})}
    store = Store(*NODES, pod.replace(status=status, metadata=metadata))
    store.put(service("web", publishNotReadyAddresses=publish))
    store.settle()
    assert states(store) == [expected]


def test_a_pod_that_is_scaled_away_is_terminating_in_the_same_call() -> None:
    store = web()
    store.edit("Deployment", "web", replicas=1)
    store.step()
    assert sorted(states(store)) == [(False, True, True), (True, True, False)]
    store.converge()
    assert states(store) == [(True, True, False)]


@pytest.mark.parametrize("change", [{"podIP": "", "podIPs": []}, {"phase": "Failed"}, {"phase": "Succeeded"}])
def test_pods_without_an_address_or_ended_are_no_endpoints(change: dict[str, Any]) -> None:
    pod = running("p", "10.244.0.5")
    store = Store(*NODES, pod.replace(status={**pod.status, **change}), service("web"))
    store.settle()
    (found,) = store.all("EndpointSlice")
    assert found.raw["endpoints"] == [] and found.raw["ports"] == []


def test_the_empty_slice_becomes_the_first_one() -> None:
    store = Store(*NODES, service("web"))
    store.settle()
    (before,) = store.all("EndpointSlice")
    store.put(running("p", "10.244.0.5"))
    store.settle()
    (after,) = store.all("EndpointSlice")
    assert after.key == before.key and after.metadata["uid"] == before.metadata["uid"]
    assert len(after.raw["endpoints"]) == 1


def test_a_named_port_may_differ_from_pod_to_pod() -> None:
    other = {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 9090}]}]}
    nameless = {"containers": [{"name": "c"}]}
    pods = [
        running("p", "10.244.0.5"),
        running("q", "10.244.0.6", **other),
        running("r", "10.244.0.7", **nameless),
    ]
    store = Store(*NODES, *pods, service("web"))
    store.settle()
    found = {
        tuple(p["port"] for p in s.raw["ports"]): [e["targetRef"]["name"] for e in s.raw["endpoints"]]
        for s in store.all("EndpointSlice")
    }
    assert found == {(8080,): ["p"], (9090,): ["q"], (): ["r"]}
    store.delete(POD.key("default", "q"))
    store.delete(POD.key("default", "r"))
    store.converge()
    assert len(store.all("EndpointSlice")) == 1


def test_a_slice_has_at_most_a_hundred_endpoints() -> None:
    store = Store(*NODES, *(running(f"p{n:03}", f"10.244.1.{n}") for n in range(230)), service("web"))
    store.settle()
    assert [len(s.raw["endpoints"]) for s in store.all("EndpointSlice")] == [100, 100, 30]
    assert len({e["targetRef"]["name"] for e in endpoints(store)}) == 230


def test_families() -> None:
    pod = running("p", "10.244.0.5,fd00::5")
    both = service("both", clusterIPs=["10.96.0.1", "fd01::1"], ports=[{"port": 80}])
    six = service("six", ipFamilies=["IPv6"], ports=[{"port": 80}])
    store = Store(node("n", podCIDRs=["10.244.0.0/24", "fd00::/64"]), pod, both, six, service("web"))
    store.put(service("dual", ipFamilyPolicy="PreferDualStack"))
    store.settle()
    found = sorted(
        (s.labels["kubernetes.io/service-name"], s.raw["addressType"], e["addresses"][0])
        for s in store.all("EndpointSlice")
        for e in s.raw["endpoints"]
    )
    four, sixth = ("IPv4", "10.244.0.5"), ("IPv6", "fd00::5")
    assert found == [
        ("both", *four), ("both", *sixth), ("dual", *four), ("dual", *sixth), ("six", *sixth), ("web", *four),
    ]  # fmt: skip


def test_headless_services_publish_hostnames_of_their_own_subdomain() -> None:
    pods = workload("StatefulSet", "db", 1, serviceName="db")
    store = Store(*NODES, pods, service("db", "db", clusterIP="None"), service("other", "db"))
    store.converge()
    (found,) = [s for s in store.all("EndpointSlice") if s.labels["kubernetes.io/service-name"] == "db"]
    assert found.labels["service.kubernetes.io/headless"] == ""
    assert [e.get("hostname") for e in endpoints(store, "db")] == ["db-0"]
    assert [e.get("hostname") for e in endpoints(store, "other")] == [None]


def test_the_headless_label_of_a_service_is_not_passed_on() -> None:
    """It says what the slice is of (setEndpointSliceLabels in staging/src/k8s.io/endpointslice)."""
    labels = {"service.kubernetes.io/headless": "", "team": "a"}
    store = Store(
        node("n"),
        make(
            "Service",
            "web",
            metadata={"labels": labels},
            spec={"selector": {"app": "web"}, "clusterIP": "10.96.0.5"},
        ),
    )
    store.settle()
    (found,) = store.all("EndpointSlice")
    assert found.labels["team"] == "a" and "service.kubernetes.io/headless" not in found.labels


def test_a_headless_service_needs_no_ports() -> None:
    store = Store(*NODES, running("p", "10.244.0.5"), service("web", clusterIP="None", ports=None))
    store.settle()
    (found,) = store.all("EndpointSlice")
    assert found.raw["ports"] == [] and len(found.raw["endpoints"]) == 1


def test_only_pods_of_all_labels_and_of_the_namespace_are_endpoints() -> None:
    half, whole = {"app": "web"}, {"app": "web", "tier": "front"}
    far = running("far", "10.244.0.7", whole)
    far = far.replace(metadata={**far.metadata, "namespace": "far"})
    store = Store(*NODES, running("half", "10.244.0.5", half), running("whole", "10.244.0.6", whole), far)
    store.put(service("web", selector=whole))
    store.settle()
    assert [e["targetRef"]["name"] for e in endpoints(store)] == ["whole"]


@pytest.mark.parametrize(
    "spec", [{"selector": None}, {"selector": {}}, {"type": "ExternalName", "externalName": "x.y"}]
)
def test_services_without_endpoints_of_ours(spec: dict[str, Any]) -> None:
    store = Store(*NODES, running("p", "10.244.0.5"), service("web", **spec))
    assert store.settle() == 0


def test_slices_written_by_hand_are_left_alone_and_their_names_passed_over() -> None:
    taken = web().all("EndpointSlice")[0].name
    labels = {"kubernetes.io/service-name": "web"}
    hand = make(
        "EndpointSlice", taken, metadata={"labels": labels}, addressType="IPv4", endpoints=[], ports=[]
    )
    store = Store(*NODES, hand, workload("Deployment", "web", 2), service("web"))
    store.converge()
    assert len(store.all("EndpointSlice")) == 2
    assert store.get("EndpointSlice", taken).raw["endpoints"] == []


def test_slices_go_with_their_service_and_come_back_with_its_namesake() -> None:
    store = web()
    key = store.get("Service", "web").key
    old = store.all("EndpointSlice")[0]
    store.delete(key)
    store.put(service("web"))
    store.settle()
    (new,) = store.all("EndpointSlice")
    assert new.metadata["ownerReferences"][0]["uid"] == store.get("Service", "web").metadata["uid"]
    assert new.metadata["uid"] != old.metadata["uid"]
    store.delete(key)
    store.settle()
    assert store.all("EndpointSlice") == []


def test_what_lost_its_owner_goes_in_one_call() -> None:
    store = web()
    store.put(running("bare", "10.244.0.9"))
    store.delete(store.get("Deployment", "web").key)
    assert store.step() and store.all("ReplicaSet") == [] and names(store.pods()) == ["bare"]
    store.settle()
    assert len(store.all("Pod")) == 3  # two are ending
    store.converge()
    assert names(store.all("Pod")) == ["bare"]


def test_what_has_no_owner_goes_also_where_it_is_the_first_of_its_kind() -> None:
    """Whoever looks at all kinds rests, and looks again when there is another one."""
    store = web()
    assert not store.step()  # all controllers rest
    reference = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": "no",
        "uid": "gone",
        "controller": True,
    }
    store.put(make("ConfigMap", "left", metadata={"ownerReferences": [reference]}))
    store.settle()
    assert store.all("ConfigMap") == []


def test_an_owner_is_known_by_uid_and_not_by_name() -> None:
    store = web(1)
    old = store.get("Deployment", "web")
    store.delete(old.key)
    store.put(workload("Deployment", "web", 1))
    before = names(store.pods())
    store.converge()
    (rs,) = store.all("ReplicaSet")
    assert rs.metadata["ownerReferences"][0]["uid"] == store.get("Deployment", "web").metadata["uid"]
    assert names(store.pods()) != before and len(store.pods()) == 1


def test_an_ending_namespace_is_emptied_and_nothing_new_is_made_in_it() -> None:
    store = web()
    gone = make("Namespace", "default", "", metadata={"deletionTimestamp": "2023-11-14T22:13:20Z"})
    store.put(gone)
    store.converge()
    assert {key.kind for key in store.objects} == {"Node", "Namespace"}


def test_nothing_to_do_is_nothing_done() -> None:
    store = web(5)
    assert reconcile(store.snapshot(), store.now + 1000) == []
    assert not [c for calls in store.seen for c in calls if isinstance(c, Delete)]
