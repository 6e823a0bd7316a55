"""A real program beside a server of the lab: its sockets and files, its reloads, and what it logs."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from emulab.dataclass import dataclass
from emulab.kernel.processes.beside import EngineProgram, have_own_folders
from emulab.kernel.processes.programs import run_program
from emulab.servers.engines.shared import places

_RELOAD = 30.0
"""Seconds within which a configuration has to be in use."""
_DOUBT = 0.5
"""Seconds after which it is asked whether the program takes it at all."""
_NUMBER = "{number}"
"""In a command: which of the programs that were started one after the other it is."""


@dataclass(frozen=True, slots=True)
class ProgramMake:
    """How one make of program is run. `environment` tells it which descriptors it inherits."""

    name: str
    folder: str  # of its files
    command: tuple[str, ...]
    test: tuple[str, ...]  # what says whether it takes its files
    reload: int  # signals
    leave: int
    leaves_late: bool  # whether workers of an older configuration listen on beside those of a new one
    environment: Callable[[Sequence[int]], Mapping[str, str]]


class EngineRunner:
    """A program with its files, at sockets that are kept here for a restart."""

    def __init__(self, how: ProgramMake) -> None:
        self.how = how
        self.sockets: dict[str, socket.socket] = {}  # what it listens at
        self.files: Mapping[str, str] = {}
        self.generation = 0
        self.number = 0  # of programs that were started
        self.program = EngineProgram(*how.command)
        self._leaving: dict[int, EngineProgram] = {}
        self._private = False
        self._log: asyncio.DatagramTransport | None = None

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of the programs that run, those that leave once their work is done included."""
        self._leaving = {number: one for number, one in self._leaving.items() if one.running}
        return (*self._leaving, self.number)

    async def prepare(self, take_message: Callable[[bytes], None]) -> None:
        """Makes the folder of its files, once; what it logs there is taken from then on."""
        if self._private:
            return
        have_own_folders(self.how.folder)  # of the thread that starts others, so before there are any
        where = places(self.how.folder)
        os.mkdir(where.state, 0o755)
        self._private = True
        loop = asyncio.get_running_loop()
        self._log, _ = await loop.create_datagram_endpoint(
            lambda: _LogReader(take_message), sock=_log_socket(where.log)
        )

    async def use(
        self,
        made: Callable[[int], Mapping[str, str]],
        listeners: Mapping[str, socket.socket],
        workers: int = 1,
    ) -> None:
        """Has the program follow a configuration: the texts made for the number that tells it from others.

        Raises ValueError, with the program's words, if it is refused; nothing is changed then.
        """
        generation, before = self.generation + 1, self.files
        files = made(generation)
        await asyncio.to_thread(_write_files, files)
        same = listeners.keys() == self.sockets.keys() and all(
            sock is self.sockets[key] for key, sock in listeners.items()
        )
        try:
            if self.program.running and same:
                self.program.signal(self.how.reload)
            else:
                if self.program.running:  # it leaves for who comes in its place, who has to be able to
                    await self._try(listeners)
                await self._begin(listeners)
            await self._until(generation, listeners, workers)
        except ValueError:
            await asyncio.to_thread(_write_files, before)
            raise
        self.generation, self.files = generation, files

    async def _begin(self, listeners: Mapping[str, socket.socket]) -> None:
        """Starts it with these sockets, in the place of one that has others, which leaves when its work is done."""
        before, earlier = self.program, self.number
        self.number += 1
        words = (word.replace(_NUMBER, str(self.number)) for word in self.how.command)
        self.program = EngineProgram(*words)
        with suppress(FileNotFoundError):
            os.unlink(places(self.how.folder).status)
        descriptors = [sock.fileno() for sock in listeners.values()]
        await self.program.start({**os.environ, **self.how.environment(descriptors)}, descriptors)
        if before.running:
            self._leaving[earlier] = before
        before.signal(self.how.leave)

    async def _until(self, generation: int, listeners: Mapping[str, socket.socket], workers: int) -> None:
        """Until that configuration alone is in use. Raises ValueError, with the program's words, if it is refused."""
        status = places(self.how.folder).status
        clock, name = asyncio.get_running_loop().time, self.how.name
        doubt, end = clock() + _DOUBT, clock() + _RELOAD
        inodes = {str(os.fstat(sock.fileno()).st_ino) for sock in listeners.values()}
        late = self.how.leaves_late
        while (said := await _asked(status, b"/generation")) != str(generation) or (
            late and _listening(inodes) > workers
        ):
            now = clock()
            if now > doubt or not self.program.running:
                doubt = now + _DOUBT * 4
                await self._try(listeners)
                if (
                    said
                ):  # one that came while a program began anew was lost; who never answered yet may die of one
                    self.program.signal(self.how.reload)
            if now > end or not self.program.running:
                raise ValueError(f"{name} does not answer")
            await asyncio.sleep(0.005)

    async def _try(self, listeners: Mapping[str, socket.socket]) -> None:
        """Asks the program whether it takes its files. It looks at the sockets that are in them.

        Raises ValueError, with the program's words, if it doesn't.
        """
        tested = await run_program(self.how.test, descriptors=[sock.fileno() for sock in listeners.values()])
        if tested.status:
            why = complaint((tested.stderr + tested.stdout).decode(errors="replace"))
            raise ValueError(f"{self.how.name} does not take the configuration: {why}")

    async def watch(self) -> None:
        """Nothing can go on without the program; who ends with it is started again."""
        program = self.program
        await program.ended()
        if program is self.program:
            self.let_go(self.sockets)
            raise RuntimeError(f"{self.how.name} has ended of its own accord")

    def let_go(self, keys: Iterable[str]) -> None:
        """Nobody listens there any more: a program that only finishes its work has these sockets for as long, and would
        keep the addresses from whoever is to have them next."""
        for key in keys:
            with suppress(OSError):
                self.sockets[key].shutdown(socket.SHUT_RDWR)
            self.sockets[key].close()

    async def close(self, grace: float) -> None:
        """Has it leave within so many seconds, and ends it then."""
        self.program.signal(self.how.leave)
        if not await self.program.wait(grace):
            await self.program.end()
        if self._log is not None:
            self._log.close()


class _LogReader(asyncio.DatagramProtocol):
    def __init__(self, take_message: Callable[[bytes], None]) -> None:
        self._take = take_message

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._take(data)


def _log_socket(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(path)
    os.chmod(path, 0o666)  # workers may be nobody
    return sock


def _write_files(files: Mapping[str, str]) -> None:
    """Each whole or not at all: the program may read it at any time."""
    for path, text in files.items():
        Path(path).parent.mkdir(mode=0o755, exist_ok=True)
        new = Path(f"{path}.new")
        new.write_text(text)
        new.replace(path)


def complaint(text: str) -> str:
    """The line of a program's words that says what is wrong."""
    lines = text.strip().splitlines() or [""]
    return next((line for line in lines if "[ALERT]" in line or "[emerg]" in line), lines[0])


def _listening(inodes: set[str]) -> int:
    """How many workers have one of these sockets: those of an older configuration close them before they end.

    /proc may be the host's, whose numbers are others than ours; by `self` they are found all the same.
    """
    number = 0
    try:
        for task in Path("/proc/self/task").iterdir():
            for master in _children(task):
                for worker in _children(Path(f"/proc/{master}/task/{master}")):
                    number += not inodes.isdisjoint(_sockets_of(worker))
    except OSError:
        return sys.maxsize  # one has just ended
    return number


def _children(task: Path) -> list[str]:
    return (task / "children").read_text().split()


def _sockets_of(process: str) -> set[str]:
    links = (os.readlink(entry) for entry in Path(f"/proc/{process}/fd").iterdir())
    return {link[8:-1] for link in links if link.startswith("socket:[")}


async def _asked(socket_path: str, path: bytes) -> str:
    """What the program answers at its own socket; "" where it doesn't."""
    try:
        async with asyncio.timeout(1.0):
            reader, writer = await asyncio.open_unix_connection(socket_path)
            writer.write(b"GET %b HTTP/1.0\r\n\r\n" % path)
            answer = await reader.read()
            writer.close()
    except (OSError, TimeoutError):
        return ""
    return answer.partition(b"\r\n\r\n")[2].decode("latin-1").strip()
