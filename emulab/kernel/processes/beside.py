"""A program that runs beside its server, for as long as that does."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence

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

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """Its number, 0 before it was started."""
        return self._process.pid if self._process is not None else 0

    async def start(self, environment: Mapping[str, str], descriptors: Sequence[int]) -> None:
        """Starts it with these descriptors. Raises KernelError."""
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=asyncio.subprocess.DEVNULL,
                env=finding_all(environment),
                pass_fds=descriptors,
                preexec_fn=_die_with_parent,
            )
        except OSError as error:
            raise KernelError(f"start {self._argv[0]}", errno=error.errno or 0) from None

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


def _die_with_parent() -> None:
    """For the child alone. A master that is asked to end takes its workers with it; one that is killed does not."""
    libc.die_with_parent(signal.SIGTERM)
