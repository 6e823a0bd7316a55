"""Where a container sees the volumes of its Pod: the kubelet's `makeMounts`. Pure, but for what is read-only.

`sub_path` of a `Bind` is looked up by who makes it, with links followed inside of the volume alone: the supervisor
never follows any that a container may have made.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

from emulab.kernel.containers.root import Bind
from emulab.kinds.core.expansion import expand
from emulab.kinds.core.podspec import Container
from emulab.kinds.core.volumespec import VolumeMount
from emulab.lab.kubelet.environment.configs import ConfigError
from emulab.lab.kubelet.volumes.hostpath import is_there
from emulab.lab.kubelet.volumes.volume import VolumeSource

_VARIABLE = re.compile(r"\$\$|\$\(([^)]*)\)")


def binds(
    container: Container, sources: Mapping[str, VolumeSource], environment: Mapping[str, str]
) -> tuple[Bind, ...]:
    """What a container sees. Raises ConfigError."""
    return tuple(
        _bind(container, mount, sources[mount.volume], environment)
        for mount in container.mounts
        if mount.volume in sources
    )


def image_volumes(paths: Iterable[str], mounted: Iterable[Bind]) -> tuple[Bind, ...]:
    """An image's own volumes, each a folder of one life of a container, but where its Pod has mounted one."""
    there = {os.path.normpath(bind.target) for bind in mounted}
    found = dict.fromkeys(os.path.normpath(f"/{path.lstrip('/')}") for path in paths)
    return tuple(Bind("", path) for path in found if path not in there)


def _bind(
    container: Container, mount: VolumeMount, source: VolumeSource, environment: Mapping[str, str]
) -> Bind:
    below = _sub_path(mount, environment)
    # What nobody may write to has no folder made in it either.
    if below and _is_kept(source) and not is_there(source, below):
        what = f'volumeMount "{mount.volume}" of container "{container.name}"'
        raise ConfigError(f"failed to create subPath directory for {what}")
    sub_path = os.path.join(source.sub_path, below).strip("/") if below else source.sub_path
    target = mount.path if mount.path.startswith("/") else f"/{mount.path}"
    return Bind(source.path, target, mount.read_only or source.read_only, sub_path)


def _is_kept(source: VolumeSource) -> bool:
    """Whether it is a folder of the host's to which Pods may not write."""
    return source.read_only and not source.owned


def _sub_path(mount: VolumeMount, environment: Mapping[str, str]) -> str:
    if not mount.sub_path_expression:
        return mount.sub_path
    expression = mount.sub_path_expression
    for match in _VARIABLE.finditer(expression):
        if match[1] is not None and match[1] not in environment:
            raise ConfigError(f'missing value for "{match[1]}"')
    path = expand(expression, environment)
    if path.startswith("/"):
        raise ConfigError(f"error SubPath `{path}` must not be an absolute path")
    if ".." in path.split("/"):
        raise ConfigError(f"unable to provision SubPath `{path}`: must not contain '..'")
    return path
