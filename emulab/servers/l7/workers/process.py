"""A worker, as the first process drives it: started as a fork, told commands, awaited.

The commands are those of `emulab.servers.host`, which the worker runs.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from emulab.kernel.processes.fork import fork_to
from emulab.servers import host

KIND = "ingress-worker"
ANSWER = 60.0
"""Seconds that an answer is waited for."""
_MESSAGE = 1 << 16
_FDS = 200

WorkerRecords = Callable[[dict[str, Any]], None]


class WorkerFailed(Exception):
    """A worker refused a command, or has ended."""


class WorkerProcess:
    """One worker."""

    def __init__(self, record: WorkerRecords) -> None:
        """Starts it; `record` is what it tells of its own accord."""
        loop = asyncio.get_running_loop()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._record = record
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._next = 0
        self.ended: asyncio.Future[int] = loop.create_future()  # how it did, as of `waitstatus_to_exitcode`
        self.pid, self._process = fork_to(partial(host.serve, KIND, theirs), theirs.fileno())
        theirs.close()
        self._control.setblocking(False)
        loop.add_reader(self._control.fileno(), self._readable)
        loop.add_reader(self._process, self._reap)

    @property
    def running(self) -> bool:
        return not self.ended.done()

    def kill(self) -> None:
        """Ends it at once."""
        if self.running:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def leave(self) -> None:
        """Has it end: nobody drives it any more."""
        self._close()

    def send(self, op: str, fds: Sequence[int] = (), **arguments: Any) -> asyncio.Future[Any]:
        """Sends a command; the future is its result, and may be left alone."""
        self._next += 1
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(lambda one: one.cancelled() or one.exception())
        data = json.dumps({"id": self._next, "op": op, **arguments}).encode()
        try:
            socket.send_fds(self._control, [data], list(fds))
        except OSError as error:
            answer.set_exception(WorkerFailed(f"worker {self.pid}: {error}"))
        else:
            self._answers[self._next] = answer
        return answer

    async def ask(self, op: str, fds: Sequence[int] = (), **arguments: Any) -> Any:
        """Sends a command and returns its result. Raises WorkerFailed, or TimeoutError."""
        return await asyncio.wait_for(self.send(op, fds, **arguments), ANSWER)

    async def hand(self, op: str, content: bytes) -> None:
        """Sends a command with a memory file. Raises as `ask` does."""
        with os.fdopen(os.memfd_create(op, os.MFD_CLOEXEC), "wb") as file:
            file.write(content)
            file.flush()
            await self.ask(op, (file.fileno(),))

    async def give(self, sockets: dict[str, socket.socket]) -> None:
        """Gives it listening sockets, by their keys. Raises as `ask` does."""
        keys = list(sockets)
        for start in range(0, len(keys), _FDS):
            part = keys[start : start + _FDS]
            await self.ask("sockets", [sockets[key].fileno() for key in part], keys=part)

    def _readable(self) -> None:
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self._control, _MESSAGE, 1)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                data, fds = b"", []
            if not data:
                self._close()
                return
            if fds:
                with open(fds[0], "rb") as file:
                    file.seek(0)
                    data = file.read()
            message = json.loads(data)
            if "record" in message:
                self._record(message["record"])
            elif (answer := self._answers.pop(message["id"], None)) is not None and not answer.done():
                if "error" in message:
                    answer.set_exception(WorkerFailed(message["error"]))
                else:
                    answer.set_result(message["result"])

    def _close(self) -> None:
        """Gives up the control socket, with which the worker ends."""
        if self._control.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._control.close()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(WorkerFailed(f"worker {self.pid} has ended"))
        self._answers.clear()

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._process)
        os.close(self._process)
        _, status = os.waitpid(self.pid, 0)
        self._close()
        self.ended.set_result(os.waitstatus_to_exitcode(status))
