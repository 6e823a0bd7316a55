"""What a CNI plug-in is told, and what it answers: the specification's request configuration and results. Pure.

The words of failures are those of libcni, as people search for them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from ipaddress import ip_interface
from typing import Any, NamedTuple

from emulab.errors import EmulabError
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.emulab.plugins import FIRST
from emulab.model.addresses import IPAddress
from emulab.model.families import IPV4, family_of
from emulab.plan.cni import pod_mtu
from emulab.plan.cni.plugin import Node

Json = Mapping[str, Any]

_WITH_MTU = ("bridge", "ptp", "macvlan", "ipvlan", "vlan")
"""Plug-ins of containernetworking/plugins that make an interface and take `mtu`."""
_FIRST_WITH_CHECK = (0, 4, 0)


class PluginError(EmulabError):
    """A plug-in has failed, in libcni's words."""


class Attachment(NamedTuple):
    """What is told of one network namespace, in the same words at ADD, CHECK and DEL."""

    container: str
    namespace: str  # a path to it
    arguments: Sequence[tuple[str, str]] = ()
    capabilities: Mapping[str, Any] = {}
    interface: str = FIRST


def conflist(cluster: Cluster, node: Node) -> Json:
    """The network configuration list of a node, with what the cluster's leaves to the lab."""
    chain: dict[str, Any] = json.loads(cluster.chain)
    first, *others = chain["plugins"]
    if first["type"] in _WITH_MTU:
        first = {"mtu": pod_mtu(cluster), **first}
    return {**chain, "plugins": [_with_range(first, cluster, node), *others]}


def _with_range(plugin: dict[str, Any], cluster: Cluster, node: Node) -> dict[str, Any]:
    """host-local gives addresses of the node's range where it isn't told of another."""
    ipam = plugin.get("ipam") or {}
    if ipam.get("type") != "host-local" or "ranges" in ipam or "subnet" in ipam:
        return plugin
    ranges = [[{"subnet": str(node.pod_range(family))}] for family in cluster.families]
    routes = {"routes": [{"dst": str(family.everything)} for family in cluster.families]}
    return {
        **plugin,
        "ipam": {**({} if plugin.get("isDefaultGateway") else routes), **ipam, "ranges": ranges},
    }


def request(chain: Json, plugin: Json, attachment: Attachment, before: Json | None) -> bytes:
    """What a plug-in of the chain reads: its configuration, and the result before its own, if there is one."""
    known = {name: value for name, value in plugin.items() if name != "capabilities"}
    told = {
        name: attachment.capabilities[name]
        for name, wanted in (plugin.get("capabilities") or {}).items()
        if wanted and name in attachment.capabilities
    }
    whole = {
        **known,
        "cniVersion": chain["cniVersion"],
        "name": chain["name"],
        **({"runtimeConfig": told} if told else {}),
        **({"prevResult": before} if before is not None else {}),
    }
    return json.dumps(whole).encode()


def environment(command: str, attachment: Attachment, path: Sequence[str]) -> dict[str, str]:
    """The parameters of a call, as variables."""
    return {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": attachment.container,
        "CNI_NETNS": attachment.namespace,
        "CNI_ARGS": ";".join(f"{name}={value}" for name, value in attachment.arguments),
        "CNI_IFNAME": attachment.interface,
        "CNI_PATH": ":".join(path),
    }


def has_check(chain: Json) -> bool:
    """Whether CHECK may be called: version 0.4.0 brought it, and who wrote the chain may forbid it."""
    version = tuple(map(int, chain["cniVersion"].split(".")))
    return version >= _FIRST_WITH_CHECK and not chain.get("disableCheck")


def result(printed: bytes, chain: Json) -> Json:
    """What a plug-in has printed after ADD. Raises PluginError."""
    try:
        found = json.loads(printed)
    except ValueError as error:
        raise PluginError(f"failed to parse its result {_quoted(printed)}: {error}") from None
    if not isinstance(found, dict):
        raise PluginError(f"failed to parse its result {_quoted(printed)}: it is no object")
    return {"cniVersion": chain["cniVersion"], **found}


def failure(status: int, printed: bytes, complained: bytes) -> str:
    """Why a plug-in has failed, by its exit status and what it wrote."""
    how = f"signal: {status - 128}" if status > 128 else f"exit status {status}"
    if not printed:
        if not complained:
            return f"netplugin failed with no error message: {how}"
        return f"netplugin failed: {_quoted(complained)}: {how}"
    try:
        told = json.loads(printed)
        message, details = str(told["msg"]), told.get("details")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"netplugin failed but error parsing its diagnostic message {_quoted(printed)}: {error}"
    return f"{message}; {details}" if details else message


def _quoted(text: bytes) -> str:
    """The begin and the end of it: Go's panics say what is wrong first, Python's exceptions last."""
    words = text.decode(errors="replace").strip()
    return json.dumps(words if len(words) <= 400 else f"{words[:200]} … {words[-200:]}", ensure_ascii=False)


def addresses(found: Json, interface: str) -> list[IPAddress]:
    """The addresses that a result has for an interface of the pod, one of IPv4 first (containerd's `selectPodIPs`)."""
    interfaces = found.get("interfaces") or []
    given = []
    for ip in found.get("ips") or ():
        at = ip.get("interface")
        if at is None or (0 <= at < len(interfaces) and _is_pods(interfaces[at], interface)):
            given.append(ip_interface(ip["address"]).ip)
    return sorted(given, key=lambda address: family_of(address) is not IPV4)


def _is_pods(interface: Json, name: str) -> bool:
    return bool(interface.get("sandbox")) and interface.get("name") == name
