"""Which of a container's volumes may hold the program that it asks for, beside what is on this machine.

A script in a ConfigMap is there as soon as the Pod is. What lies in a folder that begins empty somebody has to put
there: another container of the Pod, which runs a program itself, and isn't stood in for.

A script of a ConfigMap is run where the image is a system or a language. In others it is there to call what the image
has, as charts of databases do it, and would end at once. Pure.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from emulab.kinds.core.podspec import Container, is_general
from emulab.kinds.core.volumespec import EMPTY_DIR, EPHEMERAL, Volume
from emulab.kinds.emulab.clusterview import Cluster

_EMPTY = (EMPTY_DIR, EPHEMERAL)
_WRITTEN = ("configMap", "downwardAPI", "projected", "secret")


def lacking(
    spec: Mapping[str, Any],
    containers: Sequence[Container],
    running: Sequence[Container],
    cluster: Cluster,
    lacks: Callable[[Container], str],
) -> Mapping[str, str]:
    """Those of a Pod's containers whose program isn't here, by name, each with what it lacks.

    `running`: other containers of the Pod, which run something for certain.
    """
    volumes = [Volume.of(volume) for volume in spec.get("volumes") or ()]
    full = {volume.name for volume in volumes if _is_full(volume, cluster)}
    empty = {volume.name for volume in volumes if volume.kind in _EMPTY}
    written = {volume.name for volume in volumes if volume.kind in _WRITTEN}
    found = _asked(containers, full, written, lacks)
    while found:
        runs = (*running, *(c for c in containers if c.name not in found))
        filled = {mount.volume for c in runs for mount in c.mounts if not mount.read_only} & empty
        fewer = _asked([c for c in containers if c.name in found], full | filled, written, lacks)
        if len(fewer) == len(found):
            break
        found = fewer
    return found


def _asked(
    containers: Sequence[Container], volumes: set[str], written: set[str], lacks: Callable[[Container], str]
) -> Mapping[str, str]:
    found = ((c.name, _word(c, volumes, written, lacks)) for c in containers)
    return {name: word for name, word in found if word}


def _word(
    container: Container, volumes: set[str], written: set[str], lacks: Callable[[Container], str]
) -> str:
    """What a container lacks that sees these volumes, some of which the kubelet has written."""
    word = lacks(_seeing(container, volumes))
    if word or is_general(container.image):
        return word
    script = lacks(_seeing(container, volumes - written))
    return f"the image that runs {script}" if script else ""


def _seeing(container: Container, volumes: set[str]) -> Container:
    return replace(container, mounts=tuple(m for m in container.mounts if m.volume in volumes))


def _is_full(volume: Volume, cluster: Cluster) -> bool:
    """Whether something is in it that the Pod's containers haven't put there, as far as that can be known here."""
    if volume.kind == "hostPath":
        return cluster.host_path(os.path.normpath(volume.settings.get("path") or "/")) is not None
    return volume.kind not in _EMPTY
