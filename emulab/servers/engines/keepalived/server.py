"""A node whose VRRP is keepalived's: as a server of the lab."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emulab.kernel.linkaddresses import LinkAddresses
from emulab.kernel.processes.beside import EngineProgram, have_own_folders
from emulab.kernel.processes.programs import run_program
from emulab.servers.base import Config, Emit, Server, vital
from emulab.servers.configuration import from_json
from emulab.servers.engines.keepalived.conf import (
    COMMAND,
    CONF,
    FOLDER,
    NOTIFY,
    RUN,
    TEST,
    keepalived_conf,
    state_said,
)
from emulab.servers.vrrp.config import VrrpConfig

_ROOM = 4096


def create(emit: Emit) -> Server:
    """A keepalived that has no addresses until it is configured."""
    return KeepalivedNode(emit)


class KeepalivedNode:
    """One node of a virtual router."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._program = EngineProgram(*COMMAND)
        self._config = VrrpConfig(())
        self._text = ""
        self._state = ""
        self._since = 0.0
        self._transitions = 0
        self._fifo = -1
        self._said = b""
        self._watch: asyncio.Task[None] | None = None

    async def configure(self, config: Config, sockets: Mapping[str, socket.socket]) -> None:
        """See `base.Server`. Raises ValueError, with nothing changed, for what the program refuses."""
        wanted = from_json(VrrpConfig, config)
        self._prepare()
        before, self._text = self._text, keepalived_conf(wanted)
        await asyncio.to_thread(Path(CONF).write_text, self._text)
        tested = await run_program(TEST)
        if tested.status:
            self._text = before
            await asyncio.to_thread(Path(CONF).write_text, before)
            said = (tested.stderr + tested.stdout).decode(errors="replace").strip().partition("\n")[0]
            raise ValueError(f"keepalived does not take the configuration: {said}")
        self._config = wanted
        if self._program.running:
            self._program.signal(signal.SIGHUP)
            return
        link = LinkAddresses(wanted.link)
        for address in (*wanted.addresses, *wanted.along):
            link.remove(address)  # of one that ended without a word
        link.close()
        await self._program.start(dict(os.environ), ())
        self._watch = vital(asyncio.ensure_future(self._ended()))

    def _prepare(self) -> None:
        """Makes the folder of its files, once, with the pipe that it says its state to."""
        if self._fifo >= 0:
            return
        have_own_folders(FOLDER)  # of the thread that starts others, so before there are any
        os.mkdir(RUN, 0o755)
        os.mkfifo(NOTIFY, 0o600)
        # Open for writing, too, so that it has no end when keepalived has.
        self._fifo = os.open(NOTIFY, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        asyncio.get_running_loop().add_reader(self._fifo, self._readable)

    def _readable(self) -> None:
        self._said += os.read(self._fifo, _ROOM)
        *lines, self._said = self._said.split(b"\n")
        for line in lines:
            told = state_said(line.decode("utf-8", "replace"))
            if told is not None and told[0] == self._config.name and told[1] != self._state:
                self._state, self._since = told[1], time.time()
                self._transitions += 1
                said = {
                    "router": self._config.name,
                    "state": self._state,
                    "why": f"keepalived: {line.decode()}",
                }
                self._emit({"event": "vrrp", **said})

    async def _ended(self) -> None:
        """Nothing can go on without the program; who ends with it is started again."""
        await self._program.ended()
        raise RuntimeError("keepalived has ended of its own accord")

    async def close(self, grace: float = 0.0) -> None:
        """See `base.Server`. keepalived gives the addresses up, and tells the other node."""
        if self._watch is not None:
            self._watch.cancel()
        await self._program.end()

    def status(self) -> dict[str, Any]:
        """The state, and the program's process."""
        own = self._config
        told = {"engine": "keepalived", "pid": self._program.pid, "state": self._state, "since": self._since}
        numbers = {"priority": own.priority, "identifier": own.identifier, "version": own.version}
        return {**told, **numbers, "transitions": self._transitions}

    def files(self) -> Mapping[str, str]:
        """See `base.Filed`."""
        return {CONF: self._text} if self._text else {}
