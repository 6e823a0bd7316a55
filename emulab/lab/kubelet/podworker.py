"""One pod's life on its node: init containers, sidecars, containers, probes, status, and a graceful end."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from emulab.cluster.store import timestamp
from emulab.errors import EmulabError
from emulab.kernel.processes import cgroups
from emulab.kernel.processes.enter import Program
from emulab.kinds.core.podspec import Container, PodSpec
from emulab.kinds.core.probespec import Hook
from emulab.kinds.installed import SERVER_IMAGES
from emulab.kinds.registry import CONFIG_MAP, SECRET
from emulab.lab.hosts.logs import Log
from emulab.lab.kubelet import telling
from emulab.lab.kubelet.container import ContainerRunner, capture, environment, expand
from emulab.lab.kubelet.downward import downward_fields, texts
from emulab.lab.kubelet.podstatus import ContainerState, pod_status
from emulab.lab.kubelet.prober import Prober
from emulab.lab.kubelet.probes import LIMIT, Aim
from emulab.lab.kubelet.programs import PATH, has_word, missing_word
from emulab.lab.kubelet.telling import Said
from emulab.lab.supervisor.surroundings import Surroundings, write_place_files
from emulab.model.collection import Tell
from emulab.model.objects import Object
from emulab.model.shortened import NAME_MAX, shortened
from emulab.plan.pods import place_name
from emulab.plan.standins import STANDINS, is_standin
from emulab.plan.state import Place
from emulab.plan.world import server_name

Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]

DRAIN = 1.0  # seconds that a stand-in goes on answering after it was told to end


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
        self._initialised = self._init_failed = False
        self.terminating = self._ended = False
        self.runners: dict[str, ContainerRunner] = {}
        self._served: dict[str, ContainerState] = {}
        self._restarts: dict[str, int] = {}  # of servers, as far as they are counted
        self._noted: set[tuple[str, str]] = (
            set()
        )  # containers and programs of which it was told that they aren't here
        self._inits: dict[str, ContainerState] = {}  # of init containers that are no sidecars

    @property
    def place(self) -> Place:
        world = self._around.world
        if world is None:
            raise EmulabError("the kubelet runs before the first plan was applied")
        return world.places[place_name(self._pod)]

    def start(self) -> None:
        """Begins the pod's life; `refresh` and the runners carry it on."""
        if not self._spec.init_containers:
            self._begin()
        else:
            self._tasks.append(self._spawn(self._run_init_containers()))

    def refresh(self) -> None:
        """Takes over how the servers are that stand for containers, and reports."""
        if self._ended:
            return
        for container in self._spec.lasting:
            state = self._served.get(container.name)
            if state is None:
                continue
            name = STANDINS if is_standin(container) else server_name(place_name(self._pod), container.name)
            up = (self._initialised or container.restarts) and self._around.servers.running(name)
            counted = self._count_restarts(container, name, state)
            if up and (counted or not state.running):
                self._tell_start(container)
            if up and not state.running:
                _begin_life(container, state)
            state.running = up
            if not up:
                state.ready = False
        self.report()

    def _count_restarts(self, container: Container, server: str, state: ContainerState) -> bool:
        """Counts the restarts of a server since the pod began: stand-ins of many pods share one. Whether any was."""
        servers = self._around.servers
        restarts = servers.restarts.get(server, 0)
        known = self._restarts.setdefault(container.name, restarts if is_standin(container) else 0)
        if restarts <= known:
            return False
        self._restarts[container.name] = restarts
        state.restarts += restarts - known
        state.exit_status = servers.exits.get(server)
        return True

    def report(self) -> None:
        """Writes the status into the store, if the pod is still the one there."""
        pod = self._around.store.get(self._key)
        if pod is None or pod.metadata.get("uid") != self._uid:
            return
        inits = [self._state_of(c) for c in self._spec.init_containers]
        states = [self.state(c) for c in self._spec.containers]
        status = pod_status(states, inits, self._initialised)
        if self._init_failed:
            status["phase"] = "Failed"
        if all(pod.status.get(k) == v for k, v in status.items()):
            return
        started = pod.status.get("startTime") or timestamp()
        self._around.store.set_status(self._key, startTime=started, **status)
        self._around.changed()

    def state(self, container: Container) -> ContainerState:
        runner = self.runners.get(container.name)
        if runner is not None:
            return runner.state
        return self._served.setdefault(container.name, ContainerState(container.name, container.image))

    def _init(self, container: Container) -> ContainerState:
        return self._inits.setdefault(container.name, ContainerState(container.name, container.image))

    def _state_of(self, container: Container) -> ContainerState:
        """Of whatever container, be it one whose end the Pod's start waits for."""
        waited_for = container in self._spec.init_containers and not container.restarts
        return self._init(container) if waited_for else self.state(container)

    def _begin(self) -> None:
        self._initialised = True
        for container in self._spec.containers:
            self._launch(container, self._spec.restart_policy)

    def _launch(self, container: Container, policy: str) -> None:
        """Begins what a container, or its stand-in, does for as long as the pod lives."""
        if container.command:
            runner = self.runners[container.name] = self._runner(container, policy)
            self._tasks.append(self._spawn(runner.run()))
        else:
            self.state(container)
        if container.startup or container.readiness or container.liveness:
            self._tasks.append(self._spawn(self._prober(container).run()))

    async def _run_init_containers(self) -> None:
        """One after the other: each must succeed before the next (Kubernetes: init containers), or, when it is a
        sidecar, have started (KEP-753)."""
        policy = "Never" if self._spec.restart_policy == "Never" else "OnFailure"
        for container in self._spec.init_containers:
            if container.restarts:
                self._launch(container, "Always")
                self.refresh()
                while not self.state(container).started:
                    await asyncio.sleep(0.02)
                continue
            state = self._init(container)
            if not container.command:  # a stand-in has nothing to prepare
                self._tell_start(container)
                state.ready, state.exit_status, state.done = True, 0, True
                continue
            runner = self.runners[container.name] = self._runner(container, policy)
            state = self._inits[container.name] = runner.state
            await runner.run()
            state.ready = state.exit_status == 0
            del self.runners[container.name]
            if runner.state.exit_status != 0:
                self._init_failed = True
                self._around.store.set_status(
                    self._key, phase="Failed", message=f"init container {container.name} failed"
                )
                self._around.changed()
                return
        self._begin()
        self.refresh()

    def _runner(self, container: Container, policy: str) -> ContainerRunner:
        return ContainerRunner(
            self._around.processes,
            container,
            lambda: self.program(container),
            self._log(container),
            policy,
            self._container_changed,
            lambda said: self.tell(container, said),
            f"{self._pod.name}_{self._pod.namespace}({self._uid})",
        )

    def _log(self, container: Container) -> Log:
        return self._around.logs.of(self._pod.namespace, self._pod.name, container.name)

    def _container_changed(self) -> None:
        for container in self._spec.lasting:
            runner = self.runners.get(container.name)
            if runner is None or not runner.state.running:
                continue
            if container.startup is None:
                runner.state.started = True
                if container.readiness is None:
                    runner.state.ready = True
        if self._initialised and all(self.state(c).done for c in self._spec.containers):
            for sidecar in self._spec.sidecars:  # they go with the containers that they stand by
                runner = self.runners.get(sidecar.name)
                if runner is not None and runner.state.running and not runner.stopping:
                    self.tell(sidecar, telling.stopping(sidecar.name))
                    self._spawn(runner.stop(self._spec.termination_grace))
        self.report()

    # what a container sees

    def program(self, container: Container, argv: tuple[str, ...] = ()) -> Program:
        """The container's program, or `argv` in its surroundings, in new namespaces of its own."""
        place = self.place
        known = self.environment(container)
        command = argv or tuple(expand(a, known) for a in container.command)
        group = shortened(f"{place_name(self._pod)}.{container.name}", NAME_MAX)
        cgroup = cgroups.create(self._around.lab, group) if not argv else ""
        return Program(
            argv=command,
            environment=known,
            working_directory=container.working_dir,
            join={"net": self._around.handles[place.namespace].fd},
            fresh=("mnt", "uts", "ipc"),
            hostname=place.hostname,
            files=write_place_files(self._around, place),
            remount_proc=True,
            cgroup=cgroup,
        )

    def environment(self, container: Container) -> dict[str, str]:
        pod = self._around.store.get(self._key) or self._pod
        own = environment(container, downward_fields(pod, self._spec), self._sources())
        return {"PATH": PATH, "HOSTNAME": self.place.hostname, "HOME": os.environ.get("HOME", "/"), **own}

    def _sources(self) -> dict[tuple[str, str, str], str]:
        found: dict[tuple[str, str, str], str] = {}
        for container in (*self._spec.containers, *self._spec.init_containers):
            for entry in container.env:
                for field, kind in (("configMapKeyRef", CONFIG_MAP), ("secretKeyRef", SECRET)):
                    reference = (entry.get("valueFrom") or {}).get(field)
                    o = reference and self._around.store.get(kind.key(self._pod.namespace, reference["name"]))
                    if o:
                        found |= {(o.kind, o.name, k): v for k, v in texts(o).items()}
        return found

    def tell(self, container: Container, said: Said) -> None:
        field = "initContainers" if container in self._spec.init_containers else "containers"
        where = f"spec.{field}{{{container.name}}}"
        told = Tell(self._pod, said.type, said.reason, said.message, "kubelet", self._spec.node_name, where)
        self._around.events.tell([told], time.time())

    def _tell_start(self, container: Container) -> None:
        self.tell(container, telling.created(container.name))
        self.tell(container, telling.started(container.name))

    # probes

    def _prober(self, container: Container) -> Prober:
        aim = Aim(
            self._around.handles[self._spec.node_name].fd,
            str(self.place.addresses[0]),
            container.port,
            lambda command: self._execute(container, command),
        )
        return Prober(container, aim, self)

    async def fail(self, container: Container, probe: str) -> None:
        """A container that doesn't live is ended; its runner starts it again."""
        self.tell(container, telling.unwell(container, probe, self._spec.restart_policy))
        runner = self.runners.get(container.name)
        if runner is not None:
            runner.kill()
            while runner.state.running:
                await asyncio.sleep(0.05)
        else:  # a stand-in can't be started again, but its restart can be counted
            state = self.state(container)
            state.restarts += 1
            self._tell_start(container)
            _begin_life(container, state)
            self.report()

    async def _execute(self, container: Container, command: tuple[str, ...]) -> tuple[int, str]:
        """Runs a command in a container: its exit status, and the beginning of what it printed.

        A program of the image that a stand-in stands for isn't here, and would have done well.
        """
        if container.command:
            return await capture(self._around.processes, self.program(container, command), LIMIT)
        missing = "" if has_word(container, command[0]) else command[0]
        if not missing:
            status, output = await capture(self._around.processes, self.program(container, command), LIMIT)
            missing = missing_word(command, status, output)
            if not missing:
                return status, output
        if (container.name, missing) not in self._noted:
            self._noted.add((container.name, missing))
            self.tell(container, telling.without_program(missing))
        return 0, ""

    # the end

    def terminate(self, pod: Object) -> None:
        """Ends the pod gracefully, once: preStop, SIGTERM, SIGKILL after the grace period, then removal."""
        if self.terminating:
            return
        self.terminating = True
        grace = float(pod.metadata.get("deletionGracePeriodSeconds", self._spec.termination_grace))
        self._spawn(self._end(grace))

    async def _end(self, grace: float) -> None:
        """Ends the containers side by side, then the sidecars, the last one first (KEP-753)."""
        deadline = asyncio.get_running_loop().time() + grace
        last = [c for c in self._spec.sidecars if c.name in self.runners]
        everybody = (*self._spec.containers, *self._spec.init_containers)
        for container in everybody:
            if self._state_of(container).running:
                self.tell(container, telling.stopping(container.name))
        await self._stop([c for c in everybody if c not in last], deadline)
        for sidecar in reversed(last):
            await self._stop([sidecar], deadline)
        self.abandon()
        self._ended = True
        self._around.store.remove(self._key)
        for container in everybody:  # of a Pod that finalizers hold, it is told that nothing runs any more
            self._state_of(container).end()
        self.report()
        self._around.changed()

    async def _stop(self, containers: Sequence[Container], deadline: float) -> None:
        """Ends containers side by side; stand-ins get a while to answer those who don't know yet."""

        def left() -> float:
            return max(0.0, deadline - asyncio.get_running_loop().time())

        await asyncio.gather(*(self._pre_stop(c, left()) for c in containers if c.pre_stop))
        ends = [self.runners[c.name].stop(left()) for c in containers if c.name in self.runners]
        if any(c.name in self._served for c in containers):
            ends.append(asyncio.sleep(min(DRAIN, left())))
        await asyncio.gather(*ends)

    async def _pre_stop(self, container: Container, grace: float) -> None:
        hook = container.pre_stop or Hook()
        try:
            async with asyncio.timeout(grace):
                if hook.command:
                    await self._execute(container, hook.command)
                elif hook.sleep is not None:
                    await asyncio.sleep(hook.sleep)
        except TimeoutError:
            return

    def abandon(self) -> None:
        """Ends everything of this pod at once. Its logs go with it."""
        for task in self._tasks:
            task.cancel()
        for runner in self.runners.values():
            if runner.process is not None:
                runner.process.signal(9)
        for container in (*self._spec.init_containers, *self._spec.containers):
            if container.image not in SERVER_IMAGES:
                self._log(container).remove()


def _begin_life(container: Container, state: ContainerState) -> None:
    """A stand-in, or a server, has begun to stand for the container, or does so anew."""
    state.started_at = timestamp()
    state.started = container.startup is None
    state.ready = container.readiness is None and container.startup is None
