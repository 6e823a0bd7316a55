"""The Endpoints that a cluster has of each Service with a selector, made of its slices for who asks."""

from __future__ import annotations

from typing import Any

from controllers_store import Store, make, node, service, workload

from emulab.cluster.endpoints import derived
from emulab.model.collection import Objects
from emulab.model.objects import Object


def of(*objects: Object, namespace: str | None = None) -> dict[str, Any]:
    return {o.name: o.raw for o in derived(Objects(objects), namespace)}


def slice_(
    *addresses: str, port: int = 80, family: str = "IPv4", name: str = "web-1", **conditions: bool
) -> Object:
    endpoints = [
        {"addresses": [a], "conditions": {"ready": True, **conditions}, "nodeName": "n"} for a in addresses
    ]
    return make(
        "EndpointSlice",
        name,
        metadata={"labels": {"kubernetes.io/service-name": "web"}},
        addressType=family,
        endpoints=endpoints,
        ports=[{"name": "http", "port": port, "protocol": "TCP"}],
    )


def test_a_service_has_one_of_the_addresses_of_its_pods() -> None:
    store = Store(node("node1"), workload("Deployment", "web", 2), service("web"), service("idle", "nobody"))
    store.converge()
    found = of(*store.snapshot())
    (subset,) = found["web"]["subsets"]
    assert [a["targetRef"]["kind"] for a in subset["addresses"]] == ["Pod", "Pod"]
    assert subset["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    assert (
        found["web"]["metadata"]["creationTimestamp"]
        == store.get("Service", "web").metadata["creationTimestamp"]
    )
    assert "subsets" not in found["idle"]


def test_who_is_not_ready_stands_apart_and_who_ends_does_not_stand_there() -> None:
    slices = (
        slice_("10.0.0.10", "10.0.0.9"),
        slice_("10.0.0.3", name="web-2", ready=False),
        slice_("10.0.0.4", name="web-3", ready=False, terminating=True),
        slice_("10.0.0.5", name="web-4", port=81),
        slice_("fd00::1", name="web-5", family="IPv6"),
    )
    first, second = of(service("web", ipFamilies=["IPv4", "IPv6"]), *slices)["web"]["subsets"]
    assert [a["ip"] for a in first["addresses"]] == ["10.0.0.9", "10.0.0.10"]
    assert [a["ip"] for a in first["notReadyAddresses"]] == ["10.0.0.3"]
    assert [a["ip"] for a in second["addresses"]] == ["10.0.0.5"] and second["ports"][0]["port"] == 81


def test_what_a_user_wrote_is_a_user_s_and_services_without_a_selector_have_none() -> None:
    assert of(service("web"), slice_("10.0.0.1"), make("Endpoints", "web")) == {}
    assert of(make("Service", "web", spec={"ports": [{"port": 80}]}), slice_("10.0.0.1")) == {}
    assert list(of(make("Service", "kubernetes", spec={"ports": [{"port": 443}]}))) == ["kubernetes"]
    assert of(service("web"), namespace="other") == {}


def test_an_object_has_a_thousand_addresses_at_most() -> None:
    many = [f"10.0.{n // 250}.{n % 250 + 1}" for n in range(1200)]
    found = of(service("web"), slice_(*many[:600]), slice_(*many[600:], name="web-2"))["web"]
    assert len(found["subsets"][0]["addresses"]) == 1000
    assert found["metadata"]["annotations"] == {"endpoints.kubernetes.io/over-capacity": "truncated"}
