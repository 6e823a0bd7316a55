"""The networks of pods: a module each, which has all that is to be said of one in the record `PLUGIN`.

* `flannel`    VXLAN, WireGuard (`curve25519`: its keys), or routes between nodes
* `bridge`     a bridge on each node
* `kindnet`    a link for each pod, whose gateway the node is
* `calico`     a link for each pod, blocks of addresses, VXLAN, IP in IP or BGP
* `cilium`     a link for each pod, one overlay device without ends of its own
* `kuberouter` a bridge on each node, and BGP
* `speakers`   who tells whom by BGP
* `blocks`     which addresses are at which node, where these are given in blocks
* `plugin`     the record, and what is known of a node
* `podlinks`   parts that plug-ins share: a routed pod link, routes between nodes, masquerading
* `receivers`  what pods need that answer clients past the node, as kube-router has them
* `hostports`  ports of nodes that lead to pods, whatever the network

Whoever adds one writes its module and a line here, and gives the Cluster's schema its name
(`emulab.kinds.emulab.podnetworks`).
"""

from __future__ import annotations

from collections.abc import Mapping

from emulab.kinds.emulab.clusterview import Cluster
from emulab.plan.cni import bridge, calico, cilium, flannel, kindnet, kuberouter
from emulab.plan.cni.plugin import NetworkMode, Plugin

PLUGINS: Mapping[str, Plugin] = {
    module.PLUGIN.name: module.PLUGIN for module in (flannel, bridge, kindnet, calico, cilium, kuberouter)
}
_MODES = [mode for plugin in PLUGINS.values() for mode in plugin.modes.values()]
OVERLAY_PORTS = frozenset(port for mode in _MODES for port in mode.ports)
"""UDP ports whose packets carry others."""
TABLES = frozenset(table for plugin in PLUGINS.values() for table in plugin.tables)
"""Tables of nftables that a node has for its pods' network, whatever the proxy mode."""


def plugin_of(cluster: Cluster) -> Plugin:
    """The cluster's network."""
    return PLUGINS[cluster.network_plugin]


def mode_of(cluster: Cluster) -> NetworkMode:
    """How packets travel between the cluster's nodes."""
    return plugin_of(cluster).modes[cluster.network_mode]


def pod_mtu(cluster: Cluster) -> int:
    """The MTU of pod links in bytes: what the underlay leaves after encapsulation, in each family."""
    return cluster.mtu - cluster.overhead
