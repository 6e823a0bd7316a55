"""Blocks of pods' addresses: whose each is, as Calico's IPAM gives them (libcalico-go/lib/ipam/ipam.go, autoAssign).

* A node has a block from its first address on, and takes another one when those that it has are full: the next of its
  own `podCIDR`, then any of the pods' network that nobody has.
* Where no block is left, a pod gets an address of another node's block (strictAffinity is off): it is borrowed.
* Which blocks a node has beside its first is written at the Node, and they are free again with it.

The real one begins to look for a block at one that follows from the node's name; here it is the next one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_network
from itertools import chain, islice

from emulab.kinds.emulab.podnetworks import BlockSizes, blocks_in, blocks_of_node
from emulab.model.addresses import IPNetwork
from emulab.model.objects import Object

_MOST = 1 << 10  # blocks of a network that nobody has and that are looked at

GivingPart = tuple[IPNetwork, int, int]
"""Where addresses are given: the number of the first one for pods, and how many there are."""


class PodBlocks:
    """The blocks of a cluster's nodes, and those that they take."""

    def __init__(self, blocks: BlockSizes, pools: Sequence[IPNetwork], nodes: Mapping[str, Object]) -> None:
        self._blocks, self._pools, self._nodes = blocks, pools, nodes
        self._own = {name: blocks_of_node(blocks, node) for name, node in nodes.items()}
        self._firsts = {block for own in self._own.values() for block in own[: len(pools)]}
        self._taken = {block for own in self._own.values() for block in own}

    def parts(self, node: str, version: int) -> Iterator[GivingPart]:
        """Where a pod of a node may get an address, in this order. Whoever comes to a block of nobody's takes it."""
        yield from (self._part(block) for block in self._own[node] if block.version == version)
        for block in self._free(node, version):
            self._own[node].append(block)
            self._taken.add(block)
            yield self._part(block)
        for name, blocks in self._own.items():
            if name != node:
                yield from (self._part(block) for block in blocks if block.version == version)

    def _part(self, block: IPNetwork) -> GivingPart:
        own = 1 if block in self._firsts else 0  # that of the node's end of the tunnel
        return block, own, block.num_addresses - own

    def _free(self, node: str, version: int) -> Iterator[IPNetwork]:
        ranges = [ip_network(cidr) for cidr in self._nodes[node].spec.get("podCIDRs") or ()]
        for network in chain(ranges, self._pools):
            if network.version == version:
                blocks = blocks_in(self._blocks, network)
                yield from islice((block for block in blocks if block not in self._taken), _MOST)

    def taken(self, node: str) -> str:
        """What is written at a node of the blocks that it took."""
        return ",".join(map(str, self._own[node][len(self._pools) :]))
