"""A pod's status from what its containers do, as the kubelet reports it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emulab.dataclass import dataclass


@dataclass(slots=True)
class ContainerState:
    """What is known of one container. `exit_status` is that of its last end, None before the first."""

    name: str
    image: str
    running: bool = False
    started: bool = False  # its startup probe has passed, or it has none
    ready: bool = False
    restarts: int = 0
    exit_status: int | None = None
    done: bool = False  # it has ended and won't be started again
    waiting: str = "ContainerCreating"
    message: str = ""
    started_at: str = ""

    def end(self) -> None:
        """The container has ended with its Pod."""
        self.running = self.ready = False
        self.exit_status = self.exit_status or 0
        self.done = True


def pod_status(
    containers: Sequence[ContainerState], inits: Sequence[ContainerState], initialised: bool
) -> dict[str, Any]:
    """The fields of `status` that depend on containers: phase, conditions and the containers' own.

    `inits`: the init containers, of which those are ready that have ended well, and sidecars as others are.
    """
    ready = bool(containers) and initialised and all(c.ready for c in (*inits, *containers))
    own = {"initContainerStatuses": [_container_status(c) for c in inits]} if inits else {}
    return {
        **own,
        "phase": _phase(containers, initialised),
        "conditions": [
            _condition("PodScheduled", True, ""),
            _condition("Initialized", initialised, "ContainersNotInitialized"),
            _condition("ContainersReady", ready, "ContainersNotReady"),
            _condition("Ready", ready, "ContainersNotReady"),
        ],
        "containerStatuses": [_container_status(c) for c in containers],
    }


def _phase(containers: Sequence[ContainerState], initialised: bool) -> str:
    """Pod phases, Kubernetes API: Failed when all have ended and one badly."""
    if containers and all(c.done for c in containers):
        return "Succeeded" if all(c.exit_status == 0 for c in containers) else "Failed"
    if not initialised or not any(c.running or c.restarts or c.exit_status is not None for c in containers):
        return "Pending"
    return "Running"


def _condition(kind: str, true: bool, reason: str) -> Mapping[str, str]:
    if true:
        return {"type": kind, "status": "True"}
    return {"type": kind, "status": "False", "reason": reason}


def _container_status(c: ContainerState) -> dict[str, Any]:
    status: dict[str, Any] = {
        "name": c.name,
        "image": c.image,
        "ready": c.ready,
        "started": c.started,
        "restartCount": c.restarts,
    }
    last = {"exitCode": c.exit_status, "reason": "Completed" if c.exit_status == 0 else "Error"}
    if c.running:
        status["state"] = {"running": {"startedAt": c.started_at}}
    elif c.done:
        status["state"] = {"terminated": last}
    else:
        waiting = {"reason": c.waiting, **({"message": c.message} if c.message else {})}
        status["state"] = {"waiting": waiting}
    if c.exit_status is not None and not c.done:
        status["lastState"] = {"terminated": last}
    return status
