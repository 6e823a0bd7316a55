"""Containers whose definition changes while their Pod runs, by another image (`computePodActions` of kuberuntime).

A container that runs is ended, and begins anew whatever its restart policy says; one that waits for its image, or for
its restart, waits no longer; one that has ended for good stays as it is, and so does an init container that runs
already. With its image a container may have got another kind of life: a program where a stand-in was, or the reverse.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from emulab.cluster.store import timestamp
from emulab.kinds.core.podspec import IMAGES, STAND_INS, Container, PodSpec
from emulab.lab.kubelet import ending, telling
from emulab.lab.kubelet.podstatus import ContainerState
from emulab.lab.kubelet.served import ENDED_BY, Served
from emulab.model.objects import Object


class Renewable(ending.Endable, Protocol):
    """The pod, as far as who renews its containers has to do with it."""

    @property
    def spec(self) -> PodSpec: ...

    @property
    def terminating(self) -> bool: ...

    def is_init(self, container: Container) -> bool: ...

    def served(self, name: str) -> Served | None: ...

    def relaunch(self, container: Container, state: ContainerState) -> None:
        """Begins a life of another kind, after those of which the state tells."""


def found_out(pod: Object) -> tuple[str | None, ...]:
    """What has been found out of a Pod's programs."""
    return pod.annotations.get(STAND_INS), pod.annotations.get(IMAGES)


def changed(old: PodSpec, new: PodSpec) -> Iterator[tuple[Container, Container]]:
    """The containers whose definition differs, each before and after."""
    for before, after in zip(
        (*old.init_containers, *old.containers), (*new.init_containers, *new.containers), strict=True
    ):
        if differ(before, after):
            yield before, after


def differ(one: Container, other: Container) -> bool:
    return (one.image, one.command, one.image_id) != (other.image, other.command, other.image_id)


async def renew(pod: Renewable, old: Container, new: Container) -> None:
    """Has a container that has begun be as it is defined by now; returns when it has been told to."""
    state, grace = pod.state_of(old), float(pod.spec.termination_grace)
    if state.done:
        return
    if state.running:
        pod.tell(new, telling.changed(new.name, pod.is_init(new)))
    runner, served = pod.runners.get(old.name), pod.served(old.name)
    if old.command and new.command and runner is not None:
        if runner.renew():
            await ending.end_program(pod, old, runner, grace)
        return
    if old.command and runner is not None:
        runner.retire()
        await ending.end_program(pod, old, runner, grace)
    elif served is not None and state.running:
        served.held = True
        await ending.pre_stop(pod, old, grace)
        if not pod.terminating:
            state.ended(ENDED_BY, timestamp())
    if not pod.terminating:
        state.restarts += state.exit_status is not None
        state.waiting = state.message = ""
        pod.relaunch(new, state)
