"""Programs in namespaces, as the event loop sees them: started by the spawner, awaited here."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from emulab.errors import KernelError
from emulab.kernel.processes import spawner
from emulab.kernel.processes.enter import Program
from emulab.lab.client.waiting import writable


class StartError(KernelError):
    """A program that couldn't be started. `status`: a shell's exit status of it, 127 for one that isn't there."""

    def __init__(self, why: str, status: int) -> None:
        super().__init__(why)
        self.status = status


class Process:
    """A running program. `pid` is its number in the lab, `host_pid` the host's."""

    def __init__(self, pid: int, host_pid: int) -> None:
        self.pid = pid
        self.host_pid = host_pid
        self._status: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def running(self) -> bool:
        return not self._status.done()

    @property
    def status(self) -> int:
        """The exit status, 0 for as long as there is none."""
        return self._status.result() if self._status.done() else 0

    async def wait(self) -> int:
        """The exit status, 128 + signal for a killed one."""
        return await asyncio.shield(self._status)

    def signal(self, number: int) -> None:
        """Sends a signal, unless the process has ended."""
        if self.running:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def signal_group(self, number: int) -> None:
        """Sends a signal to the program and what it has started in its process group, unless the program has ended."""
        if self.running:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def ended(self, status: int) -> None:
        if not self._status.done():
            self._status.set_result(status)


class Processes:
    """The supervisor's side of the spawner."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._processes: dict[int, Process] = {}
        self._early: dict[int, int] = {}  # ends that were told before their process was known here
        self._failed: set[int] = set()  # forked, but nobody waits for their end
        self._next = 0
        self._sending = asyncio.Lock()
        sock.setblocking(False)
        asyncio.get_running_loop().add_reader(sock.fileno(), self._readable)
        self.lost = asyncio.Event()

    async def run(self, program: Program, stdio: tuple[int, int, int], *, pause: bool = False) -> Process:
        """Starts a program, or a `pause` process in its place.

        Raises StartError when it can't be started, KernelError when nothing can be any more.
        """
        described = {k: v for k, v in asdict(program).items() if k != "join"}
        more = {"pause": True} if pause else {}
        return await self._spawn({"program": described, **more}, [*stdio], program.join)

    async def serve(
        self,
        kind: str,
        name: str,
        stdio: tuple[int, int, int],
        control: socket.socket,
        join: Mapping[str, int],
    ) -> Process:
        """Starts a server of this kind, driven over `control`; `ps` shows it by `name`. Raises KernelError."""
        return await self._spawn({"serve": kind, "name": name}, [*stdio, control.fileno()], join)

    async def _spawn(self, message: dict[str, Any], fds: list[int], join: Mapping[str, int]) -> Process:
        if self.lost.is_set():
            raise KernelError("start a program: the spawner has ended")
        self._next += 1
        number = self._next
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        request = {"id": number, **message, "join": list(join)}
        try:
            await self._send(request, [*fds, *join.values()])
        except OSError as error:
            del self._answers[number]
            raise KernelError("talk to the spawner", errno=error.errno or 0) from None
        try:
            reply = await asyncio.shield(answer)
        except asyncio.CancelledError:
            answer.add_done_callback(self._unwanted)
            raise
        if "error" in reply:
            self._forget(reply.get("pid", 0))
            raise StartError(reply["error"], reply["status"])
        process = Process(reply["pid"], reply["host_pid"])
        if process.pid in self._early:
            process.ended(self._early.pop(process.pid))
        else:
            self._processes[process.pid] = process
        return process

    def _forget(self, pid: int) -> None:
        """The end of this process is, or will be, of no interest."""
        if pid and self._early.pop(pid, None) is None:
            self._failed.add(pid)

    def _unwanted(self, answer: asyncio.Future[dict[str, Any]]) -> None:
        """A program whose asker has gone ends as soon as it is known."""
        if answer.cancelled() or answer.exception() is not None:
            return
        pid = answer.result().get("pid", 0)
        if pid not in self._early and "error" not in answer.result():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._forget(pid)

    async def _send(self, request: dict[str, Any], fds: list[int]) -> None:
        """Sends one message after the other, also while the spawner is busy with those before. Raises OSError."""
        kept: list[int] = []  # of our own, as who asks may close theirs meanwhile, or go
        try:
            if self._sending.locked():
                kept = fds = [os.dup(fd) for fd in fds]
            async with self._sending:
                while True:
                    try:
                        return spawner.request(self._sock, request, fds)
                    except BlockingIOError:
                        kept = fds = kept or [os.dup(fd) for fd in fds]
                        await writable(self._sock.fileno())
        finally:
            for fd in kept:
                os.close(fd)

    def _readable(self) -> None:
        while True:
            try:
                data = self._sock.recv(1 << 16)
            except (BlockingIOError, InterruptedError):
                return
            if not data:
                asyncio.get_running_loop().remove_reader(self._sock.fileno())
                self.lost.set()
                for answer in self._answers.values():
                    if not answer.done():
                        answer.set_exception(KernelError("start a program: the spawner has ended"))
                return
            message = json.loads(data)
            if "exited" in message:
                process = self._processes.pop(message["exited"], None)
                if message["exited"] in self._failed:
                    self._failed.discard(message["exited"])
                elif process is None:
                    self._early[message["exited"]] = message["status"]
                else:
                    process.ended(message["status"])
            else:
                self._answers.pop(message["id"]).set_result(message)
