"""What a Cluster says of CNI plug-ins of this machine: `network.cni`, a chain by the name of its first, or written out.

`network.plugin` may name the first, too, where it is none of the lab's own. A chain that is written out is a network
configuration list of the CNI specification (containernetworking/cni, SPEC.md), without what a lab fills in: its version
and name, and the range of host-local, which is the node's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from emulab.kinds.emulab.podnetworks import is_own
from emulab.model.checks import Problems, boolean, either, mapping, one_of, pattern, sequence, wrong

VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""Those of the specification whose results have interfaces."""
VERSION = "1.0.0"  # what is asked for where nothing is said: that of plug-ins since 2022
NAME = "lab"
FIRST = "eth0"
"""The interface of a pod (containerd's `defaultIfName`)."""

plugin_name = pattern(r"[A-Za-z0-9][A-Za-z0-9_.-]*", "the name of a plug-in, such as bridge", 64)
"""A file below the folders of plug-ins."""

_plugin = mapping(
    {"type": plugin_name, "capabilities": mapping({}), "ipam": mapping({"type": plugin_name})},
    required=("type",),
)

conflist = mapping(
    {
        "cniVersion": one_of(*VERSIONS),
        "name": plugin_name,
        "disableCheck": boolean,
        "plugins": sequence(_plugin, least=1),
    },
    required=("plugins",),
    closed=True,
)


chain = either(str, plugin_name, conflist)


def no_chain(network: dict[str, Any]) -> Problems:
    """Pods' networks are made by the lab, or by a chain."""
    if "plugin" in network and "cni" in network:
        return wrong("says what makes pods' networks, and so does cni: leave one out", "plugin")
    return ()


def first_of(network: Mapping[str, Any]) -> str:
    """The first of the plug-ins of this machine that a Cluster's `network` asks for; "" for none."""
    given = _given(network)
    return given if isinstance(given, str) else given["plugins"][0]["type"]


def chain_of(network: Mapping[str, Any]) -> str:
    """The chain that a Cluster's `network` asks for, as the JSON of a network configuration list; "" for none."""
    given = _given(network)
    if not given:
        return ""
    if isinstance(given, str):
        given = {"plugins": [_first(given), *_CHAINED]}
    return json.dumps({"cniVersion": VERSION, "name": NAME, **given})


def chain_field_of(network: Mapping[str, Any]) -> str:
    """The field of a Cluster's spec that asks for the chain: `network.plugin` names plug-ins of this machine, too."""
    return "network.plugin" if _given(network) and not network.get("cni") else "network.cni"


def _given(network: Mapping[str, Any]) -> Any:
    plugin = network.get("plugin") or ""
    return network.get("cni") or ("" if is_own(plugin) else plugin)


def _first(name: str) -> dict[str, Any]:
    return {"type": name, **_OWN.get(name, {}), "ipam": {"type": "host-local"}}


_OWN: Mapping[str, Mapping[str, Any]] = {
    # As flannel asks for it: a pod reaches itself by its Service, and the bridge is the pods' router.
    "bridge": {"bridge": "cni0", "isDefaultGateway": True, "hairpinMode": True},
    "ipvlan": {"master": "eth0"},
    "macvlan": {"master": "eth0"},
}
"""What plug-ins need beside their addresses, or are usually given."""

_CHAINED = (
    {"type": "portmap", "capabilities": {"portMappings": True}},
    {"type": "bandwidth", "capabilities": {"bandwidth": True}},
)
