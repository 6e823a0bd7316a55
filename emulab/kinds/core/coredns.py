"""What a container of CoreDNS is told: by its flags, and by ConfigMaps that are mounted where it reads (coremain)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from emulab.kinds.images import DNS, DNS_IMAGE, repository, server_of

NAMESPACE, CONFIG_MAP, CUSTOM, COREFILE = "kube-system", "coredns", "coredns-custom", "Corefile"
"""Where the lab's own cluster DNS is configured, and what clouds have beside it."""
_FLAGS = ("conf", "dns.port", "p")
_DEFAULT = "/etc/coredns/Corefile"


class _Mount(NamedTuple):
    """A ConfigMap that is mounted, the keys of files that have other names, and the one file that it is about."""

    name: str
    keys: Mapping[str, str]
    below: str


class CoreDnsFlags(NamedTuple):
    """The ConfigMap and its key that have the Corefile, the one that is mounted as the folder `custom` beside it, and
    the port of server blocks that say none."""

    namespace: str = NAMESPACE
    config_map: str = CONFIG_MAP
    key: str = COREFILE
    custom: str = CUSTOM
    port: int = 53
    own: bool = True  # the lab's own, whose Service leads to port 53
    bare: str = ""  # the folder of its Corefile, where no ConfigMap is mounted there
    env: tuple[tuple[str, str], ...] = ()  # the variables that have a value

    @staticmethod
    def of(namespace: str, spec: Mapping[str, Any], container: Mapping[str, Any]) -> CoreDnsFlags:
        """By a Pod's spec and one container of it."""
        if repository(container.get("image") or "") == DNS_IMAGE:
            return CoreDnsFlags()
        flags = dict(_flags((*(container.get("command") or ()), *(container.get("args") or ()))))
        port = flags.get("dns.port", flags.get("p", ""))
        path = flags.get("conf", _DEFAULT)
        folder, _, file = path.rpartition("/")
        mounted = dict(_mounted(spec, container))
        name, keys, below = mounted.get(path) or mounted.get(folder) or ("", {}, "")
        file = below if path in mounted else file
        beside = next((mount.name for place, mount in mounted.items() if _is_custom(place)), CUSTOM)
        return CoreDnsFlags(
            namespace,
            name or CONFIG_MAP,
            keys.get(file, file),
            beside,
            int(port) if port.isdecimal() and 0 < int(port[:6]) < 1 << 16 else 53,
            own=False,
            bare="" if name else folder,
            env=tuple((e["name"], e["value"]) for e in container.get("env") or () if e.get("value")),
        )


def corednses_of(namespace: str, spec: Mapping[str, Any]) -> Iterator[CoreDnsFlags]:
    """What of a Pod are servers of CoreDNS."""
    for container in spec.get("containers") or ():
        if server_of(container.get("image") or "") == DNS:
            yield CoreDnsFlags.of(namespace, spec, container)


def _is_custom(place: str) -> bool:
    return "custom" in place.rpartition("/")[2]


def _flags(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Go's package flag: one dash or two, the value behind = or as the next word."""
    rest = list(words)
    while rest:
        name, equals, value = rest.pop(0).lstrip("-").partition("=")
        if equals:
            yield name, value
        elif name in _FLAGS and rest:
            yield name, rest.pop(0)


def _mounted(spec: Mapping[str, Any], container: Mapping[str, Any]) -> Iterator[tuple[str, _Mount]]:
    """What of a container's files is of ConfigMaps, by its path."""
    volumes = {v["name"]: _config_map(v) for v in spec.get("volumes") or ()}
    for mount in container.get("volumeMounts") or ():
        given = volumes.get(mount["name"]) or {}
        if given.get("name"):
            keys = {item["path"]: item["key"] for item in given.get("items") or ()}
            yield mount["mountPath"].rstrip("/"), _Mount(given["name"], keys, mount.get("subPath") or "")


def _config_map(volume: Mapping[str, Any]) -> Mapping[str, Any]:
    """The ConfigMap that a volume is, or the first of which one is made."""
    sources = (volume, *((volume.get("projected") or {}).get("sources") or ()))
    found: Mapping[str, Any] = next((s["configMap"] for s in sources if s.get("configMap")), {})
    return found
