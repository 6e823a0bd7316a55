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
from emulab.plan.draft import FABRIC, mac
from emulab.plan.faults.stuck import Stuck
from emulab.plan.impaired import Cable, Impairment, Toward, spliced, wires_of
from emulab.plan.links import (
    Checksums,
    DelayLine,
    Detached,
    Neighbour,
    ReversePath,
    Route,
    Segmentation,
    Shaper,
    Veth,
)
from emulab.plan.links.delayline import Held
from emulab.plan.state import Mesh, Network, Ruleset, World
from emulab.plan.world import Planner

# Which change nothing but what is to come, or nothing in a cluster as these are.
KEEPING = {"kube-proxy-stuck", "stale-udp-flows", "ipvs-port-reuse", "bgp-down"}
TARGETS = {"node": "node2", "zone": "zone-b", "place": "node2"}
NAMES = [name for name, kind in FAULTS.items() if kind.target in TARGETS and name != "search-storm"]
"""Those of the network; what others change is in `test_fault_effects`."""


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
@pytest.mark.parametrize("name", NAMES)
def test_a_fault_changes_rules_and_ways_alone(name: str, families: Families) -> None:
    _, whole = built(families)
    _, broken = built(families, more=fault(name))
    assert broken.network.namespaces == whole.network.namespaces
    assert broken.places == whole.places and broken.servers == whole.servers
    assert whole.network.items <= broken.network.items
    assert {type(item) for item in broken.network.items - whole.network.items} <= {
        *(Segmentation, Veth, Detached, DelayLine, Shaper, Checksums, Neighbour, Route, ReversePath)
    }
    changed = {k for k, r in broken.network.rulesets.items() if whole.network.rulesets.get(k) != r}
    assert changed or broken.network.items != whole.network.items or name in KEEPING
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


def test_what_a_cable_does_comes_between_the_port_and_the_bridge() -> None:
    broken = world(cluster(), fault("delay", "client", delay="200us", direction="from"))
    lines = {i.line(str) for i in broken.network.items - world(cluster()).network.items}
    assert lines == {
        "delay-line client~d0 200us slots 64",
        "link client nomaster",
        f"veth client~d1 mac {mac(FABRIC, 'client~d1')} mtu 65000 master internet"
        f" peer {FABRIC}/client~d0 mac {mac(FABRIC, 'client~d0')}",
    }
    rules = broken.network.rulesets[FABRIC, "netdev wire"]
    assert isinstance(rules, Ruleset)
    assert {name: chain[1:] for name, chain in rules.chains.items()} == {
        "ingress-client": ('meta mark set numgen inc mod 64 offset 65537 fwd to "client~d0"',),
        "ingress-client_d1": (
            'meta mark 0x10001-0x7fffffff meta mark set meta mark | 0x80000000 fwd to "client~d0"',
            "meta mark set 0",
        ),
        "ingress-client_d0": ("meta mark set 0", 'fwd to "client"'),
    }


def test_a_cable_that_is_bad_in_two_ways_is_bad_in_both() -> None:
    both = Cable.of(
        [Cable(Impairment(1, 2, 0.5, rate=3)), Cable(Impairment(4, loss=0.5), Impairment(rate=5))]
    )
    assert both == Cable(Impairment(5, 2, 0.75, rate=3), Impairment(rate=5))


def test_losses_are_those_of_whatever_is_the_bridges_port() -> None:
    names = ("delay", "packet-loss")
    faults = [fault(name).replace('"name": "f"', f'"name": "{name}"') for name in names]
    assert 'oifname "node2~d1" numgen random mod 1000000 < 100000 counter drop' in wire(
        world(cluster(), *faults)
    )


def test_delays_are_spread_evenly_and_not_in_order() -> None:
    delays = list(Held(1_000_000, 250_000).delays())
    assert (min(delays), max(delays), len(delays)) == (750_000, 1_250_000, 100)
    assert sorted(delays) != delays == list(Held(1_000_000, 250_000).delays())
    assert min(Held(1_000, 5_000).delays()) == 1  # none comes before it is sent


def test_a_cable_can_be_slow_towards_some_places_alone() -> None:
    whole = world(cluster())
    toward = (Toward(("node2",), Impairment(delay=1_000_000)), Toward(("node3", "x"), Impairment(loss=1)))
    made = spliced(wires_of(whole), {"node1": Cable(from_=Impairment(delay=200_000), toward=toward)})
    macs = {i.peer_namespace: i.peer_mac for i in whole.network.items if isinstance(i, Veth)}
    lines = [i.lanes for i in made.items if isinstance(i, DelayLine)]
    assert lines == [(Held(1_200_000), Held(200_000), Held(200_000))]
    assert made.rules.chains["ingress-node1"][1:] == (
        f'ether daddr {{ {macs["node2"]} }} meta mark set numgen inc mod 96 offset 65537 fwd to "node1~d0"',
        f"ether daddr {{ {macs['node3']} }} counter drop",
        f'ether daddr {{ {macs["node3"]} }} meta mark set numgen inc mod 64 offset 65633 fwd to "node1~d0"',
        'meta mark set numgen inc mod 64 offset 65697 fwd to "node1~d0"',
    )


def test_a_rate_towards_some_places_is_theirs_alone() -> None:
    whole = world(cluster())
    toward = (Toward(("node2",), Impairment(delay=1_000_000, rate=10_000_000)),)
    made = spliced(wires_of(whole), {"node1": Cable(from_=Impairment(rate=50_000_000), toward=toward)})
    shapers = {(i.link, i.rate) for i in made.items if isinstance(i, Shaper)}
    assert shapers == {("node1~r0", 50_000_000), ("node1~n00", 10_000_000)}
    assert made.rules.chains["ingress-node1"][1:] == ('fwd to "node1~r0"',)
    macs = {i.peer_namespace: i.peer_mac for i in whole.network.items if isinstance(i, Veth)}
    assert made.rules.chains["ingress-node1_r1"][1:] == (
        f'ether daddr {{ {macs["node2"]} }} fwd to "node1~n00"',
        'fwd to "node1~d0"',
    )
    (slot,) = made.rules.chains["ingress-node1_n01"][1:]
    assert slot.endswith('fwd to "node1~d0"') and "meta mark set" in slot


def test_zones_that_are_far_have_slow_cables_beside_what_faults_do() -> None:
    links = "links: [{from: zone/zone-a, to: zone/zone-b, delay: 2ms}]"
    text = (
        "apiVersion: emulab.dev/v1\nkind: Cluster\nmetadata: {name: c}\n"
        f"spec: {{nodes: 3, network: {{{links}}}}}\n"
    )
    near, far = world(text.replace(links, "")), world(text)
    lines = {i.link: i.lanes for i in far.network.items if isinstance(i, DelayLine)}
    assert lines == {"node1~d0": (Held(2_000_000),), "node2~d0": (Held(2_000_000),)}
    assert near.network.items < far.network.items
    both = world(text, fault("delay", "node1", delay="1ms"))
    lanes = {i.link: i.lanes for i in both.network.items if isinstance(i, DelayLine)}
    assert lanes["node1~d0"] == (Held(3_000_000), Held(1_000_000))


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
