"""Endpoints of a Service without a selector become EndpointSlices."""

from __future__ import annotations

from typing import Any

import pytest
from controllers_store import Store, make
from manifest_texts import accepted, refused

from emulab.model.objects import Object

ENDPOINTS = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "db"}}
SUBSET: dict[str, Any] = {
    "addresses": [{"ip": "10.0.0.7", "hostname": "a"}, {"ip": "fd00::7"}],
    "notReadyAddresses": [{"ip": "10.0.0.8"}],
    "ports": [{"port": 5432}],
}


def slices(*objects: Object) -> list[Object]:
    store = Store(*objects)
    store.settle()
    return [o for o in store.objects.values() if o.kind == "EndpointSlice"]


def service(**spec: Any) -> Object:
    return make("Service", "db", spec={"ports": [{"port": 5432}], **spec})


def endpoints(*subsets: dict[str, Any], **metadata: Any) -> Object:
    whole = {"name": "db", "namespace": "default", **metadata}
    return Object({"apiVersion": "v1", "kind": "Endpoints", "metadata": whole, "subsets": list(subsets)})


def test_each_subset_has_a_slice_of_each_family() -> None:
    four, six = slices(service(), endpoints(SUBSET, labels={"team": "x"}))
    assert four.raw["addressType"] == "IPv4" and six.raw["addressType"] == "IPv6"
    assert four.raw["endpoints"] == [
        {"addresses": ["10.0.0.7"], "conditions": {"ready": True}, "hostname": "a"},
        {"addresses": ["10.0.0.8"], "conditions": {"ready": False}},
    ]
    assert four.raw["ports"] == six.raw["ports"] == [{"protocol": "TCP", "port": 5432}]
    assert four.labels == {
        "team": "x",
        "kubernetes.io/service-name": "db",
        "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io",
    }
    (owner,) = four.metadata["ownerReferences"]
    assert (owner["kind"], owner["name"]) == ("Endpoints", "db")


@pytest.mark.parametrize(
    "objects",
    [
        [endpoints(SUBSET)],
        [service(selector={"app": "db"}), endpoints(SUBSET)],
        [service(), endpoints(SUBSET, labels={"endpointslice.kubernetes.io/skip-mirror": "true"})],
        [service(), endpoints(SUBSET, annotations={"control-plane.alpha.kubernetes.io/leader": "{}"})],
    ],
)
def test_what_is_not_mirrored(objects: list[Object]) -> None:
    made = slices(*objects)
    assert not [o for o in made if "mirroring" in o.labels["endpointslice.kubernetes.io/managed-by"]]


def test_slices_follow_their_endpoints() -> None:
    store = Store(service(), endpoints(SUBSET))
    store.settle()
    store.put(endpoints({"addresses": [{"ip": "10.0.0.9"}], "ports": [{"port": 1}]}))
    store.settle()
    (one,) = [o for o in store.objects.values() if o.kind == "EndpointSlice"]
    assert one.raw["endpoints"][0]["addresses"] == ["10.0.0.9"] and one.raw["ports"][0]["port"] == 1
    store.put(service(selector={"app": "db"}))
    store.settle()
    assert not [o for o in store.objects.values() if o.kind == "EndpointSlice" and o.raw["endpoints"]]


@pytest.mark.parametrize(
    ("subset", "problem"),
    [
        ({"ports": [{"port": 1}]}, "subsets[0]: must specify `addresses` or `notReadyAddresses`"),
        ({"addresses": [{"ip": "db"}]}, 'subsets[0].addresses[0].ip: "db" is not an IP address'),
        (
            {"addresses": [{"ip": "127.0.0.1"}]},
            'subsets[0].addresses[0].ip: "127.0.0.1" may not be in the loopback range (127.0.0.0/8, ::1/128)',
        ),
        (
            {"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 1, "name": "a"}, {"port": 2}]},
            "subsets[0].ports[1].name: is required when there are several ports",
        ),
    ],
)
def test_what_they_may_not_say(subset: dict[str, Any], problem: str) -> None:
    assert refused({**ENDPOINTS, "subsets": [subset]}) == [problem]


def test_what_they_may_say() -> None:
    assert accepted({**ENDPOINTS, "subsets": [SUBSET]})
