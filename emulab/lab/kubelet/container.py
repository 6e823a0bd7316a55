"""One container with a command: started, logged, restarted with back-off, ended.

Restarts follow the kubelet: at once after the first end, then after 10 s, doubled each time up to five
minutes, forgotten after ten minutes of running.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress

from emulab.cluster.store import timestamp
from emulab.errors import KernelError
from emulab.kernel.processes import cgroups
from emulab.kernel.processes.enter import Program
from emulab.kinds.core.podspec import Container
from emulab.lab.hosts.logs import Log, Stream
from emulab.lab.hosts.processes import Process, Processes
from emulab.lab.kubelet import telling
from emulab.lab.kubelet.podstatus import ContainerState
from emulab.lab.kubelet.telling import Said

_BACKOFF_FIRST, _BACKOFF_MOST, _BACKOFF_RESET = 10.0, 300.0, 600.0  # seconds


class ContainerRunner:
    """Keeps one container's program running as `restart_policy` says."""

    def __init__(
        self,
        processes: Processes,
        container: Container,
        program: Callable[[], Program],
        log: Log,
        restart_policy: str,
        changed: Callable[[], None],
        tell: Callable[[Said], None],
        pod: str,
    ) -> None:
        """`pod`: its name in messages, as the kubelet's `format.Pod` has it."""
        self.state = ContainerState(container.name, container.image)
        self.process: Process | None = None
        self._processes = processes
        self._program = program
        self._log = log
        self._policy = restart_policy
        self._changed = changed
        self._tell = tell
        self._pod = pod
        self._stopping = asyncio.Event()
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Returns when the container has ended and won't be started again."""
        backoff = 0.0
        while not self._stopping.is_set():
            begun = asyncio.get_running_loop().time()
            try:
                await self._once()
            except (KernelError, OSError) as error:
                # There is no room for its files, say: it is tried again like any that failed.
                self.state.exit_status, self.state.waiting = 128, "CreateContainerError"
                self.state.message = str(error)
                self._tell(telling.not_started(error))
            if self._stopping.is_set() or not self._restarts():
                break
            if asyncio.get_running_loop().time() - begun > _BACKOFF_RESET:
                backoff = 0.0
            if backoff:
                name = self.state.name
                self.state.waiting = "CrashLoopBackOff"
                self.state.message = telling.why_waiting(backoff, name, self._pod)
                self._tell(telling.backing_off(name, self._pod))
            self._changed()
            await self._pause(backoff)
            backoff = min(max(backoff * 2, _BACKOFF_FIRST), _BACKOFF_MOST)
            self.state.restarts += 1
        self.state.done = True
        self._changed()

    def _restarts(self) -> bool:
        return self._policy == "Always" or (self._policy == "OnFailure" and self.state.exit_status != 0)

    async def _pause(self, seconds: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _once(self) -> None:
        """One life of the container."""
        program = self._program()
        try:
            printed = await self._start(program)
        except KernelError as error:
            self._log.write(str(error))
            self._tell(telling.created(self.state.name))
            self._tell(telling.not_started(error))
            self.state.exit_status, self.state.waiting, self.state.message = (
                128,
                "RunContainerError",
                str(error),
            )
            return
        assert self.process is not None
        if self._stopping.is_set():
            self.process.signal(signal.SIGKILL)
        self._tell(telling.created(self.state.name))
        self._tell(telling.started(self.state.name))
        self.state.running, self.state.started_at = True, timestamp()
        self._changed()
        status = await self.process.wait()
        await printed.drained()  # whoever is told of the end finds in the log what came before
        self.state.exit_status = status
        self.state.running = self.state.ready = self.state.started = False
        if program.cgroup:
            cgroups.remove(program.cgroup)

    async def _start(self, program: Program) -> Stream:
        """Starts the program; what it prints goes where the result tells of. Raises KernelError."""
        printed, log = self._log.open()
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.process = await self._processes.run(program, (null, log, log), fresh_pid=True)
        finally:
            os.close(log)
            os.close(null)
        return printed

    def kill(self) -> None:
        """Ends this life of the container (a liveness probe failed); the restart policy says what follows."""
        if self.process is not None:
            self.process.signal(signal.SIGTERM)
            asyncio.get_running_loop().call_later(2.0, self.process.signal, signal.SIGKILL)

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    async def stop(self, grace: float) -> None:
        """SIGTERM, and SIGKILL after `grace` seconds; returns when it has ended for good."""
        self._stopping.set()
        self._wake.set()
        process = self.process
        if process is None or not process.running:
            return
        process.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace):
                await process.wait()
        except TimeoutError:
            process.signal(signal.SIGKILL)
            await process.wait()


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


def environment(
    container: Container, fields: Mapping[str, str], sources: Mapping[tuple[str, str, str], str]
) -> dict[str, str]:
    """A container's environment: `env` in order, with `fieldRef` (downward API), ConfigMap and Secret keys.

    `fields` are the pod's by field path, `sources` values by (kind, name, key). `$(NAME)` is replaced by
    what stands before it, `$$` is one dollar sign. Pure.
    """
    found: dict[str, str] = {}
    for entry in container.env:
        name = entry["name"]
        origin = entry.get("valueFrom") or {}
        if "fieldRef" in origin:
            found[name] = fields.get(origin["fieldRef"]["fieldPath"], "")
        elif "configMapKeyRef" in origin or "secretKeyRef" in origin:
            kind = "ConfigMap" if "configMapKeyRef" in origin else "Secret"
            reference = origin.get("configMapKeyRef") or origin["secretKeyRef"]
            value = sources.get((kind, reference["name"], reference["key"]))
            if value is not None:
                found[name] = value
        else:
            found[name] = expand(str(entry.get("value") or ""), found)
    return found


def expand(text: str, known: Mapping[str, str]) -> str:
    """`$(NAME)` replaced where the name is known, as Kubernetes does it in env, command and args."""
    result, rest = "", text
    while rest:
        before, dollar, rest = rest.partition("$")
        result += before
        if not dollar:
            break
        if rest.startswith("$"):
            result, rest = result + "$", rest[1:]
        elif rest.startswith("(") and ")" in rest:
            name, _, after = rest[1:].partition(")")
            result += known.get(name, f"$({name})")
            rest = after
        else:
            result += "$"
    return result
