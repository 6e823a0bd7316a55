"""Links, addresses and routes of whole worlds: everybody finds the way to everybody, by routes alone."""

from __future__ import annotations

import re
from itertools import permutations

import pytest
from familyworlds import learned
from worlds import Walker, addresses, items, links, world

from emulab.errors import ManifestError
from emulab.kinds.emulab.podnetworks import NETWORKS
from emulab.plan.difference import difference
from emulab.plan.links import Address, Neighbour, Route, TunnelVxlan, Veth, Vxlan
from emulab.plan.state import Namespace, Network, World
from emulab.servers.configuration import to_json

PODS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: web, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: emulab.dev/v1
kind: LoadBalancer
metadata: {name: private-lb}
spec: {network: vpc, address: 10.0.0.100, ports: [80], target: {ingress: true}}
---
apiVersion: emulab.dev/v1
kind: Client
metadata: {name: office}
spec: {network: vpc}
---
apiVersion: emulab.dev/v1
kind: Client
metadata: {name: a-client-with-a-long-name}
spec: {network: internet}
"""


SHARED_MAC = "ee:ee:ee:ee:ee:ee"
"""Calico's: of every node's end of a pod's link."""
EVERY = [(plugin, mode) for plugin, modes in NETWORKS.items() for mode in modes]
"""Every network of pods."""


def cluster(mode: str, nodes: int = 3, plugin: str = "flannel") -> str:
    proxy = ", proxy: {mode: nftables}" if plugin == "kube-router" else ""
    return f"""
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {{name: c}}
spec: {{nodes: {nodes}, network: {{plugin: {plugin}, mode: {mode}, mtu: 1400}}{proxy}}}
"""


@pytest.fixture(scope="module", params=EVERY, ids="-".join)
def built(request: pytest.FixtureRequest) -> World:
    plugin, mode = request.param
    return learned(world(cluster(mode, plugin=plugin), PODS))


def test_everybody_on_the_underlay_reaches_everybody(built: World) -> None:
    walker = Walker(built.network)
    places = [p for p in built.places.values() if p.kind != "pod"]
    assert {p.kind for p in places} == {"client", "dns", "resolver", "router", "balancer", "node"}
    for one, other in permutations(places, 2):
        for address in other.addresses:
            if str(address).startswith("10.") and one.addresses[0] != address:
                path = walker.walk(one.namespace, str(address))
                assert path[-1] == other.namespace, (one.name, other.name, path)
                assert len(path) <= 3, path
            elif not str(address).startswith("10."):
                path = walker.walk(one.namespace, str(address))
                assert path[-1] == other.namespace, (one.name, other.name, path)


def test_pods_reach_each_other_by_their_nodes_alone(built: World) -> None:
    walker = Walker(built.network)
    pods = [p for p in built.places.values() if p.kind == "pod"]
    nodes = {n for n in built.network.namespaces if n.startswith("node")}
    ports = {v.peer_namespace: bool(v.master) for v in items(built.network, Veth)}
    home = {v.peer_namespace: v.namespace for v in items(built.network, Veth) if v.namespace in nodes}
    for one, other in permutations(pods, 2):
        path = walker.walk(one.namespace, str(other.addresses[0]))
        between = dict.fromkeys([home[one.namespace], home[other.namespace]])
        if len(between) == 1 and ports[one.namespace]:  # their bridge is no place on the way
            between = {}
        assert path == [one.namespace, *between, other.namespace]


def test_nodes_reach_every_pod_and_pods_reach_the_world(built: World) -> None:
    walker = Walker(built.network)
    pods = [p for p in built.places.values() if p.kind == "pod"]
    for node in (p for p in built.places.values() if p.kind == "node"):
        for pod in pods:
            assert walker.walk(node.namespace, str(pod.addresses[0]))[-1] == pod.namespace
            assert walker.walk(pod.namespace, str(node.addresses[0]))[-1] == node.namespace
    for pod in pods:
        assert walker.walk(pod.namespace, "198.51.100.54")[-2:] == ["router", "dns"]
        assert walker.walk(pod.namespace, "10.0.0.2")[-1] == "resolver"


def test_gateways_are_on_link(built: World) -> None:
    for route in items(built.network, Route):
        if route.gateway is None:
            continue
        own = [a.address for a in items(built.network, Address, route.namespace) if a.link == route.link]
        near = route.gateway.is_link_local or any(route.gateway in a.network for a in own)
        near |= any(
            (r.link, r.gateway) == (route.link, None) and route.gateway in r.destination
            for r in items(built.network, Route, route.namespace)
        )
        known = any(
            (n.link, n.address) == (route.link, route.gateway)
            for n in items(built.network, Neighbour, route.namespace)
        )
        tunnelled = route.link == "tunl0"  # the other node is asked for by its own address
        assert near or (route.onlink and (known or tunnelled)), route


def test_links_are_named_and_there(built: World) -> None:
    for namespace in built.network.namespaces:
        for item in built.network.items:
            if item.namespace == namespace and isinstance(item, Address | Neighbour | Route):
                if isinstance(item, Route) and item.type == "blackhole":
                    continue
                assert item.link in links(built.network, namespace), item
        assert all(
            re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,14}", name) for name in links(built.network, namespace)
        )
    ends = [
        e for v in items(built.network, Veth) for e in ((v.namespace, v.name), (v.peer_namespace, v.peer))
    ]
    assert len(ends) == len(set(ends))
    macs = [m for v in items(built.network, Veth) for m in (v.mac, v.peer_mac)]
    macs = [m for m in macs if m != SHARED_MAC]
    assert len(macs) == len(set(macs))
    assert all(int(m[:2], 16) & 3 == 2 for m in macs), "locally administered, and no group address"


def test_everything_is_in_a_namespace_that_is_made(built: World) -> None:
    known = built.network.namespaces.keys()
    assert {i.namespace for i in built.network.items} <= known
    assert {n for n, _ in built.network.rulesets} <= known
    assert {p.namespace for p in built.places.values()} <= known
    assert {s.namespace for s in built.servers.values()} - {""} <= known
    for server in built.servers.values():
        assert set(to_json(server.config)["listen"]) == set(server.listen), server.name
        for key, namespace in server.listen.items():
            address = key.split("/")[1]
            own = {"127.0.0.1", *(a.split("/")[0] for a in addresses(built.network, namespace))}
            assert address in own, f"{server.name} listens on {key} in {namespace}"


def test_no_address_is_given_twice(built: World) -> None:
    """But a node's for its pods' router, which each link of its pods may have."""
    found = {(a.namespace, str(a.address.ip)) for a in items(built.network, Address)}
    assert len(found) == len({address for _, address in found})


MTUS = {"vxlan": 1350, "routed": 1400, "ipip": 1380, "bgp": 1400, "wireguard": 1320}


@pytest.mark.parametrize(("plugin", "mode"), EVERY)
def test_mtus(plugin: str, mode: str) -> None:
    net, mtu = world(cluster(mode, plugin=plugin), PODS).network, MTUS[mode]
    by_place = {v.mtu for v in items(net, Veth) if v.peer == "eth0" and v.namespace != "fabric"}
    assert by_place == {mtu}
    assert {v.mtu for v in items(net, Veth, "fabric")} == {1400}
    assert {v.mtu for v in [*items(net, Vxlan), *items(net, TunnelVxlan)]} == (
        {mtu} if mode == "vxlan" else set()
    )


def test_a_world_can_be_planned_twice() -> None:
    assert world(cluster("vxlan"), PODS) == world(cluster("vxlan"), PODS)


def test_one_node_more_leaves_the_others_as_they_were() -> None:
    two, three = (world(cluster("vxlan", n), PODS).network for n in (2, 3))
    change = difference(
        *(Network({k: v for k, v in w.namespaces.items() if "." not in k},
                  frozenset(i for i in w.items if "." not in i.namespace + getattr(i, "peer_namespace", "")
                            and not getattr(i, "link", "").startswith("veth")))
          for w in (two, three))
    )  # fmt: skip
    assert change.make_room == () and change.remove == () and change.remove_namespaces == ()
    assert [n.name for n in change.add_namespaces] == ["node3"]


def test_who_forwards() -> None:
    def sysctl(namespace: Namespace, key: str) -> str | None:
        return dict(namespace.sysctls).get(key)

    names = world(cluster("vxlan"), PODS).network.namespaces
    forwarding = {n for n, ns in names.items() if sysctl(ns, "net/ipv4/ip_forward") == "1"}
    assert forwarding == {"router", "node1", "node2", "node3"}
    assert {sysctl(names[n], "net/ipv4/conf/all/rp_filter") for n in forwarding} == {"0"}
    assert {sysctl(ns, "net/ipv6/conf/default/disable_ipv6") for ns in names.values()} == {"1"}


SAME = """
apiVersion: v1
kind: Service
metadata: {name: web-a, namespace: shop}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: a, namespace: shop-web}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80}]}
"""


def test_balancers_of_two_services_are_two_places() -> None:
    """lb-NAMESPACE-NAME says `lb-shop-web-a` of both."""
    built = world(SAME)
    balancers = [p for p in built.places.values() if p.kind == "balancer" and p.name != "public-lb"]
    assert len(balancers) == 2
    assert {str(p.addresses[0]) for p in balancers} == {"203.0.113.20", "203.0.113.21"}


@pytest.mark.parametrize("name", ["vpc", "internet", "router-vpc", "resolver-vpc", "lo"])
def test_names_that_the_fabric_uses_itself(name: str) -> None:
    """A client may have any name; the ports of the fabric's bridges share one namespace with them."""
    built = world(
        f"apiVersion: emulab.dev/v1\nkind: Client\nmetadata: {{name: {name}}}\nspec: {{network: vpc}}\n"
    )
    ends = [("fabric", "lo")]
    for item in built.network.items:
        if hasattr(item, "mtu"):
            ends.append((item.namespace, item.name))  # type: ignore[union-attr]
        if isinstance(item, Veth):
            ends.append((item.peer_namespace, item.peer))
    assert len(ends) == len(set(ends)), sorted(e for e in ends if ends.count(e) > 1)


def test_no_place_is_called_as_the_fabric_is() -> None:
    with pytest.raises(ManifestError, match=r'"fabric" is already the name of another place of the lab$'):
        world("apiVersion: emulab.dev/v1\nkind: Client\nmetadata: {name: fabric}\nspec: {network: vpc}\n")


def test_an_address_keeps_its_mac_address_from_place_to_place() -> None:
    """So neighbours know the right one of an address that went from one Service's balancer to another's."""

    def balancer(name: str) -> str:
        return (
            f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n"
            "spec: {type: LoadBalancer, ports: [{port: 80}]}\n---\n"
        )

    def mac_of(network: Network, place: str) -> tuple[set[str], str]:
        (link,) = [v for v in items(network, Veth) if v.peer_namespace == place and v.peer == "eth0"]
        return addresses(network, place), link.peer_mac

    one, other = world(balancer("one")).network, world(balancer("other")).network
    assert mac_of(one, "lb-default-one") == mac_of(other, "lb-default-other")
    both = world(balancer("one"), balancer("two")).network
    assert mac_of(both, "lb-default-one")[1] != mac_of(both, "lb-default-two")[1]
