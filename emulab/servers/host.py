"""The process around a server: reads commands from a Unix socket, runs the server's event loop.

Protocol on a SOCK_SEQPACKET socket, one JSON datagram a message:

    → {"id", "op": "sockets", "keys": [...]}   descriptors beside it, kept until the next "configure"
    → {"id", "op": "configure"}                one descriptor: a memory file holding the configuration (`told`)
    → {"id", "op": "tell", "message": {...}}   for servers that want to know (`base.Informed`)
    → {"id", "op": "journal"}                  one descriptor: a pipe, for servers that write into logs of others
    → {"id", "op": "house"}                    one descriptor: a folder, for servers that have files for others there
    → {"id", "op": "flush"}                    answered when all lines so far are in that pipe, which has room for them
    → {"id", "op": "files"}                    answered with the texts that programs beside the server see, by path
    → {"id", "op": "order", "order": {...}}    of an operator (`base.Orderly`), answered with what came of it
    → {"id", "op": "status"} | {"id", "op": "close", "grace": seconds}
    → {"id", "op": "figures"}                  answered with what one of several processes has counted
    → {"id", "op": "worker"}                   one descriptor: the control socket of another process that serves, too,
                                               and is led by this one from the next "configure" on (`crew`)
    → {"id", "op": "dismiss", "number": N}     so many of those end
    → {"id", "op": "ping"}                     answered by whoever turns the loop, whatever else is under way
    → {"id", "op": "record", "recorders": [number, ...]}   who records from now on, whole; see `records`
    → {"id", "op": "records", "recorder": number}
        one descriptor: an empty memory file, in which the recorder's records are when the answer comes, a line
        of JSON each; the result is {"count", "lost", "began"}, the latter in ns of CLOCK_REALTIME
    ← {"id", "result": ...} | {"id", "error": text}
    ← {"in": "file"}                           one descriptor: a memory file holding an answer that is too long
    ← {"record": {...}}                        what the server tells of its own accord, `records.ALWAYS` alone

A server that can't go on ends itself, and whoever started it starts it again: when memory has run out, and when an
exception came out of what isn't one connection's alone. uvloop, for one, never accepts again after a protocol couldn't
be made. What goes wrong with one connection or one request ends that one, and is logged.

Which kinds of servers there are is in `kinds`.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import mmap
import os
import resource
import signal
import socket
import sys
import time
import traceback
from collections import deque
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from emulab.servers.base import (
    Crewed,
    Figuring,
    Filed,
    Housed,
    Informed,
    Journaling,
    Manifold,
    Orderly,
    Patchable,
    ProgramEnded,
    Refreshed,
    Server,
    WontStart,
    vital,
)
from emulab.servers.crew.leader import Leader
from emulab.servers.kinds import HELPERS, SERVERS
from emulab.servers.records import ROOM, Records
from emulab.servers.told import read_told

_MESSAGE = 1 << 16
_MAX_FDS = 250
_LINES = 200  # records written before the server's work has its turn
_LEAST_MEMORY, _SHARE = 512 << 20, 4
"""A server may have a quarter of the machine's memory, and that much at least."""
_OOM_SCORE = "300"
"""Sooner than the supervisor, with which the lab ends; later than a BestEffort container's 1000."""
_RESERVE = 1 << 20  # given back to say why, when there is no other memory left
_LARGE = 1 << 20  # octets of a configuration
_CAN_NOT_GO_ON = 70  # EX_SOFTWARE of sysexits.h
_WONT_START = 1  # as programs in Go have it (log.Fatal)


def preload() -> None:
    """Imports every server and its libraries, so that processes forked from here share them."""
    import uvloop  # noqa: F401

    for module in (*SERVERS.values(), *HELPERS.values()):
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # keeps the collector from touching, and so copying, the shared pages


def serve(kind: str, control: socket.socket) -> None:
    """Runs a server of this kind until its control socket closes. Blocks."""
    import uvloop

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _bound_memory()
    if kind in HELPERS:
        importlib.import_module(HELPERS[kind]).serve(control)
        return
    control.setblocking(False)
    uvloop.run(_Host(kind, control).run())


def _bound_memory() -> None:
    """Memory that one server asks for without end is refused to it alone (setrlimit(2), RLIMIT_DATA)."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bound = max(memory // _SHARE, _LEAST_MEMORY)
    if hard == resource.RLIM_INFINITY or bound < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)


class _Host:
    def __init__(self, kind: str, control: socket.socket) -> None:
        self._control = control
        self._records = Records(self._tell)
        self._server: Server = importlib.import_module(SERVERS[kind]).create(self._records)
        self._leader = Leader(self._server, lambda _, record: self._tell(record))
        self._waiting: dict[str, socket.socket] = {}
        self._commands: asyncio.Queue[tuple[dict[str, Any], list[int]]] = asyncio.Queue()
        self._unsent: deque[dict[str, Any]] = deque()
        self._reserve = bytearray(_RESERVE)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._judge)
        done = asyncio.Event()
        loop.add_reader(self._control.fileno(), self._readable, done)
        worker = vital(asyncio.ensure_future(self._work()))
        await done.wait()
        worker.cancel()

    def _readable(self, done: asyncio.Event) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._control, _MESSAGE, _MAX_FDS)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data, fds = b"", []
        if not data:
            done.set()
            return
        command = json.loads(data)
        if command["op"] == "ping":
            self._answer({"id": command["id"], "result": None})
        else:
            self._commands.put_nowait((command, fds))

    def _judge(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Whether the server can go on after an exception that nobody caught (`set_exception_handler`)."""
        error = context.get("exception")
        single = any(context.get(key) for key in ("transport", "protocol", "task", "future"))
        if isinstance(error, MemoryError) or (error is not None and not single):
            self._give_up(error)
        loop.default_exception_handler(context)

    def _give_up(self, error: BaseException) -> NoReturn:
        """Ends the process at once, with a word if there is memory for one."""
        self._reserve = bytearray()
        try:
            traceback.print_exception(error)
            self._send({"record": {"event": "error", "error": f"can't go on: {error!r}"}})
        finally:
            os._exit(error.status if isinstance(error, ProgramEnded) else _CAN_NOT_GO_ON)

    async def _work(self) -> None:
        """One command after the other: a configuration is complete before the next one begins."""
        while True:
            command, fds = await self._commands.get()
            try:
                result = await self._execute(command, fds)
                self._answer({"id": command["id"], "result": result})
            except MemoryError as error:
                self._give_up(error)
            except WontStart as error:
                print(error, flush=True)
                os._exit(_WONT_START)
            except Exception as error:
                print(f"{command['op']}: {error!r}", file=sys.stderr, flush=True)
                self._answer({"id": command["id"], "error": str(error) or repr(error)})

    async def _execute(self, command: dict[str, Any], fds: list[int]) -> Any:
        match command["op"]:
            case "journal":
                if isinstance(self._server, Journaling):
                    self._server.journal(fds[0])
                else:
                    os.close(fds[0])
            case "house":
                assert isinstance(self._server, Housed)
                self._server.house(fds[0])
            case "files" | "figures":
                return self._told(command)
            case "order" | "flush":
                await self._leader.flush()
                told = self._told(command)
                return await told if isinstance(told, Awaitable) else told
            case "status":
                return await self._status()
            case "record":
                self._record(command["recorders"])
                await self._leader.record(command["recorders"])
            case "records":
                return await self._write_records(command["recorder"], fds[0])
            case "close":
                closing = self._leader.close(command["grace"])
                await asyncio.gather(self._server.close(command["grace"]), closing)
            case _:
                return await self._change(command, fds)
        return None

    async def _configure(self, fd: int) -> None:
        """Of a large configuration nothing is garbage, so nobody looks for any while it is read, nor ever after."""
        large = os.fstat(fd).st_size >= _LARGE
        if large:
            gc.disable()
        try:
            config = read_told(_read_memory_file(fd))
            sockets, self._waiting = self._waiting, {}
            self._leader.remember(sockets)
            await self._server.configure(config, sockets)
            await self._leader.configure(config)
        finally:
            if large:
                gc.freeze()
                gc.enable()

    def _told(self, command: dict[str, Any]) -> dict[str, Any] | Awaitable[dict[str, Any]]:
        server = self._server
        match command["op"]:
            case "files":
                return dict(server.files()) if isinstance(server, Filed) else {}
            case "figures":
                return server.figures() if isinstance(server, Figuring) else {}
            case "flush":
                if isinstance(server, Journaling):
                    server.flush()
                return {}
        assert isinstance(server, Orderly)
        return server.order(command["order"])

    async def _change(self, command: dict[str, Any], fds: list[int]) -> Any:
        """What changes the server, and its other workers, or is about these."""
        match command["op"]:
            case "sockets":
                for key, fd in zip(command["keys"], fds, strict=True):
                    sock = self._waiting[key] = socket.socket(fileno=fd)
                    # As it came; this object would make its copies block, wherever they are.
                    sock.setblocking(False)
            case "configure":
                await self._configure(fds[0])
            case "patch":
                assert isinstance(self._server, Patchable)
                changes = json.loads(_read_memory_file(fds[0]))
                if (patched := self._server.patch(changes)) is not None:
                    await patched
                await self._leader.patch(changes)
            case "tell":
                if isinstance(self._server, Informed):
                    self._server.tell(command["message"])
                self._leader.tell(command["message"])
            case "worker":
                return self._leader.take(socket.socket(fileno=fds[0]))
            case "answers":
                return self._leader.answers(command["number"])
            case "dismiss":
                self._leader.dismiss(command["number"])
        return None

    async def _status(self) -> dict[str, Any]:
        if isinstance(self._server, Refreshed):
            await self._server.refresh()
        server, others = self._server, await self._leader.statuses()
        if isinstance(server, Manifold):
            status = await server.status_of_all()
        else:
            status = server.together(others) if others and isinstance(server, Crewed) else server.status()
        return {**status, "recording": self._records.wanted}

    def _record(self, recorders: list[int]) -> None:
        self._records.record(recorders)
        if isinstance(self._server, Manifold):
            self._server.record(recorders)

    async def _write_records(self, recorder: int, fd: int) -> dict[str, int]:
        """Writes records a few at a time: whoever is served meanwhile doesn't wait for all of them."""
        if isinstance(self._server, Refreshed):
            await self._server.refresh()
        with os.fdopen(fd, "w") as file:
            records, lost = self._records.since(recorder)
            for start in range(0, len(records), _LINES):
                file.writelines(f"{json.dumps(record)}\n" for record in records[start : start + _LINES])
                await asyncio.sleep(0)
            others = await self._server.records(recorder, file) if isinstance(self._server, Manifold) else []
            count, others_lost, others_began = await self._leader.records(recorder, file)
        began = self._records.began.get(recorder, time.time_ns())
        return {
            "count": len(records) + count + sum(one["count"] for one in others),
            "lost": lost + others_lost + sum(one["lost"] for one in others),
            "began": max([began, others_began, *(one["began"] for one in others)]),
        }

    def _tell(self, record: dict[str, Any]) -> None:
        """Sends what statuses and rules would be wrong without; who listens no more misses what comes beyond ROOM."""
        if len(self._unsent) < ROOM:
            self._answer({"record": record})

    def _answer(self, message: dict[str, Any]) -> None:
        """Sends a message behind those for which there was no room."""
        if self._unsent or not self._send(message):
            if not self._unsent:
                asyncio.get_running_loop().add_writer(self._control.fileno(), self._go_on)
            self._unsent.append(message)

    def _go_on(self) -> None:
        while self._unsent and self._send(self._unsent[0]):
            self._unsent.popleft()
        if not self._unsent:
            asyncio.get_running_loop().remove_writer(self._control.fileno())

    def _send(self, message: dict[str, Any]) -> bool:
        """Whether it was sent, or nobody is there any more."""
        data = json.dumps(message).encode()
        try:
            if len(data) <= _MESSAGE:
                self._control.send(data)
            else:
                with open(os.memfd_create("answer", os.MFD_CLOEXEC), "wb") as file:
                    file.write(data)
                    file.flush()
                    socket.send_fds(self._control, [b'{"in": "file"}'], [file.fileno()])
        except (BlockingIOError, BrokenPipeError, ConnectionResetError) as error:
            return not isinstance(error, BlockingIOError)
        return True


def _read_memory_file(fd: int) -> bytes:
    size = os.fstat(fd).st_size
    with mmap.mmap(fd, size, prot=mmap.PROT_READ) as memory:
        os.close(fd)
        return memory[:]
