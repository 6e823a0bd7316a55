"""What `emulab cni` is told and answers: the protocol of a CNI plug-in (containernetworking/cni, SPEC.md). Pure.

A container that is attached becomes a Pod object of the lab, of which the annotation `emulab.dev/foreign` says whose it
is, so that Services select it by its labels like any other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from emulab.errors import EmulabError
from emulab.kinds.core.podspec import FOREIGN, PodSpec
from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.families import IPV4, family_of
from emulab.model.objects import Object
from emulab.plan.cni import plugin_of, pod_mtu
from emulab.plan.cni.plugin import Node
from emulab.plan.cni.podlinks import pod_mac
from emulab.plan.pods import identity, pod_addresses, resolv_conf

VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
NETWORK = "emulab.dev/cni-network"
"""The annotation of an attached Pod that has the name of the network configuration."""
IMAGE = "emulab.dev/foreign"

# The specification's codes of errors
INCOMPATIBLE, UNKNOWN_CONTAINER, ENVIRONMENT, IO, DECODING, CONFIGURATION, LATER = 1, 3, 4, 5, 6, 7, 11
UNAVAILABLE = 50
FAILED = 100
"""Ours: something else has gone wrong, and the message says what."""

_NEEDED = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME"),
    "GC": (),
    "STATUS": (),
    "VERSION": (),
}
COMMANDS = tuple(_NEEDED)
_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_NAME_MAX = 63


class CniError(EmulabError):
    """What a plug-in answers that has failed."""

    def __init__(self, code: int, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.details = details

    def answer(self, version: str) -> dict[str, Any]:
        """It as the specification has it."""
        more = {"details": self.details} if self.details else {}
        return {"cniVersion": version, "code": self.code, "msg": str(self), **more}


class Call(NamedTuple):
    """One call: its command, parameters and configuration."""

    command: str
    container: str
    namespace: str
    interface: str
    arguments: Mapping[str, str]
    config: Mapping[str, Any]

    @property
    def version(self) -> str:
        return str(self.config.get("cniVersion") or VERSIONS[-1])

    @property
    def owner(self) -> str:
        """What the Pod's annotation says."""
        return f"{self.container}/{self.interface}"

    @property
    def network(self) -> str:
        return str(self.config.get("name") or "emulab")


def call_of(command: str, environment: Mapping[str, str], text: str) -> Call:
    """The call that somebody makes. Raises CniError."""
    if command not in _NEEDED:
        raise CniError(ENVIRONMENT, f"unknown CNI_COMMAND: {command}", f"there are {', '.join(COMMANDS)}")
    missing = [name for name in _NEEDED[command] if not environment.get(name)]
    if missing:
        raise CniError(ENVIRONMENT, f"required env variables [{','.join(missing)}] missing")
    container, interface = environment.get("CNI_CONTAINERID", ""), environment.get("CNI_IFNAME", "")
    if container and not _CONTAINER.fullmatch(container):
        raise CniError(ENVIRONMENT, f"invalid characters in CNI_CONTAINERID: {container}")
    if interface in (".", "..") or len(interface) > 15 or re.search(r"[/:\s]", interface):
        raise CniError(ENVIRONMENT, f"interface name is invalid: {interface}")
    try:
        config = json.loads(text)
    except ValueError as error:
        raise CniError(DECODING, f"error unmarshall network config: {error}") from None
    if not isinstance(config, dict):
        raise CniError(DECODING, "error unmarshall network config: it is no object")
    pairs = (part.partition("=") for part in environment.get("CNI_ARGS", "").split(";") if part)
    arguments = {name: value for name, _, value in pairs}
    call = Call(command, container, environment.get("CNI_NETNS", ""), interface, arguments, config)
    if command != "VERSION" and call.version not in VERSIONS:
        raise CniError(
            INCOMPATIBLE,
            "incompatible CNI versions",
            f'config is "{call.version}", plugin supports {json.dumps(VERSIONS)}',
        )
    return call


def pod_of(call: Call, namespaces: Mapping[str, Any]) -> dict[str, Any]:
    """The Pod that a container becomes. `namespaces`: those of the lab, by name. Raises CniError."""
    config = call.config
    told = str(call.arguments.get("K8S_POD_NAMESPACE") or "")
    namespace = config.get("namespace") or (told if told in namespaces else "default")
    name = config.get("podName") or call.arguments.get("K8S_POD_NAME") or f"foreign-{call.container[:12]}"
    node = {"nodeName": config["node"]} if config.get("node") else {}
    ports = _ports(config)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": _label(str(name)),
            "namespace": namespace,
            "labels": _labels(config),
            "annotations": {FOREIGN: call.owner, NETWORK: call.network},
        },
        "spec": {
            **node,
            "containers": [{"name": "foreign", "image": IMAGE, **({"ports": ports} if ports else {})}],
            "terminationGracePeriodSeconds": 0,
        },
    }


def _label(name: str) -> str:
    """A name as a Pod may have it (RFC 1123)."""
    return re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")[:_NAME_MAX].rstrip("-") or "foreign"


def _labels(config: Mapping[str, Any]) -> dict[str, str]:
    """Those of the configuration, and behind them those of the convention `args.cni.labels` (CONVENTIONS.md)."""
    labels = config.get("labels") or {}
    more = ((config.get("args") or {}).get("cni") or {}).get("labels") or ()
    try:
        return {str(k): str(v) for k, v in labels.items()} | {str(e["key"]): str(e["value"]) for e in more}
    except (AttributeError, KeyError, TypeError):
        raise CniError(
            CONFIGURATION, "labels are a mapping, and args.cni.labels a list of key and value"
        ) from None


def _ports(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Ports that Services may name, and those that a node gives (the capability portMappings)."""
    mapped = (config.get("runtimeConfig") or {}).get("portMappings") or ()
    return [
        *({"protocol": "TCP", **port} for port in config.get("ports") or ()),
        *(
            {
                "containerPort": port["containerPort"],
                "hostPort": port["hostPort"],
                "protocol": str(port.get("protocol") or "tcp").upper(),
                **({"hostIP": port["hostIP"]} if port.get("hostIP") else {}),
            }
            for port in mapped
        ),
    ]


def result(call: Call, pod: Object, cluster: Cluster, node: Node) -> dict[str, Any]:
    """What is answered after ADD. `node`: that of the Pod."""
    plugin, own = plugin_of(cluster), pod_addresses(pod)
    link = plugin.link_name(identity(pod))
    mtu = {"mtu": pod_mtu(cluster)} if call.version == "1.1.0" else {}
    way_in = plugin.way_in(identity(pod))
    names = [link] if way_in == link else [way_in, link]  # a bridge is told first, as the plug-in bridge does
    on_node = [{"name": name, "mac": plugin.link_mac(node.name, name), **mtu} for name in names]
    ips, routes = [], []
    for address in own:
        family = family_of(address)
        version = {} if call.version >= "1" else {"version": "4" if family is IPV4 else "6"}
        interface, gateway = plugin.pod_interface(node, address), plugin.gateway(node, family)
        entry = {"address": str(interface), "gateway": str(gateway)}
        ips.append({**version, "interface": len(on_node), **entry})
        routes.append({"dst": str(family.everything), "gw": str(gateway)})
    return {
        "cniVersion": call.version,
        "interfaces": [
            *on_node,
            {"name": call.interface, "mac": pod_mac(own), **mtu, "sandbox": call.namespace},
        ],
        "ips": ips,
        "routes": routes,
        "dns": _dns(resolv_conf(pod.namespace, PodSpec.of_pod(pod), cluster)),
    }


def _dns(text: str) -> dict[str, list[str]]:
    words = [line.split() for line in text.splitlines()]
    names = {"nameserver": "nameservers", "search": "search", "options": "options"}
    return {names[kind]: [w for k, *rest in words if k == kind for w in rest] for kind in names}


def differences(call: Call, pod: Object) -> str:
    """What the result of an ADD says that isn't so any more (CHECK); "" where all is."""
    before = call.config.get("prevResult") or {}
    told = {str(ip.get("address", "")).partition("/")[0] for ip in before.get("ips") or ()}
    own = {str(address) for address in pod_addresses(pod)}
    if before and not own <= told:
        return f"the container has {', '.join(sorted(own))}, and had {', '.join(sorted(told)) or 'nothing'}"
    if pod.status.get("phase") != "Running":
        return f"the lab's Pod {pod.namespace}/{pod.name} is {pod.status.get('phase', 'Pending')}"
    return ""
