"""What a program prints until it ends."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from emulab.lab.kubelet.runtime.interface import ExecResult, Stdio


class Running(Protocol):
    """A program, as far as who waits for its end has to do with it."""

    async def wait(self) -> int: ...

    def signal(self, number: int) -> None: ...


async def capture(start: Callable[[Stdio], Awaitable[Running]], limit: int) -> ExecResult:
    """Runs a program to its end: its exit status, and as much of what it printed. Who is cancelled kills it.

    What its children print after its end is nobody's.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(writing, True)
    null, printed, loop = (
        os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC),
        bytearray(),
        asyncio.get_running_loop(),
    )

    def read() -> None:
        with suppress(BlockingIOError):
            if chunk := os.read(reading, 1 << 16):
                printed.extend(chunk[: limit - len(printed)])
            else:
                loop.remove_reader(reading)

    loop.add_reader(reading, read)
    try:
        try:
            process = await start((null, writing, writing))
        finally:
            os.close(writing)
            os.close(null)
        try:
            status = await process.wait()
        except asyncio.CancelledError:
            process.signal(signal.SIGKILL)
            raise
        read()  # a pipe has no more than that
        return ExecResult(status, printed.decode(errors="replace"))
    finally:
        loop.remove_reader(reading)
        os.close(reading)
