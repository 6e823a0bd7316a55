"""What containers and servers of the lab print, on its way into bounded logs.

Each has a pipe, whose reading end goes to a process of its own (`servers.logs`): the supervisor's loop never waits for
a disk. The supervisor keeps a copy of each reading end, and hands it to the next process when that one ends or hangs.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from emulab.dataclass import dataclass, field
from emulab.errors import KernelError
from emulab.lab.hosts.hosted import Hosted
from emulab.lab.hosts.processes import Processes
from emulab.model.shortened import log_name
from emulab.servers.logs.files import FILES, LIMIT

_AGAIN = 0.02  # seconds after which a message is sent again for which there was no room
_RESTART = 1.0  # seconds before a process is started again that ended soon
_DRAIN = 30.0  # seconds that an end is waited for: more than a process that hangs is left
_LOOK = 10.0  # seconds between two looks at the supervisor's own log, as the kubelet looks at containers'


@dataclass(slots=True, eq=False)
class Stream:
    """One who prints: `pipe` is the reading end."""

    number: int
    name: str
    pipe: int
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def drained(self) -> None:
        """Waits until all is written that was printed by processes that have ended; not for ever."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.ended.wait(), _DRAIN)


class Logs:
    """All logs of a lab."""

    def __init__(self, processes: Processes, folder: Path) -> None:
        self.folder = folder
        self._processes = processes
        self._host: Hosted | None = None
        self._streams: dict[int, Stream] = {}
        self._told: set[int] = set()  # streams that the present process knows, or an earlier one knew
        self._next = 0
        self._outbox: deque[tuple[str, int, dict[str, Any]]] = deque()

    def of(self, *parts: str) -> Log:
        """The log of what has this name: `NAMESPACE.POD.CONTAINER`, or a server's."""
        name = log_name(*parts)
        return Log(self, name, self.folder / name)

    def open(self, name: str) -> tuple[Stream, int]:
        """See `Log.open`. Without a name the lines are each to tell the log that they are for."""
        try:
            pipe, end = os.pipe2(os.O_CLOEXEC)
        except OSError as error:
            raise KernelError(f"make a pipe for {name}", errno=error.errno or 0) from None
        self._next += 1
        stream = self._streams[self._next] = Stream(self._next, name, pipe)
        self.tell("add", pipe, number=stream.number, name=name, begins=True)
        return stream, end

    async def run(self) -> None:
        """Keeps the process of the logs running, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            try:
                await self._once()
            except KernelError as error:
                print(f"logs: {error}", flush=True)
            if loop.time() - begun < _RESTART:
                await asyncio.sleep(_RESTART)

    async def _once(self) -> None:
        """One life of the process."""
        host = await self._start()
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            host.send("folder", (folder,))
        finally:
            os.close(folder)
        self._host = host
        known = [s for s in self._streams.values() if s.number in self._told]
        self._outbox.extendleft(
            ("add", s.pipe, {"number": s.number, "name": s.name}) for s in reversed(known)
        )
        self._flush()
        hanging = asyncio.ensure_future(host.end_when_hanging())
        try:
            status = await host.process.wait()
            print(f"logs: ended with status {status}", flush=True)
        finally:
            hanging.cancel()
            self._host = None
            host.close()

    async def _start(self) -> Hosted:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        try:
            process = await self._processes.serve("logs", "logs", (null, 1, 2), theirs, {})
        except KernelError:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(null)
        return Hosted("logs", process, ours, self._heard)

    def _heard(self, _: str, record: dict[str, Any]) -> None:
        if record["event"] != "end":
            print(f"logs: {record}", flush=True)
            return
        stream = self._streams.pop(record["number"], None)
        if stream is not None:
            self._told.discard(stream.number)
            os.close(stream.pipe)
            stream.ended.set()

    def tell(self, op: str, fd: int = -1, **arguments: Any) -> None:
        """Sends a command to the process, or to the next one (`servers.logs.keeper`)."""
        self._outbox.append((op, fd, arguments))
        if len(self._outbox) == 1:
            self._flush()

    def _flush(self) -> None:
        """Sends what is to be sent; what there is no room for follows."""
        while self._host is not None and self._outbox:
            op, fd, arguments = self._outbox[0]
            if "number" not in arguments or arguments["number"] in self._streams:
                sent = self._host.send(op, (fd,) if fd >= 0 else (), **arguments)
                if sent.done():
                    if isinstance(sent.exception(), BlockingIOError):
                        asyncio.get_running_loop().call_later(_AGAIN, self._flush)
                    return  # what else there may be: its end, after which the next process hears it
                self._told |= {arguments["number"]} if op == "add" else set()
            self._outbox.popleft()


@dataclass(frozen=True, slots=True)
class Log:
    """One log."""

    logs: Logs
    name: str
    path: Path

    def open(self) -> tuple[Stream, int]:
        """A pipe that leads to it; the writing end is the caller's. Raises KernelError."""
        return self.logs.open(self.name)

    def write(self, text: str) -> None:
        """Adds a line of our own."""
        self.logs.tell("write", name=self.name, text=f"{text}\n")

    def begin_again(self) -> None:
        """Says that another life of a container begins of which servers write the log."""
        self.logs.tell("begin", name=self.name)

    def remove(self) -> None:
        """Removes it with its older files."""
        self.logs.tell("remove", name=self.name)


async def bound_own_log(path: Path) -> None:
    """Begins a new file for what the supervisor itself prints whenever the old one is full. For ever."""
    while True:
        await asyncio.sleep(_LOOK)
        if os.fstat(1).st_size >= LIMIT:
            with suppress(OSError):  # no room for it now
                await asyncio.to_thread(_rotate_own, path)


def _rotate_own(path: Path) -> None:
    older = [path, *(path.with_name(f"{path.name}.{number}") for number in range(1, FILES))]
    for newer, name in reversed(list(pairwise(older))):
        with suppress(FileNotFoundError):
            os.replace(newer, name)
    fresh = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    for fd in (1, 2):
        os.dup2(fresh, fd)
    os.close(fresh)
