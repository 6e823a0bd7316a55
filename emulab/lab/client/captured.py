"""Programs in a running lab whose output the caller wants: `Lab.exec`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from emulab.errors import EmulabError
from emulab.kernel.processes.programs import Completed
from emulab.lab.client import wire
from emulab.lab.client.client import LabClient, result
from emulab.lab.client.hung import LOOK, LabSilence
from emulab.lab.client.programs import START, complaint, request


async def run_captured(
    client: LabClient, target: str, namespace: str, container: str, argv: Sequence[str], stdin: bytes
) -> Completed:
    """Runs a program that is given `stdin`, and returns what became of it. Raises EmulabError.

    When the caller is cancelled the program is killed.
    """
    pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
    (in_read, in_write), (out_read, out_write), (err_read, err_write) = pipes
    writing = _Writing()
    answers = _Answers(client)
    outputs = [asyncio.ensure_future(_read_all(fd)) for fd in (out_read, err_read)]
    try:
        try:
            client.socket.setblocking(False)
            asked = request(target, namespace, container, argv)
            await wire.write_line(client.socket, asked)
            await answers.next()
            await wire.write_line(client.socket, START, [in_read, out_write, err_write])
        finally:
            for fd in (in_read, out_write, err_write):
                os.close(fd)
            await writing.begin(in_write, stdin)
        outcome = await answers.next()
        stdout, stderr = await asyncio.gather(*outputs)
    except ConnectionError:
        raise EmulabError("the lab's supervisor has ended") from None
    finally:
        writing.end()
        for output in outputs:
            output.cancel()
    if why := outcome.get("failure"):
        stderr += complaint(why)
    return Completed(outcome["status"], stdout, stderr)


class _Answers:
    """The lab's results, one after the other."""

    def __init__(self, client: LabClient) -> None:
        self._reader = wire.LineReader(client.socket)
        self._silence = LabSilence(client.path)

    async def next(self) -> Any:
        """Raises EmulabError when the lab refuses, or doesn't answer any more."""
        while True:
            try:
                async with asyncio.timeout(LOOK):
                    message = await self._reader.line()
            except TimeoutError:
                self._silence.look()
                continue
            self._silence.broken()
            if message is None:
                raise EmulabError("the lab's supervisor has ended")
            if "alive" not in message:
                return result(message)


class _Writing(asyncio.Protocol):
    """What a program is given on its stdin. One that doesn't read it all is no error."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None

    async def begin(self, fd: int, data: bytes) -> None:
        pipe = os.fdopen(fd, "wb", buffering=0)
        transport, _ = await asyncio.get_running_loop().connect_write_pipe(lambda: self, pipe)
        self._transport = transport
        transport.write(data)
        transport.close()  # once all is written

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None

    def end(self) -> None:
        if self._transport is not None:
            self._transport.abort()


async def _read_all(fd: int) -> bytes:
    reader = asyncio.StreamReader()
    pipe = os.fdopen(fd, "rb", buffering=0)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    try:
        return await reader.read()
    finally:
        transport.close()
