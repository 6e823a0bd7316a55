"""One pod's life on its node: init containers, sidecars, containers, probes, status, and a graceful end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from emulab.cluster.store import timestamp
from emulab.kinds.core.podspec import Container, PodSpec
from emulab.kinds.core.restarts import RestartPolicy
from emulab.kinds.images import server_of
from emulab.lab.hosts.logs import Log
from emulab.lab.kubelet import ending, hooks, renewal, telling
from emulab.lab.kubelet.commands import Commands
from emulab.lab.kubelet.container import ContainerRunner
from emulab.lab.kubelet.deadline import Deadline, Spawn
from emulab.lab.kubelet.environs import Environs
from emulab.lab.kubelet.graceperiod import GracePeriod
from emulab.lab.kubelet.parting import Parting
from emulab.lab.kubelet.podstatus import ContainerState, Reported
from emulab.lab.kubelet.preparation import Preparation
from emulab.lab.kubelet.prober import LIVENESS, Prober
from emulab.lab.kubelet.probes import Aim
from emulab.lab.kubelet.programs import stood_in_for
from emulab.lab.kubelet.served import ENDED_BY, Served
from emulab.lab.kubelet.servedcontainers import ServedContainers
from emulab.lab.kubelet.telling import Said
from emulab.lab.kubelet.volumes.podvolumes import PodVolumes
from emulab.lab.supervisor.surroundings import Surroundings
from emulab.model.collection import Tell
from emulab.model.objects import Object
from emulab.plan.pods import place_name


class PodWorker:
    """Runs one pod. Everything it does ends in a status of the Pod object in the store."""

    def __init__(self, around: Surroundings, pod: Object, spawn: Spawn) -> None:
        self._around = around
        self._key = pod.key
        self._uid = pod.metadata.get("uid")
        self.spec = PodSpec.of_pod(pod)
        self.pod = pod
        self._spawn = spawn
        self._tasks: set[asyncio.Task[None]] = set()
        self._initialised = False
        self._failed: dict[str, str] = {}  # why the Pod has failed, beside what its containers say
        self._reported = Reported()
        self.terminating = False
        self._grace = GracePeriod(spawn, self._end)
        self._volumes = PodVolumes(around, pod, self.spec, self._tell)
        self.environs = Environs(around, pod, self.spec, self._volumes, self.tell, self.report)
        self.preparation = Preparation(self.environs, self._volumes, spawn, self.tell, self.report)
        self.runners: dict[str, ContainerRunner] = {}
        self._standing = ServedContainers(self, around.servers)
        self._commands = Commands(self.environs, self.tell)
        self._inits: dict[str, ContainerState] = {}  # of init containers that are no sidecars
        self._probers: dict[str, asyncio.Task[None]] = {}  # of containers that have begun to live
        self._launched: set[str] = set()
        self._renewing: set[str] = set()
        self._deadline = Deadline(spawn, self._expire)
        self._parting = Parting(self, lambda: self.spec, spawn)

    def start(self) -> None:
        """Begins the pod's life; `refresh` and the runners carry it on."""
        for container, program in stood_in_for(self.pod, self.spec):
            self.tell(container, telling.stood_in_for(program))
        self._deadline.follow(self.pod)
        if not self.spec.init_containers and not self._volumes.any:
            self._begin()
        else:
            self.keep(self._run_init_containers())

    def follow(self, pod: Object) -> None:
        """Takes over what may change of a Pod while it is there: its images, and how long it may be active."""
        if pod.spec is self.pod.spec and renewal.found_out(pod) == renewal.found_out(self.pod):
            return
        old, self.spec, self.pod = self.spec, PodSpec.of_pod(pod), pod
        self._deadline.follow(pod)
        for before, after in renewal.changed(old, self.spec):
            self.environs.forget(after)
            if after.name in self._launched:
                self._renew(before)
            elif (runner := self.runners.get(after.name)) is None:
                self._standing.forget(after)
                if self._init(after).exit_status is None:
                    self._init(after).image = after.image
            elif not runner.running:
                runner.renew()

    def refresh(self) -> None:
        """Takes over how the servers are that stand for containers, and reports."""
        if self._grace.over:
            return
        self.preparation.wake()
        self._standing.refresh()
        self._part()
        self.report()

    def report(self) -> None:
        """Writes the status into the store, if the pod is still the one there."""
        pod = self._around.store.get(self._key)
        if pod is None or pod.metadata.get("uid") != self._uid or self._is_unheard:
            return
        inits = [self.state_of(c) for c in self.spec.init_containers]
        states = [self.state(c) for c in self.spec.containers]
        gates, now = self.spec.readiness_gates, timestamp()
        if changed := self._reported.news(pod, states, inits, self._initialised, gates, self._failed, now):
            self._around.store.set_status(self._key, **changed)
            self._around.changed()

    @property
    def _is_unheard(self) -> bool:
        """Whether what happens here reaches nobody, as the node is cut off."""
        return self.spec.node_name in self._around.harmed.cut_off

    @property
    def unready(self) -> bool:
        """Whether a Fault has its readiness probes fail."""
        return self._around.harmed.is_unready(place_name(self.pod))

    def begun_last(self) -> float:
        """When the last program began that runs, and that no readiness probe asks; seconds of the loop's clock."""
        unasked = (self.runners.get(c.name) for c in self.spec.lasting if c.readiness is None)
        return max((r.begun for r in unasked if r is not None and r.state.running), default=0.0)

    def state(self, container: Container) -> ContainerState:
        runner = self.runners.get(container.name)
        return runner.state if runner is not None else self._standing.of(container).state

    def _init(self, container: Container) -> ContainerState:
        return self._inits.setdefault(container.name, ContainerState(container.name, container.image))

    def state_of(self, container: Container) -> ContainerState:
        """Of whatever container, be it one whose end the Pod's start waits for."""
        waited_for = self.is_init(container) and not container.restarts
        return self._init(container) if waited_for else self.state(container)

    def stands_in(self, container: Container) -> bool:
        """Whether a server has begun to stand for it."""
        return container.name in self._standing

    def served(self, name: str) -> Served | None:
        return self._standing.get(name)

    def _begin(self) -> None:
        self._initialised = True
        for container in self.spec.containers:
            self._launch(container)

    def policy(self, container: Container) -> RestartPolicy:
        return container.restart_policy.within(self.spec.restart_policy)

    def _launch(self, container: Container, state: ContainerState | None = None) -> None:
        """Begins what a container, or its stand-in, does for as long as the pod lives.

        `state`: that of lives of another kind before.
        """
        self._launched.add(container.name)
        if container.command:
            runner = self.runners[container.name] = self._runner(container, self.policy(container))
            runner.state = state or runner.state
            self.keep(runner.run())
        else:
            self._standing.launch(container, state)
        if container.startup or container.readiness or container.liveness:
            self._probers[container.name] = self.keep(Prober(container, self.aim(container), self).run())

    def relaunch(self, container: Container, state: ContainerState) -> None:
        """Begins lives of another kind, after those of which the state tells."""
        if container.name in self._probers:
            self._probers.pop(container.name).cancel()
        self.runners.pop(container.name, None)
        self._standing.forget(container)
        if not container.command:
            state.image, state.image_id = container.image, ""
            self.log(container).begin_again()
        self._launch(container, state)
        self.refresh()

    def _renew(self, before: Container) -> None:
        """Has a container that has begun be as it is defined by now, whatever comes meanwhile."""

        async def work() -> None:
            old = before
            try:
                while not self.terminating and renewal.differ(old, new := self._now(old)):
                    await renewal.renew(self, old, new)
                    old = new
            finally:
                self._renewing.discard(before.name)

        if before.name not in self._renewing:
            self._renewing.add(before.name)
            self.keep(work())

    def _now(self, container: Container) -> Container:
        """The container as it is defined by now."""
        everybody = (*self.spec.init_containers, *self.spec.containers)
        return next(c for c in everybody if c.name == container.name)

    def is_init(self, container: Container) -> bool:
        return any(c.name == container.name for c in self.spec.init_containers)

    def may_begin(self, container: Container) -> bool:
        """A sidecar begins in its turn, behind the init containers that stand before it."""
        return self._initialised or (self.is_init(container) and container.name in self._launched)

    async def _run_init_containers(self) -> None:
        """One after the other: each must succeed before the next (Kubernetes: init containers), or, when it is a
        sidecar, have started (KEP-753)."""
        if not await self._volumes.mounted(lambda: self.terminating):
            return
        for asked in self.spec.init_containers:
            container = self._now(asked)
            if container.restarts:
                self._launch(container)
                self.refresh()
                while not self.state(container).started:
                    await asyncio.sleep(0.02)
                continue
            state = self._init(container)
            if not container.command:  # a stand-in has nothing to prepare
                await self.preparation.told(container, state)
                self._standing.tell_start(container)
                state.begin(timestamp())
                state.ended(0, timestamp())
                state.ready = state.done = True
                continue
            policy = container.restart_policy.of_init(self.spec.restart_policy)
            runner = self.runners[container.name] = self._runner(container, policy)
            state = self._inits[container.name] = runner.state
            await runner.run()
            state.ready = state.exit_status == 0
            del self.runners[container.name]
            if runner.state.exit_status != 0:
                await self._parting.over()
                if self.terminating:  # by its deadline, or as it is deleted: whoever ends it has its own word
                    return
                self._failed = {"phase": "Failed", "message": f"init container {container.name} failed"}
                self.report()
                return
        self._begin()
        self.refresh()

    def _runner(self, container: Container, policy: RestartPolicy) -> ContainerRunner:
        hook = container.post_start
        runner = ContainerRunner(
            lambda: self.environs.runtime,
            container,
            lambda: self._create(container, runner.state),
            self.log(container),
            policy,
            self.container_changed,
            lambda said: self.tell(container, said),
            self.name,
            (lambda: hooks.run(hook, self.aim(container))) if hook else None,
            self.spec.termination_grace,
        )
        return runner

    async def _create(self, container: Container, state: ContainerState) -> str:
        """Makes the container of the next life, as it is defined by then."""
        now = self._now(container)
        state.image, state.image_id = now.image, ""
        return await self.preparation.create(now, state)

    @property
    def name(self) -> str:
        """The pod in messages, as the kubelet's `format.Pod` has it."""
        return f"{self.pod.name}_{self.pod.namespace}({self._uid})"

    def log(self, container: Container) -> Log:
        return self._around.logs.of(self.pod.namespace, self.pod.name, container.name)

    def container_changed(self) -> None:
        for container in self.spec.lasting:
            runner = self.runners.get(container.name)
            if runner is not None and runner.state.running:
                runner.state.unasked(container, runner.proven)
        self._part()
        self.report()

    def _part(self) -> None:
        """Sidecars go with the containers that they stand by."""
        over = self._initialised and all(self.state(c).done for c in self.spec.containers)
        if over and not self.terminating:
            self._parting.begin()

    async def exited(self, name: str, status: int) -> None:
        """The program that a stand-in plays was asked to end, with this status."""
        await self._standing.exited(name, status)

    def keep(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Does work for as long as the pod lives."""
        task = self._spawn(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # what is told

    def tell(self, container: Container, said: Said) -> None:
        field = "initContainers" if self.is_init(container) else "containers"
        self._tell(said, f"spec.{field}{{{container.name}}}")

    def _tell(self, said: Said, where: str = "") -> None:
        told = Tell(self.pod, said.type, said.reason, said.message, "kubelet", self.spec.node_name, where)
        self._around.events.tell([] if self._is_unheard else [told], time.time())

    # probes and hooks

    def aim(self, container: Container) -> Aim:
        return Aim(
            self._around.handles[self.spec.node_name].fd,
            str(self.environs.place.addresses[0]),
            container.port,
            lambda command: self._run(container, command),
        )

    async def _run(self, container: Container, command: tuple[str, ...]) -> tuple[int, str]:
        runner = self.runners.get(container.name)
        return await self._commands.run(container, runner, command)

    async def fail(self, container: Container, probe: str) -> None:
        """A container that doesn't live is ended, and starts again as its restart policy says."""
        restarted = self.policy(container).restarts(ENDED_BY)
        self.tell(container, telling.unwell(container, probe, self.is_init(container), restarted))
        asked = container.liveness if probe == LIVENESS else container.startup
        own = asked.grace if asked is not None else None  # which outranks the Pod's (KEP-2238)
        grace = float(self.spec.termination_grace if own is None else own)
        runner = self.runners.get(container.name)
        if runner is not None:
            await ending.end_program(self, container, runner, grace)
            return
        served = self._standing.of(container)
        served.held = True
        await self._standing.again(container, served, grace=await ending.pre_stop(self, container, grace))

    # the end

    async def drain(self, container: Container, before: float, grace: float) -> None:
        """See `Endable`."""
        await self._standing.drain(container, before, grace)

    async def finish(self, container: Container, grace: float) -> None:
        """See `Endable`."""
        await self._standing.finish(container, grace)

    async def _expire(self) -> None:
        """Ends a pod that may not run for longer."""
        if self.terminating:
            return
        self._tell(telling.deadline_exceeded())
        self.terminating = True
        self._parting.cancel()
        await ending.stop_all(self, self.spec, self.spec.termination_grace)
        self._failed = {
            "phase": "Failed",
            "reason": "DeadlineExceeded",
            "message": "Pod was active on the node longer than the specified deadline",
        }
        self._end_states()

    def terminate(self, pod: Object) -> None:
        """Ends the pod gracefully, once: preStop, SIGTERM, SIGKILL after the grace period, then removal."""
        grace = float(pod.metadata.get("deletionGracePeriodSeconds", self.spec.termination_grace))
        if not self.terminating:
            self.terminating = True
            self._grace.begin(grace)
        elif self._failed:
            self._grace.end_at_once()
        else:
            self._grace.shorten(grace)

    async def _end(self, grace: float) -> None:
        self._parting.cancel()
        await ending.stop_all(self, self.spec, grace)
        self.abandon()
        self._grace.over = True
        self._around.store.remove(self._key)
        self._end_states()  # of a Pod that finalizers hold, it is told that nothing runs any more

    def _end_states(self) -> None:
        for container in (*self.spec.containers, *self.spec.init_containers):
            self.state_of(container).end()
        self.report()
        self._around.changed()

    def abandon(self) -> None:
        """Ends everything of this pod at once. Its logs go with it."""
        self._deadline.cancel()
        for task in self._tasks:
            task.cancel()
        self._standing.abandon()
        for container in (*self.spec.init_containers, *self.spec.containers):
            if not server_of(container.image):
                self.log(container).remove()
        self._spawn(self.environs.close())
