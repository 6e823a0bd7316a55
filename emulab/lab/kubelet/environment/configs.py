"""What ConfigMaps and Secrets hold, for who is told of it, and the kubelet's words where it isn't there. Pure."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping

from emulab.kinds.core.configoddities import ROOT_CERTIFICATES
from emulab.kinds.kind import Kind
from emulab.kinds.registry import CONFIG_MAP, SECRET
from emulab.lab.kubelet.confinement import NotConfigured
from emulab.model.keys import Key
from emulab.model.objects import Object

Get = Callable[[Key], Object | None]


class ConfigError(NotConfigured):
    """What a container is to be told isn't there: it can't be made until it is (CreateContainerConfigError)."""


def looked_up(get: Get, kind: Kind, namespace: str, name: str) -> Object | None:
    """A ConfigMap or Secret, if it is there. The certificates that every Namespace has are none here."""
    o = get(kind.key(namespace, name))
    if o is None and kind == CONFIG_MAP and name == ROOT_CERTIFICATES:
        metadata = {"name": name, "namespace": namespace}
        return Object({"apiVersion": "v1", "kind": kind.kind, "metadata": metadata, "data": {"ca.crt": ""}})
    return o


def missing(kind: Kind, name: str) -> str:
    """The kubelet's watch-based manager says it with the kind in lower case."""
    return f'{kind.singular} "{name}" not found'


def contents(o: Object) -> dict[str, bytes]:
    """The entries of a ConfigMap or Secret, as files have them."""
    data = o.raw.get("data") or {}
    if o.type == SECRET:
        texts = o.raw.get("stringData") or {}
        return {**{k: base64.b64decode(v) for k, v in data.items()}, **_encoded(texts)}
    binary = o.raw.get("binaryData") or {}
    return {**_encoded(data), **{k: base64.b64decode(v) for k, v in binary.items()}}


def _encoded(texts: Mapping[str, object]) -> dict[str, bytes]:
    return {k: str(v).encode(errors="surrogateescape") for k, v in texts.items()}


def texts(o: Object) -> dict[str, str]:
    """The entries that may be variables: of a ConfigMap those that are texts."""
    if o.type == CONFIG_MAP:
        return {k: str(v) for k, v in (o.raw.get("data") or {}).items()}
    # Octets that are no text reach the program as they are (os.fsencode).
    return {k: v.decode(errors="surrogateescape") for k, v in contents(o).items()}
