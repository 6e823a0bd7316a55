"""A program that runs beside its server, for as long as that does."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence

from emulab.errors import KernelError
from emulab.kernel import libc
from emulab.kernel.processes.installed import finding_all


def have_own_folders(*paths: str) -> None:
    """Covers folders by empty ones in memory that only this process and its children see. Raises KernelError."""
    libc.unshare(libc.CLONE_NEWNS)
    libc.mount("none", "/", flags=libc.MS_REC | libc.MS_PRIVATE)
    for path in paths:
        libc.mount("tmpfs", path, "tmpfs", libc.MS_NOSUID | libc.MS_NODEV, "mode=0755")


class EngineProgram:
    """One program. It ends with this process, however that ends."""

    def __init__(self, *argv: str) -> None:
        self._argv = argv
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """Its number, 0 before it was started."""
        return self._process.pid if self._process is not None else 0

    async def start(
        self,
        environment: Mapping[str, str],
        descriptors: Sequence[int],
        heard: Callable[[str], None] | None = None,
    ) -> None:
        """Starts it with these descriptors. `heard` is given each line of its standard error, which goes to this
        process' own, too. Raises KernelError."""
        # A pipe, which can be opened again as /dev/stderr; a loop's own may be a socket.
        ours, theirs = os.pipe() if heard is not None else (-1, None)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=asyncio.subprocess.DEVNULL,
                stderr=theirs,
                env=finding_all(environment),
                pass_fds=descriptors,
                preexec_fn=_die_with_parent,
            )
        except OSError as error:
            if ours >= 0:
                os.close(ours)
            raise KernelError(f"start {self._argv[0]}", errno=error.errno or 0) from None
        finally:
            if theirs is not None:
                os.close(theirs)
        if heard is not None:
            self._listening = asyncio.ensure_future(_hear(ours, heard))

    def signal(self, number: int) -> None:
        """Sends a signal, unless it has ended."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def ended(self) -> int:
        """Returns its status once it has ended: as a shell has it, 128 + signal for one that was killed."""
        status = await self._process.wait() if self._process is not None else 0
        return status if status >= 0 else 128 - status

    async def wait(self, seconds: float) -> bool:
        """Whether it ends in this time."""
        if self._process is None:
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._process.wait()
        except TimeoutError:
            return False
        return True

    async def end(self) -> None:
        """Ends it at once."""
        self.signal(signal.SIGTERM)
        if not await self.wait(5.0):
            self.signal(signal.SIGKILL)
            await self.wait(5.0)


async def _hear(pipe: int, heard: Callable[[str], None]) -> None:
    """Passes on what a program says, line by line."""
    errors = asyncio.StreamReader()
    with os.fdopen(pipe, "rb", buffering=0) as file:
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(errors), file)
        await _lines(errors, heard)


async def _lines(errors: asyncio.StreamReader, heard: Callable[[str], None]) -> None:
    while True:
        try:
            line = await errors.readline()
        except ValueError:  # longer than a reader takes, who has thrown it away: what follows is of use
            continue
        if not line:
            return
        text = line.decode(errors="replace").rstrip("\n")
        print(text, file=sys.stderr, flush=True)
        heard(text)


def _die_with_parent() -> None:
    """For the child alone. A master that is asked to end takes its workers with it; one that is killed does not."""
    libc.die_with_parent(signal.SIGTERM)
