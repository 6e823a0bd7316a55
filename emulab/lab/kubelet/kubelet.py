"""The kubelet of all nodes: brings pods' containers to life, watches them, and lets them go.

A container with a command is a real program in the pod's namespaces (`container`); one that is a server of
emulab or a stand-in runs in a server process, and is up when that server has its configuration. `sync` is
called after every application of the plan, so a pod's namespace and servers are there when it runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from emulab.kinds.registry import POD
from emulab.lab.kubelet.podworker import PodWorker
from emulab.lab.supervisor.surroundings import Surroundings
from emulab.model.keys import Key
from emulab.model.objects import Object
from emulab.plan.pods import has_network
from emulab.plan.state import World

STEADY = 1.0
"""Seconds for which a program has to run until a lab with it is said to be Ready, where no probe asks it."""


class Kubelet:
    """All pod workers of the lab."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._around = surroundings
        self._workers: dict[tuple[Key, str], PodWorker] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def worker(self, pod: Object) -> PodWorker | None:
        return self._workers.get((pod.key, str(pod.metadata.get("uid"))))

    def sync(self, world: World) -> None:
        """Starts workers for new pods, ends those of deleted ones, and reports what servers became."""
        pods = {(p.key, str(p.metadata.get("uid"))): p for p in self._around.store.objects().kind(POD)}
        for identity in [i for i in self._workers if i not in pods]:
            self._workers.pop(
                identity
            ).abandon()  # before another of its name begins, who has a log of the same name
        for identity, pod in pods.items():
            worker = self._workers.get(identity)
            if worker is None and has_network(pod) and f"{pod.namespace}.{pod.name}" in world.places:
                worker = self._workers[identity] = PodWorker(self._around, pod, self._spawn)
                worker.start()
            if worker is None:
                if pod.metadata.get("deletionTimestamp"):
                    self._around.store.remove(pod.key)
                continue
            if pod.metadata.get("deletionTimestamp"):
                worker.terminate(pod)
            worker.refresh()

    def steady_at(self) -> float:
        """When the last program that no probe asks will have run for `STEADY`; seconds of the loop's clock."""
        return max((w.begun_last() for w in self._workers.values()), default=0.0) + STEADY

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
