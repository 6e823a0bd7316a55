"""The endpoint of the Service `kubernetes`."""

from __future__ import annotations

from lab_objects import place

from emulab.cluster.resolve import resolve
from emulab.cluster.store import Store
from emulab.cluster.system import system_objects
from emulab.kinds.emulab.clusterview import cluster_of
from emulab.kinds.registry import ENDPOINT_SLICE, SERVICE

NOW = 1_700_000_000.0
SLICE, API = ENDPOINT_SLICE.key("default", "kubernetes"), SERVICE.key("default", "kubernetes")


def lab() -> Store:
    store = Store()
    for o in system_objects(cluster_of(store.objects())):
        place(store, o)
    resolve(store, NOW)
    return store


def test_it_is_the_first_node() -> None:
    store = lab()
    service, endpoints = store.get(API), store.get(SLICE)
    assert service is not None and service.spec["clusterIP"] == "10.96.0.1"
    assert endpoints is not None
    assert endpoints.raw["endpoints"][0]["addresses"] == ["10.0.0.11"]
    assert endpoints.raw["ports"] == [{"name": "https", "protocol": "TCP", "port": 6443}]
    resolve(store, NOW)
    assert store.get(SLICE) is endpoints, "it is written once"


def test_it_goes_with_the_service_and_stays_away_from_a_users() -> None:
    store = lab()
    service = store.get(API)
    assert service is not None
    store.remove(API)
    resolve(store, NOW)
    assert store.get(SLICE) is None
    place(store, service.replace(spec={**service.spec, "selector": {"app": "api"}}))
    resolve(store, NOW)
    assert store.get(SLICE) is None
