"""Which containers run the program that their `command` names, and which have a stand-in.

An image's own program isn't here: a `command` is run where there is a program of that name, and otherwise what was
meant is the image's, for which a stand-in answers. It is decided once, before a Pod gets its address, and written into
the Pod, so that whoever plans, runs and describes it says the same for as long as it lives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from emulab.kinds.core.podspec import (
    ECHO,
    PROGRAM,
    REQUIRED,
    STAND_INS,
    STANDIN,
    Container,
    asked_program,
)
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.registry import POD
from emulab.kinds.standins import is_played
from emulab.model.collection import Change, Objects, Put
from emulab.model.objects import Object

Lacks = Callable[[Container], str]
"""Which program that a container asks for isn't there; "" where all is."""


def nothing(_: Container) -> str:
    """For who doesn't ask a machine."""
    return ""


def stand_ins(objects: Objects, cluster: Cluster, lacks: Lacks) -> list[Change]:
    """What is to be written into Pods that it isn't decided of yet."""
    changes: list[Change] = []
    for pod in objects.facts(POD, _undecided).values():
        names = standing_in(pod.annotations, pod.spec, cluster, lacks)
        if names:
            annotations = {**pod.annotations, STAND_INS: ",".join(names)}
            changes.append(Put(pod.replace(metadata={**pod.metadata, "annotations": annotations})))
    return changes


def standing_in(
    annotations: Mapping[str, str], spec: Mapping[str, Any], cluster: Cluster, lacks: Lacks
) -> list[str]:
    """The names of containers whose command isn't run."""
    asked = annotations.get(PROGRAM, cluster.programs)
    containers = list(_with_program(spec))
    if asked in (STANDIN, ECHO):
        return [c["name"] for c in containers]
    lacking = missing(annotations, spec, cluster, lacks)
    played = {str(c["name"]) for c in containers if asked != REQUIRED and is_played(Container.of(c))}
    return [c["name"] for c in containers if c["name"] in lacking or c["name"] in played]


def missing(
    annotations: Mapping[str, str], spec: Mapping[str, Any], cluster: Cluster, lacks: Lacks
) -> Mapping[str, str]:
    """The names of containers whose command isn't run although nobody said so, each with what it lacks."""
    if annotations.get(PROGRAM, cluster.programs) in (REQUIRED, STANDIN, ECHO):
        return {}
    containers = (Container.of(c) for c in _with_program(spec))
    lacking = ((c.name, lacks(c)) for c in containers if not is_played(c))
    return {name: word for name, word in lacking if word}


def _with_program(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for field in ("initContainers", "containers"):
        for container in spec.get(field) or ():
            if asked_program(container):
                yield container


def _undecided(pod: Object) -> Object | None:
    if pod.status.get("podIPs") or STAND_INS in pod.annotations:
        return None
    return pod if next(_with_program(pod.spec), None) is not None else None
