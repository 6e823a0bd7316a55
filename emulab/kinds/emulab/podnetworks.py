"""The networks of pods that a lab makes itself: what `network.plugin` and `network.mode` may name.

Who adds one gives it a line here, and a module in `plan/cni/` with what it makes. What each of them is like is said in
docs/plugins.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from itertools import islice
from typing import Any

from emulab.model.addresses import IPAddress, IPNetwork
from emulab.model.checks import Problems, wrong

NETWORKS: Mapping[str, tuple[str, ...]] = {
    "flannel": ("vxlan", "routed"),
    "bridge": ("routed",),
    "kindnet": ("routed",),
    "calico": ("vxlan", "ipip"),
    "cilium": ("vxlan", "routed"),
}
"""The modes of each plug-in: how what its pods send each other travels between nodes. The first is its default."""

_MOST = 1 << 16  # addresses of a node that are looked at

NETWORK_MODES = tuple(dict.fromkeys(mode for modes in NETWORKS.values() for mode in modes))

_AROUND: Mapping[str, Mapping[int, int]] = {
    "vxlan": {4: 50, 6: 70},  # Ethernet, IP, UDP, VXLAN (RFC 7348)
    "routed": {4: 0, 6: 0},
    "ipip": {4: 20},  # IP (RFC 2003)
}
"""Bytes around a packet between nodes, by the version of their addresses; a version that is missing isn't carried."""

_BLOCKS: Mapping[str, Mapping[int, int]] = {"calico": {4: 26, 6: 122}}
"""Prefix lengths of the blocks in which a plug-in's nodes have addresses, by the version of these."""


def block_of(plugin: str, address: IPAddress) -> IPNetwork:
    """The block that an address is in."""
    return ip_network((address, _BLOCKS[plugin][address.version]), strict=False)


def ranges_of(plugin: str, network: IPNetwork) -> Iterator[tuple[IPNetwork, int, int]]:
    """Where a node gives its pods addresses, the first range first: each with the number of its first address for them,
    and how many there are."""
    lengths = _BLOCKS.get(plugin)
    if lengths is None:  # without the network's own, the gateway's and the broadcast one
        yield network, 2, min(network.num_addresses, _MOST) - 3
        return
    blocks: Iterator[IPNetwork] = network.subnets(new_prefix=lengths[network.version])
    for number, block in enumerate(islice(blocks, _MOST >> 6)):
        own = 0 if number else 1  # the first one of all is that of the node's end of the tunnel
        yield block, own, block.num_addresses - own


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
    return wrong(f"{plugin} has no mode {mode}; it has {' and '.join(NETWORKS[plugin])}", "mode")
