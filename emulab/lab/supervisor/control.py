"""The control socket: who asks, what for, and the answer. Operations are one table."""

from __future__ import annotations

import asyncio
import os
import reprlib
import signal
import socket
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from emulab.errors import EmulabError, KernelError, ManifestError, UserError
from emulab.lab.client import wire
from emulab.lab.client.client import ERRORS, peer_uid
from emulab.lab.folders.disk import REMEDIES
from emulab.lab.hosts.processes import Process, StartError
from emulab.lab.supervisor.door import Door, most_connections
from emulab.lab.supervisor.operations import Operations
from emulab.lab.supervisor.reconciler import Progress

if TYPE_CHECKING:
    from emulab.lab.supervisor.observation import Observation

_BEAT = 1.0  # seconds after which a client that waits is told that the lab is alive
_UNHEARD = 1000  # lines of progress that wait for a client which doesn't read
_BUSY = "the lab does what others have asked for, as much as it can at once: try again later"
_TYPED = frozenset({signal.SIGINT, signal.SIGQUIT})
"""What a terminal sends to all that run in front: the client may have one, and be there."""
_PASSED = frozenset({signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH})

T = TypeVar("T")
Operation = Callable[[dict[str, Any], Progress], Awaitable[Any]]


class ControlServer:
    """Accepts connections and runs their requests. A client that leaves cancels what it asked for."""

    def __init__(self, operations: Operations, path: Path) -> None:
        self._operations = operations
        self._path = path
        self.requests: set[asyncio.Task[None]] = set()
        # The tasks of connections that ask for nothing, in order.
        self._idle: dict[asyncio.Task[Any], None] = {}
        self._room = wire.LineRoom()
        self._observations: dict[socket.socket, Observation] = {}
        self._table: dict[str, Operation] = {
            "addresses": operations.addresses,
            "apply": operations.apply,
            "contained": operations.contained,
            "delete": operations.delete,
            "describe-entry": operations.entry,
            "dns-cache": operations.dns_cache,
            "down": operations.down,
            "get": operations.get,
            "gone": operations.gone,
            "kinds": operations.kinds,
            "logs": operations.logs,
            "log-files": operations.log_files,
            "owners": operations.owners,
            "patch": operations.patch,
            "ready": operations.ready,
            "release": operations.release,
            "resolver-files": operations.resolver_files,
            "scale": operations.scale,
            "patch-status": operations.patch_status,
            "server-status": operations.server_status,
            "summary": operations.summary,
            "topology": operations.topology,
            "translations": operations.lb_maps,
            "usage": operations.usage,
            "watch": operations.watch,
        }

    async def run(self) -> None:
        """Serves for ever."""
        door, most = Door(self._path), most_connections()
        try:
            while True:
                sock = await door.accept(self._dismiss)
                if len(self.requests) >= most and not await self._dismiss():
                    with sock, suppress(OSError):
                        await wire.write_line(sock, _described(EmulabError(_BUSY)))
                    continue
                task = asyncio.ensure_future(self._serve(sock))
                self.requests.add(task)
                task.add_done_callback(self.requests.discard)
                await asyncio.sleep(0)  # it begins, and many at the door don't keep those inside waiting
        finally:
            door.close()

    async def _dismiss(self) -> bool:
        """Ends the connection that has asked for nothing for longest. Returns whether there was one."""
        if not self._idle:
            return False
        task = next(iter(self._idle))
        task.cancel()
        await asyncio.wait([task])
        return True

    async def _serve(self, sock: socket.socket) -> None:
        task = asyncio.current_task()
        assert task is not None
        async with AsyncExitStack() as ending:
            ending.enter_context(sock)
            ending.callback(self._idle.pop, task, None)
            ending.callback(self.requests.discard, task)  # now, not when its callbacks run: its place is free
            reader = wire.LineReader(sock, self._room)
            ending.callback(reader.close_descriptors)
            try:
                _refuse_stranger(sock)
                while True:
                    if sock not in self._observations:
                        self._idle[task] = None  # behind those that have been waiting before
                    request = await reader.line()
                    self._idle.pop(task, None)
                    if request is None:
                        return
                    await self._answer(sock, reader, request, ending)
            except UserError as error:
                with suppress(OSError):
                    await wire.write_line(sock, _described(error))
            except (OSError, ValueError):
                return  # the client has gone, or speaks something else

    async def _answer(
        self, sock: socket.socket, reader: wire.LineReader, request: dict[str, Any], ending: AsyncExitStack
    ) -> None:
        try:
            match request.get("op"):
                case "socket":
                    with ExitStack() as stack:
                        made = [stack.enter_context(one) for one in self._operations.open_sockets(request)]
                        await wire.send_descriptors(sock, [one.fileno() for one in made])
                    answer: dict[str, Any] = {"result": None}
                case "exec":
                    answer = {"result": await self._execute(sock, reader, request)}
                case "taps":
                    answer = {"result": await self._tap(sock, request)}
                case "give":
                    await self._operations.give(request, reader.descriptors)
                    answer = {"result": None}
                case "observe":
                    answer = {"result": await self._observe(sock, request, ending)}
                case op:
                    operation = self._table.get(str(op))
                    if operation is None:
                        raise UserError(
                            f"the lab knows no operation {reprlib.repr(op)}; is it of another version?"
                        )
                    answer = {"result": await self._run(sock, operation, request)}
        except EmulabError as error:
            answer = _described(error)
        except OSError as error:
            answer = _described(_refused(request, error))
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"a fault of emulab: {error!r}; see {self._path}/supervisor.log"}
        await wire.write_line(sock, answer)
        if request.get("op") == "down":
            self._operations.stop()

    async def _execute(self, sock: socket.socket, reader: wire.LineReader, request: dict[str, Any]) -> Any:
        """Runs a program to its end, which comes with that of the connection at the latest.

        Result: `{"status": exit status, ["failure": why it couldn't be started]}`.
        """
        await wire.write_line(sock, {"result": None})
        start = await reader.line()
        if start is None:
            return None  # it has gone
        stdio, reader.descriptors = reader.descriptors, []
        terminal = _terminal_of(start)
        return await _alive_until(sock, self._run_program(reader, request, stdio, terminal))

    async def _run_program(
        self, reader: wire.LineReader, request: dict[str, Any], stdio: list[int], terminal: list[int]
    ) -> Any:
        try:
            process = await self._operations.execute(request, stdio, terminal)
        except StartError as error:
            return {"status": error.status, "failure": str(error)}
        finally:
            for fd in stdio:
                os.close(fd)
        passing = asyncio.ensure_future(_pass_signals(reader, process))
        try:
            return {"status": await process.wait()}
        finally:
            process.signal_group(signal.SIGKILL)  # the connection has ended, or this task
            passing.cancel()

    async def _tap(self, sock: socket.socket, request: dict[str, Any]) -> Any:
        """Opens taps, which are the client's from then on."""
        result, descriptors = await _alive_until(sock, self._operations.taps(request))
        try:
            await wire.send_descriptors(sock, descriptors)
        finally:
            for fd in descriptors:
                os.close(fd)
        return result

    async def _observe(self, sock: socket.socket, request: dict[str, Any], ending: AsyncExitStack) -> Any:
        """Begins an observation, or asks about the one that this connection has begun. It ends with the connection."""
        observation = self._observations.get(sock)
        if observation is None:
            observation = self._observations[sock] = await self._operations.observation()
            ending.push_async_callback(self._forget, sock)
            result, descriptors = await _alive_until(sock, observation.begin(request))
            try:
                await wire.send_descriptors(sock, descriptors)
            finally:
                for fd in descriptors:
                    os.close(fd)
            return result
        if "owners" in request:
            return await _alive_until(sock, observation.explain(request))
        if "translated" in request:
            return await _alive_until(sock, observation.translated(request))
        if "place" in request:
            with observation.open_socket(request) as made:
                await wire.send_descriptors(sock, [made.fileno()])
            return None
        return await _alive_until(sock, observation.records())

    async def _forget(self, sock: socket.socket) -> None:
        await asyncio.shield(self._observations.pop(sock).close())

    async def _run(self, sock: socket.socket, operation: Operation, request: dict[str, Any]) -> Any:
        """Runs an operation; progress goes out meanwhile, and the client's leaving cancels it."""
        told: asyncio.Queue[str] = asyncio.Queue()

        def tell(text: str) -> None:
            if told.qsize() < _UNHEARD:
                told.put_nowait(text)

        work = asyncio.ensure_future(operation(request, tell))
        gone = asyncio.ensure_future(_until_closed(sock))
        try:
            while not work.done():
                news = asyncio.ensure_future(told.get())
                ready, _ = await asyncio.wait(
                    (work, gone, news), timeout=_BEAT, return_when=asyncio.FIRST_COMPLETED
                )
                if not ready:
                    await _say_alive(sock)
                if news.done() and not gone.done():
                    with suppress(OSError):  # it has left: the next turn sees it
                        await wire.write_line(sock, {"progress": news.result()})
                news.cancel()
                if gone.done():
                    break
            return await work if work.done() else None
        finally:
            if not work.done():  # once: what is cancelled awaits its own undoing
                work.cancel()
                await asyncio.wait([work])
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone


async def _pass_signals(reader: wire.LineReader, process: Process) -> None:
    """Passes on what the client is told by signals, until it goes: then the program is killed."""
    with suppress(EmulabError, OSError, ValueError, TypeError):
        while (message := await reader.line()) is not None:
            number = message.get("signal")
            if number in _TYPED:
                process.signal_group(number)
            elif number in _PASSED:
                process.signal(number)
    process.signal_group(signal.SIGKILL)


async def _say_alive(sock: socket.socket) -> None:
    with suppress(OSError):  # it has left: whoever reads from it next sees that
        await wire.write_line(sock, {"alive": True})


async def _alive_until(sock: socket.socket, work: Coroutine[Any, Any, T]) -> T:
    """Awaits work on which nobody else writes to the client, and says meanwhile that the lab is alive."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait([task], timeout=_BEAT))[0]:
            await _say_alive(sock)
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])


async def _until_closed(sock: socket.socket) -> None:
    """Returns when the peer has closed its end. It says nothing while it waits for its answer."""
    loop = asyncio.get_running_loop()
    closed = loop.create_future()

    def look() -> None:
        try:
            left = not sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            left = True
        loop.remove_reader(sock.fileno())  # also when it speaks out of turn: that waits for its answer
        if left:
            closed.set_result(None)

    loop.add_reader(sock.fileno(), look)
    try:
        await closed
    finally:
        loop.remove_reader(sock.fileno())


def _refuse_stranger(sock: socket.socket) -> None:
    """Raises UserError when the other end isn't ours. Root of the host is none of us where the lab is a user's."""
    uid = peer_uid(sock)
    if uid != os.geteuid():
        raise UserError(f"this lab is another user's, and not yours (uid {uid})")


def _refused(request: dict[str, Any], error: OSError) -> KernelError:
    """What the system refused an operation."""
    what = f"{reprlib.repr(request.get('op'))} in the lab" + (f", {error.filename}" if error.filename else "")
    return KernelError(what, errno=error.errno or 0, remedy=REMEDIES.get(error.errno or 0, ""))


def _described(error: EmulabError) -> dict[str, Any]:
    kind = next((kind for kind, of in ERRORS.items() if isinstance(error, of)), "")
    problems = error.problems if isinstance(error, ManifestError) else []
    return {"error": str(error), "kind": kind, "problems": problems}


def _terminal_of(start: dict[str, Any]) -> list[int]:
    """Rows and columns of the terminal that a program is to have; nothing for none. Raises UserError."""
    size = start.get("terminal") or []
    if (
        isinstance(size, list)
        and len(size) in (0, 2)
        and all(type(n) is int and 0 <= n < 1 << 16 for n in size)
    ):
        return size
    raise UserError("a terminal is given by its rows and columns")
