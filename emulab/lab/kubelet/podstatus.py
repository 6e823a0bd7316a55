"""A pod's status from what its containers do, as the kubelet reports it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from hashlib import sha256
from operator import attrgetter
from pathlib import Path
from typing import Any

from emulab.dataclass import dataclass
from emulab.kinds.core.podspec import Container
from emulab.lab.kubelet.resources import shown
from emulab.model.objects import Object

PodConditions = Sequence[Mapping[str, Any]]

_OWN = ("PodScheduled", "Initialized", "ContainersReady", "Ready")
"""The conditions that are the kubelet's; all others are somebody else's, and stay."""


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
    waiting: str = ""  # why it doesn't run, where that isn't just its turn
    message: str = ""
    started_at: str = ""
    began_at: str = ""  # when that life began of which `exit_status` tells
    ended_at: str = ""
    last_words: str = ""  # the last line of a life that ended badly
    image_id: str = ""  # of the image that it was made of
    message_file: Path | None = None  # in which it may say why it ends
    failure: str = ""  # the reason of its last end beside the exit status: it couldn't be started, say

    def begin(self, now: str) -> None:
        """A life begins."""
        self.running, self.started_at = True, now

    def unasked(self, container: Container, proven: bool) -> None:
        """What no probe asks goes without saying, once it runs, and is ready once it has `proven` to go on."""
        if container.startup is None:
            self.started = True
            self.ready = self.ready or (proven and container.readiness is None)

    def ended(
        self, status: int, now: str, last_words: str = "", failure: str = "", message: str = ""
    ) -> None:
        """A life has ended. `failure`: the reason of that, where it isn't what the exit status says."""
        self.running = self.ready = self.started = False
        self.exit_status, self.began_at, self.ended_at = status, self.started_at, now
        self.last_words, self.failure = message or (last_words if status else ""), failure

    def end(self) -> None:
        """The container has ended with its Pod."""
        self.running = self.ready = False
        self.exit_status = self.exit_status or 0
        self.done = True


def pod_status(
    containers: Sequence[ContainerState],
    inits: Sequence[ContainerState],
    initialised: bool,
    gates: Sequence[str] = (),
    others: PodConditions = (),
    failed: bool = False,
) -> dict[str, Any]:
    """The fields of `status` that depend on containers: phase, conditions and the containers' own.

    `inits`: the init containers, of which those are ready that have ended well, and sidecars as others are. `gates`:
    the conditions without which the Pod isn't Ready (KEP-580), and `others`: those that are there. `failed`: whatever
    its containers say.
    """
    phase = "Failed" if failed else _phase(containers, initialised, any(c.running for c in inits))
    turn = "PodInitializing" if inits else "ContainerCreating"  # kubelet's `defaultWaitingState`
    own = {"initContainerStatuses": [_container_status(c, turn) for c in inits]} if inits else {}
    return {
        **own,
        "phase": phase,
        "conditions": pod_conditions(containers, inits, initialised, phase, gates, others),
        "containerStatuses": [_container_status(c, turn) for c in containers],
    }


def new_status(
    pod: Object,
    containers: Sequence[ContainerState],
    inits: Sequence[ContainerState],
    initialised: bool,
    gates: Sequence[str],
    failed: Mapping[str, str],
    now: str,
) -> Mapping[str, Any]:
    """What is to be written into the Pod's status; nothing where all of that is there. `failed`: why it has failed,
    beside what its containers say."""
    before = pod.status.get("conditions") or ()
    status = pod_status(containers, inits, initialised, gates, before, failed=bool(failed))
    status = shown({**status, **failed}, pod.spec)
    for field in ("initContainerStatuses", "containerStatuses"):
        if field in status:
            status[field] = identified(status[field], str(pod.metadata.get("uid")))
    status["conditions"] = stamped(status["conditions"], before, now)
    if all(pod.status.get(k) == v for k, v in status.items()):
        return {}
    return {"startTime": pod.status.get("startTime") or now, **status}


_ALL_OF = attrgetter(*(f.name for f in fields(ContainerState)))


class Reported:
    """What a Pod's status was last found to say already: all Pods are looked at after each change, and few differ."""

    def __init__(self) -> None:
        self._pod: Object | None = None
        self._seen: tuple[Any, ...] = ()

    def news(
        self,
        pod: Object,
        containers: Sequence[ContainerState],
        inits: Sequence[ContainerState],
        initialised: bool,
        gates: Sequence[str],
        failed: Mapping[str, str],
        now: str,
    ) -> Mapping[str, Any]:
        """See `new_status`."""
        states = map(_ALL_OF, (*containers, *inits))
        seen = initialised, len(containers), *gates, *failed.items(), *states
        if pod is self._pod and seen == self._seen:
            return {}
        found = new_status(pod, containers, inits, initialised, gates, failed, now)
        if not found:
            self._pod, self._seen = pod, seen
        return found


def pod_conditions(
    containers: Sequence[ContainerState],
    inits: Sequence[ContainerState],
    initialised: bool,
    phase: str,
    gates: Sequence[str] = (),
    others: PodConditions = (),
) -> list[Mapping[str, Any]]:
    """The kubelet's conditions (pkg/kubelet/status/generate.go), and behind them those of others."""
    others = [c for c in others if c.get("type") not in _OWN]
    ready = _containers_ready(containers, inits, initialised, phase)
    incomplete = [] if initialised else [c.name for c in inits if not c.ready]
    message = f"containers with incomplete status: {_listed(incomplete)}" if incomplete else ""
    completed = "PodCompleted" if phase == "Succeeded" else ""
    return [
        _condition("PodScheduled", True),
        _condition(
            "Initialized", initialised, completed if initialised else "ContainersNotInitialized", message
        ),
        _condition("ContainersReady", *ready),
        _condition("Ready", *(_gates_open(gates, others) if ready[0] else ready)),
        *others,
    ]


def _containers_ready(
    containers: Sequence[ContainerState], inits: Sequence[ContainerState], initialised: bool, phase: str
) -> tuple[bool, str, str]:
    if phase in ("Succeeded", "Failed"):
        return False, "PodCompleted" if phase == "Succeeded" else "PodFailed", ""
    if containers and initialised and all(c.ready for c in (*inits, *containers)):
        return True, "", ""
    unready = [c.name for c in (*inits, *containers) if not c.ready]
    return (
        False,
        "ContainersNotReady",
        f"containers with unready status: {_listed(unready)}" if unready else "",
    )


def _gates_open(gates: Sequence[str], conditions: PodConditions) -> tuple[bool, str, str]:
    there = {c.get("type"): c.get("status") for c in conditions}
    closed = [
        f'the status of pod readiness gate "{gate}" is not "True", but {there[gate]}'
        if gate in there
        else f'corresponding condition of pod readiness gate "{gate}" does not exist.'
        for gate in gates
        if there.get(gate) != "True"
    ]
    return (False, "ReadinessGatesNotReady", ", ".join(closed)) if closed else (True, "", "")


def _listed(names: Sequence[str]) -> str:
    """As Go prints a slice."""
    return f"[{' '.join(names)}]"


def stamped(conditions: PodConditions, before: PodConditions, now: str) -> list[Mapping[str, Any]]:
    """PodConditions with the time at which each came to be as it is."""
    known = {c.get("type"): c for c in before}
    found: list[Mapping[str, Any]] = []
    for one in conditions:
        old = known.get(one.get("type"), {})
        since = old.get("lastTransitionTime") if old.get("status") == one.get("status") else now
        found.append({**one, "lastTransitionTime": since or now})
    return found


def _phase(containers: Sequence[ContainerState], initialised: bool, accompanied: bool) -> str:
    """Pod phases, Kubernetes API: Failed when all have ended and one badly. `accompanied`: a sidecar still runs, and no
    kubelet says before its end that the Pod has ended (pkg/kubelet/status, `mergePodStatus`)."""
    if containers and all(c.done for c in containers) and not accompanied:
        return "Succeeded" if all(c.exit_status == 0 for c in containers) else "Failed"
    if not initialised or not any(c.running or c.restarts or c.exit_status is not None for c in containers):
        return "Pending"
    return "Running"


def _condition(kind: str, true: bool, reason: str = "", message: str = "") -> Mapping[str, str]:
    more = {"reason": reason, "message": message}
    return {"type": kind, "status": str(true), **{field: text for field, text in more.items() if text}}


def _container_status(c: ContainerState, turn: str) -> dict[str, Any]:
    status: dict[str, Any] = {
        "name": c.name,
        "image": c.image,
        **({"imageID": c.image_id} if c.image_id else {}),
        "ready": c.ready,
        "started": c.started,
        "restartCount": c.restarts,
    }
    last = _terminated(c)
    if c.running:
        status["state"] = {"running": {"startedAt": c.started_at}}
    elif c.done:
        status["state"] = {"terminated": last}
    else:
        waiting = {"reason": c.waiting or turn, **({"message": c.message} if c.message else {})}
        status["state"] = {"waiting": waiting}
    if c.exit_status is not None and not c.done:
        status["lastState"] = {"terminated": last}
    return status


def identified(statuses: Sequence[dict[str, Any]], pod: str) -> list[dict[str, Any]]:
    """The statuses of a Pod's containers with what a runtime would call them: each life of one is another."""
    found = []
    for status in statuses:
        attempt, state, last = (status.get(field) for field in ("restartCount", "state", "lastState"))
        ids = [_id(pod, status["name"], number) for number in (attempt or 0, max(0, (attempt or 0) - 1))]
        state, last = state or {}, last or {}
        if "terminated" in state:
            state = {"terminated": {**state["terminated"], "containerID": ids[0]}}
        if "terminated" in last:
            earlier = ids[1] if "running" in state else ids[0]
            last = {"terminated": {**last["terminated"], "containerID": earlier}}
        began = bool(last) or "waiting" not in state
        own = {"containerID": ids[0]} if began else {}
        found.append({"imageID": "", **status, **own, "state": state, "lastState": last})
    return found


@lru_cache(maxsize=4096)
def _id(pod: str, name: str, attempt: int) -> str:
    return f"containerd://{sha256(f'{pod}/{name}/{attempt}'.encode()).hexdigest()}"


def _terminated(c: ContainerState) -> dict[str, Any]:
    """How the last life ended. What was last printed is its message, as with `FallbackToLogsOnError`."""
    reason = c.failure or ("Completed" if c.exit_status == 0 else "Error")
    more = {"message": c.last_words, "startedAt": c.began_at, "finishedAt": c.ended_at}
    return {
        "exitCode": c.exit_status,
        "reason": reason,
        **{field: text for field, text in more.items() if text},
    }
