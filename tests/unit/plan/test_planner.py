"""Planning one change after the other against planning of nothing: both end in equal worlds, in all modes."""

from __future__ import annotations

from typing import Any

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from lab_objects import place

from emulab.cluster.resolve import resolve
from emulab.cluster.store import Store
from emulab.cluster.system import system_objects
from emulab.kinds.core.serviceview import UNPROXIED_LABELS
from emulab.kinds.emulab.clusterview import cluster_of
from emulab.kinds.registry import ENDPOINT_SLICE, INGRESS, INGRESS_CLASS, POD, SERVICE
from emulab.model.objects import Object
from emulab.plan.pods import PodsPlan
from emulab.plan.proxy.flows import FlowSum
from emulab.plan.state import Ruleset, World
from emulab.plan.world import Planner, plan_world
from emulab.servers.dns.config import DnsConfig

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
    return planner.plan(objects, cluster)


def fresh(store: Store) -> World:
    """The world of a store's objects, planned by one who has planned nothing before."""
    return plan_world(*reversed(resolve(store, NOW)))


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
SPECS: dict[str, list[dict[str, Any]]] = {
    "one": [
        {},
        {"ports": [{"port": 82}]},
        {"sessionAffinity": "ClientIP"},
        {"type": "ExternalName", "externalName": "x"},
    ],
    "two": [{}, {"type": "NodePort", "ports": [{"port": 80}, {"port": 81, "name": "more"}]}],
    "near": [{}, {"internalTrafficPolicy": "Local"}],
    "shared": [{}, {"externalIPs": ["192.0.2.9"]}, {"externalIPs": ["192.0.2.7"]}],
    "far": [{}, {"externalIPs": ["192.0.2.9", "192.0.2.10"]}],
    "udp": [
        {"ports": [{"port": 53, "protocol": "UDP"}]},
        {"ports": [{"port": 53}], "externalIPs": ["192.0.2.7"]},
    ],
    "front": [
        {"type": "LoadBalancer"},
        {"type": "LoadBalancer", "externalTrafficPolicy": "Local"},
        {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8", "10.1.0.0/16"]},
    ],
    "bare": [{"clusterIP": "None"}],
}
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("endpoints"), st.sampled_from(NAMES), ENDPOINTS),
        st.sampled_from(sorted(SPECS)).flatmap(
            lambda name: st.tuples(st.just("spec"), st.just(name), st.sampled_from(SPECS[name]))
        ),
        st.tuples(st.just("gone"), st.sampled_from(sorted(SPECS)), st.none()),
        st.tuples(st.just("labels"), st.sampled_from(NAMES), st.sampled_from(["", *UNPROXIED_LABELS])),
        st.tuples(st.just("slice labels"), st.sampled_from(NAMES), st.sampled_from(["", *UNPROXIED_LABELS])),
        st.tuples(st.just("slice gone"), st.sampled_from(NAMES), st.none()),
        st.tuples(st.just("pod"), st.integers(0, 3), st.tuples(st.booleans(), st.booleans())),
        st.tuples(st.just("host port"), st.integers(0, 3), st.sampled_from(["TCP", "UDP"])),
        st.tuples(st.just("pod gone"), st.integers(0, 3), st.none()),
        st.tuples(st.just("class"), st.none(), st.sampled_from(["", "k8s.io/ingress-nginx", "another"])),
        st.tuples(st.just("ingress"), st.sampled_from(["one", "two"]), st.booleans()),
    ),
    min_size=1,
    max_size=8,
)


def change(store: Store, what: str, name: Any, value: Any) -> None:
    """One of all kinds of change."""
    service_key, slice_key = SERVICE.key("default", str(name)), ENDPOINT_SLICE.key("default", f"{name}-x")
    match what:
        case "endpoints":
            store.put(slice_of(name, value, protocol=_protocol(name)))
        case "spec":
            old = store.get(service_key)
            given = {k: old.spec[k] for k in ("clusterIP", "clusterIPs") if k in old.spec} if old else {}
            kept = {} if value.get("type") == "ExternalName" or "clusterIP" in value else given
            store.put(service(name, **{**kept, **value}))
        case "gone":
            store.remove(service_key)
        case "labels":
            if (o := store.get(service_key)) is not None:
                store.put(o.replace(metadata={**o.metadata, "labels": {value: "x"} if value else {}}))
        case "slice labels":
            labels = {value: "x"} if value else {}
            store.put(slice_of(name, [endpoint(1), endpoint(2)], protocol=_protocol(name), labels=labels))
        case "slice gone":
            store.remove(slice_key)
        case "pod":
            ready, ending = value
            place(store, pod(f"p{name}", name, ready=ready, ending=ending))
        case "host port":
            o = pod(f"p{name}", name)
            port = {"containerPort": 8080, "hostPort": 9000 + name, "protocol": value}
            place(store, o.replace(spec={**o.spec, "containers": [{"name": "c", "ports": [port]}]}))
        case "pod gone":
            store.remove(POD.key("default", f"p{name}"))
        case "class":
            store.put(edge_class(value)) if value else store.remove(INGRESS_CLASS.key("", "edge"))
        case "ingress":
            store.put(ingress(name)) if value else store.remove(INGRESS.key("default", f"to-{name}"))


@pytest.mark.parametrize("mode", ["nftables", "iptables", "ipvs", "userspace"])
@examples(15)
@given(st.lists(CHANGES, min_size=1, max_size=4), st.booleans())
def test_any_change_ends_in_the_world_that_is_planned_of_nothing(
    mode: str, turns: list[list[tuple[str, Any, Any]]], alike: bool
) -> None:
    store, planner = store_of(*SELECTING, mode=mode, alike=alike), Planner()
    planned(store, planner)
    for turn in turns:
        for what, name, value in turn:
            change(store, what, name, value)
        assert planned(store, planner) == fresh(store)


def test_nothing_is_planned_again_where_nothing_changed() -> None:
    store, planner = store_of(*SELECTING, pod("p1", 1)), Planner()
    first = planned(store, planner)
    assert planned(store, planner) is first
    store.put(
        Object({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "default"}})
    )
    assert planned(store, planner) is first


def test_one_endpoint_changes_the_rules_and_its_names_alone() -> None:
    """And of the rules a few elements: all else is the very same, so that nobody has to look for what differs."""
    store, planner = store_of(alike=True), Planner()
    first = planned(store, planner)
    store.put(slice_of("one", [endpoint(1), endpoint(2)]))
    second = planned(store, planner)
    dns = {name for name in first.servers if name.startswith("kube-system.coredns-")}
    assert len(dns) == 2
    assert all(
        second.servers[name] is server
        for name, server in first.servers.items()
        if name not in {"kube-proxy", *dns}
    )
    assert second.servers["kube-proxy"] == first.servers["kube-proxy"]
    for name in dns:
        old_config, new_config = first.servers[name].config, second.servers[name].config
        assert isinstance(old_config, DnsConfig) and isinstance(new_config, DnsConfig)
        old_names, new_names = old_config.kubernetes, new_config.kubernetes
        assert old_names and new_names and old_names.services == new_names.services
        differing = {*old_names.slices.items()} ^ {*new_names.slices.items()}
        assert {key.split("/")[1] for key, _ in differing} == {"one"}
    assert second.network.items == first.network.items
    (key,) = {
        (n, k)
        for (n, k), r in second.network.rulesets.items()
        if first.network.rulesets[n, k] is not r and n == "node1"
    }
    old, new = first.network.rulesets[key], second.network.rulesets[key]
    assert isinstance(old, Ruleset) and isinstance(new, Ruleset)
    changed = [
        n for n, c in new.collections.items() if n not in old.collections or c is not old.collections[n]
    ]
    assert sorted(changed) == [
        "cluster-tcp-1",
        "cluster-tcp-2",
        "endpoints-tcp-1",
        "endpoints-tcp-2",
        "hairpin-connections",
    ]


def test_nodes_that_come_to_differ_get_tables_of_their_own() -> None:
    store, planner = store_of(alike=True), Planner()
    tables = planned(store, planner).network.rulesets
    assert tables["node1", "ip kube-proxy"] is tables["node2", "ip kube-proxy"]
    hinted = [endpoint(n, hints={"forZones": [{"name": zone}]}) for n, zone in ((1, "a"), (2, "b"))]
    store.put(slice_of("one", hinted))
    world = planned(store, planner)
    assert world == fresh(store)
    assert (
        world.network.rulesets["node1", "ip kube-proxy"] != world.network.rulesets["node2", "ip kube-proxy"]
    )
    store.put(slice_of("one", [endpoint(1)]))
    assert planned(store, planner) == fresh(store)


def test_a_plan_that_fails_is_nothing_to_go_on_from(monkeypatch: pytest.MonkeyPatch) -> None:
    store, planner = store_of(), Planner()
    planned(store, planner)
    store.put(slice_of("one", [endpoint(3)]))
    with monkeypatch.context() as patch:
        patch.setattr(FlowSum, "exchange", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            planned(store, planner)
    assert planned(store, planner) == fresh(store)


def test_of_services_that_claim_an_address_the_first_has_it() -> None:
    both = [service(n, externalIPs=["192.0.2.11"]) for n in ("first", "last")]
    slices = [slice_of("first", [endpoint(1)]), slice_of("last", [endpoint(1), endpoint(2)])]
    store, planner = store_of(*both, *slices), Planner()
    planned(store, planner)
    for step in (
        lambda: store.put(slice_of("first", [endpoint(3)])),
        lambda: store.put(slice_of("last", [endpoint(3)])),
        lambda: store.remove(SERVICE.key("default", "first")),
        lambda: place(store, both[0]),
    ):
        step()
        assert planned(store, planner) == fresh(store)


def test_udp_flows_that_two_services_have() -> None:
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
    for step in (
        lambda: store.put(slice_of("first", [endpoint(3)], protocol="UDP")),
        lambda: store.put(slice_of("last", [], protocol="UDP")),
        lambda: store.remove(SERVICE.key("default", "last")),
    ):
        step()
        assert planned(store, planner) == fresh(store)


def edge_class(controller: str) -> Object:
    return Object(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IngressClass",
            "metadata": {"name": "edge"},
            "spec": {"controller": controller},
        }
    )


def ingress(name: str) -> Object:
    backend = {"service": {"name": name, "port": {"number": 80}}}
    rule = {"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    return Object(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": f"to-{name}", "namespace": "default"},
            "spec": {"rules": [rule], **({"ingressClassName": "edge"} if name == "two" else {})},
        }
    )


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


def test_of_a_node_more_and_less_no_pod_of_others_is_planned_again(monkeypatch: pytest.MonkeyPatch) -> None:
    store, planner = store_of(*(pod(f"p{n}", n) for n in range(6))), Planner()
    planned(store, planner)
    store.put(pod("early", 0).replace(spec={"nodeName": "node3", "containers": [{"name": "c"}]}))
    made: list[str] = []
    real = PodsPlan._part
    two = store.get(cluster().key)
    assert two is not None
    nodes = [*two.spec["nodes"], {"name": "node3", "zone": "a"}]
    for wanted in (nodes, nodes[:2]):
        store.put(two.replace(spec={**two.spec, "nodes": wanted}))
        with monkeypatch.context() as patch:
            patch.setattr(PodsPlan, "_part", lambda self, pod: made.append(pod.name) or real(self, pod))
            world = planned(store, planner)
        assert world == fresh(store) and ("node3" in world.places) == (wanted is nodes)
    assert not {f"p{n}" for n in range(6)} & {*made}


def test_a_node_that_came_with_its_pods_goes_with_them_in_one_step() -> None:
    """As a change that failed is taken back: nobody deletes those Pods first."""
    store, planner = store_of(*(pod(f"p{n}", n) for n in range(4))), Planner()
    planned(store, planner)
    before = store.objects()
    two = store.get(cluster().key)
    assert two is not None
    store.put(two.replace(spec={**two.spec, "nodes": [*two.spec["nodes"], {"name": "node3", "zone": "a"}]}))
    for name in ("early", "late"):
        at = pod(name, 8)
        status = {**at.status, "podIP": "10.244.3.9", "podIPs": [{"ip": "10.244.3.9"}]}
        place(
            store, at.replace(spec={**at.spec, "nodeName": "node3"}, status=status if name == "late" else {})
        )
    assert "node3" in planned(store, planner).places
    store.revert(before)
    world = planned(store, planner)
    assert world == fresh(store)
    assert "node3" not in str(world.network.namespaces) + str(world.network.items)


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


@pytest.mark.parametrize("mode", ["nftables", "iptables", "ipvs", "userspace"])
def test_services_that_come_together_and_want_the_same_address(mode: str) -> None:
    """One's cluster IP is the other's external address: whoever goes leaves the other what it has."""
    address = "10.96.7.7"
    both = [service("first", clusterIP=address), service("last", externalIPs=[address])]
    store, planner = store_of(mode=mode), Planner()
    planned(store, planner)
    for o in (*both, slice_of("first", [endpoint(1)]), slice_of("last", [endpoint(2)])):
        place(store, o)
    assert planned(store, planner) == fresh(store)
    for one in both:
        store.remove(one.key)
        assert planned(store, planner) == fresh(store)
        place(store, one)
        assert planned(store, planner) == fresh(store)
