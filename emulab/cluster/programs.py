"""Which containers run an image, which the program that their `command` names, and which have a stand-in.

A container whose image was loaded runs that. Of others a `command` is run where there is a program of that name, and
otherwise what was meant is the image's, for which a stand-in answers. It is decided once, before a Pod gets its
address, and written into the Pod, so that whoever plans, runs and describes it says the same for as long as it lives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

from emulab.kinds.core.podspec import (
    ECHO,
    IMAGES,
    PROGRAM,
    REQUIRED,
    STAND_INS,
    STANDIN,
    Container,
    PodImage,
    asked_program,
    is_general,
)
from emulab.kinds.core.volumespec import Volume
from emulab.kinds.emulab.clusterview import FAIL, Cluster
from emulab.kinds.images import server_of
from emulab.kinds.registry import POD
from emulab.kinds.standins import is_played
from emulab.model.collection import Change, Objects, Put
from emulab.model.objects import Object

Lacks = Callable[[Container], str]
"""Which program that a container asks for isn't there; "" where all is.

Of its mounts it has those alone in which there may be files when it begins.
"""

_WRITTEN = frozenset(("configMap", "downwardAPI", "projected", "secret"))
"""Volumes whose files the kubelet writes; others are empty until somebody in the Pod has written there."""


class ImageProgram(NamedTuple):
    """What an image says of the containers made of it."""

    id: str
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]


Loaded = Callable[[str], ImageProgram | None]
"""The image that a container's `image` means; None where there is none."""


def nothing(_: Container) -> str:
    """For who doesn't ask a machine."""
    return ""


def no_image(_: str) -> None:
    """For who has none."""


def stand_ins(objects: Objects, cluster: Cluster, lacks: Lacks, loaded: Loaded = no_image) -> list[Change]:
    """What is to be written into Pods that it isn't decided of yet."""
    changes: list[Change] = []
    for pod in objects.facts(POD, _undecided).values():
        images = images_of(pod.annotations, pod.spec, cluster, loaded)
        names = standing_in(pod.annotations, pod.spec, cluster, lacks, images)
        if names or images:
            annotations = {**pod.annotations, **({STAND_INS: ",".join(names)} if names else {})}
            if images:
                annotations[IMAGES] = PodImage.written(images)
            changes.append(Put(pod.replace(metadata={**pod.metadata, "annotations": annotations})))
    return changes


def images_of(
    annotations: Mapping[str, str], spec: Mapping[str, Any], cluster: Cluster, loaded: Loaded
) -> Mapping[str, PodImage]:
    """The containers that run an image, or wait for one, by name."""
    if annotations.get(PROGRAM, cluster.programs) in (STANDIN, ECHO):
        return {}
    fails = cluster.missing_images == FAIL and PROGRAM not in annotations
    found: dict[str, PodImage] = {}
    for container in _containers(spec):
        image = container.get("image") or ""
        if server_of(image):
            continue
        program = loaded(image)
        if program is not None:
            found[container["name"]] = image_for(container, program)
        elif fails:
            found[container["name"]] = PodImage()
    return found


def image_for(container: Mapping[str, Any], program: ImageProgram) -> PodImage:
    """What a container has of its image: its `args` take the place of CMD."""
    run = program.entrypoint if container.get("args") else (*program.entrypoint, *program.cmd)
    return PodImage(program.id, run)


def standing_in(
    annotations: Mapping[str, str],
    spec: Mapping[str, Any],
    cluster: Cluster,
    lacks: Lacks,
    images: Mapping[str, PodImage] = MappingProxyType({}),
) -> list[str]:
    """The names of containers whose command isn't run."""
    asked = annotations.get(PROGRAM, cluster.programs)
    containers = list(_with_program(spec))
    if asked in (STANDIN, ECHO):
        return [c["name"] for c in containers]
    lacking = missing(annotations, spec, cluster, lacks, images)
    views = (Container.of(c) for c in containers if asked != REQUIRED and c["name"] not in images)
    played = {c.name for c in views if is_played(c)}
    return [c["name"] for c in containers if c["name"] in lacking or c["name"] in played]


def missing(
    annotations: Mapping[str, str],
    spec: Mapping[str, Any],
    cluster: Cluster,
    lacks: Lacks,
    images: Mapping[str, PodImage] = MappingProxyType({}),
) -> Mapping[str, str]:
    """The names of containers whose command isn't run although nobody said so, each with what it lacks.

    `images`: the containers that run one, in which the program may well be. What a volume has is run where the image is
    a system or a language; in others it is there to call what the image has, as charts of databases do it.
    """
    if annotations.get(PROGRAM, cluster.programs) in (REQUIRED, STANDIN, ECHO):
        return {}
    found: dict[str, str] = {}
    filled = {v["name"] for v in spec.get("volumes") or () if Volume.of(v).kind in _WRITTEN}
    begin = {c["name"] for c in spec.get("initContainers") or ()}
    for given in _containers(spec):
        container = Container.of(given)
        runs = given["name"] in images
        if not runs and container.command and not is_played(container):
            seen = tuple(mount for mount in container.mounts if mount.volume in filled)
            word = lacks(replace(container, mounts=seen))
            if (
                not word
                and seen
                and not is_general(container.image)
                and (script := lacks(replace(container, mounts=())))
            ):
                word = f"the image that runs {script}"
            runs = not word
            found |= {container.name: word} if word else {}
        if runs and container.name in begin:  # nobody but itself says what it leaves to those behind it
            filled |= {mount.volume for mount in container.mounts}
    return found


def _containers(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for field in ("initContainers", "containers"):
        yield from spec.get(field) or ()


def _with_program(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return filter(asked_program, _containers(spec))


def _undecided(pod: Object) -> Object | None:
    if pod.status.get("podIPs") or STAND_INS in pod.annotations or IMAGES in pod.annotations:
        return None
    return pod
