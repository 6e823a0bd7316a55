"""The kubelet of all nodes: brings pods' containers to life, watches them, and lets them go.

A container with a command is a real program in the pod's namespaces (`container`); one that is a server of
emulab or a stand-in runs in a server process, and is up when that server has its configuration. `sync` is
called after every application of the plan, so a pod's namespace and servers are there when it runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

from emulab.cluster.controllers.pods import is_ready
from emulab.kinds.core.podspec import FOREIGN, PodSpec
from emulab.kinds.registry import POD
from emulab.lab.cni.networks import PodNetworks
from emulab.lab.kubelet import foreign
from emulab.lab.kubelet.harmed import harmed
from emulab.lab.kubelet.podworker import PodWorker
from emulab.lab.kubelet.resources import clear, unenforced
from emulab.lab.kubelet.volumes.claimfolders import ClaimFolders
from emulab.lab.supervisor.surroundings import Surroundings
from emulab.model.keys import Key
from emulab.model.objects import Object
from emulab.plan.pods import has_network
from emulab.plan.state import World

PATIENCE = 2.0
"""Seconds for which Pods are held back at the most, and in which a Pod of stand-ins is Ready if it ever is."""
STEADY = 1.0
"""Seconds for which a program has to run until a lab with it is said to be Ready, where no probe asks it."""


class Kubelet:
    """All pod workers of the lab."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._around = surroundings
        self._networks = PodNetworks(surroundings)
        self._workers: dict[tuple[Key, str], PodWorker] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._begun: dict[tuple[Key, str], float] = {}  # seconds of the loop's clock
        self._claims = ClaimFolders(surroundings.folder)
        self._held = 0  # Pods that wait for others
        self._answering = asyncio.Event()

    def worker(self, pod: Object) -> PodWorker | None:
        return self._workers.get((pod.key, str(pod.metadata.get("uid"))))

    def sync(self, world: World) -> None:
        """Starts workers for new pods, ends those of deleted ones, and reports what servers became."""
        self._networks.sync()
        if gone := self._claims.without_volume(self._around.store.objects()):
            self._spawn(self._claims.remove(gone))
        objects = self._around.store.objects()
        pods = {(p.key, str(p.metadata.get("uid"))): p for p in objects.kind(POD)}
        harm = self._around.harmed = harmed(objects)
        for identity in [i for i in self._workers if i not in pods]:
            del self._begun[identity]
            # before another of its name begins, who has a log of the same name
            self._workers.pop(identity).abandon()
            self._spawn(clear(self._around.lab, identity[0]))
        for identity, pod in pods.items():
            if pod.spec.get("nodeName") in harm.cut_off:
                self._unheard(pod)
                continue
            if FOREIGN in pod.annotations:
                foreign.stand(self._around, pod, world)
                continue
            worker = self._workers.get(identity)
            if worker is None and has_network(pod) and f"{pod.namespace}.{pod.name}" in world.places:
                worker = self._workers[identity] = PodWorker(self._around, pod, self._spawn)
                self._begun[identity] = asyncio.get_running_loop().time()
                self._start(worker, pod)
            if worker is None:
                if pod.metadata.get("deletionTimestamp"):
                    self._around.store.remove(pod.key)
                continue
            worker.follow(pod)
            if pod.metadata.get("deletionTimestamp"):
                worker.terminate(pod)
            worker.refresh()

    def _unheard(self, pod: Object) -> None:
        """A Pod of a node that is cut off: it goes on as it is, whatever is asked for, and nobody hears how it is. Only
        who doesn't want to wait for its kubelet has it gone (`--grace-period=0 --force`)."""
        ending = pod.metadata.get("deletionTimestamp")
        if ending and pod.metadata.get("deletionGracePeriodSeconds") == 0:
            self._around.store.remove(pod.key)
            self._around.changed()

    def exited(self, record: Mapping[str, Any]) -> None:
        """A stand-in tells that the program that it plays was asked to end."""
        for (key, _), worker in list(self._workers.items()):
            if key == POD.key(record["namespace"], record["pod"]):
                self._spawn(worker.exited(record["container"], record["status"]))

    def _start(self, worker: PodWorker, pod: Object) -> None:
        spec = PodSpec.of_pod(pod)
        run = {c.name: c for c in (*spec.init_containers, *spec.containers) if c.command}
        for name, said in unenforced(pod) if run else ():
            if name in run:
                worker.tell(run[name], said)
        once = () if spec.restart_policy == "Always" else spec.containers
        if any(container.command for container in (*spec.init_containers, *once)):
            self._spawn(self._start_after_others(worker))
        else:
            worker.start()

    async def _start_after_others(self, worker: PodWorker) -> None:
        """Starts a Pod once all answer that answer as soon as they are there.

        What is to end well asks for another Pod's Service more often than not, and fails or sleeps for seconds when
        nobody answers: an init container, a chart's test. In a cluster it is the pulling of images that says who comes
        first; here those programs would always come too early.
        """
        self._held += 1
        try:
            async with asyncio.timeout(PATIENCE):
                await self._answering.wait()
        except TimeoutError:
            pass
        finally:
            self._held -= 1
        if worker in self._workers.values() and not worker.terminating:
            worker.start()

    def rested(self) -> None:
        """Nothing is left to do for the data plane: who is Ready is reached under its Service's name."""
        if not self._held:
            return
        young = asyncio.get_running_loop().time() - PATIENCE
        store = self._around.store
        pods = (store.get(key) for (key, _), begun in self._begun.items() if begun > young)
        if not self._networks.coming(young) and not any(pod and _is_coming(pod) for pod in pods):
            self._answering.set()
            self._answering = asyncio.Event()

    def steady_at(self) -> float:
        """When the last program that no probe asks will have run for `STEADY`; seconds of the loop's clock."""
        return max((w.begun_last() for w in self._workers.values()), default=0.0) + STEADY

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _is_coming(pod: Object) -> bool:
    """Whether nothing but servers of ours is in a Pod, and it isn't ready yet."""
    if is_ready(pod) or pod.metadata.get("deletionTimestamp"):
        return False
    spec = PodSpec.of_pod(pod)
    ended = pod.status.get("phase") in ("Succeeded", "Failed")
    return not ended and not any(c.command for c in (*spec.containers, *spec.init_containers))
