"""What a pod's containers may use of the machine, as the kubelet says it to the kernel; and what they are told to have.

pkg/kubelet/cm/helpers_linux.go (`ResourceConfigForPod`), pkg/kubelet/kuberuntime/kuberuntime_container_linux.go. Of
memory that is asked for nothing is kept free (the feature gate MemoryQoS is off), and processor time that is asked for
is a share beside others'. What bounds a pod as a whole holds for its containers together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from typing import Any

from emulab.kernel.cgroups.cgroup import Cgroup, container_cgroup
from emulab.kernel.cgroups.hierarchies import Hierarchies, hierarchies
from emulab.kernel.cgroups.limits import LEAST_SHARES, Limits, quota_of, shares_of
from emulab.kernel.cgroups.sweeping import remove_pod
from emulab.kinds.core.qos import BEST_EFFORT, GUARANTEED, qos_class, resources_of
from emulab.kinds.core.resources import Amounts, limits, pod_limits, pod_requests
from emulab.kinds.core.resources import requests as requests_of
from emulab.lab.kubelet.telling import Said
from emulab.model.collection import WARNING
from emulab.model.keys import Key
from emulab.model.objects import Object
from emulab.model.shortened import NAME_MAX, shortened
from emulab.plan.pods import place_name

MAX_PIDS = 4096
"""Processes and threads of a container, and of a pod (the kubelet's `podPidsLimit`)."""


def limits_of_pod(pod: Object) -> Limits:
    """What bounds a pod's containers together: what all of them ask for, where each of them has a limit."""
    request, limit = pod_requests(pod), pod_limits(pod)
    quality, shares = qos_class(pod.spec), shares_of(_millis(request, "cpu"))
    if quality == BEST_EFFORT:
        return Limits(shares=LEAST_SHARES, pids=MAX_PIDS)
    bounded = {n for n in ("cpu", "memory") if quality == GUARANTEED or _is_declared(pod, n)}
    return Limits(
        memory=_octets(limit) if "memory" in bounded else None,
        quota=quota_of(_millis(limit, "cpu")) if "cpu" in bounded else None,
        shares=shares,
        pids=MAX_PIDS,
    )


def _is_declared(pod: Object, name: str) -> bool:
    """Whether something of the Pod's bounds all containers."""
    if name in ((pod.spec.get("resources") or {}).get("limits") or {}):
        return True
    containers = (*pod.spec.get("containers", ()), *(pod.spec.get("initContainers") or ()))
    return all(name in (given := limits(c)) and given[name].value for c in containers)


def limits_of_container(pod: Object, name: str) -> Limits:
    """What bounds one container. The Pod's own limits are those of containers that have none (KEP-2837)."""
    container = _container(pod, name)
    whole = ((pod.spec.get("resources") or {}).get("limits")) or {}
    limit = limits(container)
    limit = {**limits({"resources": {"limits": whole}}), **{n: a for n, a in limit.items() if a.value}}
    request = requests_of(container)
    return Limits(
        memory=_octets(limit),
        quota=quota_of(_millis(limit, "cpu")),
        shares=shares_of(_millis(request, "cpu")),
        pids=MAX_PIDS,
        dies_whole=True,  # as kubelets have it since 1.28, where the kernel can (`singleProcessOOMKill`)
    )


def _container(pod: Object, name: str) -> Mapping[str, Any]:
    containers = (*pod.spec.get("containers", ()), *(pod.spec.get("initContainers") or ()))
    return next(c for c in containers if c["name"] == name)


def _millis(amounts: Amounts, name: str) -> int:
    return ceil(amounts[name].value * 1000) if name in amounts else 0


def _octets(amounts: Amounts) -> int | None:
    return ceil(amounts["memory"].value) or None if "memory" in amounts else None


def cgroup_of(lab: str, pod: Object, container: str) -> Cgroup | None:
    """The cgroup of a container; None where there are none to be had."""
    there = hierarchies()
    if not there.tops:
        return None
    names = (lab, shortened(place_name(pod), NAME_MAX), container)
    return container_cgroup(there, names, limits_of_pod(pod), limits_of_container(pod, container))


def folders_of(lab: str, pod: Object, container: str) -> Sequence[str]:
    """The folders of a container's cgroup, one for each hierarchy; none where there are none to be had."""
    cgroup = cgroup_of(lab, pod, container)
    return cgroup.enter if cgroup is not None else ()


async def clear(lab: str, pod: Key) -> None:
    """Removes the cgroups of a pod that is gone."""
    name = f"{pod.namespace}.{pod.name}"  # that of its place
    await asyncio.to_thread(remove_pod, lab, shortened(name, NAME_MAX))


def unenforced(pod: Object, there: Hierarchies | None = None) -> Iterator[tuple[str, Said]]:
    """Of which containers some limit isn't in force here, by name, and what is told of it."""
    missing = (hierarchies() if there is None else there).missing
    for field in ("initContainers", "containers") if missing else ():
        for container in pod.spec.get(field) or ():
            given = container.get("resources") or {}
            asked = {*(given.get("limits") or {}), *{"cpu"}.intersection(given.get("requests") or {})}
            if lost := sorted(asked.intersection(missing)):
                why = "; ".join(f"{name}: {missing[name]}" for name in lost)
                words = f"{', '.join(lost)} of container {container['name']} isn't bounded: {why}"
                yield container["name"], Said("NotBounded", f"{words} (see emulab doctor)", WARNING)


def shown(status: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    """A Pod's status with its class, and with what each of its containers has been given."""
    found = {**status, "qosClass": qos_class(spec)}
    for statuses, field in (("containerStatuses", "containers"), ("initContainerStatuses", "initContainers")):
        given = {c["name"]: resources_of(c) for c in spec.get(field) or ()}
        if status.get(statuses):
            found[statuses] = [_with_resources(s, given.get(s["name"], {})) for s in status[statuses]]
    return found


def _with_resources(status: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    if not given:
        return {**status, "resources": {}}
    allocated = {"allocatedResources": given["requests"]} if given.get("requests") else {}
    return {**status, **allocated, "resources": given}
