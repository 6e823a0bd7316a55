"""Who speaks BGP with whom, and what of it a change touches."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_address

import pytest
from worlds import items, world

from emulab.plan.cni.speakers import MESH
from emulab.plan.links import Route
from emulab.plan.state import World
from emulab.servers.bgp.config import BgpConfig, BgpPeer
from emulab.servers.engines.bird.conf import bird_conf


def built(nodes: int = 2, pods: int = 1, families: str = "[IPv4]", more: str = "") -> World:
    return world(
        f"""
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {{name: c}}
spec:
  nodes: {nodes}
  network: {{plugin: calico, mode: bgp, families: {families}}}
  ingress: {{replicas: 0}}
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
---
{more}"""
    )


def told(world: World, place: str) -> BgpConfig:
    config = world.servers[f"{place}/bgp"].config
    assert isinstance(config, BgpConfig)
    return config


def test_nodes_are_a_mesh_and_know_the_router() -> None:
    """The one of two whose address comes first as text opens their session, as confd has it (bgp_processor.go)."""
    there = built(nodes=3)
    assert told(there, "node2").peers == (
        BgpPeer("Mesh_10_0_0_11", "10.0.0.11", least=1),
        BgpPeer("Mesh_10_0_0_13", "10.0.0.13", passive=True, least=1),
        BgpPeer("Global_10_0_0_1", "10.0.0.1", outside=True),
    )
    assert told(there, "router").callers == ("10.0.0.0/24",) and not told(there, "router").reflects
    assert told(there, "node2").blocks == ("10.244.2.0/26",)
    assert not [r for r in items(there.network, Route, "node2") if "10.244.1." in str(r.destination)]
    assert not [key for key in there.network.rulesets if key[1].startswith("mesh")]


def test_of_many_nodes_the_router_reflects() -> None:
    there = built(nodes=MESH + 1)
    assert told(there, "node7").peers == (BgpPeer("Global_10_0_0_1", "10.0.0.1", least=MESH, outside=True),)
    assert told(there, "router").reflects


def test_both_families_have_sessions_of_their_own() -> None:
    there = told(built(families="[IPv6, IPv4]"), "node1")
    assert there.own == ("fd00:10::b", "10.0.0.11") and there.router_id == int(ip_address("10.0.0.11"))
    assert [p.name for p in there.peers] == [
        "Mesh_fd00_10__c",
        "Mesh_10_0_0_12",
        "Global_fd00_10__1",
        "Global_10_0_0_1",
    ]
    assert there.blocks == ("fd00:244:0:1::/122", "10.244.1.0/26")
    alone = told(built(families="[IPv6]"), "node1")
    assert 0 < alone.router_id < 1 << 32, "as Calico's CALICO_ROUTER_ID=hash"


def test_one_block_more_is_told_its_node_alone() -> None:
    one, two = built(pods=1), built(pods=66)
    assert told(two, "node1").blocks == ("10.244.1.0/26", "10.244.1.64/26")
    for place in ("node2", "router"):
        assert told(one, place) == told(two, place)


def test_a_fault_shuts_one_nodes_sessions_down() -> None:
    given = {"fault": "bgp-down", "target": "node2"}
    text = f"apiVersion: emulab.dev/v1\nkind: Fault\nmetadata: {{name: f}}\nspec: {json.dumps(given)}\n"
    there, whole = built(more=text), built()
    assert told(there, "node2") == replace(told(whole, "node2"), silent=True)
    assert told(there, "node1") == told(whole, "node1")
    assert "  disabled;" in bird_conf(told(there, "node2"))
    assert "disabled" not in bird_conf(told(there, "node1"))


@pytest.mark.parametrize("place", ["node2", "router"])
def test_the_configuration(place: str) -> None:
    text = bird_conf(told(built(), place))
    if place == "router":
        assert "neighbor range 10.0.0.0/24 as 64512;" in text and "rr client" not in text
        return
    for wanted in (
        "router id 10.0.0.12;",
        "  route 10.244.2.0/26 blackhole;",
        "  if ( net = 10.244.2.0/26 ) then { accept; }\n  if ( net ~ 10.244.2.0/26 ) then { reject; }",
        "  if ( net ~ 10.244.0.0/16 ) then { accept; }",
        "protocol bgp Mesh_10_0_0_11 from bgp_template {\n  local 10.0.0.12 as 64512;",
        "  learn;\n  persist;",
    ):
        assert wanted in text, text
    assert "passive" not in text
