"""The processes of servers: one each, or a leader and other workers (`servers.crew`), which are started again."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Mapping

from emulab.errors import KernelError
from emulab.kernel.netns import Handle
from emulab.lab.hosts import pulse
from emulab.lab.hosts.hosted import Hosted
from emulab.lab.hosts.logs import Logs
from emulab.lab.hosts.processes import Process, Processes
from emulab.plan.state import PlannedServer
from emulab.servers.crew.remote import ANSWER

_AGAIN = 0.5  # seconds until a worker that has ended is started again


class Crews:
    """Starts the processes of all servers."""

    def __init__(self, processes: Processes, logs: Logs) -> None:
        self._processes = processes
        self._logs = logs
        self._watching: set[asyncio.Task[None]] = set()

    async def begin(
        self, server: PlannedServer, handles: Mapping[str, Handle]
    ) -> tuple[Process, socket.socket]:
        """A new process of a server, and its control socket. Raises KernelError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        _, log = self._logs.of(server.name).open()
        null = os.open("/dev/null", os.O_RDONLY)
        join = {"net": handles[server.namespace].fd} if server.namespace else {}
        try:
            process = await self._processes.serve(
                server.kind, server.name.rpartition(".")[2][:15], (null, log, log), theirs, join
            )
        except KernelError:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(log)
            os.close(null)
        return process, ours

    async def man(self, leader: Hosted, server: PlannedServer, handles: Mapping[str, Handle]) -> None:
        """Gives a leader the workers that are wanted; they serve from its next configuration on. Raises KernelError."""
        missing = max(0, server.workers - 1) - len(leader.workers)
        for _ in range(missing):
            process, control = await self.begin(server, handles)
            with control:
                number = await leader.ask("worker", (control.fileno(),))
            leader.workers.append(process)
            for work in (
                self._watch(leader, process, handles),
                self._end_when_hanging(leader, process, number),
            ):
                watching = asyncio.ensure_future(work)
                self._watching.add(watching)
                watching.add_done_callback(self._watching.discard)
        if missing < 0:
            number = len(leader.workers[missing:])
            del leader.workers[missing:]
            await leader.ask("dismiss", number=number)

    async def _end_when_hanging(self, leader: Hosted, process: Process, number: int) -> None:
        """Kills a worker that doesn't answer its leader, as a server that doesn't answer us."""
        loop, silence = asyncio.get_running_loop(), pulse.Silence()
        while process.running and process in leader.workers and not leader.ended:
            before = loop.time()
            await asyncio.sleep(pulse.TICK)
            try:
                answered = await leader.ask("answers", number=number)
            except KernelError:
                continue  # it is the leader that ends, or hangs
            if answered:
                silence = pulse.Silence()
                continue
            silence.tick(loop.time() - before, pulse.look(process.host_pid))
            patience = ANSWER if leader.configuring and not silence.stopped else pulse.PATIENCE
            if silence.seconds > patience and process in leader.workers:
                leader.tell_error(f"worker {number} doesn't answer any more, so it is killed")
                process.signal(signal.SIGKILL)
                return

    async def _watch(self, leader: Hosted, process: Process, handles: Mapping[str, Handle]) -> None:
        """Starts a worker again that has ended, unless it was dismissed, or its leader has ended as well."""
        await process.wait()
        while process in leader.workers and not leader.ended:
            await asyncio.sleep(_AGAIN)
            server = leader.applied
            if server is None or process not in leader.workers:
                continue
            leader.workers.remove(process)
            try:
                await self.man(leader, server, handles)
                await leader.repeat()
            except KernelError:
                if not leader.ended:
                    leader.workers.append(process)
