"""Calico's blocks of addresses: which a node has, who gives them, and that one more disturbs nobody."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from itertools import islice

import pytest
from lab_objects import obj
from worlds import items, plan, world

from emulab.cluster.allocation import pod_range
from emulab.cluster.podblocks import PodBlocks
from emulab.kinds.emulab.clusterview import Cluster, NodeSpec
from emulab.kinds.emulab.podnetworks import BLOCKS as TAKEN
from emulab.kinds.emulab.podnetworks import BLOCKS_OF, block_of, blocks_of_node, range_in
from emulab.kinds.registry import NODE
from emulab.model.collection import Objects
from emulab.model.families import IPV4
from emulab.model.objects import Object
from emulab.plan.cni.blocks import blocks_at, borrowed_at
from emulab.plan.cni.calico import link_name
from emulab.plan.cni.plugin import Node
from emulab.plan.difference import difference
from emulab.plan.kept import PlanSource
from emulab.plan.links import Address, Route
from emulab.plan.owners import owners
from emulab.plan.state import Mesh, Ruleset, World
from emulab.servers.bgp.config import BgpConfig

NODES = {"node1", "node2"}
BLOCKS = ["10.244.1.0/26", "10.244.1.64/26"]
SIZES = BLOCKS_OF["calico"]


def built(pods: int) -> World:
    return world(
        f"""
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {{name: c}}
spec: {{network: {{plugin: calico}}, ingress: {{replicas: 0}}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {pods}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec: {{nodeName: node1, containers: [{{name: c, image: web}}]}}
"""
    )


@pytest.mark.parametrize(("pods", "blocks"), [(1, 1), (66, 2)])
def test_a_node_has_as_many_blocks_as_its_pods_need(pods: int, blocks: int) -> None:
    net = built(pods).network
    own = [str(r.destination) for r in items(net, Route, "node1") if r.type == "blackhole"]
    others = [r for r in items(net, Route, "node2") if r.link == "vxlan.calico"]
    assert own == BLOCKS[:blocks] == [str(r.destination) for r in others]
    assert {(str(r.gateway), r.onlink) for r in others} == {("10.244.1.0", True)}
    given = {
        str(a.address) for a in items(net, Address) if a.link == "eth0" and "10.244.1." in str(a.address)
    }
    assert "10.244.1.0/32" not in given and {"10.244.1.1/32"} <= given
    assert ("10.244.1.64/32" in given) == (blocks == 2), "all of a further block's addresses are pods'"


def test_one_block_more_leaves_the_ways_that_there_are() -> None:
    one, two = (built(n).network for n in (1, 66))
    before, after = (net.rulesets["node2", "mesh-ip"] for net in (one, two))
    assert isinstance(before, Mesh) and isinstance(after, Mesh)
    assert before.ways.items() <= after.ways.items()
    assert len([*after.to_others()]) == 2, "none to itself"
    change = difference(one, two)
    assert not [i for i in (*change.make_room, *change.remove) if isinstance(i, Route)]


SMALL = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: c}
spec:
  podCIDR: 10.244.0.0/25,fd00:244::/121
  serviceCIDR: 10.96.0.0/16,fd00:96::/112
  network: {plugin: calico, mode: MODE}
  ingress: {replicas: 0}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 65
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {nodeName: node1, containers: [{name: c, image: web}]}
"""


def test_where_no_block_is_left_addresses_are_borrowed() -> None:
    """A pool of two blocks for two nodes: 63 pods have addresses of the first one, of which one is the tunnel's."""
    net = world(SMALL.replace("MODE", "vxlan")).network
    for device, block, mine in (
        ("vxlan.calico", "10.244.0.64/26", ["10.244.0.66/32", "10.244.0.67/32", "10.244.0.68/32"]),
        ("vxlan-v6.calico", "fd00:244::40/122", ["fd00:244::42/128", "fd00:244::43/128", "fd00:244::44/128"]),
    ):
        from_second = [r for r in items(net, Route, "node2") if r.link == device]
        first = block_of(SIZES, ip_network(block).network_address - 64)
        assert {str(r.destination) for r in from_second} == {str(first), *mine}
        assert {str(r.gateway) for r in from_second} == {str(first.network_address)}
        assert [str(r.destination) for r in items(net, Route, "node1") if r.link == device] == [block]


WITHOUT_PORTS = """
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  allocateLoadBalancerNodePorts: false
  selector: {app: web}
  ports: [{port: 80}]
"""


def test_who_sends_to_pods_from_outside_knows_where_addresses_are() -> None:
    """A balancer, and for addresses that hold everywhere the router."""
    text = (SMALL + WITHOUT_PORTS).replace("MODE", "vxlan").replace("fd00:244::", "2001:db8:244::")
    net = world(text.replace("fd00:96::", "2001:db8:96::")).network
    (place,) = {r.namespace for r in items(net, Route) if str(r.destination) == "10.244.0.66/32"} - NODES
    for namespace, start, of_first, of_second in (
        (place, "10.244.0.", {"0/26", "66/32", "67/32", "68/32"}, {"64/26"}),
        ("router", "2001:db8:244::", {"/122", "42/128", "43/128", "44/128"}, {"40/122"}),
    ):
        ways: dict[str, set[str]] = {}
        for route in items(net, Route, namespace):
            if str(route.destination).startswith(start):
                ways.setdefault(str(route.gateway), set()).add(str(route.destination).removeprefix(start))
        assert [ways[node] for node in sorted(ways)] == [of_first, of_second]


FAULT = "\n---\napiVersion: emulab.dev/v1\nkind: Fault\nmetadata: {name: f}\n"


@pytest.mark.parametrize("name", ["dns-blocked", "dns-race", "snat-exhausted", "hairpin-refused"])
def test_faults_of_a_node_hold_for_pods_with_addresses_that_they_borrowed(name: str) -> None:
    put = f"{FAULT}spec: {{fault: {name}, target: node1}}"
    for family, borrowed, other in (
        ("ip", "10.244.0.66", "10.244.0.64"),
        ("ip6", "fd00:244::42", "fd00:244::40"),
    ):
        built = world(SMALL.replace("MODE", "vxlan") + put)
        table = built.network.rulesets["node1", f"{family} faults"]
        assert isinstance(table, Ruleset)
        judged = {key for c in table.collections.values() for key in c.elements}
        assert judged & {borrowed, f"{borrowed} . {borrowed}"} and len(judged) == 66
        assert not any(key.startswith(other) for key in judged), "which is the other node's"


def test_pods_search_more_whatever_addresses_they_have() -> None:
    put = f"{FAULT}spec: {{fault: search-storm, target: node1}}"
    places = world(SMALL.replace("MODE", "vxlan") + put).places.values()
    pods = [p for p in places if p.name.startswith("default.web-")]
    assert len(pods) == 65 and all("region1.internal" in p.resolv_conf for p in pods)


def test_the_node_of_an_address_that_nobody_has_is_by_its_blocks() -> None:
    objects, built = plan(SMALL.replace("MODE", "vxlan"))
    asked = {("pods", "10.244.0.65", 0): "node2", ("pods", "fd00:244::5", 0): "node1"}
    assert {q: owner.name for q, owner in owners(objects, built, asked).items()} == asked
    roomy = SMALL.replace("/25", "/24").replace("/121", "/120").replace("MODE", "vxlan")
    objects, built = plan(roomy)
    (node,) = (o for o in objects.kind(NODE) if o.name == "node1")
    *_, last = (block for block in blocks_of_node(SIZES, node) if block.version == 4)
    assert not last.subnet_of(ip_network(node.spec["podCIDRs"][0]))
    question = ("pods", str(last[-1]), 0)
    assert owners(objects, built, [question])[question].name == "node1"


def test_an_address_stays_reachable_when_whose_block_it_is_of_has_gone() -> None:
    """The pods of node1 are gone with it, and so are its blocks; what node2 had borrowed is a way of its own."""
    nodes = [Node("node2", (ip_address("10.0.0.2"),), (ip_network("10.244.0.64/26"),))]
    pod = obj("Pod", "web", spec={"nodeName": "node2"}, status={"podIPs": [{"ip": "10.244.0.5"}]})
    node = obj("Node", "node2", spec={"podCIDRs": ["10.244.0.64/26"]})
    source = PlanSource.of(Objects([node, pod]))
    blocks = blocks_at(source, SIZES, nodes, IPV4)
    assert blocks == ((ip_network("10.244.0.64/26"),),)
    assert borrowed_at(source, SIZES, nodes, blocks, IPV4) == (("node2", ip_address("10.244.0.5")),)


def test_who_borrows_tells_it() -> None:
    config = world(SMALL.replace("MODE", "bgp")).servers["node1/bgp"].config
    assert isinstance(config, BgpConfig)
    assert config.blocks == ("10.244.0.0/26", "fd00:244::/122")
    assert config.pools == ("10.244.0.0/25", "fd00:244::/121"), "single addresses of which are told, too"


def test_blocks_are_taken_in_turn() -> None:
    def node(name: str, cidr: str, taken: str = "") -> Object:
        return obj("Node", name, spec={"podCIDRs": [cidr]}, metadata={"annotations": {TAKEN: taken}})

    nodes = {"a": node("a", "10.244.0.0/26"), "b": node("b", "10.244.0.64/26", "10.244.0.192/26")}
    blocks = PodBlocks(SIZES, [ip_network("10.244.0.0/24")], nodes)
    assert [(str(net), low, size) for net, low, size in blocks.parts("a", 4)] == [
        ("10.244.0.0/26", 1, 63),
        ("10.244.0.128/26", 0, 64),
        ("10.244.0.64/26", 1, 63),
        ("10.244.0.192/26", 0, 64),
    ]
    assert (blocks.taken("a"), blocks.taken("b")) == ("10.244.0.128/26", "10.244.0.192/26")
    assert range_in(ip_network("10.244.1.0/24")) == (ip_network("10.244.1.0/24"), 2, 253)


def test_free_blocks_are_found_behind_many_that_somebody_has() -> None:
    many = [str(net) for net in ip_network("10.244.0.0/15").subnets(new_prefix=26)][:1500]
    first, *more = many
    node = obj("Node", "a", spec={"podCIDRs": [first]}, metadata={"annotations": {TAKEN: ",".join(more)}})
    blocks = PodBlocks(SIZES, [ip_network("10.244.0.0/15")], {"a": node})
    parts = [str(net) for net, _, _ in islice(blocks.parts("a", 4), 1501)]
    assert parts[:-1] == many and parts[-1] == "10.245.119.0/26"


def test_a_new_node_has_no_block_of_whose_first_address_a_pod_is() -> None:
    """It is the node's end of the tunnel, and a pod may have borrowed it of a node that has gone since."""
    nodes = tuple(NodeSpec(name, {}, "") for name in ("a", "b"))
    cluster = Cluster(pod_cidrs=(ip_network("10.244.0.0/25"),), network_plugin="calico", nodes=nodes)
    wide = replace(cluster, pod_cidrs=(ip_network("10.244.0.0/16"),))
    assert pod_range(cluster, 0, (), {ip_address("10.244.0.5")}) == (ip_network("10.244.0.0/26"),)
    assert pod_range(cluster, 0, (), {ip_address("10.244.0.0")}) == (ip_network("10.244.0.64/26"),)
    assert pod_range(wide, 0, (), {ip_address("10.244.1.0")}) == (ip_network("10.244.0.0/24"),)


def test_links_have_calicos_names() -> None:
    """The first eleven digits of `printf default.web-0 | sha1sum`."""
    assert link_name("default.web-0~0123abcd") == "cali0d7763386da"
