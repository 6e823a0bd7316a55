"""Who asks, as a lab runs it: a program in a place or pod that carries out one order after the other."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from importlib import import_module
from inspect import getsource
from typing import Any

from emulab.errors import EmulabError, UserError
from emulab.lab.client import wire
from emulab.lab.client.client import LabClient, result
from emulab.lab.client.programs import START, request
from emulab.lab.folders import rundir

_PACKAGE = "emulab.bench"
_ASKER = (
    "histogram",
    "arrivals",
    *(f"inside.{name}" for name in ("answers", "wires", "single", "closed", "opened", "asker")),
)
_ANSWERER = ("inside.answerer",)
_GRACE = 30.0  # seconds that an answer may be late, on a machine that has other work
_LINE = 64 << 20
_LOAD = """\
import sys, types
for name, text in {texts!r}.items():
    sys.modules[name] = module = types.ModuleType(name)
    exec(compile(text, name, "exec"), module.__dict__)
module.main(*sys.argv[1:])
"""


def interpreter() -> str:
    """The interpreter, by the path that pods know: they may not see the folder of a virtual environment."""
    return os.path.realpath(sys.executable)


def bundle(names: Sequence[str]) -> str:
    """The text of a program that has these modules of ours; the last one's `main` is called."""
    modules = [import_module(f"{_PACKAGE}.{name}") for name in names]
    return _LOAD.format(texts={module.__name__: getsource(module) for module in modules})


def answerer(port: int, slow: int = 0) -> list[str]:
    """The command of a container that answers at a port; `slow`: µs that each answer takes longer."""
    return [interpreter(), "-I", "-S", "-c", bundle(_ANSWERER), str(port), str(slow)]


class Agent:
    """One program. `ask` is for one at a time."""

    def __init__(self, where: str, reader: asyncio.StreamReader, writer: asyncio.WriteTransport) -> None:
        self._where = where
        self._reader = reader
        self._writer = writer

    async def ask(self, tell: Callable[[dict[str, Any]], None] | None = None, **order: Any) -> dict[str, Any]:
        """What came of an order. Raises UserError when it can't be carried out, EmulabError when there is nobody."""
        self._writer.write(json.dumps(order).encode() + b"\n")
        return await self.answer(order.get("seconds", 0.0) + order.get("wait", 0.0) + _GRACE, tell)

    async def answer(
        self, patience: float, tell: Callable[[dict[str, Any]], None] | None = None
    ) -> dict[str, Any]:
        """The next result."""
        async with asyncio.timeout(patience):
            while True:
                line = await self._reader.readline()
                if not line:
                    raise EmulabError(f"what asks from {self._where} has ended")
                said: dict[str, Any] = json.loads(line)
                if "piece" in said:
                    if tell is not None:
                        tell(said["piece"])
                    continue
                if "error" in said:
                    raise UserError(f"asking from {self._where}: {said['error']}")
                return dict(said["result"])


@asynccontextmanager
async def agent(
    lab: str, target: str, processors: Sequence[int], namespace: str = "default"
) -> AsyncIterator[Agent]:
    """A program in a place or pod, for as long as the block. Raises EmulabError when it can't be started."""
    command = [interpreter(), "-I", "-S", "-c", bundle(_ASKER), ",".join(map(str, processors))]
    client = await asyncio.to_thread(LabClient, rundir.folder(lab))
    try:
        client.socket.setblocking(False)
        answers = wire.LineReader(client.socket)
        await wire.write_line(client.socket, request(target, namespace, "", command))
        result(await answers.line() or {"error": "the lab has ended"})
        async with _pipes(client, f"{lab}'s {target}") as (made, complaints):
            try:
                await made.answer(_GRACE)
            except (EmulabError, TimeoutError):
                said = (await _rest(complaints)).strip().splitlines()
                raise EmulabError(
                    f"a program can't be run in {target} of lab {lab}: {said[-1] if said else 'it said nothing'}"
                ) from None
            yield made
    finally:
        client.close()


@asynccontextmanager
async def _pipes(client: LabClient, where: str) -> AsyncIterator[tuple[Agent, asyncio.StreamReader]]:
    """The program's stdin and stdout as an Agent, and its stderr."""
    (in_read, in_write), (out_read, out_write), (err_read, err_write) = (
        os.pipe2(os.O_CLOEXEC) for _ in range(3)
    )
    loop = asyncio.get_running_loop()
    try:
        await wire.write_line(client.socket, START, [in_read, out_write, err_write])
    finally:
        for fd in (in_read, out_write, err_write):
            os.close(fd)
    transports: list[asyncio.BaseTransport] = []
    try:
        readers = []
        for fd in (out_read, err_read):
            reader = asyncio.StreamReader(limit=_LINE)
            made, _ = await loop.connect_read_pipe(
                lambda reader=reader: asyncio.StreamReaderProtocol(reader),  # type: ignore[misc]
                os.fdopen(fd, "rb", buffering=0),
            )
            transports.append(made)
            readers.append(reader)
        writer, _ = await loop.connect_write_pipe(
            asyncio.BaseProtocol, os.fdopen(in_write, "wb", buffering=0)
        )
        transports.append(writer)
        yield Agent(where, readers[0], writer), readers[1]
    finally:
        for transport in transports:
            transport.close()


async def _rest(reader: asyncio.StreamReader) -> str:
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            return (await reader.read()).decode(errors="replace")
    return ""


def goal(
    address: str, port: int, host: str = "", path: str = "/", tls: bool = False, closing: bool = False
) -> Mapping[str, Any]:
    """Where an order's requests go."""
    return {
        "address": address,
        "port": port,
        "host": host or address,
        "path": path,
        "tls": tls,
        "closing": closing,
    }
