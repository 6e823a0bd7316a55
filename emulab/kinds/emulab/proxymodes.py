"""The modes of the nodes' proxies: what `proxy.mode` may name, and which of them a Cluster gets that names none.

What each of them is, `plan.proxy.modes` has a table of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulab.kinds.emulab.plugins import chain_field_of, chain_of
from emulab.kinds.emulab.podnetworks import KUBE_ROUTER, plugin_of
from emulab.model.checks import Problems, wrong

PROXY_MODES = ("nftables", "iptables", "ipvs", "userspace", "ebpf", KUBE_ROUTER)
EBPF, USERSPACE = "ebpf", "userspace"
_DEFAULT = "nftables"
_OF_PLUGINS = {"cilium": EBPF, KUBE_ROUTER: KUBE_ROUTER}
"""What is the default of networks that translate Services themselves."""


def proxy_mode_of(spec: Mapping[str, Any]) -> str:
    """The mode of a Cluster with this spec."""
    network = spec.get("network") or {}
    default = _DEFAULT if chain_of(network) else _OF_PLUGINS.get(plugin_of(network), _DEFAULT)
    return (spec.get("proxy") or {}).get("mode") or default


def its_own_network(spec: dict[str, Any]) -> Problems:
    """kube-router's proxy needs to know its pods by their bridge."""
    network = spec.get("network") or {}
    if (spec.get("proxy") or {}).get("mode") != KUBE_ROUTER:
        return ()
    if not chain_of(network) and plugin_of(network) == KUBE_ROUTER:
        return ()
    return wrong(f"{KUBE_ROUTER} goes with network.plugin {KUBE_ROUTER} alone", "proxy", "mode")


def programs_at_own_links(spec: dict[str, Any]) -> Problems:
    """Programs at pods' links need links that the lab has made."""
    network = spec.get("network") or {}
    if proxy_mode_of(spec) != EBPF or not chain_of(network):
        return ()
    what = f"ebpf needs links that the lab makes itself, and {chain_field_of(network)} has plug-ins make them"
    return wrong(what, "proxy", "mode")
