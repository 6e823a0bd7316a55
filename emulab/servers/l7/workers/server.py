"""The first process of a proxy: all of it where there are no workers, and else who starts, tells and asks them."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import IO, Any

from emulab.errors import KernelError
from emulab.memoryfile import memory_file, read_all
from emulab.servers.base import Config, Emit, vital
from emulab.servers.configuration import BadConfiguration, from_json, json_bytes
from emulab.servers.crew.remote import ServerRefused
from emulab.servers.l7.config import L7Config
from emulab.servers.l7.personalities.figures import Figures, added
from emulab.servers.l7.shell.server import L7Server
from emulab.servers.l7.shell.tls import fake_certificate
from emulab.servers.l7.workers.gathering import together
from emulab.servers.l7.workers.listeners import beside, lead_to_all, lead_to_first
from emulab.servers.l7.workers.process import WorkerProcess

_RESTART = (0.0, 0.2, 1.0, 5.0)  # seconds before the first, second … start in a row
_LASTING = 10.0  # seconds after which a worker has lasted
_TICK, _PATIENCE = 1.0, 30  # seconds between two questions whether it lives, and how many may stay open
_HANDOVER, _GRACE = (
    1.0,
    60.0,
)  # seconds that a worker has which isn't wanted any more: for who has come, and to end

_OF_EACH = ("accepted", "requests", "clients")
"""What a status says of each worker."""

WorkerSockets = dict[str, socket.socket]


def create(emit: Emit) -> IngressServer:
    """A proxy that serves nothing until it is configured; it reports through `emit`."""
    return IngressServer(emit)


class _Seat:
    """The place of one worker: its sockets, and the process that has it at present."""

    def __init__(self) -> None:
        self.sockets: WorkerSockets = {}
        self.process: WorkerProcess | None = None
        self.figures: Figures | None = None  # that it told last
        self.watching: asyncio.Task[None] | None = None

    @property
    def worker(self) -> WorkerProcess | None:
        """The process, where it runs."""
        return self.process if self.process is not None and self.process.running else None

    def close(self) -> None:
        """Nobody comes to these sockets any more, but to those that the worker has itself."""
        for sock in self.sockets.values():
            sock.close()
        self.sockets = {}

    def keep(self, sockets: WorkerSockets, keys: Collection[str]) -> None:
        """The worker has these sockets, too, and none but those of these keys."""
        for key, sock in self.sockets.items():
            if key in sockets or key not in keys:
                sock.close()
        self.sockets = {key: sock for key, sock in {**self.sockets, **sockets}.items() if key in keys}


class IngressServer:
    """See `base.Server`, `base.Manifold`, and the package's docstring."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._own = L7Server(emit)
        self._wanted = L7Config(())
        self._seats: list[_Seat] = []
        self._recorders: list[int] = []
        self._past: list[Figures] = []  # of workers that are gone, in one
        self._leaving: dict[asyncio.Task[None], _Seat] = {}
        self._closing: set[_Seat] = set()  # those of them that have sockets yet
        self._lock = asyncio.Lock()

    # --- configuration ----------------------------------------------------------------------------------------------

    async def configure(self, config: Config, sockets: Mapping[str, socket.socket]) -> None:
        """See `base.Server`. Raises ValueError, with nothing changed, for a configuration that is wrong."""
        wanted = from_json(L7Config, config)
        if wanted.workers < 1:
            raise BadConfiguration(f"config.workers: {wanted.workers} is no number of processes")
        async with self._lock:
            if wanted.workers > 1:
                await self._configure_workers(wanted, sockets)
            else:
                await self._take_over(wanted, sockets)
            self._wanted = wanted
            number = wanted.workers if wanted.workers > 1 else 0
            too_many, self._seats = self._seats[number:], self._seats[:number]
            for sock in too_many[0].sockets.values() if too_many else ():
                lead_to_first(sock, max(number, 1))
            self._dismiss(too_many, _HANDOVER)
            self._lead_to_all()

    async def _configure_workers(self, wanted: L7Config, sockets: Mapping[str, socket.socket]) -> None:
        """Has them serve, and then nobody else: who was served by this process alone goes on being served by it."""
        fake_certificate()  # which all have in common
        self._own.gather = self._gather
        traffic = [key for key in wanted.listen if key not in wanted.pages]
        there = self._seats[0].sockets if self._seats else self._own.sockets()
        first = {**there, **{key: sock for key, sock in sockets.items() if key in traffic}}
        if missing := set(traffic) - first.keys():
            raise BadConfiguration(f"no socket for {', '.join(sorted(missing))}")
        fresh = [_Seat() for _ in range(wanted.workers - len(self._seats))]
        seats, content = [*self._seats[: wanted.workers], *fresh], json_bytes(_for_worker(wanted))
        try:
            for index, seat in enumerate(seats):
                lacking = [key for key in traffic if key in sockets or key not in seat.sockets]
                new = {key: beside(first[key]) if index else first[key] for key in lacking}
                await self._configure_worker(seat, new, content)
                seat.keep(new, traffic)
        except KernelError as error:  # the first one refuses what is wrong
            self._dismiss(fresh)
            raise BadConfiguration(error.said if isinstance(error, ServerRefused) else str(error)) from None
        await self._own.take(
            _for_pages(wanted), {key: one for key, one in sockets.items() if key in wanted.pages}
        )
        self._seats += fresh
        for seat in fresh:
            seat.watching = vital(asyncio.ensure_future(self._watch(seat)))

    async def _take_over(self, wanted: L7Config, sockets: Mapping[str, socket.socket]) -> None:
        """Serves without workers: at the sockets of the first one, which takes nothing from them any more."""
        theirs = self._seats[0].sockets if self._seats else {}
        kept = {key for key in theirs if key in wanted.listen and key not in sockets}
        await self._own.take(wanted, {**{key: theirs[key].dup() for key in kept}, **sockets})
        if self._seats and (worker := self._seats[0].worker) is not None:
            deaf = replace(_for_worker(wanted), listen=(), tls_listen=())
            with suppress(KernelError):
                await worker.hand("configure", json_bytes(deaf))

    async def _configure_worker(self, seat: _Seat, sockets: WorkerSockets, content: bytes) -> None:
        """Has a worker serve, too, at these sockets; one that isn't there is started. Raises KernelError."""
        worker = seat.worker
        if worker is None:
            worker = seat.process = WorkerProcess(lambda _, record: self._hear(seat, record))
            worker.send("record", recorders=self._recorders)
            sockets = {**seat.sockets, **sockets}
        try:
            await worker.give_sockets(sockets)
            await worker.hand("configure", content)
        except KernelError as error:
            if not isinstance(error, ServerRefused):  # it has ended, or doesn't answer
                worker.kill()
            raise

    async def patch(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """See `base.Patchable`. Raises BadConfiguration, with nothing changed."""
        async with self._lock:
            self._own.patch(changes)
            self._wanted = replace(self._wanted, routes=self._own.told.routes)
            if self._seats:
                content = json.dumps(changes).encode()
                work = [one.hand("patch", content) for one in self._workers()]
                await asyncio.gather(*work, return_exceptions=True)  # who fails has ended, and begins anew

    def tell(self, message: Mapping[str, Any]) -> None:
        """See `base.Informed`."""
        self._own.tell(message)
        for worker in self._workers():
            worker.send("tell", message=dict(message))

    async def close(self, grace: float = 0.0) -> None:
        """See `base.Server`."""
        seats, self._seats = self._seats, []
        self._dismiss(seats, grace=grace)
        await asyncio.gather(self._own.close(grace), *self._leaving)

    # --- the workers ------------------------------------------------------------------------------------------------

    def _workers(self) -> list[WorkerProcess]:
        return [worker for seat in self._seats if (worker := seat.worker) is not None]

    async def _watch(self, seat: _Seat) -> None:
        """Starts a worker again that ended, or hung."""
        loop, failures = asyncio.get_running_loop(), 0
        while (process := seat.process) is not None:
            begun = loop.time()
            pulse = asyncio.ensure_future(_kill_when_hanging(process))
            try:
                status = await asyncio.shield(process.exited)
            finally:  # who is dismissed isn't watched any more, and would be asked for ever
                pulse.cancel()
            self._forget(seat)
            self._emit({"event": "error", "error": f"worker {process.pid} has ended with status {status}"})
            failures = 0 if loop.time() - begun > _LASTING else failures + 1
            await asyncio.sleep(_RESTART[min(max(failures - 1, 0), len(_RESTART) - 1)])
            async with self._lock:
                if seat.worker is None:
                    with suppress(KernelError):  # of whose end the next turn hears
                        await self._configure_worker(seat, {}, json_bytes(_for_worker(self._wanted)))

    def _hear(self, seat: _Seat, record: dict[str, Any]) -> None:
        """What a worker tells: who fails it is left out by all, as Envoy's workers have that in common."""
        if record["event"] != "outlier":
            self._emit(record)
            return
        message = {key: record[key] for key in ("upstream", "server", "status")}
        for other in self._seats:
            if other is not seat and (worker := other.worker) is not None:
                worker.send("tell", message=message)

    def _lead_to_all(self) -> None:
        """Connections are for all that there are, once none of them is about to be closed."""
        for seat in self._seats[:1] if not self._closing else ():
            for sock in seat.sockets.values():
                lead_to_all(sock)

    def _dismiss(self, seats: Iterable[_Seat], before: float = 0.0, grace: float = _GRACE) -> None:
        """Has workers end when their work is done; `before`: what has come to them by now is to begin first."""
        for seat in seats:
            if seat.watching is not None:
                seat.watching.cancel()
            task = asyncio.ensure_future(self._see_off(seat, before, grace))
            self._leaving[task] = seat
            task.add_done_callback(self._leaving.pop)
            if before:
                self._closing.add(seat)

    async def _see_off(self, seat: _Seat, before: float, grace: float) -> None:
        if (worker := seat.worker) is not None:
            if before:
                worker.send("tell", message={"ending": True})
                await asyncio.sleep(before)
                seat.close()
                self._closing.discard(seat)
            with suppress(KernelError):
                await worker.ask("close", timeout=grace + 5.0, grace=grace)
                seat.figures = Figures.from_json(await worker.ask("figures"))
            worker.close()
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(worker.exited), 5.0)
            worker.kill()
        self._forget(seat)
        seat.close()
        self._closing.discard(seat)
        self._lead_to_all()

    def _forget(self, seat: _Seat) -> None:
        """What a worker had counted that is gone stays counted."""
        if seat.figures is not None:
            self._past = [added([*self._past, seat.figures.past()])]
            seat.figures = None

    # --- what they say ----------------------------------------------------------------------------------------------

    async def _gather(self) -> list[Figures]:
        """The figures of all workers, those that are gone included."""
        found: list[Figures] = []
        for seat in (*self._seats, *self._leaving.values()):
            if (worker := seat.worker) is not None:
                with suppress(KernelError):
                    seat.figures = Figures.from_json(await worker.ask("figures"))
            if seat.figures is not None:
                found.append(seat.figures)
        return [*found, *self._past]

    def status(self) -> dict[str, Any]:
        """Of this process alone."""
        return self._own.status()

    async def status_of_all(self) -> dict[str, Any]:
        """See `base.Manifold`."""
        if not self._seats:
            return self.status()
        asked = [(one.pid, one.send("status")) for one in self._workers()]
        if asked:
            await asyncio.wait([answer for _, answer in asked], timeout=_TICK)
        said = [(pid, one.result()) for pid, one in asked if one.done() and one.exception() is None]
        each = [{"pid": pid, **{name: told[name] for name in _OF_EACH}} for pid, told in said]
        return {**together([self.status(), *(told for _, told in said)]), "workers": each}

    def record(self, recorders: list[int]) -> None:
        """See `base.Manifold`."""
        self._recorders = recorders
        for worker in self._workers():
            worker.send("record", recorders=recorders)

    async def records(self, recorder: int, file: IO[str]) -> list[dict[str, int]]:
        """See `base.Manifold`."""
        told = []
        for worker in self._workers():
            with memory_file() as written:
                try:
                    told.append(await worker.ask("records", (written.fileno(),), recorder=recorder))
                except KernelError:
                    continue  # who has ended has taken its records along
                file.write(read_all(written.fileno()).decode())
        return told


def _for_worker(told: L7Config) -> L7Config:
    """What a worker is told: all but what the first process does for all of them."""
    listen = tuple(key for key in told.listen if key not in told.pages)
    tls = tuple(key for key in told.tls_listen if key in listen)
    return replace(told, workers=1, listen=listen, tls_listen=tls, pages={}, metrics_at=(), notices=())


def _for_pages(told: L7Config) -> L7Config:
    """What the first process itself does beside workers."""
    tls = tuple(key for key in told.tls_listen if key in told.pages)
    return replace(told, listen=tuple(told.pages), tls_listen=tls)


async def _kill_when_hanging(process: WorkerProcess) -> None:
    answer, silent = process.send("ping"), 0
    while True:
        await asyncio.sleep(_TICK)
        # Who takes no more questions, as there is no room for them, hasn't answered.
        silent = 0 if answer.done() and answer.exception() is None else silent + 1
        if answer.done():
            answer = process.send("ping")
        if silent > _PATIENCE:
            process.kill()
