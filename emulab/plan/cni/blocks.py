"""Which addresses are at which node: one range, or in networks that give addresses in blocks these, and what pods have
borrowed of others' blocks. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from ipaddress import ip_address, ip_network

from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.emulab.podnetworks import BlockSizes, block_of, blocks_of_node, has_blocks
from emulab.kinds.registry import NODE, POD
from emulab.model.addresses import IPAddress, IPNetwork
from emulab.model.families import Family, family_of
from emulab.model.objects import Object
from emulab.plan.cni.plugin import Node
from emulab.plan.kept import PlanSource

NodeBlocks = tuple[tuple[IPNetwork, ...], ...]
"""Of each node, in the order of the nodes."""
Borrowed = tuple[tuple[str, IPAddress], ...]
"""Nodes, each with an address that a pod there has and that is of no block of the node's."""


def own_ranges(cluster: Cluster, node: Object) -> list[IPNetwork]:
    """What a node has of the pods' network: its range, or in networks that give addresses in blocks these."""
    if cluster.chain or not has_blocks(cluster.network_plugin):
        return [ip_network(cidr) for cidr in node.spec.get("podCIDRs") or ()]
    return blocks_of_node(cluster.blocks, node)


def ways_to_pods(
    source: PlanSource, cluster: Cluster, nodes: Sequence[Node], family: Family
) -> Iterator[tuple[IPNetwork, IPAddress]]:
    """Networks of pods' addresses, each with the address of the node where they are."""
    if cluster.chain or not has_blocks(cluster.network_plugin):
        yield from ((node.pod_range(family), node.address(family)) for node in nodes)
        return
    sizes, at = cluster.blocks, {node.name: node.address(family) for node in nodes}
    blocks = blocks_at(source, sizes, nodes, family)
    for node, own in zip(nodes, blocks, strict=True):
        yield from ((block, at[node.name]) for block in own)
    for name, address in borrowed_at(source, sizes, nodes, blocks, family):
        yield family.host(address), at[name]


def blocks_at(source: PlanSource, sizes: BlockSizes, nodes: Sequence[Node], family: Family) -> NodeBlocks:
    """The blocks of each node, its first one first."""
    known = {key.name: blocks for key, blocks in source.facts(NODE, _asked_of_nodes(sizes)).items()}
    return tuple(tuple(b for b in known[node.name] if b.version == family.version) for node in nodes)


def borrowed_at(
    source: PlanSource, sizes: BlockSizes, nodes: Sequence[Node], blocks: NodeBlocks, family: Family
) -> Borrowed:
    """Whose pods have addresses of others' blocks, or of what was such a block when its node was there."""
    names = {node.name for node in nodes}
    owners = {block: node.name for node, own in zip(nodes, blocks, strict=True) for block in own}
    return tuple(
        sorted(
            (name, address)
            for name, addresses in source.facts(POD, _asked_of_pods(sizes)).values()
            for address, block in addresses
            if name in names and family_of(address) is family and owners.get(block) != name
        )
    )


@lru_cache  # the very same for a size, so that what it says of an object is remembered
def _asked_of_nodes(sizes: BlockSizes) -> Callable[[Object], tuple[IPNetwork, ...]]:
    return lambda node: tuple(blocks_of_node(sizes, node))


_PodAddresses = tuple[str, tuple[tuple[IPAddress, IPNetwork], ...]]
"""A Pod's node, and its addresses with their blocks."""


@lru_cache
def _asked_of_pods(sizes: BlockSizes) -> Callable[[Object], _PodAddresses | None]:
    def addresses(pod: Object) -> _PodAddresses | None:
        if pod.spec.get("hostNetwork") or not pod.spec.get("nodeName"):
            return None
        found = [ip_address(e["ip"]) for e in pod.status.get("podIPs") or ()]
        return (pod.spec["nodeName"], tuple((a, block_of(sizes, a)) for a in found)) if found else None

    return addresses
