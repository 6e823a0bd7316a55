"""The networks of pods: a module each, which has all that is to be said of one in the record `PLUGIN`.

* `vxlan`      an overlay, as flannel makes it
* `routed`     no encapsulation, as flannel's host-gw
* `plugin`     the record, and what is known of a node
* `podlinks`   parts that plug-ins share: a routed pod link, masquerading
* `hostports`  ports of nodes that lead to pods, whatever the network

Whoever adds one writes its module and a line here, and gives the Cluster's schema its name.
"""

from __future__ import annotations

from collections.abc import Mapping

from emulab.kinds.emulab.clusterview import Cluster
from emulab.plan.cni import routed, vxlan
from emulab.plan.cni.plugin import Plugin

PLUGINS: Mapping[str, Plugin] = {module.PLUGIN.name: module.PLUGIN for module in (vxlan, routed)}
OVERLAY_PORTS = frozenset(port for plugin in PLUGINS.values() for port in plugin.ports)
"""UDP ports whose packets carry others."""
TABLES = frozenset(table for plugin in PLUGINS.values() for table in plugin.tables)
"""Tables of nftables that a node has for its pods' network, whatever the proxy mode."""


def plugin_of(cluster: Cluster) -> Plugin:
    """The cluster's network."""
    return PLUGINS[cluster.network_mode]


def pod_mtu(cluster: Cluster) -> int:
    """The MTU of pod links in bytes: what the underlay leaves after encapsulation, in each family."""
    overhead = plugin_of(cluster).overhead
    return cluster.mtu - max(overhead(family) for family in cluster.families)
