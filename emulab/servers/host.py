"""The process around a server: reads commands from a Unix socket, runs the server's event loop.

Protocol on a SOCK_SEQPACKET socket, one JSON datagram a message:

    → {"id", "op": "sockets", "keys": [...]}   descriptors beside it, kept until the next "configure"
    → {"id", "op": "configure"}                one descriptor: a memory file holding the configuration
    → {"id", "op": "tell", "message": {...}}   for servers that want to know (`base.Informed`)
    → {"id", "op": "status"} | {"id", "op": "close", "grace": seconds}
    → {"id", "op": "record", "recorders": [number, ...]}   who records from now on, whole; see `records`
    → {"id", "op": "records", "recorder": number}
        one descriptor: an empty memory file, in which the recorder's records are when the answer comes, a line
        of JSON each; the result is {"count", "lost"}
    ← {"id", "result": ...} | {"id", "error": text}
    ← {"record": {...}}                        what the server tells of its own accord, `records.ALWAYS` alone

`SERVERS` names the engines; another engine of a kind is another line there.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import mmap
import os
import signal
import socket
import sys
from typing import Any

from emulab.servers.base import Informed, Server
from emulab.servers.records import Records

SERVERS = {
    "dns": "emulab.servers.dns",
    "l4": "emulab.servers.l4",
    "ingress": "emulab.servers.ingress",
    "echo": "emulab.servers.echo",
    "kube-proxy": "emulab.servers.kubeproxy",
}

_MESSAGE = 1 << 16
_MAX_FDS = 250
_LINES = 200  # records written before the server's work has its turn


def preload() -> None:
    """Imports every server and its libraries, so that processes forked from here share them."""
    import uvloop  # noqa: F401

    for module in SERVERS.values():
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # keeps the collector from touching, and so copying, the shared pages


def serve(kind: str, control: socket.socket) -> None:
    """Runs a server of this kind until its control socket closes. Blocks."""
    import uvloop

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    control.setblocking(False)
    uvloop.run(_Host(kind, control).run())


class _Host:
    def __init__(self, kind: str, control: socket.socket) -> None:
        self._control = control
        self._records = Records(lambda record: self._send({"record": record}))
        self._server: Server = importlib.import_module(SERVERS[kind]).create(self._records)
        self._waiting: dict[str, socket.socket] = {}
        self._commands: asyncio.Queue[tuple[dict[str, Any], list[int]]] = asyncio.Queue()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        loop.add_reader(self._control.fileno(), self._readable, done)
        worker = asyncio.ensure_future(self._work())
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
        self._commands.put_nowait((json.loads(data), fds))

    async def _work(self) -> None:
        """One command after the other: a configuration is complete before the next one begins."""
        while True:
            command, fds = await self._commands.get()
            try:
                result = await self._execute(command, fds)
                self._send({"id": command["id"], "result": result})
            except Exception as error:
                print(f"{command['op']}: {error!r}", file=sys.stderr, flush=True)
                self._send({"id": command["id"], "error": str(error) or repr(error)})

    async def _execute(self, command: dict[str, Any], fds: list[int]) -> Any:
        match command["op"]:
            case "sockets":
                for key, fd in zip(command["keys"], fds, strict=True):
                    self._waiting[key] = socket.socket(fileno=fd)
            case "configure":
                config = _read_memory_file(fds[0])
                sockets, self._waiting = self._waiting, {}
                await self._server.configure(config, sockets)
            case "tell":
                if isinstance(self._server, Informed):
                    self._server.tell(command["message"])
            case "status":
                return {**self._server.status(), "recording": self._records.wanted}
            case "record":
                self._records.record(command["recorders"])
            case "records":
                return await self._write_records(command["recorder"], fds[0])
            case "close":
                await self._server.close(command["grace"])
        return None

    async def _write_records(self, recorder: int, fd: int) -> dict[str, int]:
        """Writes records a few at a time: whoever is served meanwhile doesn't wait for all of them."""
        with os.fdopen(fd, "w") as file:
            records, lost = self._records.since(recorder)
            for start in range(0, len(records), _LINES):
                file.writelines(f"{json.dumps(record)}\n" for record in records[start : start + _LINES])
                await asyncio.sleep(0)
        return {"count": len(records), "lost": lost}

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._control.send(json.dumps(message).encode())
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            return  # a supervisor that is busy misses a record rather than stopping the traffic


def _read_memory_file(fd: int) -> Any:
    size = os.fstat(fd).st_size
    with mmap.mmap(fd, size, prot=mmap.PROT_READ) as memory:
        os.close(fd)
        return json.loads(memory[:])
