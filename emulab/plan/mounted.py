"""What stands in the files that a container is given by Secrets and ConfigMaps, for who answers in its place. Pure."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from emulab.kinds.registry import CONFIG_MAP, SECRET
from emulab.model.keys import Key
from emulab.model.objects import Object


class KeptEntry(NamedTuple):
    """An entry of a Secret or ConfigMap."""

    of: Key
    name: str


def entries_at(pod: Object, container: str, path: str) -> Iterator[KeptEntry]:
    """The entries that may be the file at a path of a container, whichever of the objects are there."""
    spec = pod.spec
    volumes = {volume["name"]: volume for volume in spec.get("volumes") or ()}
    named: Mapping[str, Any] = next((c for c in spec["containers"] if c["name"] == container), {})
    mounts = sorted(named.get("volumeMounts") or (), key=lambda m: len(m["mountPath"]), reverse=True)
    for mount in mounts:
        below = _below(path, mount["mountPath"])
        if below is None:
            continue
        inside = "/".join(filter(None, (mount.get("subPath") or "", below)))
        for source in _sources(volumes.get(mount["name"]) or {}):
            yield from _entry(pod.namespace, source, inside)
        return


def text_at(
    pod: Object, container: str, path: str, get: Callable[[Key], Object | None], asked: set[Key]
) -> str:
    """What stands in the file, "" where that isn't known. The objects that were asked for are added to `asked`."""
    for entry in entries_at(pod, container, path):
        asked.add(entry.of)
        o = get(entry.of)
        text = _text(o, entry.name) if o is not None else None
        if text is not None:
            return text
    return ""


def _below(path: str, folder: str) -> str | None:
    if path == folder:
        return ""
    prefix = folder.rstrip("/") + "/"
    return path[len(prefix) :] if path.startswith(prefix) else None


def _sources(volume: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield volume
    yield from (volume.get("projected") or {}).get("sources") or ()


def _entry(namespace: str, source: Mapping[str, Any], inside: str) -> Iterator[KeptEntry]:
    for field, kind, names in (
        ("secret", SECRET, ("secretName", "name")),
        ("configMap", CONFIG_MAP, ("name",)),
    ):
        one = source.get(field)
        name = next((one[n] for n in names if one.get(n)), None) if one else None
        if not one or not name:
            continue
        items = {item["path"]: item["key"] for item in one.get("items") or ()}
        if not items or inside in items:
            yield KeptEntry(kind.key(namespace, name), items.get(inside, inside))


def _text(o: Object, name: str) -> str | None:
    plain = (o.raw.get("stringData") if o.type == SECRET else o.raw.get("data")) or {}
    if name in plain:
        return str(plain[name])
    encoded = (o.raw.get("data") if o.type == SECRET else o.raw.get("binaryData")) or {}
    return b64decode(encoded[name] or "").decode(errors="replace") if name in encoded else None
