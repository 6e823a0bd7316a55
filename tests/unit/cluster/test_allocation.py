"""Addresses: the same for the same manifests, kept once given, and clear words when there is none."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from controllers_store import make
from lab_objects import place
from worlds import raw_service

from emulab.cluster import allocation as at
from emulab.cluster.admission.merge import merge
from emulab.cluster.nodes import node_objects
from emulab.cluster.store import Store
from emulab.errors import UserError
from emulab.kinds.core.serviceview import ingress_ips
from emulab.kinds.emulab.clusterview import Cluster, NodeSpec
from emulab.kinds.registry import CLIENT, LOAD_BALANCER, NODE, POD, SERVICE
from emulab.kinds.underlay import underlay_address, underlay_of
from emulab.model.collection import Objects, Put
from emulab.model.families import IPV4
from emulab.model.objects import Object


def given(*objects: Object, cluster: Cluster | None = None) -> Objects:
    """The objects after addressing has had its say."""
    store = Store()
    for o in objects:
        place(store, o)
    for _ in range(3):
        changes = at.allocate(store.objects(), cluster or Cluster())
        store.apply(changes)
    assert changes == [], "addresses are given once"
    return store.objects()


def cluster_ips(objects: Objects) -> dict[str, str]:
    return {o.name: o.spec["clusterIP"] for o in objects.kind(SERVICE)}


def balancer(name: str, network: str = "vpc", **spec: Any) -> Object:
    spec = {"network": network, "ports": [80], **spec}
    return Object(
        {"apiVersion": "emulab.dev/v1", "kind": "LoadBalancer", "metadata": {"name": name}, "spec": spec}
    )


def client(name: str, network: str = "internet") -> Object:
    return make("Client", name, "", spec={"network": network})


def node(name: str = "node1", cidr: str = "10.244.1.0/24", **metadata: Any) -> Object:
    spec, status = {"podCIDR": cidr, "podCIDRs": [cidr]}, {"address": "10.0.0.11"}
    return make("Node", name, "", metadata=metadata, spec=spec, status=status)


def pod(name: str, **fields: Any) -> Object:
    spec = {"nodeName": "node1", "containers": [{"name": "c"}], **fields.pop("spec", {})}
    return make("Pod", name, spec=spec, **fields)


def pod_ips(objects: Objects) -> dict[str, str]:
    return {o.name: o.status.get("podIP", "") for o in objects.kind(POD)}


# Services

NAMES = [f"svc{i}" for i in range(40)]


def test_cluster_ips_depend_on_the_name_alone() -> None:
    alone = {n: cluster_ips(given(raw_service(n)))[n] for n in NAMES}
    together = cluster_ips(given(*(raw_service(n) for n in NAMES)))
    backwards = cluster_ips(given(*(raw_service(n) for n in reversed(NAMES))))
    assert alone == together == backwards
    assert len(set(alone.values())) == len(NAMES)
    elsewhere = given(raw_service("svc0", "other"))
    assert cluster_ips(elsewhere)["svc0"] != alone["svc0"]


def test_cluster_ips_are_kept_while_others_come_and_go() -> None:
    cluster = Cluster(service_cidrs=(ip_network("10.96.0.0/27"),))
    store = Store()
    seen: dict[str, str] = {}
    for name in NAMES[:25]:
        place(store, raw_service(name))
        store.apply(at.allocate(store.objects(), cluster))
        now = cluster_ips(store.objects())
        assert seen.items() <= now.items()
        seen = now
    assert len(set(seen.values())) == 25
    for name in NAMES[:10]:
        store.remove(SERVICE.key("default", name))
    store.apply(at.allocate(store.objects(), cluster))
    assert cluster_ips(store.objects()) == {n: seen[n] for n in NAMES[10:25]}


def test_a_tiny_range_is_used_up_to_its_end_and_then_there_is_an_error() -> None:
    cluster = Cluster(service_cidrs=(ip_network("10.96.0.0/27"),))
    services = [raw_service(n) for n in NAMES]
    found = cluster_ips(given(*services[:30], cluster=cluster))
    assert set(found.values()) == {str(a) for a in ip_network("10.96.0.0/27").hosts()}
    with pytest.raises(UserError) as caught:
        given(*services[:31], cluster=cluster)
    assert str(caught.value) == "Service/default/svc30: no cluster IP is left in 10.96.0.0/27"


def test_addresses_asked_for_by_number_come_first() -> None:
    wanted = cluster_ips(given(raw_service("late")))["late"]
    found = cluster_ips(given(raw_service("late"), raw_service("asks", clusterIP=wanted)))
    assert found["asks"] == wanted and found["late"] != wanted


def test_the_lower_band_is_left_to_addresses_asked_for_by_number() -> None:
    """KEP-3070: min(max(16, size/16), 256) addresses."""
    for cidr, band in (
        ("10.96.0.0/12", 256),
        ("10.96.0.0/24", 16),
        ("10.96.0.0/20", 256),
        ("10.96.0.0/23", 32),
    ):
        net = ip_network(cidr)
        found = cluster_ips(
            given(*(raw_service(f"{n}x") for n in NAMES), cluster=Cluster(service_cidrs=(net,)))
        )
        offsets = [int(ip_address(a)) - int(net.network_address) for a in found.values()]
        assert min(offsets) >= band and max(offsets) < net.num_addresses - 1, cidr


def test_headless_and_external_name_services_get_none() -> None:
    found = given(
        raw_service("headless", clusterIP="None"),
        raw_service("elsewhere", type="ExternalName", externalName="example.com"),
    )
    headless, elsewhere = found.kind(SERVICE)
    assert headless.spec["clusterIP"] == "None" and "clusterIP" not in elsewhere.spec


def test_node_ports() -> None:
    ports = [{"port": 80}, {"port": 81, "nodePort": 30500}, {"port": 53, "protocol": "UDP"}]
    alone = given(raw_service("a", type="NodePort", ports=ports)).kind(SERVICE)[0]
    crowd = given(
        *(raw_service(n, type="NodePort") for n in NAMES), raw_service("a", type="NodePort", ports=ports)
    )
    numbers = [p["nodePort"] for p in alone.spec["ports"]]
    assert numbers[1] == 30500 and all(30000 <= n <= 32767 for n in numbers) and len(set(numbers)) == 3
    everyone = [p["nodePort"] for o in crowd.kind(SERVICE) for p in o.spec["ports"]]
    assert len(set(everyone)) == len(NAMES) + 3
    assert [p["nodePort"] for p in crowd.get(SERVICE.key("default", "a")).spec["ports"]] == numbers  # type: ignore[union-attr]
    assert "nodePort" not in given(raw_service("c")).kind(SERVICE)[0].spec["ports"][0]


def test_ports_of_one_number_share_a_node_port_when_a_service_is_made() -> None:
    """kubernetes/kubernetes#20092; what comes later gets one of its own, as in `updateNodePorts`."""

    def ports(*given: dict[str, Any]) -> list[int]:
        o = store.get(SERVICE.key("default", "a"))
        kept = {k: o.spec[k] for k in ("clusterIP", "clusterIPs")} if o else {}
        store.put(raw_service("a", type="NodePort", ports=list(given), **kept))
        store.apply(at.allocate(store.objects(), Cluster()))
        done = store.get(SERVICE.key("default", "a"))
        assert done is not None
        return [p["nodePort"] for p in done.spec["ports"]]

    tcp, udp = {"name": "t", "port": 53}, {"name": "u", "port": 53, "protocol": "UDP"}
    store = Store()
    first, second = ports(tcp, udp)
    assert first == second
    store = Store()
    assert ports(tcp, {**udp, "nodePort": 30053}) == [30053, 30053]
    store = Store()
    assert ports({**tcp, "nodePort": 30001}, {**udp, "nodePort": 30002}) == [30001, 30002]
    store = Store()
    (number,) = ports(tcp)
    kept, other = ports({**tcp, "nodePort": number}, udp)
    assert kept == number != other


def test_a_balancer_gets_no_address_of_the_labs_own() -> None:
    for asked, expected in (
        ("10.20.30.40", "10.20.30.40"),
        ("10.244.1.7", "203.0.113.20"),
        ("10.0.0.9", "203.0.113.20"),
    ):
        (o,) = given(raw_service("a", type="LoadBalancer", loadBalancerIP=asked)).kind(SERVICE)
        assert ingress_ips(o) == [expected]


def test_node_ports_asked_for_come_first() -> None:
    (free,) = given(raw_service("a", type="NodePort")).kind(SERVICE)
    number = free.spec["ports"][0]["nodePort"]
    found = given(
        raw_service("a", type="NodePort"),
        raw_service("b", type="NodePort", ports=[{"port": 1, "nodePort": number}]),
    )
    assert [o.spec["ports"][0]["nodePort"] == number for o in found.kind(SERVICE)] == [False, True]


def test_no_node_port_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at, "NODE_PORTS", range(30000, 30002))
    services = [raw_service(n, type="NodePort") for n in NAMES[:3]]
    given(*services[:2])
    with pytest.raises(UserError, match=r"^Service/default/svc2: no node port is left in 30000-30001$"):
        given(*services)


# Balancers and clients


def test_load_balancer_services_get_an_address_in_the_vpc_and_a_public_one() -> None:
    found = given(*(raw_service(n, type="LoadBalancer") for n in NAMES[:3]))
    states = [(o.status["address"], ingress_ips(o)) for o in found.kind(SERVICE)]
    assert states == [(f"10.0.0.{150 + i}", [f"203.0.113.{20 + i}"]) for i in range(3)]


def test_a_load_balancer_ip_that_is_asked_for_is_given() -> None:
    asked = raw_service("asks", type="LoadBalancer", loadBalancerIP="203.0.113.77")
    assert ingress_ips(given(asked).kind(SERVICE)[0]) == ["203.0.113.77"]


def test_a_load_balancer_ip_that_is_asked_for_is_not_given_to_another() -> None:
    """As with cluster IPs: who asks by number comes before who takes any."""
    any_one = raw_service("any", type="LoadBalancer")
    asked = raw_service("asks", type="LoadBalancer", loadBalancerIP="203.0.113.20")
    found = given(any_one, asked)
    assert {o.name: ingress_ips(o) for o in found.kind(SERVICE)} == {
        "any": ["203.0.113.21"],
        "asks": ["203.0.113.20"],
    }


def test_the_ingress_controllers_service_gets_none_of_its_own() -> None:
    internal = raw_service("c", type="LoadBalancer", annotations={"emulab.dev/served-by": "load-balancers"})
    (o,) = given(internal).kind(SERVICE)
    assert "address" not in o.status and ingress_ips(o) == []


def test_balancers() -> None:
    found = given(
        balancer("public-lb", "internet", address="203.0.113.10"),
        balancer("private-lb", address="10.0.0.100"),
        balancer("any"),
        balancer("second", "internet"),
    )
    assert {o.name: (o.status["address"], o.status["vip"]) for o in found.kind(LOAD_BALANCER)} == {
        "public-lb": ("10.0.0.10", "203.0.113.10"),
        "private-lb": ("10.0.0.100", "10.0.0.100"),
        "any": ("10.0.0.150", "10.0.0.150"),
        "second": ("10.0.0.151", "203.0.113.20"),
    }


def test_everybody_has_an_address_to_himself() -> None:
    found = given(
        *(client(f"c{i}") for i in range(60)),
        *(client(f"v{i}", "vpc") for i in range(20)),
        *(balancer(f"b{i}", "internet") for i in range(20)),
        balancer("asks", address="10.0.0.150"),
        *(raw_service(f"s{i}", type="LoadBalancer") for i in range(20)),
    )
    kinds = ("Client", "LoadBalancer", "Service")
    everybody = [o for k in kinds for o in found.kind(k)]
    own = [underlay_address(o) for o in everybody]
    vips = [v for o in everybody for v in (o.status.get("vip"), *ingress_ips(o)) if v]
    assert None not in own and len(set(own)) == len(own) and not {*own} & underlay_of(IPV4).fixed.keys()
    assert len(set(vips)) == len(vips)


def test_a_client_keeps_its_address_when_others_come() -> None:
    store = Store()
    place(store, client("b"))
    store.apply(at.allocate(store.objects(), Cluster()))
    place(store, client("a"))
    store.apply(at.allocate(store.objects(), Cluster()))
    assert {o.name: o.status["address"] for o in store.objects().kind(CLIENT)} == {
        "b": "198.51.100.2",
        "a": "198.51.100.3",
    }


def test_no_room_in_the_vpc() -> None:
    with pytest.raises(UserError, match=r"^Client/v55: no address is left in 10\.0\.0\.0/24$"):
        given(*(client(f"v{i}", "vpc") for i in range(56)))


def test_a_client_that_moves_to_the_other_network_gets_an_address_there() -> None:
    (o,) = given(client("office")).kind(CLIENT)
    (moved,) = given(merge(o, client("office", "vpc"))).kind(CLIENT)
    assert ip_address(moved.status["address"]) in underlay_of(IPV4).vpc


def test_a_balancer_whose_address_is_changed_gets_it() -> None:
    (o,) = given(balancer("private-lb", address="10.0.0.100")).kind(LOAD_BALANCER)
    (moved,) = given(merge(o, balancer("private-lb", address="10.0.0.101"))).kind(LOAD_BALANCER)
    assert (moved.status["address"], moved.status["vip"]) == ("10.0.0.101", "10.0.0.101")


def test_a_larger_underlay_gives_everybody_his_part_of_it() -> None:
    cluster = Cluster(vpcs=(ip_network("172.16.0.0/16"),), nodes=names(*(f"n{i}" for i in range(300))))
    store = Store()
    nodes = nodes_of(store, replace(cluster, pod_cidrs=(ip_network("10.0.0.0/14"),)))
    assert [nodes[n][1] for n in ("n0", "n244", "n245", "n299")] == [
        *("172.16.0.11", "172.16.0.255", "172.16.1.0", "172.16.1.54"),
    ]
    store.put(balancer("b", "internet"))
    store.put(client("office", "vpc"))
    store.apply(at.allocate(store.objects(), cluster))
    found = {o.name: o.status["address"] for k in (LOAD_BALANCER, CLIENT) for o in store.objects().kind(k)}
    assert found == {"b": "172.16.150.0", "office": "172.16.200.0"}


# Nodes


def names(*nodes: str) -> tuple[NodeSpec, ...]:
    return tuple(NodeSpec(n, {}, "") for n in nodes)


def nodes_of(store: Store, cluster: Cluster) -> dict[str, tuple[str, str]]:
    """Each node's pod range and address."""
    store.apply(node_objects(cluster, store.objects()))
    assert node_objects(cluster, store.objects()) == []
    return {o.name: (o.spec["podCIDR"], o.status["address"]) for o in store.objects().kind(NODE)}


def test_a_node_that_runs_is_in_the_zone_that_its_cluster_says() -> None:
    store, label = Store(), "topology.kubernetes.io/zone"
    for specs, zones in [
        (names("n1", "n2"), ["zone-a", "zone-b"]),
        ((NodeSpec("n1", {}, "far"), NodeSpec("n2", {}, "")), ["far", None]),
        ((NodeSpec("n1", {label: "own"}, "far"), NodeSpec("n2", {}, "near")), ["own", "near"]),
        (names("n1", "n2"), ["zone-a", "zone-b"]),
    ]:
        nodes_of(store, Cluster(nodes=specs))
        assert [o.labels.get(label) for o in store.objects().kind(NODE)] == zones


def test_nodes_get_a_range_and_an_address_each() -> None:
    assert nodes_of(Store(), Cluster(nodes=names("node1", "node2", "node3"))) == {
        "node1": ("10.244.1.0/24", "10.0.0.11"),
        "node2": ("10.244.2.0/24", "10.0.0.12"),
        "node3": ("10.244.3.0/24", "10.0.0.13"),
    }


def test_a_pod_cidr_that_just_fits_starts_at_its_first_range() -> None:
    found = nodes_of(Store(), Cluster(nodes=names("a", "b"), pod_cidrs=(ip_network("10.50.0.0/23"),)))
    assert [cidr for cidr, _ in found.values()] == ["10.50.0.0/24", "10.50.1.0/24"]


def test_a_pod_cidr_that_is_too_small() -> None:
    cluster = Cluster(nodes=names("a", "b", "c"), pod_cidrs=(ip_network("10.50.0.0/23"),))
    with pytest.raises(UserError, match=r"spec\.podCIDR: 10\.50\.0\.0/23 has no /24 for each of 3 nodes"):
        nodes_of(Store(), cluster)


@pytest.mark.parametrize(
    ("cidr", "before", "after"),
    [
        ("10.244.0.0/16", ("a", "b"), ("b", "c")),
        ("10.244.0.0/16", ("a", "b", "c"), ("c", "a", "d")),
        ("10.244.0.0/22", ("a", "b", "c"), ("a", "b", "c", "d")),
    ],
)
def test_nodes_that_come_later_get_ranges_that_nobody_has(
    cidr: str, before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    store = Store()
    first = nodes_of(store, Cluster(nodes=names(*before), pod_cidrs=(ip_network(cidr),)))
    second = nodes_of(store, Cluster(nodes=names(*after), pod_cidrs=(ip_network(cidr),)))
    assert {n: second[n] for n in after if n in first} == {n: first[n] for n in after if n in first}
    ranges = [r for r, _ in second.values()]
    assert len(set(ranges)) == len(after), second


def test_a_node_that_goes_takes_its_pods_along() -> None:
    store = Store()
    cluster = Cluster(nodes=names("node1", "node2"))
    nodes_of(store, cluster)
    place(store, pod("here"))
    place(store, pod("there", spec={"nodeName": "node2"}))
    nodes_of(store, Cluster(nodes=names("node1")))
    assert [p.name for p in store.objects().kind(POD)] == ["here"]


# Pods


def test_pods_take_the_next_address_of_their_node() -> None:
    found = given(node(), *(pod(f"p{i}") for i in range(3)))
    assert pod_ips(found) == {f"p{i}": f"10.244.1.{i + 2}" for i in range(3)}
    first = found.kind(POD)[0].status
    assert first["podIPs"] == [{"ip": "10.244.1.2"}] and first["hostIP"] == "10.0.0.11"


def test_a_freed_address_is_not_the_next_one_given() -> None:
    store = Store()
    for o in (node(), pod("p0"), pod("p1")):
        place(store, o)
    store.apply(at.allocate(store.objects(), Cluster()))
    store.remove(POD.key("default", "p1"))
    place(store, pod("p2"))
    store.apply(at.allocate(store.objects(), Cluster()))
    assert pod_ips(store.objects()) == {"p0": "10.244.1.2", "p2": "10.244.1.4"}


def test_nor_is_one_of_the_second_family() -> None:
    """host-local keeps the last address of each range, and so does the lab of each family."""
    store, both = Store(), node()
    place(store, both.replace(spec={"podCIDRs": ["10.244.1.0/24", "fd00:244:0:1::/64"]}))
    seen = []
    for name in ("p0", "p1", "p2"):
        place(store, pod(name))
        store.apply(at.allocate(store.objects(), Cluster()))
        [o] = store.objects().kind(POD)
        seen.append([entry["ip"] for entry in o.status["podIPs"]])
        store.remove(o.key)
    assert seen == [[f"10.244.1.{n}", f"fd00:244:0:1::{n}"] for n in (2, 3, 4)]


def test_the_range_is_used_round_and_round_to_its_last_address() -> None:
    small = "10.244.1.0/29"  # .2 to .6: without the network's, the gateway's and the broadcast address
    store = Store()
    place(store, node(cidr=small))
    seen = []
    for i in range(12):
        place(store, pod(f"p{i}"))
        store.apply(at.allocate(store.objects(), Cluster()))
        seen.append(pod_ips(store.objects())[f"p{i}"][-1])
        store.remove(POD.key("default", f"p{i}"))
    assert "".join(seen) == "234562345623"


def test_a_pod_without_room_says_so_and_is_given_an_address_later() -> None:
    store = Store()
    place(store, node(cidr="10.244.1.0/29"))
    for i in range(6):
        place(store, pod(f"p{i}"))
    store.apply(at.allocate(store.objects(), Cluster()))
    left = store.get(POD.key("default", "p5"))
    assert left is not None and "podIP" not in left.status
    assert (
        left.status["message"] == "failed to set up pod network: no address is left in the pod range of node1"
    )
    assert at.allocate(store.objects(), Cluster()) == []
    store.remove(POD.key("default", "p2"))
    store.apply(at.allocate(store.objects(), Cluster()))
    mended = store.get(POD.key("default", "p5"))
    assert mended is not None and mended.status["podIP"] == "10.244.1.4"
    assert "no address is left" not in mended.status.get("message", ""), "it has one now"


def test_a_pod_whose_whole_name_is_too_long_has_no_sandbox() -> None:
    """pkg/kubelet/util, GetNodenameForKernel: 64 letters are what the kernel takes."""
    store = Store()
    place(store, node(cidr="10.244.1.0/24"))
    for hostname in ("h" * 36, "h" * 37):
        o = pod(hostname)
        fqdn = {"hostname": hostname, "subdomain": "s", "setHostnameAsFQDN": True}
        place(store, o.replace(spec={**o.spec, **fqdn}))
    store.apply(at.allocate(store.objects(), Cluster()))
    assert [n for n, ip in pod_ips(store.objects()).items() if ip] == ["h" * 36]
    left = store.get(POD.key("default", "h" * 37))
    assert left is not None and left.status["message"] == (
        "failed to construct FQDN from pod hostname and cluster domain, FQDN"
        f" {'h' * 37}.s.default.svc.cluster.local is too long (64 is the max, 65 characters requested)"
    )


def test_who_gets_no_address() -> None:
    found = given(
        node(),
        pod("unplaced", spec={"nodeName": ""}),
        pod("elsewhere", spec={"nodeName": "gone"}),
        pod("ending", metadata={"deletionTimestamp": "2024-01-01T00:00:00Z"}),
        pod("ended", status={"phase": "Succeeded"}),
        pod("host", spec={"hostNetwork": True}),
        pod("own"),
    )
    assert pod_ips(found) == {
        "unplaced": "",
        "elsewhere": "",
        "ending": "",
        "ended": "",
        "host": "10.0.0.11",
        "own": "10.244.1.2",
    }


def test_a_pod_gets_an_address_of_each_family() -> None:
    both = node()
    both = both.replace(spec={"podCIDRs": ["10.244.1.0/24", "fd00:1::/64"]})
    (o,) = given(both, pod("p")).kind(POD)
    assert o.status["podIPs"] == [{"ip": "10.244.1.2"}, {"ip": "fd00:1::2"}]


def test_nothing_is_asked_twice() -> None:
    changes = at.allocate(Objects([node(), pod("p"), raw_service("s"), client("c")]), Cluster())
    keys = [c.object.key if isinstance(c, Put) else c.key for c in changes]
    assert len(keys) == len(set(keys)) == len(changes) > 3
