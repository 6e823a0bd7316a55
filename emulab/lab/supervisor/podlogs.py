"""Where the logs of containers and places are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from emulab.errors import UserError
from emulab.kinds.core.podspec import PodSpec
from emulab.kinds.registry import POD
from emulab.lab.supervisor.arguments import FLAG, NAME, TEXT, Arguments, optional, takes
from emulab.lab.supervisor.reconciler import Progress
from emulab.lab.supervisor.surroundings import Surroundings
from emulab.lab.supervisor.targets import find_container, find_pod
from emulab.model.objects import Object
from emulab.model.selectortext import label_requirements


class PodLogs:
    """The operations of one lab that tell of logs."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    @takes(target=NAME, namespace=NAME, container=optional(NAME))
    async def logs(self, arguments: Arguments, _: Progress) -> Any:
        """`target`, `namespace`, `container`: where the container's log is, as a path."""
        return next(self._of_target(arguments))[2]

    @takes(
        target=optional(NAME),
        selector=optional(TEXT),
        namespace=NAME,
        container=optional(NAME),
        all_containers=optional(FLAG),
    )
    async def log_files(self, arguments: Arguments, _: Progress) -> Any:
        """`target`, or `selector`, a label selector of Pods; `namespace`, `container`, `all_containers`.

        Result: [[place or Pod, container, path], …]; a place's log is that of no container.
        """
        if bool(arguments.get("target")) == bool(arguments.get("selector")):
            raise UserError("logs are those of a target, or of the Pods that a selector chooses")
        return list(self._of_target(arguments) if arguments.get("target") else self._of_selected(arguments))

    def _of_selected(self, arguments: Arguments) -> Iterator[list[str]]:
        labels = label_requirements(arguments["selector"])
        for pod in self._around.store.objects().kind(POD, arguments["namespace"]):
            if all(requirement.holds(pod.labels) for requirement in labels):
                yield from self._of_pod(pod, arguments)

    def _of_target(self, arguments: Arguments) -> Iterator[list[str]]:
        target = arguments["target"]
        place = self._around.world.places.get(target) if self._around.world else None
        if place is not None and place.kind != "pod":
            yield [place.name, "", str(self._around.logs.of(place.name).path)]
            return
        yield from self._of_pod(find_pod(self._around, target, arguments["namespace"]), arguments)

    def _of_pod(self, pod: Object, arguments: Arguments) -> Iterator[list[str]]:
        spec = PodSpec.of_pod(pod)
        if arguments.get("all_containers"):
            chosen = [*spec.init_containers, *spec.containers]
        else:
            every = (*spec.containers, *spec.init_containers)
            chosen = [find_container(pod, every, arguments.get("container") or "")]
        for container in chosen:
            path = self._around.logs.of(pod.namespace, pod.name, container.name).path
            yield [pod.name, container.name, str(path)]
