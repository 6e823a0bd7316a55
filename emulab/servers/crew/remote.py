"""A server's process, as who drives it has it: commands and their answers (the protocol is in `servers.host`)."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from emulab.errors import KernelError
from emulab.memoryfile import memory_file, read_all

ANSWER = 60.0
"""Seconds that an answer is waited for: there to end what would never come, on a machine with little time too."""
_FDS = 200  # a message; the kernel's limit is 253 (SCM_MAX_FD)

TakeRecord = Callable[[str, dict[str, Any]], None]


class ServerRefused(KernelError):
    """A server has refused a command. `said`: its own words."""

    def __init__(self, name: str, said: str) -> None:
        super().__init__(f"server {name}: {said}")
        self.said = said


class RemoteServer:
    """Drives the server at the other end of a control socket."""

    def __init__(self, name: str, control: socket.socket, record: TakeRecord) -> None:
        self.name = name
        self.control = control
        self.ended = False
        self._record = record
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._next = 0
        self._asking = asyncio.Lock()
        self._room = asyncio.Event()
        control.setblocking(False)
        asyncio.get_running_loop().add_reader(control.fileno(), self._readable)

    async def ask(self, op: str, fds: tuple[int, ...] = (), timeout: float = ANSWER, **arguments: Any) -> Any:
        """Sends a command, once there is room for it, and returns its result.

        Raises KernelError when the server refuses, doesn't answer in time or is gone.
        """
        try:
            async with asyncio.timeout(timeout):
                async with self._asking:
                    while is_crowded(answer := self.send(op, fds, **arguments)):
                        await self._until_room()
                return await answer
        except TimeoutError:
            raise KernelError(f"server {self.name}: no answer to {op!r} within {timeout:g} s") from None
        except OSError as error:
            raise KernelError(f"talk to server {self.name}", errno=error.errno or 0) from None

    def send(self, op: str, fds: tuple[int, ...] = (), **arguments: Any) -> asyncio.Future[Any]:
        """Sends a command at once, or not at all where there is no room; the future is its result, and may be left
        alone."""
        self._next += 1
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(lambda one: one.cancelled() or one.exception())
        data = json.dumps({"id": self._next, "op": op, **arguments}).encode()
        try:
            socket.send_fds(self.control, [data], list(fds))
        except OSError as error:
            answer.set_exception(error)
        else:
            self._answers[self._next] = answer
        return answer

    async def _until_room(self) -> None:
        """Returns when the socket takes messages again, or never will."""
        loop, fd = asyncio.get_running_loop(), self.control.fileno()
        self._room.clear()
        loop.add_writer(fd, self._room.set)
        try:
            await self._room.wait()
        finally:
            if not self.ended:
                loop.remove_writer(fd)

    async def give(self, config: bytes, opened: Mapping[str, socket.socket]) -> None:
        """Gives it a whole configuration, with the sockets that it lacks. Raises KernelError."""
        await self.give_sockets(opened)
        await self.hand("configure", config)

    async def give_sockets(self, opened: Mapping[str, socket.socket]) -> None:
        """Gives it listening sockets, by their keys. Raises KernelError."""
        keys = list(opened)
        for start in range(0, len(keys), _FDS):
            part = keys[start : start + _FDS]
            await self.ask("sockets", tuple(opened[k].fileno() for k in part), keys=part)

    async def hand(self, op: str, content: bytes) -> None:
        """Sends a command with a memory file. Raises KernelError."""
        with memory_file(content) as file:
            await self.ask(op, (file.fileno(),))

    def close(self) -> None:
        """Gives up the control socket, with which the server ends."""
        self.ended = True
        with suppress(ValueError, OSError):
            asyncio.get_running_loop().remove_reader(self.control.fileno())
            asyncio.get_running_loop().remove_writer(self.control.fileno())
        self.control.close()
        self._room.set()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(KernelError(f"server {self.name} has ended"))
        self._answers.clear()

    def _readable(self) -> None:
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self.control, 1 << 16, 1)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                data, fds = b"", []
            if not data:
                self.close()
                return
            message = json.loads(_content(fds[0]) if fds else data)
            if "record" in message:
                self._record(self.name, message["record"])
                continue
            answer = self._answers.pop(message["id"], None)
            if answer is None or answer.done():
                continue
            if "error" in message:
                answer.set_exception(ServerRefused(self.name, message["error"]))
            else:
                answer.set_result(message["result"])


def is_crowded(answer: asyncio.Future[Any]) -> bool:
    """Whether a command hasn't been sent for want of room."""
    return answer.done() and isinstance(answer.exception(), BlockingIOError)


def _content(fd: int) -> bytes:
    """What a memory file holds, which is closed."""
    with open(fd, "rb") as file:
        return read_all(file.fileno())
