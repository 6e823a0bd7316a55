"""NodeLocal DNSCache: what a container of node-cache is told (cmd/node-cache/main.go of kubernetes/dns)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from emulab.kinds.images import NODE_CACHE, server_of
from emulab.model.addresses import IPAddress, is_address, parse_address

_FLAGS = frozenset(
    {
        "localip",
        "upstreamsvc",
        "conf",
        "basecorefile",
        "health-port",
        "interfacename",
        "metrics-listen-address",
    }
)
"""Those with a value. The health page is where the Corefile has it; `-health-port` lets packets to it through."""
_BASE = "/etc/coredns/Corefile.base"


class NodeCacheFlags(NamedTuple):
    """What a node's cache does. `config_map` and `key` name its Corefile."""

    local: tuple[IPAddress, ...]
    upstream: str  # the Service that cluster names are asked of
    namespace: str
    config_map: str
    key: str
    metrics_host: str = ""  # "" for all of the node's addresses
    metrics_port: int = 9353

    @staticmethod
    def of(namespace: str, spec: Mapping[str, Any], container: Mapping[str, Any]) -> NodeCacheFlags:
        """By a Pod's spec and one container of it."""
        words = (*(container.get("command") or ()), *(container.get("args") or ()))
        flags = dict(_flags(words))
        local = [a for a in flags.get("localip", "").split(",") if is_address(a)]
        host, _, metrics = flags.get("metrics-listen-address", "").rpartition(":")
        name, key = _configured(spec, container, flags.get("basecorefile", _BASE))
        return NodeCacheFlags(
            tuple(map(parse_address, local)),
            flags.get("upstreamsvc", "kube-dns"),
            namespace,
            name,
            key,
            host if is_address(host) and not parse_address(host).is_unspecified else "",
            _port(metrics, 9353),
        )


def _port(text: str, default: int) -> int:
    return int(text) if text.isdecimal() and 0 < len(text) < 6 else default


def caches_of(namespace: str, spec: Mapping[str, Any]) -> Iterator[NodeCacheFlags]:
    """What of a Pod are caches of its node, which share its network."""
    if spec.get("hostNetwork"):
        for container in spec.get("containers") or ():
            if server_of(container.get("image") or "") == NODE_CACHE:
                yield NodeCacheFlags.of(namespace, spec, container)


def own_addresses(flags: NodeCacheFlags, services: Iterable[Any]) -> tuple[IPAddress, ...]:
    """Those of its addresses that a node gets for it: none of a Service, whose packets the proxy takes before."""
    return tuple(a for a in flags.local if not any(a in network for network in services))


def _flags(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Go's package flag: one dash or two, the value behind = or as the next word."""
    rest = list(words)
    while rest:
        name, equals, value = rest.pop(0).lstrip("-").partition("=")
        if equals:
            yield name, value
        elif name in _FLAGS and rest:
            yield name, rest.pop(0)


def _configured(spec: Mapping[str, Any], container: Mapping[str, Any], path: str) -> tuple[str, str]:
    """The ConfigMap of which a file is mounted at a path, and its key there."""
    folder, _, file = path.rpartition("/")
    volumes = {v["name"]: v.get("configMap") or {} for v in spec.get("volumes") or ()}
    for mount in container.get("volumeMounts") or ():
        given = volumes.get(mount["name"]) or {}
        if mount["mountPath"].rstrip("/") == folder and given.get("name"):
            keys = {item["path"]: item["key"] for item in given.get("items") or ()}
            return given["name"], keys.get(file, file)
    return "node-local-dns", "Corefile"
