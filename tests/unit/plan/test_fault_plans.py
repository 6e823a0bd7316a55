"""What Faults do to a plan: what they break, that all else stays the very same, and that nothing of it is left."""

from __future__ import annotations

import json
from typing import Any

import pytest
from familyworlds import built
from worlds import plan, world

from emulab.kinds.emulab.clusterview import cluster_of
from emulab.kinds.faults.table import FAULTS
from emulab.kinds.registry import FAULT
from emulab.model.collection import Objects
from emulab.model.families import IPV4, IPV6, Families
from emulab.plan.draft import FABRIC
from emulab.plan.faults.stuck import Stuck
from emulab.plan.links import Segmentation
from emulab.plan.state import Mesh, Network, Ruleset, World
from emulab.plan.world import Planner

TARGETS = {"node": "node2", "zone": "zone-b", "place": "node2"}


def cluster(**network: Any) -> str:
    spec = {"nodes": 3, "network": network}
    head = {"apiVersion": "emulab.dev/v1", "kind": "Cluster", "metadata": {"name": "c"}}
    return json.dumps({**head, "spec": spec}) + "\n---\n"


def fault(name: str, target: str = "", **options: Any) -> str:
    spec = {"fault": name, "target": target or TARGETS[FAULTS[name].target], "set": options}
    head = {"apiVersion": "emulab.dev/v1", "kind": "Fault", "metadata": {"name": "f"}}
    return json.dumps({**head, "spec": spec}) + "\n---\n"


def wire(built: World) -> tuple[str, ...]:
    rules = built.network.rulesets[FABRIC, "bridge faults"]
    assert isinstance(rules, Ruleset)
    return rules.chains["forward"][1:]


@pytest.mark.parametrize("families", [(IPV4,), (IPV6,), (IPV4, IPV6)])
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_changes_rules_and_ways_alone(name: str, families: Families) -> None:
    _, whole = built(families)
    _, broken = built(families, more=fault(name))
    assert broken.network.namespaces == whole.network.namespaces
    assert broken.places == whole.places and broken.servers == whole.servers
    assert whole.network.items <= broken.network.items
    assert {type(item) for item in broken.network.items - whole.network.items} <= {Segmentation}
    changed = {k for k, r in broken.network.rulesets.items() if whole.network.rulesets.get(k) != r}
    assert changed or name == "kube-proxy-stuck"
    assert broken.network.rulesets.keys() >= whole.network.rulesets.keys()


def test_the_wire_loses_frames_of_a_places_cable() -> None:
    assert wire(world(cluster(), fault("node-lost"))) == (
        'oifname "node2" counter drop',
        'iifname "node2" counter drop',
    )
    assert wire(world(cluster(), fault("one-way", "client"))) == ('iifname "client" counter drop',)
    assert wire(world(cluster(), fault("packet-loss", loss="2.5%", direction="to"))) == (
        'oifname "node2" numgen random mod 1000000 < 25000 counter drop',
    )
    assert wire(world(cluster(), fault("overlay-blocked"))) == (
        'oifname "node2" meta l4proto udp udp dport 8472 counter drop',
    )


def test_sizes_are_judged_as_a_wire_would_carry_them() -> None:
    broken = world(cluster(), fault("mtu-black-hole", mtu=1400))
    assert wire(broken)[0] == 'oifname "node2" meta length > 1400 counter drop'
    cut = {(i.namespace, i.link) for i in broken.network.items if isinstance(i, Segmentation)}
    assert {("node1", "eth0"), ("node2", "eth0"), ("client", "eth0"), ("router", "vpc")} <= cut


def test_a_node_of_others_is_sent_what_is_for_another_ones_pods() -> None:
    whole, broken = world(cluster()), world(cluster(), fault("stale-vtep"))

    def ways(built: World, node: str) -> Any:
        mesh = built.network.rulesets[node, "mesh-ip"]
        assert isinstance(mesh, Mesh)
        return mesh.ways

    assert ways(broken, "node2") == ways(whole, "node2")
    assert ways(broken, "node1")["node2"].node == ways(whole, "node1")["node3"].node
    assert ways(broken, "node1")["node3"] == ways(whole, "node1")["node3"]


def test_once_it_is_mended_the_world_is_the_very_same() -> None:
    objects, _ = plan(cluster(), fault("node-lost"))
    without = Objects(o for o in objects if o.type != FAULT)
    planner, known = Planner(), cluster_of(objects)
    whole = planner.plan(without, known)
    assert planner.plan(objects, known) != whole
    assert planner.plan(objects, known) is planner.plan(objects, known)
    assert planner.plan(without, known) == whole


def rules(node: str, text: str) -> World:
    table = Ruleset("ip", "kube-proxy", {"c": ("", text)})
    return World(Network(rulesets={(node, "ip kube-proxy"): table}), {}, {})


def test_a_proxy_that_is_stuck_keeps_what_it_had_when_it_got_stuck() -> None:
    stuck, key = Stuck(), ("node1", "ip kube-proxy")
    one, two, three = rules("node1", "one"), rules("node1", "two"), rules("node1", "three")
    assert stuck.now(one, frozenset()) is one
    assert stuck.now(two, frozenset({"node1"})).network.rulesets[key] == one.network.rulesets[key]
    assert stuck.now(three, frozenset({"node1"})).network.rulesets[key] == one.network.rulesets[key]
    assert stuck.now(three, frozenset({"node2"})).network.rulesets[key] == three.network.rulesets[key]
    assert stuck.now(three, frozenset()) is three
    assert stuck.now(two, frozenset({"node1"})).network.rulesets[key] == three.network.rulesets[key]
