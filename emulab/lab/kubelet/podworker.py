"""One pod's life on its node: init containers, sidecars, containers, probes, status, and a graceful end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from emulab.cluster.store import timestamp
from emulab.kinds.core.podspec import Container, PodSpec
from emulab.kinds.core.restarts import RestartPolicy
from emulab.kinds.images import server_of
from emulab.lab.hosts.logs import Log
from emulab.lab.kubelet import ending, hooks, telling
from emulab.lab.kubelet.commands import Commands
from emulab.lab.kubelet.container import LEAST_GRACE, ContainerRunner
from emulab.lab.kubelet.environs import Environs
from emulab.lab.kubelet.podstatus import ContainerState, new_status
from emulab.lab.kubelet.preparation import Preparation
from emulab.lab.kubelet.prober import LIVENESS, Prober
from emulab.lab.kubelet.probes import Aim
from emulab.lab.kubelet.programs import stood_in_for
from emulab.lab.kubelet.served import ENDED_BY, Served, ends_at_once
from emulab.lab.kubelet.telling import Said
from emulab.lab.kubelet.volumes.podvolumes import PodVolumes
from emulab.lab.supervisor.surroundings import Surroundings
from emulab.model.collection import Tell
from emulab.model.objects import Object
from emulab.plan.pods import place_name
from emulab.plan.standins import STANDINS, is_standin
from emulab.plan.world import server_name

Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class PodWorker:
    """Runs one pod. Everything it does ends in a status of the Pod object in the store."""

    def __init__(self, around: Surroundings, pod: Object, spawn: Spawn) -> None:
        self._around = around
        self._key = pod.key
        self._uid = pod.metadata.get("uid")
        self._spec = PodSpec.of_pod(pod)
        self._pod = pod
        self._spawn = spawn
        self._tasks: list[asyncio.Task[None]] = []
        self._initialised = False
        self._failed: dict[str, str] = {}  # why the Pod has failed, beside what its containers say
        self.terminating = self._ended = False
        self._grace = 0.0  # how long its end may take
        self._ending: asyncio.Task[None] | None = None
        self._volumes = PodVolumes(around, pod, self._spec, self._tell)
        self.environs = Environs(around, pod, self._spec, self._volumes, self.tell, self.report)
        self._preparation = Preparation(self.environs, self._volumes, spawn, self.tell, self.report)
        self.runners: dict[str, ContainerRunner] = {}
        self._served: dict[str, Served] = {}
        self._commands = Commands(self.environs, self.tell)
        self._inits: dict[str, ContainerState] = {}  # of init containers that are no sidecars

    def start(self) -> None:
        """Begins the pod's life; `refresh` and the runners carry it on."""
        for container, program in stood_in_for(self._pod, self._spec):
            self.tell(container, telling.stood_in_for(program))
        if self._spec.active_deadline is not None:
            self._tasks.append(self._spawn(self._expire(self._spec.active_deadline)))
        if not self._spec.init_containers and not self._volumes.any:
            self._begin()
        else:
            self._tasks.append(self._spawn(self._run_init_containers()))

    def refresh(self) -> None:
        """Takes over how the servers are that stand for containers, and reports."""
        if self._ended:
            return
        self._preparation.wake()
        servers = self._around.servers
        for container in self._spec.lasting:
            served = self._served.get(container.name)
            if served is None:
                continue
            up = (self._initialised or container in self._spec.sidecars) and servers.running(served.server)
            counted = served.count(servers.restarts.get(served.server, 0), servers.exits.get(served.server))
            begins = up and not served.held and not self.terminating  # what a Pod's end has ended stays so
            if begins and not served.state.running and not self._preparation.begins(container, served.state):
                continue
            if begins and (counted or not served.state.running):
                self._tell_start(container)
            if not up:
                served.state.running = served.state.ready = False
            elif begins and not served.state.running:
                self._begin_served(container, served)
        self.report()

    def report(self) -> None:
        """Writes the status into the store, if the pod is still the one there."""
        pod = self._around.store.get(self._key)
        if pod is None or pod.metadata.get("uid") != self._uid:
            return
        inits = [self.state_of(c) for c in self._spec.init_containers]
        states = [self.state(c) for c in self._spec.containers]
        gates, now = self._spec.readiness_gates, timestamp()
        if changed := new_status(pod, states, inits, self._initialised, gates, self._failed, now):
            self._around.store.set_status(self._key, **changed)
            self._around.changed()

    def begun_last(self) -> float:
        """When the last program began that runs, and that no readiness probe asks; seconds of the loop's clock."""
        unasked = (self.runners.get(c.name) for c in self._spec.lasting if c.readiness is None)
        return max((r.begun for r in unasked if r is not None and r.state.running), default=0.0)

    def state(self, container: Container) -> ContainerState:
        runner = self.runners.get(container.name)
        return runner.state if runner is not None else self._serving(container).state

    def _serving(self, container: Container) -> Served:
        if container.name not in self._served:
            shared = is_standin(container)
            server = STANDINS if shared else server_name(place_name(self._pod), container.name)
            self._served[container.name] = Served(container, server, shared)
        return self._served[container.name]

    def _init(self, container: Container) -> ContainerState:
        return self._inits.setdefault(container.name, ContainerState(container.name, container.image))

    def state_of(self, container: Container) -> ContainerState:
        """Of whatever container, be it one whose end the Pod's start waits for."""
        waited_for = container in self._spec.init_containers and not container.restarts
        return self._init(container) if waited_for else self.state(container)

    def stands_in(self, container: Container) -> bool:
        """Whether a server has begun to stand for it."""
        return container.name in self._served

    def _begin(self) -> None:
        self._initialised = True
        for container in self._spec.containers:
            self._launch(container)

    def _policy(self, container: Container) -> RestartPolicy:
        return container.restart_policy.within(self._spec.restart_policy)

    def _launch(self, container: Container) -> None:
        """Begins what a container, or its stand-in, does for as long as the pod lives."""
        if container.command:
            runner = self.runners[container.name] = self._runner(container, self._policy(container))
            self._tasks.append(self._spawn(runner.run()))
        else:
            served = self._serving(container)
            if ends_at_once(self._pod, container) and self._preparation.begins(container, served.state):
                self._tell_start(container)
                served.complete(timestamp())
        if container.startup or container.readiness or container.liveness:
            self._tasks.append(self._spawn(Prober(container, self.aim(container), self).run()))

    async def _run_init_containers(self) -> None:
        """One after the other: each must succeed before the next (Kubernetes: init containers), or, when it is a
        sidecar, have started (KEP-753)."""
        if not await self._volumes.mounted(lambda: self.terminating):
            return
        for container in self._spec.init_containers:
            if container.restarts:
                self._launch(container)
                self.refresh()
                while not self.state(container).started:
                    await asyncio.sleep(0.02)
                continue
            state = self._init(container)
            if not container.command:  # a stand-in has nothing to prepare
                await self._preparation.told(container, state)
                self._tell_start(container)
                state.begin(timestamp())
                state.ended(0, timestamp())
                state.ready = state.done = True
                continue
            policy = container.restart_policy.of_init(self._spec.restart_policy)
            runner = self.runners[container.name] = self._runner(container, policy)
            state = self._inits[container.name] = runner.state
            await runner.run()
            state.ready = state.exit_status == 0
            del self.runners[container.name]
            if runner.state.exit_status != 0:
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
            lambda: self._preparation.create(container, runner.state),
            self._log(container),
            policy,
            self._container_changed,
            lambda said: self.tell(container, said),
            self._name,
            (lambda: hooks.run(hook, self.aim(container))) if hook else None,
            self._spec.termination_grace,
        )
        return runner

    @property
    def _name(self) -> str:
        """The pod in messages, as the kubelet's `format.Pod` has it."""
        return f"{self._pod.name}_{self._pod.namespace}({self._uid})"

    def _log(self, container: Container) -> Log:
        return self._around.logs.of(self._pod.namespace, self._pod.name, container.name)

    def _container_changed(self) -> None:
        for container in self._spec.lasting:
            runner = self.runners.get(container.name)
            if runner is not None and runner.state.running:
                runner.state.unasked(container)
        if self._initialised and all(self.state(c).done for c in self._spec.containers):
            for sidecar in self._spec.sidecars:  # they go with the containers that they stand by
                runner = self.runners.get(sidecar.name)
                if runner is not None and runner.state.running and not runner.stopping:
                    self.tell(sidecar, telling.stopping(sidecar.name))
                    self._spawn(runner.stop(self._spec.termination_grace))
        self.report()

    # stand-ins, and servers

    def _begin_served(self, container: Container, served: Served) -> None:
        served.begun = asyncio.get_running_loop().time()
        if ends_at_once(self._pod, container):
            served.complete(timestamp())
        elif container.post_start is None:
            served.begin(timestamp())
        else:
            served.held = True
            self._tasks.append(self._spawn(self._greet(container, served)))

    async def _greet(self, container: Container, served: Served) -> None:
        assert container.post_start is not None
        why = await hooks.run(container.post_start, self.aim(container))
        if why:
            served.state.waiting, served.state.message = "PostStartHookError", why
            self.tell(container, telling.hook_failed("PostStart", why))
            self.tell(container, telling.not_greeted())
            await self._again(container, served)
            return
        served.begin(timestamp())
        self.report()

    async def exited(self, name: str, status: int) -> None:
        """The program that a stand-in plays was asked to end, with this status."""
        container = next((c for c in self._spec.lasting if c.name == name), None)
        served = self._served.get(name)
        if container is None or served is None or served.held or self.terminating or not served.state.running:
            return
        served.held = True
        await self._again(container, served, status)

    async def _again(self, container: Container, served: Served, status: int = ENDED_BY) -> None:
        """A stand-in has been ended. It can't be started again, but it can live anew, as its container would."""
        lived = asyncio.get_running_loop().time() - served.begun
        seconds = served.end(timestamp(), self._policy(container), lived, status)
        if seconds is None:
            self._container_changed()
            return
        if seconds:
            served.state.waiting = "CrashLoopBackOff"
            served.state.message = telling.why_waiting(seconds, container.name, self._name)
            self.tell(container, telling.backing_off(container.name, self._name))
            self.report()
            await asyncio.sleep(seconds)
        served.state.restarts += 1
        if not self.terminating and self._preparation.begins(container, served.state):
            self._log(container).begin_again()
            self._tell_start(container)
            self._begin_served(container, served)
        elif not self.terminating:
            served.held = False  # it begins once it can
        self.report()

    # what is told

    def tell(self, container: Container, said: Said) -> None:
        field = "initContainers" if container in self._spec.init_containers else "containers"
        self._tell(said, f"spec.{field}{{{container.name}}}")

    def _tell(self, said: Said, where: str = "") -> None:
        told = Tell(self._pod, said.type, said.reason, said.message, "kubelet", self._spec.node_name, where)
        self._around.events.tell([told], time.time())

    def _tell_start(self, container: Container) -> None:
        self.tell(container, telling.created(container.name))
        self.tell(container, telling.started(container.name))

    # probes and hooks

    def aim(self, container: Container) -> Aim:
        return Aim(
            self._around.handles[self._spec.node_name].fd,
            str(self.environs.place.addresses[0]),
            container.port,
            lambda command: self._run(container, command),
        )

    async def _run(self, container: Container, command: tuple[str, ...]) -> tuple[int, str]:
        runner = self.runners.get(container.name)
        return await self._commands.run(container, runner, command)

    async def fail(self, container: Container, probe: str) -> None:
        """A container that doesn't live is ended, and starts again as its restart policy says."""
        restarted = self._policy(container).restarts(ENDED_BY)
        init = container in self._spec.init_containers
        self.tell(container, telling.unwell(container, probe, init, restarted))
        asked = container.liveness if probe == LIVENESS else container.startup
        own = asked.grace if asked is not None else None  # which outranks the Pod's (KEP-2238)
        grace = float(self._spec.termination_grace if own is None else own)
        runner = self.runners.get(container.name)
        if runner is not None:
            await ending.end_program(self, container, runner, grace)
            return
        served = self._serving(container)
        served.held = True
        await ending.pre_stop(self, container, grace)
        await self._again(container, served)

    # the end

    async def drain(self, container: Container, before: float, grace: float) -> None:
        """See `Endable`. A stand-in has others to answer for, and nothing of its own to bring to an end."""
        if is_standin(container):
            await asyncio.sleep(before)
        else:
            await self._around.servers.drain(self._serving(container).server, before, grace)

    async def _expire(self, seconds: float) -> None:
        """Ends a pod that may not run for longer: pkg/kubelet/active_deadline.go."""
        await asyncio.sleep(seconds)
        if self.terminating:
            return
        self._tell(telling.deadline_exceeded())
        self.terminating = True
        await ending.stop_all(self, self._spec, self._spec.termination_grace)
        self._failed = {
            "phase": "Failed",
            "reason": "DeadlineExceeded",
            "message": "Pod was active on the node longer than the specified deadline",
        }
        self._end_states()

    def terminate(self, pod: Object) -> None:
        """Ends the pod gracefully, once: preStop, SIGTERM, SIGKILL after the grace period, then removal."""
        grace = float(pod.metadata.get("deletionGracePeriodSeconds", self._spec.termination_grace))
        if not self.terminating:
            self.terminating = True
            self._grace, self._ending = grace, self._spawn(self._end(grace))
        elif self._failed and not self._ended:
            self._spawn(self._end(0.0))
        elif self._ending is not None and grace < self._grace and not self._ended:
            self._grace = grace
            self._spawn(self._hurry(grace, self._ending))

    async def _hurry(self, grace: float, slow: asyncio.Task[None]) -> None:
        """Somebody has asked again, and gives less time: then that counts (`calculateEffectiveGracePeriod`)."""
        await asyncio.wait((slow,), timeout=max(grace, LEAST_GRACE))
        if not self._ended:
            slow.cancel()
            await self._end(0.0)

    async def _end(self, grace: float) -> None:
        await ending.stop_all(self, self._spec, grace)
        self.abandon()
        self._ended = True
        self._around.store.remove(self._key)
        self._end_states()  # of a Pod that finalizers hold, it is told that nothing runs any more

    def _end_states(self) -> None:
        for container in (*self._spec.containers, *self._spec.init_containers):
            self.state_of(container).end()
        self.report()
        self._around.changed()

    def abandon(self) -> None:
        """Ends everything of this pod at once. Its logs go with it."""
        for task in self._tasks:
            task.cancel()
        for container in (*self._spec.init_containers, *self._spec.containers):
            if not server_of(container.image):
                self._log(container).remove()
        self._spawn(self.environs.close())
