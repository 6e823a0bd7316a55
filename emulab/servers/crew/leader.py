"""The other workers of a server, seen from its leader, which is a worker itself."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import deque
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import Any

from emulab.errors import KernelError
from emulab.memoryfile import memory_file, read_all
from emulab.servers.base import Config, Crewed, Server
from emulab.servers.configuration import json_bytes
from emulab.servers.crew.listening import beside
from emulab.servers.crew.remote import RemoteServer, TakeRecord, is_crowded

_GRACE = 60.0  # seconds that the connections of a worker have that is wanted no more
_ANSWER = 2.0  # seconds for numbers; who hangs is missing in them


class _Worker(RemoteServer):
    def __init__(self, number: int, control: socket.socket, record: TakeRecord) -> None:
        super().__init__(f"worker {number}", control, record)
        self.number = number
        self.keys: frozenset[str] = frozenset()
        self.asked: asyncio.Future[Any] | None = None  # whether it lives
        self.untold: deque[Mapping[str, Any]] = deque()  # messages for which there was no room


class Leader:
    """Drives the other workers of `server`: none, unless it is `Crewed`. `record` takes what they always tell."""

    def __init__(self, server: Server, record: TakeRecord) -> None:
        self._server = server
        self._record = record
        self._workers: list[_Worker] = []
        self._numbers = 0
        self._addresses: dict[str, tuple[socket.AddressFamily, int, Any]] = {}
        self._recorders: list[int] = []
        self._tasks: set[asyncio.Task[None]] = set()
        if isinstance(server, Crewed):
            server.lead(self)

    @property
    def workers(self) -> list[_Worker]:
        """Those that are there."""
        self._workers = [one for one in self._workers if not one.ended]
        return self._workers

    def take(self, control: socket.socket) -> int:
        """One more, which serves once the whole configuration has come again; its number."""
        self._numbers += 1
        worker = _Worker(self._numbers, control, self._record)
        worker.send("record", recorders=self._recorders)
        self._workers.append(worker)
        return worker.number

    def answers(self, number: int) -> bool:
        """Whether a worker has answered what it was asked the last time that this was to be known."""
        worker = next((one for one in self.workers if one.number == number), None)
        if worker is None:
            return True
        asked = worker.asked
        if asked is None or asked.done():
            worker.asked = worker.send("ping")
        # Of one who takes no more questions, as there is no room for them, that is no answer.
        return asked is None or (asked.done() and asked.exception() is None)

    def dismiss(self, number: int) -> None:
        """Has so many end: they accept nobody new any more, and what they serve has some time to end."""
        for worker in self.workers[len(self.workers) - number :]:
            self._workers.remove(worker)
            self._keep(self._leave(worker))

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @staticmethod
    async def _leave(worker: _Worker) -> None:
        with suppress(KernelError):
            await worker.ask("close", timeout=_GRACE + _ANSWER, grace=_GRACE)
        worker.close()

    def remember(self, sockets: Mapping[str, socket.socket]) -> None:
        """Takes note of where the leader listens, before it does."""
        for key, sock in sockets.items():
            self._addresses[key] = (sock.family, sock.type, sock.getsockname())

    async def configure(self, config: Config) -> None:
        """Has all be what the leader is."""
        if not isinstance(self._server, Crewed):
            return
        for worker in self.workers:
            keys = frozenset(self._server.for_worker(config, worker.number)["listen"])
            opened = {key: beside(*self._addresses[key]) for key in keys - worker.keys}
            try:
                await worker.give_sockets(opened)
                # What was found out meanwhile it couldn't be told yet.
                own = self._server.for_worker(config, worker.number)
                await worker.hand("configure", json.dumps(own).encode())
                worker.keys = keys
            except KernelError as error:  # who has ended is started anew
                self._record(worker.name, {"event": "error", "error": str(error)})
            finally:
                for sock in opened.values():
                    sock.close()

    async def patch(self, changes: Mapping[str, Any]) -> None:
        """Has all take a patch."""
        content = json_bytes(changes) if self.workers else b""
        await self._all(worker.hand("patch", content) for worker in self.workers)

    def tell(self, message: Mapping[str, Any]) -> None:
        """Tells all, each behind what it is still to be told: who missed that a target fell would send there on."""
        for worker in self.workers:
            if worker.untold or is_crowded(worker.send("tell", message=message)):
                worker.untold.append(message)
                if len(worker.untold) == 1:
                    self._keep(self._catch_up(worker))

    @staticmethod
    async def _catch_up(worker: _Worker) -> None:
        with suppress(KernelError):
            while worker.untold:
                await worker.ask("tell", message=worker.untold[0])
                worker.untold.popleft()
        worker.untold.clear()  # who has ended, or hangs and is ended, begins anew

    async def record(self, recorders: list[int]) -> None:
        """Has all know who records."""
        self._recorders = recorders
        await self._all(self._asked(worker, "record", recorders=recorders) for worker in self.workers)

    async def records(self, recorder: int, file: Any) -> tuple[int, int, int]:
        """Writes the records of all into a file: how many there were, how many were lost, since when all kept them."""
        count = lost = began = 0
        for worker in self.workers:
            with memory_file() as own:
                told = await self._asked(worker, "records", (own.fileno(),), recorder=recorder)
                if told:
                    file.write(read_all(own.fileno()).decode())
                    count, lost = count + told["count"], lost + told["lost"]
                    began = max(began, told["began"])
        return count, lost, began

    async def statuses(self) -> list[dict[str, Any]]:
        """What the others say of themselves."""
        found = await asyncio.gather(*(self._asked(worker, "status") for worker in self.workers))
        return [one for one in found if one]

    async def flush(self) -> None:
        """Has all write what they have for logs."""
        await self._all(worker.ask("flush") for worker in self.workers)

    async def close(self, grace: float) -> None:
        """Has all close."""
        await self._all(worker.ask("close", timeout=grace + _ANSWER, grace=grace) for worker in self.workers)

    @staticmethod
    async def _all(asked: Iterable[Any]) -> None:
        await asyncio.gather(*asked, return_exceptions=True)

    @staticmethod
    async def _asked(worker: _Worker, op: str, fds: tuple[int, ...] = (), **arguments: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = await worker.ask(op, fds, timeout=_ANSWER, **arguments)
        except KernelError:
            return {}
        return answer
