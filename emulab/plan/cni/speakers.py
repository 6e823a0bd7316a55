"""Networks without an overlay whose nodes tell each other by BGP where pods are: Calico's and kube-router's. Pure.

* All are of one autonomous system, 64512, and each node has a session with each other one (the default of both, the
  full mesh), of which the node of the higher address opens it. Where there are many nodes, as Calico's documentation
  advises, there is no mesh: the router reflects what nodes tell it.
* The router, as the top of a rack does, has a session with every node (a global BGPPeer; `--peer-router-ips`), so that
  it knows the way to pods as well.
* Nothing of a node's routes to others is planned: it is BIRD that makes them (`emulab.servers.engines.bird`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.addresses import IPAddress, IPNetwork
from emulab.model.families import IPV4, Families, first
from emulab.plan.cni.plugin import Node
from emulab.plan.draft import Draft
from emulab.plan.state import PlannedServer
from emulab.servers.bgp.config import BgpConfig, BgpPeer

BGP = "/bgp"
"""Behind a place: the server that speaks BGP there."""
KIND = "bgp-by-bird"
ROUTER = "router"
MESH = 16
"""Nodes that have a session each with each other. Calico's documentation says a hundred; but who talks to all others
has each as a neighbour, and the kernel has room for a thousand of these on the whole machine (gc_thresh3)."""


class Announced(NamedTuple):
    """What a node tells others."""

    blocks: tuple[IPNetwork, ...] = ()  # of addresses that are its own, as Calico's nodes have them
    ranges: tuple[IPNetwork, ...] = ()  # of its pods, where nodes have one of a family, as with kube-router
    services: tuple[IPNetwork, ...] = ()  # addresses of Services, which are for the router alone


def plan_speakers(
    draft: Draft, nodes: Sequence[Node], told: Mapping[str, Announced], cluster: Cluster
) -> None:
    """A speaker on every node, which has this to tell, and one on the router."""
    reflected = len(nodes) > MESH
    routers = tuple(u.router_vpc for u in cluster.underlays)
    peers = _peers(tuple(nodes), routers, cluster.families)
    pools = tuple(str(pool) for family in cluster.families for pool in cluster.pods_of(family))
    for node in nodes:
        config = BgpConfig(
            (),
            router_id=_router_id(node.name, node.addresses),
            own=tuple(str(node.address(family)) for family in cluster.families),
            peers=peers[node.name],
            blocks=tuple(map(str, told[node.name].blocks)),
            ranges=tuple(map(str, told[node.name].ranges)),
            services=tuple(map(str, told[node.name].services)),
            pools=pools,
        )
        _serve(draft, node.name, config)
    callers = tuple(str(u.vpc) for u in cluster.underlays)
    own = BgpConfig(
        (),
        router_id=_router_id(ROUTER, routers),
        own=tuple(map(str, routers)),
        callers=callers,
        reflects=reflected,
    )
    _serve(draft, ROUTER, own)


def _serve(draft: Draft, place: str, config: BgpConfig) -> None:
    name = f"{place}{BGP}"
    draft.servers[name] = PlannedServer(name, KIND, place, config, {})


def _router_id(name: str, addresses: Sequence[IPAddress]) -> int:
    """An address of IPv4; of a speaker that has none a number that follows from its name (CALICO_ROUTER_ID=hash)."""
    own = first(addresses, IPV4)
    if own is not None:
        return int(own)
    return int.from_bytes(hashlib.sha1(name.encode(), usedforsecurity=False).digest()[:4])


@lru_cache(maxsize=2)  # a plan like the one before has the very same peers, so that they are soon compared
def _peers(
    nodes: tuple[Node, ...], routers: tuple[IPAddress, ...], families: Families
) -> Mapping[str, tuple[BgpPeer, ...]]:
    """The sessions of each node."""
    reflected = len(nodes) > MESH
    least = len(nodes) - 1 if reflected else 0
    upwards = tuple(_peer("Global", str(router), least=least, outside=True) for router in routers)
    if reflected:
        return {node.name: upwards for node in nodes}
    found: dict[str, tuple[BgpPeer, ...]] = {}
    for node in nodes:
        mesh = (
            _peer("Mesh", theirs, passive=theirs > own, least=1)
            for family in families
            if (own := str(node.address(family)))
            for other in nodes
            if other is not node and (theirs := str(other.address(family)))
        )
        found[node.name] = (*mesh, *upwards)
    return found


def _peer(kind: str, address: str, passive: bool = False, least: int = 0, outside: bool = False) -> BgpPeer:
    name = address.replace(".", "_").replace(":", "_")
    return BgpPeer(f"{kind}_{name}", address, passive, least, outside)
