"""What a Service loses when its type changes in what `get` has shown."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest

from emulab.cluster.admission.loader import load
from emulab.errors import ManifestError
from emulab.kinds.core.serviceupdate import updated
from emulab.model.collection import Objects
from emulab.model.objects import Object
from emulab.model.sources import Source

BALANCED: dict[str, Any] = {
    "type": "LoadBalancer",
    "clusterIP": "10.96.0.7",
    "clusterIPs": ["10.96.0.7"],
    "ipFamilies": ["IPv4"],
    "ipFamilyPolicy": "SingleStack",
    "externalTrafficPolicy": "Local",
    "healthCheckNodePort": 30100,
    "allocateLoadBalancerNodePorts": True,
    "loadBalancerClass": "emulab.dev/nat",
    "sessionAffinity": "ClientIP",
    "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}},
    "ports": [{"name": "a", "port": 80, "nodePort": 30001}, {"name": "b", "port": 81, "nodePort": 30002}],
}
ADDRESS = {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"}
OF_BALANCERS = {"healthCheckNodePort", "allocateLoadBalancerNodePorts", "loadBalancerClass"}


def service(spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec}


def lost(changes: dict[str, Any], old: dict[str, Any] = BALANCED) -> set[str]:
    """The fields that go, and `nodePort` where each port loses its own."""
    spec = {**deepcopy(old), **changes}
    found = updated(service(spec), Object(service(old)))["spec"]
    node_ports = {port.get("nodePort") for port in spec["ports"]} - {None}
    ports = bool(node_ports) and not any("nodePort" in port for port in found["ports"])
    return set(spec) - set(found) | ({"nodePort"} if ports else set())


@pytest.mark.parametrize(
    ("changes", "gone"),
    [
        ({}, set()),
        ({"type": "NodePort"}, OF_BALANCERS),
        ({"type": "ClusterIP"}, OF_BALANCERS | {"externalTrafficPolicy", "nodePort"}),
        ({"type": "ClusterIP", "externalIPs": ["192.0.2.1"]}, OF_BALANCERS | {"nodePort"}),
        ({"type": "ExternalName"}, OF_BALANCERS | ADDRESS | {"externalTrafficPolicy", "nodePort"}),
        ({"externalTrafficPolicy": "Cluster"}, {"healthCheckNodePort"}),
        ({"sessionAffinity": "None"}, {"sessionAffinityConfig"}),
    ],
)
def test_what_the_new_type_has_not_goes(changes: dict[str, Any], gone: set[str]) -> None:
    assert lost(changes) == gone


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"clusterIP": "10.96.0.8", "type": "ExternalName"}, {"clusterIP", "clusterIPs"}),
        ({"loadBalancerClass": "emulab.dev/proxy", "type": "ClusterIP"}, {"loadBalancerClass"}),
        ({"externalTrafficPolicy": "Cluster", "type": "ClusterIP"}, {"externalTrafficPolicy"}),
        ({"healthCheckNodePort": 30101, "type": "ClusterIP"}, {"healthCheckNodePort"}),
        ({"ports": [{"port": 80, "nodePort": 30003}], "type": "ClusterIP"}, {"nodePort"}),
    ],
)
def test_what_was_changed_as_well_stays_and_is_refused(changes: dict[str, Any], kept: set[str]) -> None:
    assert not lost(changes) & kept
    with pytest.raises(ManifestError, match=r"may (not|only) be set"):
        loaded({**BALANCED, **changes}, Objects([there(BALANCED)]))


def test_a_policy_by_default_is_the_same_when_it_is_written() -> None:
    old = {field: value for field, value in BALANCED.items() if field != "externalTrafficPolicy"}
    assert "externalTrafficPolicy" in lost({"type": "ClusterIP", "externalTrafficPolicy": "Cluster"}, old)


@pytest.mark.parametrize("spec", [None, [], {"type": 3, "ports": 4}, {"type": "ClusterIP", "ports": [1, {}]}])
def test_what_is_no_service_is_left_to_the_check(spec: Any) -> None:
    given = service(spec)
    assert updated(given, Object(service(BALANCED))) == given


def there(spec: dict[str, Any]) -> Object:
    made = service(spec)
    return Object({**made, "metadata": {"name": "s", "namespace": "default"}})


def loaded(spec: dict[str, Any], known: Objects) -> Object:
    return load([Source("s.yaml", json.dumps(service(spec)))], known=known).objects[0]


def test_only_a_service_that_is_there_loses_anything() -> None:
    edited = {**BALANCED, "type": "ClusterIP"}
    assert "loadBalancerClass" not in loaded(edited, Objects([there(BALANCED)])).spec
    elsewhere = Object({**service(BALANCED), "metadata": {"name": "s", "namespace": "other"}})
    for known in (Objects(), Objects([elsewhere])):
        with pytest.raises(ManifestError, match="loadBalancerClass: may not be set when type is ClusterIP"):
            loaded(edited, known)


def test_a_new_service_is_told_that_nothing_needs_its_affinitys_times() -> None:
    spec = {"ports": [{"port": 80}], "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}}
    told = load([Source("s.yaml", json.dumps(service(spec)))]).warnings
    assert [line for line in told if "spec.sessionAffinityConfig: has no effect" in line]
