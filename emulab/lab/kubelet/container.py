"""One container with a command: started, logged, restarted with back-off, ended."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

from emulab.cluster.store import timestamp
from emulab.errors import KernelError
from emulab.kinds.core.podspec import Container
from emulab.kinds.core.restarts import RestartPolicy
from emulab.lab.hosts.logs import Log, Stream
from emulab.lab.kubelet import telling, termination
from emulab.lab.kubelet.backoff import Backoff
from emulab.lab.kubelet.podstatus import ContainerState
from emulab.lab.kubelet.runtime.interface import OOM_KILLED, ContainerRuntime, ContainerStatus
from emulab.lab.kubelet.telling import Said

LEAST_GRACE = 2.0
"""Seconds that a container has at least between SIGTERM and SIGKILL (`minimumGracePeriodInSeconds`)."""
PROVEN = 0.3
"""Seconds for which a program has run that is ready without a probe. A kubelet looks once a second at what runs (PLEG's
`genericPlegRelistPeriod`), and hardly ever sees one that ends at once, so a rollout of such Pods stops."""


class ContainerRunner:
    """Keeps one container's program running as its restart policy says."""

    def __init__(
        self,
        runtime: Callable[[], ContainerRuntime],
        container: Container,
        create: Callable[[], Awaitable[str]],
        log: Log,
        restart_policy: RestartPolicy,
        changed: Callable[[], None],
        tell: Callable[[Said], None],
        pod: str,
        post_start: Callable[[], Awaitable[str]] | None = None,
        grace: float = LEAST_GRACE,
    ) -> None:
        """`create`: makes the container of the next life, once it can begin; its id. `pod`: its name in messages, as
        the kubelet's `format.Pod` has it. `post_start`: what the container is asked to do once it runs; why that
        failed, or "". It has `grace` seconds to end then.
        """
        self.state = ContainerState(container.name, container.image)
        self.id = ""  # of the container of its last life, as the runtime knows it
        self.begun = 0.0  # when its last life began; seconds of the loop's clock
        self.proven = False  # it has run for `PROVEN`
        self._runtime = runtime
        self._create = create
        self._log = log
        self._policy = restart_policy
        self._tells_log = container.message_from_log
        self._changed = changed
        self._tell = tell
        self._pod = pod
        self._post_start = post_start
        self._grace = grace
        self._stopping = asyncio.Event()
        self._wake = asyncio.Event()
        self._creating: asyncio.Future[str] | None = None
        self._anew = self._retired = False

    async def run(self) -> None:
        """Returns when the container has ended and won't be started again."""
        backoff = Backoff()
        while not self._stopping.is_set():
            self.begun = asyncio.get_running_loop().time()
            try:
                await self._once()
            except (KernelError, OSError) as error:
                # There is no room for its files, say: it is tried again like any that failed.
                self._not_started("CreateContainerError", error)
            if self._stopping.is_set() or not (self._anew or self._restarts()):
                break
            seconds = 0.0 if self._anew else backoff.after(asyncio.get_running_loop().time() - self.begun)
            if seconds:
                name = self.state.name
                self.state.waiting = "CrashLoopBackOff"
                self.state.message = telling.why_waiting(seconds, name, self._pod)
                self._tell(telling.backing_off(name, self._pod))
            self._changed()
            await self._pause(seconds)
            if self._stopping.is_set():
                break
            if self._anew:
                backoff, self._anew = Backoff(), False
                self.state.waiting = self.state.message = ""
            self.state.restarts += 1
        self.state.done = not self._retired
        self._changed()

    def renew(self) -> bool:
        """The container's definition has changed: what begins next has the new one, and begins at once, whatever its
        restart policy says. Whether a life has to be ended for that."""
        self._anew = True
        self._wake.set()
        if self._creating is not None:
            self._creating.cancel()
        return self.running

    def retire(self) -> None:
        """What comes next isn't a program of this container: it ends without having ended for good."""
        self._retired = True
        self._stopping.set()
        self._wake.set()
        if self._creating is not None:
            self._creating.cancel()

    def _restarts(self) -> bool:
        return self._policy.restarts(self.state.exit_status or 0)

    async def _pause(self, seconds: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    @property
    def status(self) -> ContainerStatus | None:
        """That of its last life, as the runtime knows it; None before the first."""
        return self._runtime().find_status(self.id) if self.id else None

    @property
    def running(self) -> bool:
        status = self.status
        return status is not None and status.running

    async def _once(self) -> None:
        """One life of the container."""
        runtime, id = self._runtime(), await self._created()
        if not id:
            return
        try:
            printed = await self._start(id)
        except KernelError as error:
            why = KernelError(telling.STARVED) if await self._starved(id) else error
            await runtime.remove_container(id)
            self._log.write(str(why))
            self._tell(telling.created(self.state.name))
            self._not_started("RunContainerError", why)
            return
        self.id = id
        if self._stopping.is_set() or self._anew:
            await runtime.stop_container(id, 0.0)
        self._tell(telling.created(self.state.name))
        self._tell(telling.started(self.state.name))
        if self._post_start is not None:
            await self._greet(id, self._post_start)
        if self.running:
            self.state.begin(timestamp())
            self._changed()
        else:
            self.state.started_at = timestamp()
        proof = asyncio.get_running_loop().call_later(PROVEN, self._prove)
        try:
            status = await runtime.wait_container(id)
        finally:
            proof.cancel()
            self.proven = False
        await printed.drained()  # whoever is told of the end finds in the log what came before
        last = await asyncio.to_thread(termination.last_words, self._log.path) if status else ""
        said = await asyncio.to_thread(termination.read, self.state.message_file)
        if status and not said and self._tells_log:
            said = await asyncio.to_thread(termination.from_log, self._log.path)
        starved = await self._starved(id)
        self.state.ended(status, timestamp(), last, telling.OOM_KILLED if starved else "", said)
        if status and not self._stopping.is_set() and not self._anew:
            self._tell(telling.exited(self.state.name, status, last, self.state.failure))
        await runtime.remove_container(id)

    def _prove(self) -> None:
        self.proven = True
        self._changed()

    async def _created(self) -> str:
        """The id of the container of the next life, of its newest definition; "" where there won't be one."""
        while not self._stopping.is_set():
            self._anew = False
            self._creating = asyncio.ensure_future(self._create())
            try:
                id = await self._creating
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
            else:
                if not self._stopping.is_set() and not self._anew:
                    return id
                await self._runtime().remove_container(id)
            finally:
                self._creating = None
        return ""

    async def _starved(self, id: str) -> bool:
        """Whether the kernel had to kill in this life for want of memory."""
        return (await self._runtime().container_status(id)).reason == OOM_KILLED

    def _not_started(self, waiting: str, error: Exception) -> None:
        state = self.state
        self._tell(telling.not_started(error))
        state.ended(128, timestamp(), str(error))
        state.failure, state.waiting, state.message = "StartError", waiting, str(error)

    async def _greet(self, id: str, post_start: Callable[[], Awaitable[str]]) -> None:
        """Runs the hook behind the start; the container isn't said to run before that. A failure ends it."""
        hook = asyncio.ensure_future(post_start())
        end = asyncio.ensure_future(self._runtime().wait_container(id))
        try:
            await asyncio.wait((hook, end), return_when=asyncio.FIRST_COMPLETED)
            if not end.done() and (why := hook.result()):
                self.state.waiting, self.state.message = "PostStartHookError", why
                self._tell(telling.hook_failed("PostStart", why))
                self._tell(telling.not_greeted())
                await self.kill(max(self._grace, LEAST_GRACE))
        finally:
            hook.cancel()
            end.cancel()

    async def _start(self, id: str) -> Stream:
        """Starts a container; what it prints goes where the result tells of. Raises KernelError."""
        printed, log = self._log.open()
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        try:
            await self._runtime().start_container(id, (null, log, log))
        finally:
            os.close(log)
            os.close(null)
        return printed

    async def kill(self, grace: float) -> None:
        """Ends this life of the container; the restart policy says what follows."""
        if self.id:
            await self._runtime().stop_container(self.id, grace)

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    async def stop(self, grace: float) -> None:
        """Its stop signal, and SIGKILL after `grace` seconds; returns when it has ended for good."""
        self._stopping.set()
        self._wake.set()
        if status := self.status:
            await self._runtime().stop_container(self.id, grace)
            if self.state.running:  # `run` may never come to say how it ended: the Pod goes
                self.state.ended((self.status or status).exit_code, timestamp())
