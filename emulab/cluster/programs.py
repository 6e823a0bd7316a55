"""Which containers run an image, which the program that their `command` names, and which have a stand-in.

A container whose image was loaded runs that. Of others a `command` is run where there is a program of that name, and
otherwise what was meant is the image's, for which a stand-in answers. It is decided once, before a Pod gets its
address, and written into the Pod, so that whoever plans, runs and describes it says the same for as long as it lives.
Of a container whose image is changed while its Pod is there it is decided anew.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from emulab.cluster.mountedprograms import lacking
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
)
from emulab.kinds.core.updates import STATUSES, runs_another
from emulab.kinds.emulab.clusterview import FAIL, Cluster
from emulab.kinds.images import server_of
from emulab.kinds.registry import POD
from emulab.kinds.standins import is_played
from emulab.model.collection import Change, Objects, Put
from emulab.model.objects import Object

T = TypeVar("T")

Lacks = Callable[[Container], str]
"""Which program that a container asks for isn't there; "" where all is. What it mounts may hold anything."""


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
    """What is to be written into Pods that it isn't decided of yet, and into those whose images have changed."""
    changes: list[Change] = []
    for pod in objects.facts(POD, _undecided).values():
        annotations = _decisions(pod, pod.spec, cluster, lacks, loaded)
        if annotations:
            changes.append(_annotated(pod, {**pod.annotations, **annotations}))
    for pod, names in objects.facts(POD, _with_other_images).values():
        annotations = _decided_anew(pod, names, cluster, lacks, loaded)
        if annotations != pod.annotations:
            changes.append(_annotated(pod, annotations))
    return changes


def _annotated(pod: Object, annotations: Mapping[str, str]) -> Change:
    return Put(pod.replace(metadata={**pod.metadata, "annotations": annotations}))


def _decisions(
    pod: Object, spec: Mapping[str, Any], cluster: Cluster, lacks: Lacks, loaded: Loaded
) -> Mapping[str, str]:
    """The annotations that tell of the containers of a spec."""
    images = images_of(pod.annotations, spec, cluster, loaded)
    names = standing_in(pod.annotations, spec, cluster, lacks, images)
    return _written(names, images)


def _written(names: Iterable[str], images: Mapping[str, PodImage]) -> Mapping[str, str]:
    text = ",".join(names)
    return {**({STAND_INS: text} if text else {}), **({IMAGES: PodImage.written(images)} if images else {})}


def _decided_anew(
    pod: Object, changed: Collection[str], cluster: Cluster, lacks: Lacks, loaded: Loaded
) -> Mapping[str, str]:
    """The Pod's annotations once it is decided of the containers with these names again."""
    new = _decisions(pod, pod.spec, cluster, lacks, loaded)
    images = {name: i for name, i in PodImage.all_of(new).items() if name in changed}
    images = {**_without(PodImage.all_of(pod.annotations), changed), **images}
    standing = _names(pod.annotations) - {*changed} | _names(new) & {*changed}
    names = [c["name"] for c in _containers(pod.spec) if c["name"] in standing]
    others = _without(pod.annotations, (STAND_INS, IMAGES))
    return {**others, **_written(names, images)}


def _names(annotations: Mapping[str, str]) -> set[str]:
    return {name for name in annotations.get(STAND_INS, "").split(",") if name}


def _without(given: Mapping[str, T], names: Collection[str]) -> dict[str, T]:
    return {name: value for name, value in given.items() if name not in names}


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
    absent = missing(annotations, spec, cluster, lacks, images)
    views = (Container.of(c) for c in containers if asked != REQUIRED and c["name"] not in images)
    played = {c.name for c in views if is_played(c)}
    return [c["name"] for c in containers if c["name"] in absent or c["name"] in played]


def missing(
    annotations: Mapping[str, str],
    spec: Mapping[str, Any],
    cluster: Cluster,
    lacks: Lacks,
    images: Mapping[str, PodImage] = MappingProxyType({}),
) -> Mapping[str, str]:
    """The names of containers whose command isn't run although nobody said so, each with what it lacks.

    `images`: the containers that run one, in which the program may well be.
    """
    if annotations.get(PROGRAM, cluster.programs) in (REQUIRED, STANDIN, ECHO):
        return {}
    containers = [Container.of(c) for c in _with_program(spec) if c["name"] not in images]
    others = [Container.of(c) for c in _containers(spec) if c["name"] in images]
    return lacking(spec, [c for c in containers if not is_played(c)], others, cluster, lacks)


def _containers(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for field in ("initContainers", "containers"):
        yield from spec.get(field) or ()


def _with_program(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return filter(asked_program, _containers(spec))


def _undecided(pod: Object) -> Object | None:
    if pod.status.get("podIPs") or STAND_INS in pod.annotations or IMAGES in pod.annotations:
        return None
    return pod


def _with_other_images(pod: Object) -> tuple[Object, tuple[str, ...]] | None:
    """A Pod, and the containers of it that the kubelet runs with other images than it has by now."""
    run = {s["name"]: s.get("image") or "" for field in STATUSES for s in pod.status.get(field) or ()}
    names = tuple(
        c["name"] for c in _containers(pod.spec) if runs_another(run.get(c["name"]), c.get("image"))
    )
    return (pod, names) if names else None
