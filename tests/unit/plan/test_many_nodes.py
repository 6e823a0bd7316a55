"""A cluster of a thousand nodes is planned, and compared with the one before, at a cost that goes with its nodes."""

from __future__ import annotations

import time
from ipaddress import ip_network

import pytest
from worlds import items, plan

from emulab.kinds.emulab.clusterview import cluster_of
from emulab.kinds.registry import NODE
from emulab.plan.difference import difference
from emulab.plan.links import ForwardingEntry, Route
from emulab.plan.mesh import expanded
from emulab.plan.state import Mesh, Network
from emulab.plan.world import plan_world

NODES = 1000
PODS = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {containers: [{name: c, image: agent, ports: [{containerPort: 8080}]}]}
"""


def cluster(mode: str, nodes: int = NODES) -> str:
    network = f"{{mode: {mode}, underlay: 172.16.0.0/16}}"
    spec = f"{{nodes: {nodes}, podCIDR: 10.240.0.0/12, network: {network}}}"
    return f"apiVersion: emulab.dev/v1\nkind: Cluster\nmetadata: {{name: big}}\nspec: {spec}\n"


@pytest.mark.parametrize("mode", ["vxlan", "routed"])
def test_a_thousand_nodes(mode: str) -> None:
    objects, world = plan(cluster(mode), PODS)
    begun = time.process_time()
    again = plan_world(objects, cluster_of(objects))
    nothing = difference(world.network, again.network)
    everything = difference(Network(), world.network)
    spent = time.process_time() - begun
    assert spent < 15, "it takes 1.5 s where nobody else is at work"
    assert nothing.empty and again == world
    assert len(everything.add) < 15 * NODES
    assert [n.name for n in objects.kind(NODE)] == [f"node{n}" for n in range(1, NODES + 1)]
    pods = [p for p in world.places.values() if p.name.startswith("default.agent-")]
    assert len(pods) == len({a for p in pods for a in p.addresses}) == NODES
    ways = {r.destination for r in expanded(world.network, "node500") if isinstance(r, Route)}
    assert len({w for w in ways if w.prefixlen == 24}) == NODES - 1
    assert ip_network("10.240.1.0/24") in ways
    entries = [e for e in expanded(world.network, "node500") if isinstance(e, ForwardingEntry)]
    assert len(entries) == (NODES - 1 if mode == "vxlan" else 0)


def test_one_node_more_is_one_way_more_for_each() -> None:
    few, more = (plan(cluster("vxlan", n), PODS)[1].network for n in (20, 21))
    change = difference(few, more)
    meshes = [(before, after) for _, before, after in change.rulesets if isinstance(after, Mesh)]
    assert len(meshes) == 21
    for before, after in meshes:
        old = before.ways.items() if isinstance(before, Mesh) else set()
        assert len(after.ways.items() - old) in (1, 21)
    assert not change.remove and not change.make_room
    assert {r.namespace for r in items(more, Route) if str(r.destination) == "10.240.21.0/24"} == {
        f"node{n}" for n in range(1, 21)
    }
