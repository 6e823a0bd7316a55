"""What pods and nodes use of processors and memory, as metrics-server tells it (metrics.k8s.io/v1beta1).

It is measured when it is asked for, from the containers' cgroups or, where there are none, from their processes. A
stand-in uses nothing of its own: one server answers for all of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from emulab.cluster.store import timestamp
from emulab.kernel.cgroups.usage import Usage, usage
from emulab.kernel.processes.family import families
from emulab.kinds.core.podspec import Container, PodSpec
from emulab.kinds.registry import NODE, POD
from emulab.lab.hosts.processes import Process
from emulab.lab.kubelet.kubelet import Kubelet
from emulab.lab.kubelet.resources import folders_of
from emulab.lab.supervisor.arguments import Arguments, takes
from emulab.lab.supervisor.reconciler import Progress
from emulab.lab.supervisor.surroundings import Surroundings
from emulab.model.keys import Key
from emulab.model.objects import Object
from emulab.plan.pods import place_name
from emulab.plan.standins import is_standin
from emulab.plan.world import server_name

WINDOW = 0.5
"""Seconds for which processor time is counted: five periods of the quota that bounds it."""
_VERSION = "metrics.k8s.io/v1beta1"
_NOTHING = Usage(0, 0)

Watched = Mapping[tuple[Key, str], tuple[int, tuple[str, ...]]]
"""By pod and container, the host's pid of its program and the folders of its cgroup."""
Samples = dict[tuple[Key, str], Usage]


class Metering:
    def __init__(self, around: Surroundings, kubelet: Kubelet) -> None:
        self._around = around
        self._kubelet = kubelet

    @takes()
    async def usage(self, _: Arguments, __: Progress) -> Any:
        """`{"pods": [PodMetrics, …], "nodes": [NodeMetrics, …]}` of the pods that run, over `WINDOW`."""
        watched = self._watched()
        begun, first = await asyncio.to_thread(_sample, watched)
        await asyncio.sleep(WINDOW)
        ended, last = await asyncio.to_thread(_sample, watched)
        seconds = max(ended - begun, 0.001)
        used = {key: Usage(_rate(first.get(key), now, seconds), now.memory) for key, now in last.items()}
        return self._metrics(used, timestamp(), f"{seconds:.3f}s")

    def _watched(self) -> Watched:
        found: dict[tuple[Key, str], tuple[int, tuple[str, ...]]] = {}
        for pod in self._pods():
            worker = self._kubelet.worker(pod)
            if worker is None:
                continue
            for container in PodSpec.of_pod(pod).lasting:
                runner = worker.runners.get(container.name)
                if runner is not None:
                    if (status := runner.status) and status.running:
                        folders = folders_of(self._around.lab, pod, container.name)
                        found[pod.key, container.name] = status.pid, tuple(folders)
                elif (process := self._server(pod, container)) and process.running:
                    found[pod.key, container.name] = process.host_pid, ()
        return found

    def _server(self, pod: Object, container: Container) -> Process | None:
        """The process of a server of ours in place of a program, where it is one of its own."""
        shared = is_standin(container)
        return None if shared else self._around.servers.process(server_name(place_name(pod), container.name))

    def _pods(self) -> list[Object]:
        pods = self._around.store.objects().kind(POD)
        return [pod for pod in pods if pod.status.get("phase") == "Running"]

    def _metrics(self, used: Samples, now: str, window: str) -> dict[str, Any]:
        pods: list[dict[str, Any]] = []
        sums = {node.name: _NOTHING for node in self._around.store.objects().kind(NODE)}
        for pod in self._pods():
            containers = []
            for container in PodSpec.of_pod(pod).lasting:
                one = used.get((pod.key, container.name), _NOTHING)
                containers.append({"name": container.name, "usage": _told(one)})
                node = str(pod.spec.get("nodeName"))
                before = sums.get(node, _NOTHING)
                sums[node] = Usage(before.cpu + one.cpu, before.memory + one.memory)
            pods.append({**_head("PodMetrics", pod, now, window), "containers": containers})
        nodes = [
            {**_head("NodeMetrics", node, now, window), "usage": _told(sums[node.name])}
            for node in self._around.store.objects().kind(NODE)
        ]
        return {"pods": pods, "nodes": nodes}


def _sample(watched: Watched) -> tuple[float, Samples]:
    """What has been used until now. Blocks."""
    found: Samples = {}
    without: dict[int, tuple[Key, str]] = {}
    for key, (pid, folders) in watched.items():
        told = usage(folders) if folders else None
        if told is None:
            without[pid] = key
        else:
            found[key] = told
    if without:
        found |= {without[pid]: told for pid, told in families(without).items()}
    return time.monotonic(), found


def _rate(before: Usage | None, now: Usage, seconds: float) -> int:
    """Nanoseconds of processor time in a second."""
    return round(max(0, now.cpu - before.cpu) / seconds) if before is not None else 0


def _told(used: Usage) -> dict[str, str]:
    return {"cpu": f"{used.cpu}n", "memory": f"{used.memory // 1024}Ki"}


def _head(kind: str, o: Object, now: str, window: str) -> dict[str, Any]:
    kept = ("name", "namespace", "labels")
    metadata = {field: o.metadata[field] for field in kept if o.metadata.get(field)}
    return {
        "kind": kind,
        "apiVersion": _VERSION,
        "metadata": {**metadata, "creationTimestamp": now},
        "timestamp": now,
        "window": window,
    }
