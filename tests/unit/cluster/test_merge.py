"""Applying an object that is there already."""

from __future__ import annotations

import re
from typing import Any

import pytest
from lab_objects import obj, pod

from emulab.cluster.admission.merge import admit, merge
from emulab.cluster.store import Store
from emulab.errors import UserError
from emulab.kinds.core.podspec import IMAGES, STAND_INS, Container
from emulab.kinds.core.updates import program_runs_yet
from emulab.kinds.networking.ingressview import CLASS_ANNOTATION
from emulab.kinds.registry import INGRESS

SERVER = {
    "uid": "u",
    "creationTimestamp": "t",
    "generation": 4,
    "resourceVersion": "9",
    "ownerReferences": [{}],
}


def service(**spec: Any) -> Any:
    return obj("Service", spec=spec)


def node_ports(o: Any) -> list[int | None]:
    return [port.get("nodePort") for port in o.spec["ports"]]


def test_nothing_there_before() -> None:
    new = obj("Client", namespace="", spec={"network": "vpc"})
    assert merge(None, new) is new


def test_what_the_lab_added_stays_and_what_the_user_took_away_goes() -> None:
    old = obj(
        "ConfigMap",
        metadata={**SERVER, "labels": {"a": "1"}, "annotations": {"x": "1"}},
        data={"k": "1", "l": "2"},
    )
    found = merge(old, obj("ConfigMap", metadata={"labels": {"b": "2"}}, data={"k": "3"}))
    assert found.raw["data"] == {"k": "3"} and found.labels == {"b": "2"} and "spec" not in found.raw
    assert {k: found.metadata[k] for k in SERVER} == SERVER
    assert found.annotations == {}


def test_texts_of_a_secret_are_in_its_data_once_they_are_written() -> None:
    given = obj("Secret", data={"a": "aGk=", "b": "aGk="}, stringData={"b": "ho", "c": "grüß"})
    for old in (None, obj("Secret", metadata=SERVER, data={"gone": ""})):
        found = merge(old, given).raw
        assert found["data"] == {"a": "aGk=", "b": "aG8=", "c": "Z3LDvMOf"} and "stringData" not in found
    assert merge(None, obj("Secret", stringData={})).raw["data"] == {}


def test_status_is_the_labs() -> None:
    old = obj("Client", namespace="", spec={"network": "vpc"}, status={"address": "10.0.0.200"})
    assert merge(old, obj("Client", namespace="", spec={"network": "vpc"})).status == {
        "address": "10.0.0.200"
    }


def test_the_same_again_is_the_same() -> None:
    given = obj("Deployment", spec={"replicas": 2, "selector": {"matchLabels": {"a": "b"}}})
    old = merge(None, given).replace(
        metadata={**given.metadata, **SERVER, "annotations": {"deployment.kubernetes.io/revision": "3"}},
        status={"replicas": 2},
    )
    assert merge(old, given).raw == old.raw


def test_a_scaled_deployment_stays_scaled_unless_the_file_says_otherwise() -> None:
    selector = {"matchLabels": {"a": "b"}}
    old = obj("Deployment", spec={"replicas": 5, "selector": selector})
    assert merge(old, obj("Deployment", spec={"selector": selector})).spec["replicas"] == 5
    assert merge(old, obj("Deployment", spec={"selector": selector, "replicas": 2})).spec["replicas"] == 2


@pytest.mark.parametrize("kind", ["DaemonSet", "Deployment", "ReplicaSet"])
def test_selectors_do_not_change(kind: str) -> None:
    old, new = (obj(kind, spec={"selector": {"matchLabels": {"a": v}}}) for v in "bc")
    with pytest.raises(UserError, match=rf"^f\.yaml:3: {kind}/default/x spec\.selector: can't be changed"):
        merge(old, new)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("serviceName", "bc"),
        ("podManagementPolicy", ("", "Parallel")),
        ("selector", ({"matchLabels": {"a": "b"}}, {"matchLabels": {"a": "c"}})),
        ("volumeClaimTemplates", ([], [{"metadata": {"name": "data"}}])),
    ],
)
def test_what_names_and_orders_the_pods_of_a_stateful_set_does_not_change(field: str, values: Any) -> None:
    old, new = (obj("StatefulSet", spec={field: value} if value else {}) for value in values)
    words = (
        "f.yaml:3: StatefulSet/default/x spec: Forbidden: updates to statefulset spec for fields other than "
        "'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', "
        "'persistentVolumeClaimRetentionPolicy' and "
        f"'minReadySeconds' are forbidden, such as of '{field}'; delete the StatefulSet first"
    )
    with pytest.raises(UserError, match=f"^{re.escape(words)}$"):
        merge(old, new)


def test_a_stateful_sets_defaults_may_be_written_out() -> None:
    old, written = (
        merge(None, obj("StatefulSet", spec={})),
        {"serviceName": "", "podManagementPolicy": "OrderedReady"},
    )
    assert merge(old, obj("StatefulSet", spec=written)).spec == {**old.spec, **written}


def test_a_services_addresses_and_ports_stay() -> None:
    port = {"port": 80, "nodePort": 30080}
    old = service(
        type="NodePort", clusterIP="10.96.0.5", clusterIPs=["10.96.0.5"], ports=[port, {"port": 81}]
    )
    found = merge(
        old, service(type="NodePort", ports=[{"port": 81}, {"port": 80}, {"port": 80, "protocol": "UDP"}])
    )
    assert found.spec["clusterIP"] == "10.96.0.5" and node_ports(found) == [None, 30080, None]
    asked = merge(old, service(type="NodePort", ports=[{"port": 80, "nodePort": 30081}]))
    assert node_ports(asked) == [30081]
    assert node_ports(merge(old, service(type="ClusterIP", ports=[{"port": 80}]))) == [None]


@pytest.mark.parametrize("address", ["10.96.0.5", "None"])
def test_a_service_with_the_address_it_has_is_the_same(address: str) -> None:
    old = merge(None, service(clusterIP=address, clusterIPs=[address], ports=[]))
    for given in ({"clusterIP": address}, {"clusterIPs": [address]}):
        assert merge(old, service(**given, ports=[])).spec == old.spec


@pytest.mark.parametrize(("before", "after"), [("10.96.0.5", "10.96.0.6"), ("None", "10.96.0.5")])
def test_a_services_address_does_not_change(before: str, after: str) -> None:
    old = service(clusterIP=before, clusterIPs=[before], ports=[])
    problem = rf"f\.yaml:3: Service/default/x spec\.clusterIP: can't be changed; it is {before}; delete the"
    for given in ({"clusterIP": after}, {"clusterIPs": [after]}):
        with pytest.raises(UserError, match=problem):
            merge(old, service(**given, ports=[]))


def test_a_headless_service_stays_headless() -> None:
    """The API server gives what isn't said its old value (`patchAllocatedValues`), and None is one."""
    headless = merge(None, service(clusterIP="None", clusterIPs=["None"], ports=[]))
    assert merge(headless, service(ports=[])).spec == headless.spec
    problem = r"f\.yaml:3: Service/default/x spec\.type: a headless .* can't become a NodePort; delete"
    with pytest.raises(UserError, match=problem):
        merge(headless, service(type="NodePort", ports=[]))


def test_a_node_port_stays_with_its_ports_name_where_the_number_changes() -> None:
    ports = [{"name": "web", "port": 80, "nodePort": 30080}, {"name": "dns", "port": 53, "nodePort": 30053}]
    old = service(type="NodePort", ports=ports)
    moved = [{"name": "dns", "port": 5353}, {"name": "web", "port": 80}]
    assert node_ports(merge(old, service(type="NodePort", ports=moved))) == [30053, 30080]
    # Two of them may say the other's name, or ask for the other's number.
    swapped = [{"name": "dns", "port": 80}, {"name": "web", "port": 8080}]
    assert node_ports(merge(old, service(type="NodePort", ports=swapped))) == [30080, None]
    asked = [{"name": "web", "port": 8080}, {"name": "new", "port": 90, "nodePort": 30080}]
    assert node_ports(merge(old, service(type="NodePort", ports=asked))) == [None, 30080]


def test_the_address_type_of_a_slice_does_not_change() -> None:
    old = obj("EndpointSlice", addressType="IPv4", endpoints=[])
    assert merge(old, obj("EndpointSlice", addressType="IPv4", endpoints=[{}])).raw["endpoints"] == [{}]
    problem = r"f\.yaml:3: EndpointSlice/default/x addressType: can't be changed; it is IPv4; delete the"
    with pytest.raises(UserError, match=problem):
        merge(old, obj("EndpointSlice", addressType="IPv6", endpoints=[]))


def test_a_health_check_node_port_stays_for_as_long_as_it_is_needed() -> None:
    spec: dict[str, Any] = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": []}
    old = service(**spec, healthCheckNodePort=30001)
    assert merge(old, service(**spec)).spec["healthCheckNodePort"] == 30001
    assert merge(old, service(**spec, healthCheckNodePort=0)).spec["healthCheckNodePort"] == 30001
    assert merge(old, service(**spec, healthCheckNodePort=30001)).spec["healthCheckNodePort"] == 30001
    with pytest.raises(UserError, match="healthCheckNodePort: is immutable; it is 30001"):
        merge(old, service(**spec, healthCheckNodePort=30002))
    assert "healthCheckNodePort" not in merge(old, service(type="LoadBalancer", ports=[])).spec
    assert "healthCheckNodePort" not in merge(service(type="LoadBalancer"), service(**spec)).spec


def test_a_service_that_becomes_another_kind_loses_its_address() -> None:
    old = service(clusterIP="10.96.0.5", clusterIPs=["10.96.0.5"], ports=[])
    assert "clusterIP" not in merge(old, service(type="ExternalName", externalName="x.test")).spec


def test_a_service_that_is_no_longer_a_load_balancer_forgets_its_balancer() -> None:
    status = {"address": "10.0.0.150", "loadBalancer": {"ingress": [{"ip": "203.0.113.20"}]}}
    old = obj("Service", spec={"type": "LoadBalancer", "clusterIP": "10.96.0.5"}, status=status)
    assert merge(old, service(type="ClusterIP")).status.get("loadBalancer", {}) == {}


def test_a_placed_pod_is_the_same_pod() -> None:
    old = pod(metadata=SERVER, spec={"nodeName": "node1"}, status={"phase": "Running"})
    assert merge(old, pod()).raw == old.raw
    with pytest.raises(
        UserError, match=r"^f\.yaml:3: Pod/default/p spec: Forbidden: pod updates may not change"
    ):
        merge(old, pod(spec={"restartPolicy": "Never"}))


TOLERATION = {"key": "a", "operator": "Exists"}


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ({}, {"containers": [{"name": "c", "image": "j"}]}, ""),
        ({"initContainers": [{"name": "i"}]}, {"initContainers": [{"name": "i", "image": "j"}]}, ""),
        ({}, {"tolerations": [TOLERATION]}, ""),
        ({"tolerations": [TOLERATION]}, {"tolerations": [{"key": "b"}, TOLERATION]}, ""),
        ({}, {"activeDeadlineSeconds": 9}, ""),
        ({"activeDeadlineSeconds": 9}, {"activeDeadlineSeconds": 5}, ""),
        ({"terminationGracePeriodSeconds": -1}, {"terminationGracePeriodSeconds": 1}, ""),
        (
            {"activeDeadlineSeconds": 5},
            {"activeDeadlineSeconds": 9},
            "spec.activeDeadlineSeconds: 9: must be less than or equal to previous value",
        ),
        (
            {"activeDeadlineSeconds": 5},
            {},
            "spec.activeDeadlineSeconds: Forbidden: must not update from a positive integer to nil value",
        ),
        (
            {},
            {"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "i"}]},
            "spec.containers: Forbidden: pod updates may not add or remove containers",
        ),
        (
            {"tolerations": [TOLERATION]},
            {},
            "spec: Forbidden: pod updates may not change fields other than `spec.cont",
        ),
        (
            {},
            {"containers": [{"name": "d", "image": "i"}]},
            "spec: Forbidden: pod updates may not change fields other",
        ),
        (
            {},
            {"hostname": "x"},
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].im",
        ),
    ],
)
def test_what_of_a_pod_changes_while_it_is_there(before: Any, after: Any, why: str) -> None:
    old, new = pod(metadata=SERVER, spec={"nodeName": "node1", **before}), pod(spec=after)
    if why:
        with pytest.raises(
            UserError, match=f"^f.yaml:3: Pod/default/p {re.escape(why)}.*; delete the pod first$"
        ):
            merge(old, new)
    else:
        assert merge(old, new).spec == {**new.spec, "nodeName": "node1"}


def test_what_was_found_out_of_an_image_holds_for_that_image_alone() -> None:
    annotations = {STAND_INS: "c", IMAGES: "{}"}
    waiting = pod(metadata={**SERVER, "annotations": annotations}, spec={})
    assert merge(waiting, pod(spec={})).annotations == annotations
    other = pod(spec={"containers": [{"name": "c", "image": "j"}]})
    assert merge(waiting, other).annotations == {}
    placed = waiting.replace(status={"podIPs": [{"ip": "10.244.1.2"}]})
    assert merge(placed, other).annotations == annotations, "its kubelet tells which image it runs"


@pytest.mark.parametrize(
    ("status", "command", "runs"),
    [
        ({"image": "docker.io/library/old:1", "imageID": "x@sha256:1", "state": {"running": {}}}, [], True),
        ({"image": "old:1", "imageID": "", "state": {"running": {}}}, ["sleep"], True),
        ({"image": "old:1", "imageID": "", "state": {"running": {}}}, [], False),
        ({"image": "docker.io/library/new:latest", "imageID": "x", "state": {"running": {}}}, [], False),
        ({"image": "old:1", "imageID": "x", "state": {"waiting": {}}}, ["sleep"], False),
    ],
)
def test_which_program_of_an_image_before_runs_yet(status: Any, command: list[str], runs: bool) -> None:
    """A stand-in has its place once it has ended, and what never was a program has none."""
    container = {"name": "c", "image": "new", "command": command}
    o = pod(spec={"containers": [container]}, status={"containerStatuses": [{"name": "c", **status}]})
    assert program_runs_yet(o, Container.of(container)) is runs


def ingress(name: str = "i", **spec: Any) -> Any:
    return obj("Ingress", name, spec={"defaultBackend": {"service": {"name": "web"}}, **spec})


def ingress_class(name: str, default: bool) -> Any:
    annotations = {"ingressclass.kubernetes.io/is-default-class": str(default).lower()}
    return obj("IngressClass", name, "", metadata={"annotations": annotations}, spec={"controller": "a/b"})


def class_of(store: Store, name: str = "i") -> Any:
    there = store.get(INGRESS.key("default", name))
    return there.spec.get("ingressClassName") if there else None


def test_an_ingress_without_a_class_gets_the_default_one_when_it_is_made() -> None:
    store = Store()
    admit(store, ingress("before"))
    admit(store, ingress_class("plain", False))
    admit(store, ingress_class("own", True))
    admit(store, ingress())
    admit(store, ingress("named", ingressClassName="plain"))
    annotated = ingress("annotated")
    admit(store, annotated.replace(metadata={**annotated.metadata, "annotations": {CLASS_ANNOTATION: "x"}}))
    found = [class_of(store, name) for name in ("before", "i", "named", "annotated")]
    assert found == [None, "own", "plain", None]
    assert [admit(store, ingress(name)) for name in ("before", "i")] == ["unchanged", "unchanged"]
    assert admit(store, ingress("named")) == "configured" and class_of(store, "named") is None
    admit(store, ingress_class("newer", True))
    assert admit(store, ingress()) == "unchanged" and class_of(store) == "own"


def test_a_pod_that_is_ending_goes_on_ending() -> None:
    ending = {"deletionTimestamp": "2024-01-01T00:00:00Z", "deletionGracePeriodSeconds": 5}
    found = merge(pod(metadata={**SERVER, **ending}), pod())
    assert {k: found.metadata.get(k) for k in ending} == ending


def cluster(**spec: Any) -> Any:
    return obj("Cluster", namespace="", spec=spec)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ({}, {"podCIDR": "10.50.0.0/16"}, "podCIDR"),
        ({"serviceCIDR": "10.50.0.0/16"}, {}, "serviceCIDR"),
        ({"clusterDomain": "a.test"}, {"clusterDomain": "b.test"}, "clusterDomain"),
        ({"network": {"mtu": 1500}}, {"network": {"mtu": 9000}}, r"network\.mtu"),
        ({"network": {"plugin": "flannel"}}, {"network": {"plugin": "ptp"}}, r"network\.plugin"),
        ({"network": {"plugin": "ptp"}}, {}, r"network\.plugin"),
        ({"network": {"cni": "ptp"}}, {"network": {"plugin": "flannel"}}, r"network\.cni"),
    ],
)
def test_what_a_running_cluster_cannot_change(old: Any, new: Any, field: str) -> None:
    with pytest.raises(UserError, match=rf"spec\.{field}: can't be changed in a running lab"):
        merge(cluster(**old), cluster(**new))


def test_what_a_running_cluster_can_change() -> None:
    found = merge(cluster(nodes=2), cluster(nodes=3, network={"mode": "routed"}))
    assert found.spec == {"nodes": 3, "network": {"mode": "routed"}}


def test_a_default_that_is_written_out_is_no_change() -> None:
    found = merge(cluster(nodes=2), cluster(nodes=2, podCIDR="10.244.0.0/16", network={"mtu": 1500}))
    assert found.spec["podCIDR"] == "10.244.0.0/16"


def test_finalizers_of_what_is_being_deleted() -> None:
    old = obj("ConfigMap", metadata={**SERVER, "finalizers": ["a.b/c"], "deletionTimestamp": "t"})
    for fewer in (["a.b/c"], []):
        assert merge(old, obj("ConfigMap", metadata={"finalizers": fewer})).metadata["finalizers"] == fewer
    with pytest.raises(
        UserError, match=r"can be added if the object is being deleted, found new finalizers d/e$"
    ):
        merge(old, obj("ConfigMap", metadata={"finalizers": ["a.b/c", "d/e"]}))
    there = obj("ConfigMap", metadata=SERVER)
    assert merge(there, obj("ConfigMap", metadata={"finalizers": ["d/e"]})).metadata["finalizers"] == ["d/e"]


@pytest.mark.parametrize(
    ("kind", "change", "says"),
    [
        ("ConfigMap", {"data": {"a": "c"}}, "data: field is immutable when `immutable` is set"),
        ("ConfigMap", {"binaryData": {"x": "AA=="}}, "binaryData: field is immutable"),
        ("ConfigMap", {"immutable": False}, "immutable: field is immutable"),
        ("ConfigMap", {"metadata": {"labels": {"a": "b"}}}, ""),
        ("Secret", {"stringData": {"b": "x"}}, "data: field is immutable when `immutable` is set"),
        ("Secret", {"type": "x.y/z"}, "type: can't be changed; it is Opaque; delete the Secret first"),
    ],
)
def test_what_is_immutable_stays(kind: str, change: dict[str, Any], says: str) -> None:
    given: dict[str, Any] = {"data": {"a": "Yg=="}, "immutable": True}
    old, new = obj(kind, **given), obj(kind, **given | change)
    if not says:
        assert merge(old, new).raw["data"] == given["data"]
        return
    with pytest.raises(UserError, match=re.escape(says)):
        merge(old, new)


def test_what_becomes_immutable_may_change_with_it() -> None:
    assert merge(obj("ConfigMap", data={}), obj("ConfigMap", data={"a": "b"}, immutable=True)).raw[
        "immutable"
    ]
