"""The networks of pods that a lab makes itself: what `network.plugin` and `network.mode` may name.

Who adds one gives it a line here, and a module in `plan/cni/` with what it makes. What each of them is like is said in
docs/plugins.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from typing import Any, NamedTuple

from emulab.model.addresses import IPAddress, IPNetwork
from emulab.model.checks import Problems, wrong
from emulab.model.objects import Object

CALICO = "calico"
"""The plug-in whose IPPools are followed."""
KUBE_ROUTER = "kube-router"
"""A plug-in, and the proxy mode that is its own."""
NETWORKS: Mapping[str, tuple[str, ...]] = {
    "flannel": ("vxlan", "routed", "wireguard"),
    "bridge": ("routed",),
    "kindnet": ("routed",),
    CALICO: ("vxlan", "ipip", "bgp"),
    "cilium": ("vxlan", "routed"),
    KUBE_ROUTER: ("bgp",),
}
"""The modes of each plug-in: how what its pods send each other travels between nodes. The first is its default."""

_MOST = 1 << 16  # addresses of a node that are looked at

NETWORK_MODES = tuple(dict.fromkeys(mode for modes in NETWORKS.values() for mode in modes))

_AROUND: Mapping[str, Mapping[int, int]] = {
    "vxlan": {4: 50, 6: 70},  # Ethernet, IP, UDP, VXLAN (RFC 7348)
    "routed": {4: 0, 6: 0},
    "ipip": {4: 20},  # IP (RFC 2003)
    "bgp": {4: 0, 6: 0},
    "wireguard": {4: 80, 6: 80},  # what flannel takes it for in both: IPv6, UDP, WireGuard's head and tag
}
"""Bytes around a packet between nodes, by the version of their addresses; a version that is missing isn't carried."""


class BlockSizes(NamedTuple):
    """Prefix lengths of the blocks in which nodes have addresses."""

    four: int
    six: int

    def length(self, version: int) -> int:
        """Of addresses of this version of IP."""
        return self.four if version == 4 else self.six


BLOCKS_OF: Mapping[str, BlockSizes] = {CALICO: BlockSizes(26, 122)}
"""Those of plug-ins that give addresses in blocks, where nobody says another size."""


NODE_LENGTHS: Mapping[int, int] = {4: 24, 6: 64}
"""Prefix lengths of a node's share of the pods' network, by the version of their addresses."""


def has_blocks(plugin: str) -> bool:
    """Whether nodes have addresses in blocks, of the whole of the pods' network, and not in one range of each."""
    return plugin in BLOCKS_OF


def least_length(plugin: str, version: int) -> int:
    """The prefix length of the least that a node has of the pods' network."""
    blocks = BLOCKS_OF.get(plugin)
    return NODE_LENGTHS[version] if blocks is None else blocks.length(version)


def blocks_in(blocks: BlockSizes, network: IPNetwork) -> Iterator[IPNetwork]:
    """The blocks of a network, one after the other; one that is smaller than a block has none."""
    length = blocks.length(network.version)
    return network.subnets(new_prefix=length) if network.prefixlen <= length else iter(())


def block_of(blocks: BlockSizes, address: IPAddress) -> IPNetwork:
    """The block that an address is in."""
    return ip_network((address, blocks.length(address.version)), strict=False)


BLOCKS = "emulab.dev/pod-blocks"
"""The annotation of a Node that has the blocks which it took beside its first ones."""


def blocks_of_node(blocks: BlockSizes, node: Object) -> list[IPNetwork]:
    """The blocks that a node has: those of its first addresses, and those that it took, in this order."""
    firsts = [block_of(blocks, ip_network(cidr).network_address) for cidr in node.spec.get("podCIDRs") or ()]
    return [*firsts, *map(ip_network, filter(None, str(node.annotations.get(BLOCKS) or "").split(",")))]


def range_in(network: IPNetwork) -> tuple[IPNetwork, int, int]:
    """Where a node without blocks gives its pods addresses: the number of the first one in its range, and how many
    there are, without the network's own, the gateway's and the broadcast one."""
    return network, 2, min(network.num_addresses, _MOST) - 3


def around(mode: str, version: int) -> int:
    """Bytes that a mode puts around a packet between nodes whose addresses are of this version of IP."""
    return _AROUND[mode][version]


def carries(mode: str, version: int) -> bool:
    """Whether a mode carries packets of this version of IP."""
    return version in _AROUND[mode]


def is_own(plugin: str) -> bool:
    """Whether the lab makes this one itself. Others are plug-ins of this machine, as in `network.cni`."""
    return plugin in NETWORKS


def plugin_of(network: Mapping[str, Any]) -> str:
    """The lab's own plug-in that a Cluster's `network` asks for; the default where this machine's are called."""
    named = network.get("plugin") or ""
    return named if is_own(named) else next(iter(NETWORKS))


def mode_of(network: Mapping[str, Any]) -> str:
    """The mode that a Cluster's `network` asks for."""
    return network.get("mode") or NETWORKS[plugin_of(network)][0]


def its_own_mode(network: dict[str, Any]) -> Problems:
    """A plug-in has some of the modes."""
    plugin, mode = plugin_of(network), network.get("mode")
    if mode is None or mode in NETWORKS[plugin]:
        return ()
    *others, last = NETWORKS[plugin]
    there = f"{', '.join(others)} and {last}" if others else last
    if network.get("cni") or not is_own(network.get("plugin") or plugin):
        return wrong(
            f"there is no mode {mode} for pods of this machine's plug-ins; there are {there}", "mode"
        )
    return wrong(f"{plugin} has no mode {mode}; it has {there}", "mode")
