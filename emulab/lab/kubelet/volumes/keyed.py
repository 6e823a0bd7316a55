"""ConfigMaps and Secrets as volumes: a file for each key (pkg/volume/configmap, pkg/volume/secret). Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from emulab.cluster.makers import maker
from emulab.kinds.kind import Kind
from emulab.kinds.registry import CONFIG_MAP, SECRET
from emulab.lab.kubelet.environment.configs import contents, looked_up, missing
from emulab.lab.kubelet.volumes.files import WrittenFiles, mode_of, of_keys
from emulab.lab.kubelet.volumes.volume import AskedVolume, MadeByNobody, NotMounted

_NO_KEY = {
    CONFIG_MAP: "configmap references non-existent config key: {}",
    SECRET: "references non-existent secret key: {}",
}


def files_of(
    asked: AskedVolume, kind: Kind, name: str, settings: Mapping[str, Any], mode: int | None = None
) -> WrittenFiles:
    """The files of a ConfigMap or Secret as a volume, or a projection, has them. Raises NotMounted."""
    optional = bool(settings.get("optional"))
    o = looked_up(asked.objects.get, kind, asked.pod.namespace, name)
    if o is None and not optional:
        raise _error(asked, kind, name)(missing(kind, name))
    there = contents(o) if o is not None else {}
    try:
        own = mode_of(mode, settings.get("defaultMode"))
        return of_keys(there, settings.get("items") or (), own, optional)
    except KeyError as error:
        raise _error(asked, kind, name)(_NO_KEY[kind].format(error.args[0])) from None


def _error(asked: AskedVolume, kind: Kind, name: str) -> type[NotMounted]:
    """What it means that something of that name isn't there."""
    return MadeByNobody if maker(asked.objects, asked.pod.namespace, kind, name) else NotMounted


def files(kind: Kind, named: str) -> Callable[[AskedVolume], WrittenFiles]:
    """What makes the files of a volume of that kind, whose settings have its name in the field `named`."""
    return lambda asked: files_of(asked, kind, asked.settings[named], asked.settings)
