"""A worker, as the first process drives it: started as a fork, and awaited.

The commands are those of `emulab.servers.host`, which the worker runs.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import suppress
from functools import partial

from emulab.kernel.processes.fork import fork_to
from emulab.servers import host
from emulab.servers.crew.remote import RemoteServer, TakeRecord

KIND = "ingress-worker"


class WorkerProcess(RemoteServer):
    """One worker."""

    def __init__(self, record: TakeRecord) -> None:
        """Starts it; `record` takes what it tells of its own accord."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[int] = loop.create_future()  # how, as of `waitstatus_to_exitcode`
        with theirs:
            self.pid, self._process = fork_to(partial(host.serve, KIND, theirs), theirs.fileno())
        super().__init__(f"worker {self.pid}", ours, record)
        loop.add_reader(self._process, self._reap)

    @property
    def running(self) -> bool:
        return not self.exited.done()

    def kill(self) -> None:
        """Ends it at once."""
        if self.running:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._process)
        os.close(self._process)
        _, status = os.waitpid(self.pid, 0)
        self.close()
        self.exited.set_result(os.waitstatus_to_exitcode(status))
