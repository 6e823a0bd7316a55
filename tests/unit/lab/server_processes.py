"""Real processes of servers, started where the tests run: without a spawner, without namespaces."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

_CODE = """
import socket, sys
from emulab.servers import host
sys.path.append({!r})
host.SERVERS["faulty"] = "faulty_server"
host.serve({!r}, socket.socket(fileno={}))
"""


class Process:
    """Takes the place of `processes.Process`."""

    def __init__(self, kind: str, control: int, log: int) -> None:
        command = [sys.executable, "-c", _CODE.format(str(Path(__file__).parent), kind, control)]
        self._process = subprocess.Popen(command, pass_fds=[control], stderr=log)
        self.waiting = asyncio.get_running_loop().run_in_executor(None, self._process.wait)

    @property
    def host_pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    async def wait(self) -> int:
        return await asyncio.shield(self.waiting)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)


class Processes:
    """Takes the place of `processes.Processes`: starts servers where the tests run."""

    def __init__(self) -> None:
        self.started: list[Process] = []

    async def serve(
        self, kind: str, _name: str, stdio: tuple[int, int, int], control: socket.socket, _join: Any
    ) -> Process:
        self.started.append(Process(kind, control.fileno(), stdio[2]))
        return self.started[-1]
