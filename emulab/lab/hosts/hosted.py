"""A process that serves, as the supervisor drives it: commands, answers, and whether it still lives."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Mapping

from emulab.lab.hosts import pulse
from emulab.lab.hosts.processes import Process
from emulab.plan.state import PlannedServer
from emulab.servers.crew.remote import ANSWER, RemoteServer, TakeRecord
from emulab.servers.told import told_bytes


class Hosted(RemoteServer):
    """One server's process and what it has been told. It may lead others (`servers.crew`), the `workers`."""

    def __init__(self, name: str, process: Process, control: socket.socket, record: TakeRecord) -> None:
        super().__init__(name, control, record)
        self.process = process
        self.workers: list[Process] = []
        self.applied: PlannedServer | None = None
        self.configuring = False
        # One at a time tells it what it shall be, or what it is tells that once more.
        self._telling = asyncio.Lock()

    async def configure(
        self, server: PlannedServer, config: bytes, opened: Mapping[str, socket.socket]
    ) -> None:
        """Makes it `server`, whose whole configuration is `config`, with the sockets that it lacks."""
        async with self._telling:
            self.configuring = True
            try:
                await self.give(config, opened)
            finally:
                self.configuring = False
            self.applied = server

    async def repeat(self) -> None:
        """Tells it once more what it is, for the workers that don't know. Raises KernelError."""
        async with self._telling:
            if self.applied is None:
                return
            self.configuring = True
            try:
                await self.hand("configure", await asyncio.to_thread(told_bytes, self.applied.config))
            finally:
                self.configuring = False

    async def patch(self, server: PlannedServer, changes: bytes) -> None:
        """Makes it `server`, which takes no more than these changes of its configuration."""
        async with self._telling:
            await self.hand("patch", changes)
            self.applied = server

    async def until_hanging(self) -> None:
        """Returns when the server hangs; doesn't while it lives or once it has ended.

        A configuration may keep its loop for longer than anything else, and is waited for as long as for its answer.
        """
        loop = asyncio.get_running_loop()
        silence, answer = pulse.Silence(), self.send("ping")
        while True:
            before = loop.time()
            await asyncio.sleep(pulse.TICK)
            if answer.done() and answer.exception() is None:
                silence, answer = pulse.Silence(), self.send("ping")
                continue
            if answer.done():  # there was no room for the question
                answer = self.send("ping")
            silence.tick(loop.time() - before, pulse.look(self.process.host_pid))
            patience = ANSWER if self.configuring and not silence.stopped else pulse.PATIENCE
            if silence.seconds > patience:
                return

    async def end_when_hanging(self) -> None:
        """Kills the server when it hangs; to be cancelled when it has ended."""
        await self.until_hanging()
        self.tell_error("doesn't answer any more, so it is killed")
        self.process.signal(signal.SIGKILL)

    def tell_error(self, error: str) -> None:
        """Tells what went wrong with it, or with one of its workers."""
        self._record(self.name, {"event": "error", "error": error})
