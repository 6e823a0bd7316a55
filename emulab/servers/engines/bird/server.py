"""A speaker of BGP that is BIRD: as a server of the lab."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from emulab.errors import UserError
from emulab.kernel.processes.beside import EngineProgram, have_own_folders
from emulab.kernel.processes.programs import run_program
from emulab.servers.base import Config, Emit, ProgramEnded, Server, vital
from emulab.servers.bgp.config import BgpConfig, BgpPeer
from emulab.servers.configuration import from_json
from emulab.servers.engines.bird.conf import CONF, FOLDER, SOCKET, bird_conf
from emulab.servers.engines.bird.control import (
    BgpSession,
    Missing,
    StandingSessions,
    missing,
    patience,
    sessions,
    told,
)

_SETTLED = 1.0
"""Seconds after a session's change until it is told: what begins anew at once isn't."""
_CHANGED = re.compile(r"\S+: State changed to \w+")
"""What the program says of a session (`debug { states }`)."""
_AGAIN = 0.03, 0.3  # seconds between two looks, at first and at most
_BEGINNING = 10.0  # seconds that BIRD may take until it answers
_ROUTES = (["ip", "-4", "route"], ["ip", "-6", "route"])


def create(emit: Emit) -> Server:
    """A BIRD that talks to nobody until it is configured."""
    return BirdSpeaker(emit)


class BirdSpeaker:
    """One speaker. Its control socket is in a folder that others see, too (`base.Housed`)."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._room = -1
        self._program = EngineProgram()
        self._text = ""
        self._known: dict[str, BgpPeer] = {}
        self._sessions: dict[str, BgpSession] = {}
        self._private = False
        self._watch: asyncio.Task[None] | None = None
        self._standing = StandingSessions()
        self._looking: asyncio.Task[None] | None = None
        self._changed = False

    def house(self, folder: int) -> None:
        """See `base.Housed`."""
        self._room = folder

    @property
    def _socket(self) -> str:
        """Its path, here as in the program, which inherits the descriptor: that of a lab's folder may be too long."""
        return f"/proc/self/fd/{self._room}/{SOCKET}"

    async def configure(self, config: Config, sockets: Mapping[str, socket.socket]) -> None:
        """See `base.Server`. Returns when new sessions are up, or have had their time.

        Raises ValueError, with nothing changed, for what the program refuses.
        """
        wanted = from_json(BgpConfig, config)
        if not self._private:
            have_own_folders(FOLDER)  # of the thread that starts others, so before there are any
            self._private = True
        before, self._text = self._text, bird_conf(wanted)
        await asyncio.to_thread(Path(CONF).write_text, self._text)
        try:
            await self._follow()
        except ValueError:
            self._text = before
            await asyncio.to_thread(Path(CONF).write_text, before)
            raise
        peers = {peer.name: peer for peer in wanted.peers if not wanted.silent}
        new = {name: peer for name, peer in peers.items() if self._known.get(name) != peer}
        self._known = peers
        await self._until_up(new)
        self._standing.expect(self._sessions, None if wanted.callers else {p.address for p in peers.values()})

    async def _follow(self) -> None:
        """Has the program follow its file; it is started where it doesn't run."""
        if self._program.running:
            try:
                await told(self._socket, "configure")
            except UserError as error:
                raise ValueError(f"bird does not take the configuration: {error}") from None
            return
        tested = await run_program(["bird", "-p", "-c", CONF])
        if tested.status:
            said = (tested.stderr + tested.stdout).decode(errors="replace").strip().partition("\n")[0]
            raise ValueError(f"bird does not take the configuration: {said}")
        # Of one that was killed the routes are there: they stay until it is known which hold, as with Calico's.
        recovers = ["-R"] if await _has_routes() else []
        self._program = EngineProgram("bird", "-f", *recovers, "-c", CONF, "-s", self._socket)
        await self._program.start(dict(os.environ), (self._room,), self._heard)
        self._watch = vital(asyncio.ensure_future(self._ended()))
        await self._until_answering()

    async def _until_answering(self) -> None:
        """Raises ValueError."""
        end = asyncio.get_running_loop().time() + _BEGINNING
        while True:
            try:
                await told(self._socket, "show status")
            except UserError as error:
                if asyncio.get_running_loop().time() > end:
                    raise ValueError(f"bird does not answer after {_BEGINNING:g} s: {error}") from None
                await asyncio.sleep(_AGAIN[0])
            else:
                return

    async def _until_up(self, new: Mapping[str, BgpPeer]) -> None:
        """Returns when these sessions are up and have told what they have to, or their time is over."""
        loop = asyncio.get_running_loop()
        seconds = patience(new.values())
        end, pause = loop.time() + seconds, _AGAIN[0]
        while any(lack := await self._missing(new)):
            if loop.time() > end:
                text = f"{lack} after {seconds:g} s"
                self._emit({"event": "bgp", "text": text, "down": bool(lack.down)})
                return
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _AGAIN[1])

    async def _missing(self, new: Mapping[str, BgpPeer]) -> Missing:
        if new:
            await self.refresh()
        return missing(new.values(), self._sessions)

    async def _ended(self) -> None:
        """Nothing can go on without the program; who ends with it is started again."""
        raise ProgramEnded("bird", await self._program.ended())

    def _heard(self, line: str) -> None:
        """The program says something."""
        if not _CHANGED.search(line):
            return
        self._changed = True
        if self._looking is None or self._looking.done():
            self._looking = vital(asyncio.ensure_future(self._look()))

    async def _look(self) -> None:
        """Tells which sessions are over that were up, and which of those are up again."""
        while self._changed:
            await asyncio.sleep(_SETTLED)
            self._changed = False
            with suppress(UserError):  # one that doesn't answer ends, or says more soon
                await self.refresh()
                for address, up in self._standing.changes(self._sessions):
                    self._emit({"event": "bgp", "session": address, "up": up})

    async def close(self, grace: float = 0.0) -> None:
        """See `base.Server`. BIRD takes leave of the others; its routes, which it leaves there, go with it."""
        for task in (self._watch, self._looking):
            if task is not None:
                task.cancel()
        await self._program.end()
        for command in _ROUTES:
            await run_program([*command, "flush", "proto", "bird"])

    async def refresh(self) -> None:
        """See `base.Refreshed`."""
        if self._program.running:
            self._sessions = sessions(await told(self._socket, "show protocols all"))

    def status(self) -> dict[str, Any]:
        """The sessions, and the program's process."""
        states = {name: {"state": one.state, "routes": one.routes} for name, one in self._sessions.items()}
        return {"engine": "bird", "pid": self._program.pid, "sessions": states}

    def files(self) -> Mapping[str, str]:
        """See `base.Filed`."""
        return {CONF: self._text} if self._text else {}


async def _has_routes() -> bool:
    """Whether there are routes of a BIRD here."""
    found = [await run_program([*command, "show", "proto", "bird"]) for command in _ROUTES]
    return any(one.stdout.strip() for one in found)
