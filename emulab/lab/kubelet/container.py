"""One container with a command: started, logged, restarted with back-off, ended."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from emulab.cluster.store import timestamp
from emulab.errors import KernelError
from emulab.kernel.cgroups.sweeping import remove
from emulab.kernel.cgroups.usage import oom_kills
from emulab.kernel.processes.enter import Program
from emulab.kinds.core.podspec import Container
from emulab.kinds.core.restarts import RestartPolicy
from emulab.lab.hosts.logs import Log, Stream
from emulab.lab.hosts.processes import Process, Processes
from emulab.lab.kubelet import telling
from emulab.lab.kubelet.backoff import Backoff
from emulab.lab.kubelet.podstatus import ContainerState
from emulab.lab.kubelet.telling import Said

LEAST_GRACE = 2.0
"""Seconds that a container has at least between SIGTERM and SIGKILL (`minimumGracePeriodInSeconds`)."""
_LAST_WORDS = 1024  # octets


class ContainerRunner:
    """Keeps one container's program running as its restart policy says."""

    def __init__(
        self,
        processes: Processes,
        container: Container,
        program: Callable[[], Awaitable[Program]],
        log: Log,
        restart_policy: RestartPolicy,
        changed: Callable[[], None],
        tell: Callable[[Said], None],
        pod: str,
        post_start: Callable[[], Awaitable[str]] | None = None,
        grace: float = LEAST_GRACE,
    ) -> None:
        """`program`: what a life of the container runs, once it can begin. `pod`: its name in messages, as the
        kubelet's `format.Pod` has it. `post_start`: what the container is asked to do once it runs; why that failed,
        or "". It has `grace` seconds to end then.
        """
        self.state = ContainerState(container.name, container.image)
        self.process: Process | None = None
        self.stop_signal = int(signal.SIGTERM)  # what asks it to end
        self.begun = 0.0  # when its last life began; seconds of the loop's clock
        self._processes = processes
        self._program = program
        self._log = log
        self._policy = restart_policy
        self._changed = changed
        self._tell = tell
        self._pod = pod
        self._post_start = post_start
        self._grace = grace
        self._kills = 0  # that its cgroup counts of lives before, where those couldn't be removed
        self._stopping = asyncio.Event()
        self._wake = asyncio.Event()

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
            if self._stopping.is_set() or not self._restarts():
                break
            seconds = backoff.after(asyncio.get_running_loop().time() - self.begun)
            if seconds:
                name = self.state.name
                self.state.waiting = "CrashLoopBackOff"
                self.state.message = telling.why_waiting(seconds, name, self._pod)
                self._tell(telling.backing_off(name, self._pod))
            self._changed()
            await self._pause(seconds)
            self.state.restarts += 1
        self.state.done = True
        self._changed()

    def _restarts(self) -> bool:
        return self._policy.restarts(self.state.exit_status or 0)

    async def _pause(self, seconds: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _once(self) -> None:
        """One life of the container."""
        program = await self._program()
        if self._stopping.is_set():
            return
        try:
            printed = await self._start(program)
        except KernelError as error:
            why = KernelError(telling.STARVED) if await self._starved(program) else error
            await self._clear(program)
            self._log.write(str(why))
            self._tell(telling.created(self.state.name))
            self._not_started("RunContainerError", why)
            return
        assert self.process is not None
        if self._stopping.is_set():
            self.process.signal(signal.SIGKILL)
        self._tell(telling.created(self.state.name))
        self._tell(telling.started(self.state.name))
        if self._post_start is not None:
            await self._greet(self.process, self._post_start)
        if self.process.running:
            self.state.begin(timestamp())
            self._changed()
        else:
            self.state.started_at = timestamp()
        status = await self.process.wait()
        await printed.drained()  # whoever is told of the end finds in the log what came before
        last = await asyncio.to_thread(last_words, self._log.path) if status else ""
        starved = await self._starved(program)
        self.state.ended(status, timestamp(), last, telling.OOM_KILLED if starved else "")
        if status and not self._stopping.is_set():
            self._tell(telling.exited(self.state.name, status, last, self.state.failure))
        await self._clear(program)

    async def _starved(self, program: Program) -> bool:
        """Whether the kernel had to kill in this life for want of memory.

        containerd says that of a container of which any process was (`TaskOOM`), whatever it ended with.
        """
        if program.cgroup is None:
            return False
        before, self._kills = self._kills, await asyncio.to_thread(oom_kills, program.cgroup.enter)
        return self._kills > before

    async def _clear(self, program: Program) -> None:
        """Removes the cgroup of a life that is over."""
        if program.cgroup is not None and await asyncio.to_thread(remove, program.cgroup.enter):
            self._kills = 0

    def _not_started(self, waiting: str, error: Exception) -> None:
        state = self.state
        self._tell(telling.not_started(error))
        state.ended(128, timestamp(), str(error))
        state.failure, state.waiting, state.message = "StartError", waiting, str(error)

    async def _greet(self, process: Process, post_start: Callable[[], Awaitable[str]]) -> None:
        """Runs the hook behind the start; the container isn't said to run before that. A failure ends it."""
        hook = asyncio.ensure_future(post_start())
        end = asyncio.ensure_future(process.wait())
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

    async def _start(self, program: Program) -> Stream:
        """Starts the program; what it prints goes where the result tells of. Raises KernelError."""
        printed, log = self._log.open()
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.process = await self._processes.run(program, (null, log, log))
        finally:
            os.close(log)
            os.close(null)
        return printed

    async def kill(self, grace: float) -> None:
        """Ends this life of the container; the restart policy says what follows."""
        if self.process is not None:
            await _terminate(self.process, grace, self.stop_signal)

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    async def stop(self, grace: float) -> None:
        """Its stop signal, and SIGKILL after `grace` seconds; returns when it has ended for good."""
        self._stopping.set()
        self._wake.set()
        if self.process is not None:
            await _terminate(self.process, grace, self.stop_signal)
            if self.state.running:  # `run` may never come to say how it ended: the Pod goes
                self.state.ended(await self.process.wait(), timestamp())


async def _terminate(process: Process, grace: float, stop_signal: int) -> None:
    process.signal(stop_signal)
    try:
        async with asyncio.timeout(grace):
            await process.wait()
    except TimeoutError:
        process.signal(signal.SIGKILL)
        await process.wait()


def last_words(path: Path) -> str:
    """The last line of a log that says anything. Blocks."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - _LAST_WORDS))
            lines = log.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


async def capture(processes: Processes, program: Program, limit: int) -> tuple[int, str]:
    """Runs a program to its end: its exit status, and as much of what it printed. Who is cancelled kills it.

    What its children print after its end is nobody's.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(writing, True)
    null, printed, loop = (
        os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC),
        bytearray(),
        asyncio.get_running_loop(),
    )

    def read() -> None:
        with suppress(BlockingIOError):
            if chunk := os.read(reading, 1 << 16):
                printed.extend(chunk[: limit - len(printed)])
            else:
                loop.remove_reader(reading)

    loop.add_reader(reading, read)
    try:
        try:
            process = await processes.run(program, (null, writing, writing))
        finally:
            os.close(writing)
            os.close(null)
        try:
            status = await process.wait()
        except asyncio.CancelledError:
            process.signal(signal.SIGKILL)
            raise
        read()  # a pipe has no more than that
        return status, printed.decode(errors="replace")
    finally:
        loop.remove_reader(reading)
        os.close(reading)
