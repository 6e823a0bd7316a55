"""What a container of CoreDNS is told: by its flags, and by ConfigMaps that are mounted where it reads (coremain)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from emulab.kinds.images import DNS, DNS_IMAGE, repository, server_of

NAMESPACE, CONFIG_MAP, CUSTOM, COREFILE = "kube-system", "coredns", "coredns-custom", "Corefile"
"""Where the lab's own cluster DNS is configured, and what clouds have beside it."""
_FLAGS = ("conf", "dns.port", "p")
_DEFAULT = "/etc/coredns/Corefile"


class FileSource(NamedTuple):
    """A ConfigMap or Secret whose keys are files of a volume: all, or those `items`, each with its path."""

    kind: str
    name: str
    items: tuple[tuple[str, str], ...] = ()

    @staticmethod
    def of(kind: str, name: str, given: Mapping[str, Any]) -> FileSource:
        return FileSource(kind, name, tuple((item["key"], item["path"]) for item in given.get("items") or ()))

    def has(self, file: str) -> bool:
        """Whether it says that this file is its own."""
        return any(path == file for _, path in self.items)


class _Mount(NamedTuple):
    """What is mounted, and the one file that it is about."""

    sources: tuple[FileSource, ...]
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
    beside: tuple[FileSource, ...] = ()  # what else is in the Corefile's folder

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
        sources, below = mounted.get(path) or mounted.get(folder) or ((), "")
        file = below if path in mounted else file
        own = _which_has(sources, file)
        custom = next(
            (_which_has(mount.sources) for place, mount in mounted.items() if _is_custom(place)), None
        )
        return CoreDnsFlags(
            namespace,
            own.name if own else "" if sources else CONFIG_MAP,
            next((key for key, name in own.items if name == file), file) if own else file,
            custom.name if custom else CUSTOM,
            int(port) if port.isdecimal() and 0 < int(port[:6]) < 1 << 16 else 53,
            own=False,
            bare="" if sources else folder,
            env=tuple((e["name"], e["value"]) for e in container.get("env") or () if e.get("value")),
            beside=tuple(one for one in sources if one != own) if path not in mounted or own is None else (),
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


def _which_has(sources: Sequence[FileSource], file: str = "") -> FileSource | None:
    """The ConfigMap that has a file: the one that says so, or one that has all its keys there."""
    maps = [source for source in sources if source.kind == "ConfigMap"]
    found = [source for source in maps if source.has(file)] or [source for source in maps if not source.items]
    return next(iter(found or maps), None)


def _mounted(spec: Mapping[str, Any], container: Mapping[str, Any]) -> Iterator[tuple[str, _Mount]]:
    """What of a container's files is of ConfigMaps and Secrets, by its path."""
    volumes = {v["name"]: tuple(_sources(v)) for v in spec.get("volumes") or ()}
    for mount in container.get("volumeMounts") or ():
        if sources := volumes.get(mount["name"]):
            yield mount["mountPath"].rstrip("/"), _Mount(sources, mount.get("subPath") or "")


def _sources(volume: Mapping[str, Any]) -> Iterator[FileSource]:
    """What a volume is, or is made of."""
    if secret := volume.get("secret"):
        yield FileSource.of("Secret", secret.get("secretName") or "", secret)
    for one in (volume, *((volume.get("projected") or {}).get("sources") or ())):
        if (given := one.get("configMap")) and given.get("name"):
            yield FileSource.of("ConfigMap", given["name"], given)
        if one is not volume and (given := one.get("secret")) and given.get("name"):
            yield FileSource.of("Secret", given["name"], given)
