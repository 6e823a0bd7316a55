"""Calico's blocks of addresses: which a node has, who gives them, and that one more disturbs nobody."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from worlds import items, world

from emulab.kinds.emulab.podnetworks import block_of, ranges_of
from emulab.plan.cni.calico import link_name
from emulab.plan.difference import difference
from emulab.plan.links import Address, Route
from emulab.plan.state import Mesh, World

BLOCKS = ["10.244.1.0/26", "10.244.1.64/26"]


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


def test_blocks_and_what_they_give() -> None:
    (first, low, size), (other, *_) = list(ranges_of("calico", ip_network("10.244.1.0/24")))[:2]
    assert (str(first), low, size, str(other)) == ("10.244.1.0/26", 1, 63, "10.244.1.64/26")
    six = next(ranges_of("calico", ip_network("fd00:244:0:1::/64")))
    assert str(six[0]) == "fd00:244:0:1::/122"
    assert str(block_of("calico", six[0][63])) == "fd00:244:0:1::/122"
    assert list(ranges_of("flannel", ip_network("10.244.1.0/24"))) == [(ip_network("10.244.1.0/24"), 2, 253)]


def test_links_have_calicos_names() -> None:
    """The first eleven digits of `printf default.web-0 | sha1sum`."""
    assert link_name("default.web-0~0123abcd") == "cali0d7763386da"
