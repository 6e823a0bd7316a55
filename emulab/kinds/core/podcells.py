"""A pod's row: kubectl's words for how it is (kubernetes/pkg/printers/internalversion, `printPod`). Pure."""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.ages import age
from emulab.kinds.cells import Cells, Raw


def pod_cells(pod: Raw, now: float) -> Cells:
    """NAME READY STATUS RESTARTS AGE, and IP, NODE and the rest for wide."""
    status = pod.get("status") or {}
    sidecars = _sidecars(pod)
    lasting = [c for c in _statuses(status, "initContainerStatuses") if c.get("name") in sidecars]
    containers = [*lasting, *_statuses(status, "containerStatuses")]
    total = len((pod.get("spec") or {}).get("containers") or ()) + len(sidecars)
    ready = sum(bool(c.get("ready")) and "running" in _state(c) for c in containers)
    metadata = pod["metadata"]
    narrow = [
        metadata["name"],
        f"{ready}/{total}",
        pod_status(pod),
        _restarts(_counted(pod, sidecars), now),
        age(metadata.get("creationTimestamp"), now),
    ]
    node = (pod.get("spec") or {}).get("nodeName")
    wide = [str(status.get("podIP") or "<none>"), str(node or "<none>"), "<none>", _gates(pod)]
    return narrow, wide


def _gates(pod: Raw) -> str:
    """READINESS GATES: how many of them are open."""
    gates = (pod.get("spec") or {}).get("readinessGates") or ()
    true = sum(_condition(pod.get("status") or {}, gate.get("conditionType")) == "True" for gate in gates)
    return f"{true}/{len(gates)}" if gates else "<none>"


def pod_status(pod: Raw) -> str:
    """The column STATUS: Running, Completed, CrashLoopBackOff, Init:0/1, Terminating, …"""
    status = pod.get("status") or {}
    phase = str(status.get("phase") or "Pending")
    reason = str(status.get("reason") or phase)
    if _reason(status, "PodScheduled") == "SchedulingGated":
        reason = "SchedulingGated"
    reason = _init_reason(pod) or _containers_reason(status, reason)
    if pod["metadata"].get("deletionTimestamp") and phase not in ("Succeeded", "Failed"):
        return "Terminating"
    return reason


def _containers_reason(status: Raw, reason: str) -> str:
    running = False
    for container in reversed(_statuses(status, "containerStatuses")):
        state = _state(container)
        if (state.get("waiting") or {}).get("reason"):
            reason = state["waiting"]["reason"]
        elif "terminated" in state:
            reason = _terminated(state["terminated"])
        elif container.get("ready") and "running" in state:
            running = True
    if reason == "Completed" and running:
        return "Running" if _condition(status, "Ready") == "True" else "NotReady"
    return reason


def _sidecars(pod: Raw) -> frozenset[str]:
    """The init containers that go on running (KEP-753)."""
    containers = (pod.get("spec") or {}).get("initContainers") or ()
    return frozenset(c["name"] for c in containers if c.get("restartPolicy") == "Always")


def _counted(pod: Raw, sidecars: frozenset[str]) -> Sequence[Raw]:
    """The containers whose restarts are counted: init containers until all have ended, the others after that."""
    status = pod.get("status") or {}
    inits = _statuses(status, "initContainerStatuses")
    if _init_reason(pod):
        return inits
    return [*(c for c in inits if c.get("name") in sidecars), *_statuses(status, "containerStatuses")]


def _init_reason(pod: Raw) -> str:
    """`Init:…` while init containers run or have failed, else ""."""
    containers = (pod.get("spec") or {}).get("initContainers") or ()
    status = pod.get("status") or {}
    if not containers or status.get("phase") == "Succeeded":
        return ""
    if _condition(status, "Initialized") == "True":
        return ""
    done, sidecars = 0, _sidecars(pod)
    for container in _statuses(status, "initContainerStatuses"):
        state = _state(container)
        ended = "terminated" in state and not state["terminated"].get("exitCode")
        if ended or (container.get("name") in sidecars and container.get("started")):
            done += 1
            continue
        if "terminated" in state:
            return f"Init:{_terminated(state['terminated'])}"
        waiting = (state.get("waiting") or {}).get("reason")
        if waiting and waiting != "PodInitializing":
            return f"Init:{waiting}"
        return f"Init:{done}/{len(containers)}"
    return f"Init:{done}/{len(containers)}" if _condition(status, "Initialized") == "False" else ""


def _terminated(state: Raw) -> str:
    if state.get("reason"):
        return str(state["reason"])
    return f"Signal:{state['signal']}" if state.get("signal") else f"ExitCode:{state.get('exitCode', 0)}"


def _restarts(containers: Sequence[Raw], now: float) -> str:
    count = sum(int(c.get("restartCount") or 0) for c in containers)
    ends = [((c.get("lastState") or {}).get("terminated") or {}).get("finishedAt") for c in containers]
    last = max((end for end in ends if end), default=None)
    return f"{count} ({age(last, now)} ago)" if count and last else str(count)


def _statuses(status: Raw, field: str) -> Sequence[Raw]:
    return status.get(field) or ()


def _state(container: Raw) -> Raw:
    return container.get("state") or {}


def _reason(status: Raw, kind: str) -> str:
    """Why a condition is as it is."""
    return next((str(c.get("reason")) for c in status.get("conditions") or () if c.get("type") == kind), "")


def _condition(status: Raw, kind: str) -> str:
    return next((str(c.get("status")) for c in status.get("conditions") or () if c.get("type") == kind), "")
