"""A name server of a lab around a real program: it has the addresses, the files and the configuration of our own.

A program listens for itself, as not every make takes sockets that are open; so what comes while it begins anew is lost,
and asked again by who asked. Where there is a signal for it, a changed configuration is read without that.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from emulab.dataclass import dataclass
from emulab.errors import PeerError
from emulab.kernel.processes.beside import EngineProgram, have_own_folders
from emulab.kernel.processes.programs import run_program
from emulab.servers.base import Config, parse_socket_key, vital
from emulab.servers.configuration import from_json
from emulab.servers.dns import client, names, rdata
from emulab.servers.dns.cache import CacheKey
from emulab.servers.dns.config import DnsConfig
from emulab.servers.engines.names.zonefiles import GENERATION

_IN_USE = 30.0
"""Seconds within which a configuration has to be in use."""
_AGAIN = 0.1
"""Seconds after which a program that has ended is started again, as long as its configuration isn't in use."""
_DOUBT = 5.0
"""Seconds after which a program that doesn't answer is started again, too."""
_ASK = 0.2
"""Seconds that an answer may take; then it is asked again."""

CacheOrder = Callable[[Mapping[str, Any], Callable[[int], None]], Awaitable[dict[str, Any]]]
"""An order as `servers.dns.orders` has them, and what signals the program; what came of it. Raises UserError."""


@dataclass(frozen=True, slots=True)
class NameServerMake:
    """One make of program. `files` are the texts by their paths, of which the first is the configuration, for a number
    by which it is known whether it is in use. `order` carries out what an operator asks of its cache."""

    name: str
    folder: str  # of its files
    command: tuple[str, ...]
    test: tuple[str, ...]  # what says whether it takes its files
    reload: int | None  # a signal; None: it has to begin anew
    files: Callable[[DnsConfig, int], Mapping[str, str]]
    order: CacheOrder


class ProgramNameServer:
    """A program with the configuration of a name server."""

    def __init__(self, make: NameServerMake) -> None:
        self._make = make
        self._program = EngineProgram(*make.command)
        self._listen: tuple[str, ...] = ()
        self._files: Mapping[str, str] = {}
        self._generation = 0
        self._private = False
        self._watching: asyncio.Task[None] | None = None

    async def configure(self, config: Config, sockets: Mapping[str, socket.socket]) -> None:
        """See `base.Server`. Raises ValueError, with the former files, for what the program refuses."""
        wanted = from_json(DnsConfig, config)
        for sock in sockets.values():
            sock.close()  # the program opens them for itself
        if not self._private:
            have_own_folders(self._make.folder)  # of the thread that starts others, so before there are any
            self._private = True
        files, before = self._make.files(wanted, self._generation + 1), self._files
        await asyncio.to_thread(_write_files, files)
        tested = await run_program(self._make.test)
        if tested.status:
            await asyncio.to_thread(_write_files, before)
            said = (tested.stderr + tested.stdout).decode(errors="replace").strip().partition("\n")[0]
            raise ValueError(f"{self._make.name} does not take the configuration: {said}")
        self._generation, self._files = self._generation + 1, files
        if self._program.running and self._make.reload is not None and wanted.listen == self._listen:
            self._program.signal(self._make.reload)
        else:
            await self._begin()
        self._listen = wanted.listen
        await self._until_in_use()
        if self._watching is None:
            self._watching = vital(asyncio.ensure_future(self._watch(self._program)))

    async def _begin(self) -> None:
        """Starts the program, once there is no former one at its addresses."""
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        await self._program.end()
        self._program = EngineProgram(*self._make.command)
        await self._program.start(dict(os.environ), ())

    async def _until_in_use(self) -> None:
        """Until the program says by a record that it follows this configuration. Raises ValueError.

        Who was at its addresses before may take a moment to leave, and a program waits for nobody.
        """
        loop = asyncio.get_running_loop()
        give_up = loop.time() + _IN_USE
        key = CacheKey(names.from_text(GENERATION), rdata.type_number("TXT"), False)
        _, host, port = parse_socket_key(self._listen[0])
        doubt, said = loop.time() + _DOUBT, "nothing"
        while loop.time() < give_up:
            try:
                response = await client.ask_server((host, port), key, _ASK)
                said = " ".join(rdata.to_text(r.data) for r in response.answer)
                if said == f'"{self._generation}"':
                    return
            except (OSError, PeerError) as error:  # TimeoutError is an OSError
                said = str(error) or repr(error)
            await asyncio.sleep(0.005)
            if not self._program.running or loop.time() > doubt:
                await asyncio.sleep(_AGAIN)
                await self._begin()
                doubt = loop.time() + _DOUBT
        what = "runs" if self._program.running else "ends"
        raise ValueError(f"{self._make.name} does not answer at {host}: it {what}, and what comes is {said}")

    async def _watch(self, program: EngineProgram) -> None:
        """Nothing can go on without the program; who ends with it is started again."""
        await program.ended()
        if program is self._program:
            raise RuntimeError(f"{self._make.name} has ended of its own accord")

    def order(self, order: Mapping[str, Any]) -> Awaitable[dict[str, Any]]:
        """See `base.Orderly`: a program's cache is its own, and it is asked for it."""
        return self._make.order(order, self._program.signal)

    async def close(self, grace: float = 0.0) -> None:
        """See `base.Server`."""
        if self._watching is not None:
            self._watching.cancel()
        await self._program.end()

    def status(self) -> dict[str, Any]:
        """The program and its process."""
        return {"engine": self._make.name, "pid": self._program.pid, "generation": self._generation}

    def files(self) -> Mapping[str, str]:
        """See `base.Filed`."""
        return self._files


def _write_files(files: Mapping[str, str]) -> None:
    for path, text in files.items():
        Path(path).write_text(text)
