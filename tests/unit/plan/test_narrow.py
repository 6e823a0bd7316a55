"""Following a change of endpoints against planning the world anew: both end in equal worlds."""

from __future__ import annotations

from typing import Any

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from lab_objects import place

from emulab.cluster.controllers.endpointslices import CONTROLLER, MANAGED_BY
from emulab.cluster.resolve import resolve
from emulab.cluster.store import Store
from emulab.cluster.system import system_objects
from emulab.kinds.emulab.clusterview import cluster_of
from emulab.kinds.registry import ENDPOINT_SLICE
from emulab.model.keys import Key
from emulab.model.objects import Object
from emulab.plan import narrow
from emulab.plan.state import World
from emulab.plan.world import Planner, plan_world

NOW = 1_700_000_000.0
NAMES = ("one", "two", "udp", "kept", "near", "far", "bare", "shared", "front")


def service(name: str, **spec: Any) -> Object:
    raw = {"ports": [{"port": 80}], **spec}
    return Object(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": "default"},
            "spec": raw,
        }
    )


def endpoint(number: int, **more: Any) -> dict[str, Any]:
    return {
        "addresses": [f"10.244.{1 + number % 2}.{10 + number}"],
        "nodeName": f"node{1 + number % 2}",
        **more,
    }


def slice_of(
    name: str, endpoints: list[dict[str, Any]], *, protocol: str = "TCP", labels: Any = None
) -> Object:
    return Object(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{name}-x",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": name, **(labels or {})},
            },
            "addressType": "IPv4",
            "ports": [{"port": 8080, "protocol": protocol}],
            "endpoints": endpoints,
        }
    )


def cluster(mode: str = "nftables") -> Object:
    nodes = [{"name": "node1", "zone": "a"}, {"name": "node2", "zone": "b"}]
    spec = {"proxy": {"mode": mode}, "nodes": nodes}
    return Object({"apiVersion": "emulab.dev/v1", "kind": "Cluster", "metadata": {"name": "c"}, "spec": spec})


# One Service of each kind that makes a difference; those in WIDER are known by others than proxies.
SERVICES = [
    service("one"),
    service("two", type="NodePort", ports=[{"port": 80}, {"port": 81, "name": "more"}]),
    service("udp", ports=[{"port": 53, "protocol": "UDP"}], externalIPs=["192.0.2.7"]),
    service("kept", sessionAffinity="ClientIP", type="NodePort"),
    service("near", internalTrafficPolicy="Local"),
    service("far", externalIPs=["192.0.2.9"]),
    service("bare", clusterIP="None"),
    service("shared", externalIPs=["192.0.2.9"]),
    service(
        "front",
        type="LoadBalancer",
        allocateLoadBalancerNodePorts=False,
        loadBalancerSourceRanges=["10.0.0.0/8"],
    ),
]
WIDER = {"near", "bare", "front"}


def store_of(*more: Object, mode: str = "nftables", alike: bool = False) -> Store:
    """All Services; `alike`: those alone for which all nodes need the same table, as long as there are no hints."""
    store = Store()
    store.put(cluster(mode))
    for o in system_objects(cluster_of(store.objects())):
        place(store, o)
    services = [o for o in SERVICES if not alike or o.name not in WIDER]
    for o in (*services, *(slice_of(n, [endpoint(1)], protocol=_protocol(n)) for n in NAMES), *more):
        place(store, o)
    return store


def _protocol(name: str) -> str:
    return "UDP" if name == "udp" else "TCP"


def planned(store: Store, planner: Planner) -> World:
    cluster, objects = resolve(store, NOW)
    store.take_changes()
    return planner.plan(objects, cluster)


def followed(store: Store, planner: Planner) -> World | None:
    return planner.follow(store.take_changes().before, store.get)


ENDPOINTS = st.lists(
    st.builds(
        lambda number, ready, ending, hinted, zone: endpoint(
            number,
            conditions={"ready": ready, "serving": True, "terminating": ending},
            **({"hints": {"forZones": [{"name": zone}]}} if hinted else {}),
        ),
        st.integers(0, 6),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.sampled_from(["a", "b"]),
    ),
    max_size=4,
    unique_by=lambda e: e["addresses"][0],
)
CHANGES = st.lists(
    st.dictionaries(st.sampled_from(NAMES), ENDPOINTS, min_size=1, max_size=3), min_size=1, max_size=5
)


@examples(40)
@given(CHANGES, st.booleans())
def test_following_is_as_good_as_planning(
    changes: list[dict[str, list[dict[str, Any]]]], alike: bool
) -> None:
    store, planner = store_of(alike=alike), Planner()
    last = planned(store, planner)
    for change in changes:
        for name, endpoints in change.items():
            store.put(slice_of(name, endpoints, protocol=_protocol(name)))
        world = followed(store, planner)
        fresh = plan_world(*reversed(resolve(store, NOW)))
        if world is None:
            world = planned(store, planner)
        else:
            assert world.servers is last.servers and world.network.items is last.network.items
        assert world == fresh
        last = world


@pytest.mark.parametrize("name", NAMES)
def test_what_only_proxies_know_is_followed(name: str) -> None:
    store, planner = store_of(), Planner()
    planned(store, planner)
    store.put(slice_of(name, [endpoint(1), endpoint(2)], protocol=_protocol(name)))
    expected = name not in WIDER and name != "shared"  # whose address is the one of "far"
    assert (followed(store, planner) is not None) == expected


def test_udp_flows_that_two_services_have_are_planned_anew() -> None:
    """Their endpoints are told apart nowhere else: the tables have them in maps for other numbers of endpoints."""
    ports = [{"port": 53, "protocol": "UDP"}]
    address = "10.96.7.7"  # one Service's own, and claimed as an external one by the other
    both = [
        service("first", ports=ports, clusterIP=address),
        service("last", ports=ports, externalIPs=[address]),
    ]
    leaving = endpoint(2, conditions={"ready": False, "serving": True})
    slices = [
        slice_of("first", [endpoint(1), leaving], protocol="UDP"),
        slice_of("last", [endpoint(1), endpoint(2)], protocol="UDP"),
    ]
    store, planner = store_of(*both, *slices), Planner()
    planned(store, planner)
    store.put(slice_of("first", [endpoint(3)], protocol="UDP"))
    assert followed(store, planner) is None


def test_the_service_that_has_an_address_is_followed_and_the_other_is_not() -> None:
    both = [service(n, externalIPs=["192.0.2.11"]) for n in ("first", "last")]
    slices = [slice_of("first", [endpoint(1)]), slice_of("last", [endpoint(1), endpoint(2)])]
    store, planner = store_of(*both, *slices), Planner()
    planned(store, planner)
    store.put(slice_of("first", [endpoint(3)]))
    assert followed(store, planner) == plan_world(*reversed(resolve(store, NOW)))
    store.put(slice_of("last", [endpoint(3)]))
    assert followed(store, planner) is None


def test_endpoints_that_come_and_go_again() -> None:
    store, planner = store_of(), Planner()
    first = planned(store, planner)
    for endpoints in ([], [endpoint(1), endpoint(2), endpoint(3)], [endpoint(1)]):
        store.put(slice_of("one", endpoints))
        world = followed(store, planner)
        assert world is not None and world == plan_world(*reversed(resolve(store, NOW)))
    assert world == first


def test_nodes_that_come_to_differ_get_tables_of_their_own() -> None:
    near, far = (
        [endpoint(n, hints={"forZones": [{"name": zone}]}) for n, zone in pairs]
        for pairs in ([(1, "a"), (2, "b")], [(3, "a"), (4, "b")])
    )
    store, planner = store_of(alike=True), Planner()
    planned(store, planner)
    store.put(slice_of("one", near))
    assert followed(store, planner) is None
    planned(store, planner)
    store.put(slice_of("one", far))
    assert followed(store, planner) == plan_world(*reversed(resolve(store, NOW)))


def test_what_is_more_than_endpoints_is_planned_anew() -> None:
    own = slice_of("one", [endpoint(1)])
    owned = own.replace(metadata={**own.metadata, "ownerReferences": [{"uid": "u", "controller": True}]})
    managed = slice_of("one", [endpoint(2)], labels={MANAGED_BY: CONTROLLER})
    other = own.replace(metadata={**own.metadata, "labels": {"kubernetes.io/service-name": "two"}})
    new = own.replace(metadata={**own.metadata, "name": "one-y"})
    for changed in (owned, managed, other, new, service("one", ports=[{"port": 82}])):
        store, planner = store_of(), Planner()
        planned(store, planner)
        place(store, changed)
        assert followed(store, planner) is None
        assert followed(store, planner) is None, "it is for the next plan to go on"
    store, planner = store_of(), Planner()
    planned(store, planner)
    store.remove(ENDPOINT_SLICE.key("default", "one-x"))
    assert followed(store, planner) is None
    planned(store, planner)
    assert followed(store, planner) is None, "nothing changed: whoever asks means something else"


def test_other_modes_are_planned_anew() -> None:
    store, planner = store_of(mode="iptables"), Planner()
    planned(store, planner)
    store.put(slice_of("one", [endpoint(2)]))
    assert followed(store, planner) is None


def test_a_service_that_an_ingress_leads_to_is_planned_anew() -> None:
    rule = {
        "http": {
            "paths": [
                {
                    "path": "/",
                    "pathType": "Prefix",
                    "backend": {"service": {"name": "one", "port": {"number": 80}}},
                }
            ]
        }
    }
    ingress = Object(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": "i", "namespace": "default"},
            "spec": {"rules": [rule]},
        }
    )
    store, planner = store_of(ingress), Planner()
    planned(store, planner)
    store.put(slice_of("one", []))
    assert followed(store, planner) is None


# Pods


def pod(name: str, number: int, *, ready: bool = True, ending: bool = False, **status: Any) -> Object:
    """A Pod of every Service of `SELECTING`, on a node, with an address."""
    metadata = {"name": name, "namespace": "default", "uid": f"uid-{name}", "labels": {"app": "web"}}
    if ending:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    ports = [{"name": "web", "containerPort": 8000 + number % 2}]
    return Object(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": {"nodeName": f"node{1 + number % 2}", "containers": [{"name": "c", "ports": ports}]},
            "status": {
                "phase": "Running",
                "podIP": f"10.244.{1 + number % 2}.{100 + number}",
                "podIPs": [{"ip": f"10.244.{1 + number % 2}.{100 + number}"}],
                "conditions": [{"type": "Ready", "status": str(ready)}],
                **status,
            },
        }
    )


SELECTING = [
    service(f"web-{kind}", selector={"app": "web"}, **spec)
    for kind, spec in {
        "plain": {},
        "named": {"ports": [{"port": 80, "targetPort": "web"}]},
        "udp": {"ports": [{"port": 53, "protocol": "UDP", "targetPort": 8053}]},
        "early": {"publishNotReadyAddresses": True},
        "kept": {"sessionAffinity": "ClientIP"},
        "near": {"internalTrafficPolicy": "Local", "type": "NodePort"},
        "zoned": {"trafficDistribution": "PreferSameZone"},
        "bare": {"clusterIP": "None"},
    }.items()
]


def store_of_pods(*pods: Object, mode: str = "nftables") -> Store:
    store = store_of(*SELECTING, *pods, mode=mode)
    planned(store, Planner())  # the Services get their slices
    return store


def anticipated(store: Store, planner: Planner) -> tuple[list[Object], World] | None:
    return planner.anticipate(store.take_changes().before, store.get)


@examples(20)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(range(5)), st.tuples(st.booleans(), st.booleans()), min_size=1),
        min_size=1,
        max_size=4,
    )
)
def test_rules_are_anticipated_as_they_are_planned_then(
    changes: list[dict[int, tuple[bool, bool]]],
) -> None:
    narrow._MANY, saved = 1, narrow._MANY
    try:
        store, planner = store_of_pods(*(pod(f"p{n}", n) for n in range(5))), Planner()
        planned(store, planner)
        for change in changes:
            for number, (ready, ending) in change.items():
                place(store, pod(f"p{number}", number, ready=ready, ending=ending))
            found = anticipated(store, planner)
            version = {key: o.raw["endpoints"] for key, o in slices(store).items()}
            world = planned(store, planner)
            if found is not None:
                written, quick = found
                assert {**version, **{o.key: o.raw["endpoints"] for o in written}} == {
                    key: o.raw["endpoints"] for key, o in slices(store).items()
                }
                assert quick.network.rulesets == world.network.rulesets
    finally:
        narrow._MANY = saved


def slices(store: Store) -> dict[Key, Object]:
    return {o.key: o for o in store.objects().kind(ENDPOINT_SLICE)}


def test_pods_are_anticipated(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing else that happens to them; nor in modes in which rules can't be exchanged."""
    monkeypatch.setattr(narrow, "_MANY", 1)
    first, second = pod("p1", 1), pod("p2", 2)
    cases = {
        True: (pod("p1", 1, ready=False), pod("p1", 1, ending=True)),
        False: (
            pod("p1", 1, podIP="10.244.2.200", podIPs=[{"ip": "10.244.2.200"}]),
            pod("p1", 1, phase="Succeeded"),
            first.replace(metadata={**first.metadata, "labels": {"app": "other"}}),
            pod("p3", 3),
        ),
    }
    for expected, changes in cases.items():
        for changed in changes:
            store, planner = store_of_pods(first, second), Planner()
            planned(store, planner)
            place(store, changed)
            assert (anticipated(store, planner) is not None) == expected, changed
    store, planner = store_of_pods(first, mode="iptables"), Planner()
    planned(store, planner)
    place(store, pod("p1", 1, ready=False))
    assert anticipated(store, planner) is None


def test_a_small_world_is_planned_whole_at_once() -> None:
    store, planner = store_of_pods(pod("p1", 1)), Planner()
    planned(store, planner)
    place(store, pod("p1", 1, ready=False))
    assert anticipated(store, planner) is None
