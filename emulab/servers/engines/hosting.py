"""A server of the lab around a real program: its sockets and files, its reloads, and what its log tells of requests."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from emulab.dataclass import dataclass
from emulab.errors import EmulabError
from emulab.kernel.processes.beside import EngineProgram, have_own_folders
from emulab.kernel.processes.programs import run_program
from emulab.servers.accesslog import OWN
from emulab.servers.base import Config, Emit, vital
from emulab.servers.configuration import from_json
from emulab.servers.engines.logged import LoggedRequest, records
from emulab.servers.engines.shared import is_named, places
from emulab.servers.exposition import CONTENT_TYPE
from emulab.servers.journal import Journal
from emulab.servers.l7.config import L7Config, MeasuredAs
from emulab.servers.l7.engine.entry import RequestEntry
from emulab.servers.l7.engine.routes import ReadyRoute
from emulab.servers.l7.engine.snapshot import Snapshot, take
from emulab.servers.l7.personalities.figures import Connections
from emulab.servers.l7.shell.notices import Notices
from emulab.servers.l7.shell.pages import PLAIN, PageReader
from emulab.servers.l7.shell.process import own_process
from emulab.servers.stub import ResolverConfig, resolve

_RELOAD = 30.0
"""Seconds within which a configuration has to be in use."""
_DOUBT = 0.5
"""Seconds after which it is asked whether the program takes it at all."""
_ASK_AGAIN = 2.0
"""Seconds between two attempts to find a name."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What a configuration has to know besides what the proxy is told."""

    sockets: Mapping[str, socket.socket]  # what to listen at, by the key in `listen`; they are handed over
    workers: int
    generation: int  # tells which configuration is in use
    names: Mapping[str, str]  # servers that are names → what they are in full


@dataclass(frozen=True, slots=True)
class Make:
    """One make of program.

    `files` are the texts by their paths, of which the first is the configuration. `environment` tells it which
    descriptors it inherits. `entry` is what a message of its log says.
    """

    name: str
    folder: str  # of its files
    command: tuple[str, ...]
    test: tuple[str, ...]  # what says whether it takes its files
    reload: int  # signals
    leave: int
    leaves_late: bool  # whether workers of an older configuration listen on beside those of a new one
    files: Callable[[L7Config, EngineSettings], Mapping[str, str]]
    environment: Callable[[Sequence[int]], Mapping[str, str]]
    told: Callable[[bytes], LoggedRequest | None]
    entry: Callable[[LoggedRequest, Mapping[int, ReadyRoute]], RequestEntry]


class ProgramIngress:
    """A program with the configuration of an L7 proxy."""

    def __init__(self, emit: Emit, make: Make) -> None:
        self._emit = emit
        self._make = make
        self._program = EngineProgram(*make.command)
        self._snapshot: Snapshot = take(L7Config(()), {})
        self._config = L7Config(())
        self._sockets: dict[str, socket.socket] = {}  # what it listens at, and we keep for a restart
        self._pages: dict[str, asyncio.Server] = {}
        self._routes: dict[int, ReadyRoute] = {}
        self._files: Mapping[str, str] = {}
        self._generation = 0
        self._names: dict[str, str] = {}
        self._lock = asyncio.Lock()
        self._tasks: list[asyncio.Future[None]] = []
        self._private = False
        self._metrics = self._snapshot.personality.metrics()
        self._configured = time.time()
        self._counters: Counter[str] = Counter()
        self._journal = Journal(single=True)
        self._notices = Notices(self._journal)
        self._log: asyncio.DatagramTransport | None = None
        with suppress(OSError):  # without /proc there is no log
            self._journal.open(os.open("/proc/self/fd/1", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC))

    async def configure(self, config: Config, sockets: Mapping[str, socket.socket]) -> None:
        """See `base.Server`. Raises ValueError, with nothing changed, for what the program refuses."""
        async with self._lock:
            await self._configure(config, sockets)
        for task in self._tasks:
            task.cancel()
        self._tasks = [
            vital(asyncio.ensure_future(self._learn_names())),
            vital(asyncio.ensure_future(self._watch())),
        ]

    async def _configure(self, config: Config, sockets: Mapping[str, socket.socket]) -> None:
        wanted = from_json(L7Config, config)
        snapshot = take(wanted, self._snapshot.groups)
        await self._have_folders()
        gone = [key for key in self._sockets if key not in wanted.listen or key in sockets]
        kept = {key: one for key, one in self._sockets.items() if key not in gone}
        fresh = {key: one for key, one in sockets.items() if key in wanted.listen and key not in wanted.pages}
        listeners = {**kept, **fresh}
        await self._serve_pages(wanted, sockets)
        await self._use(wanted, listeners)
        for key in gone:
            self._sockets[key].close()
        self._sockets, self._snapshot, self._config = listeners, snapshot, wanted
        self._routes = dict(enumerate(snapshot.ready))
        self._metrics.configure(wanted.measured or MeasuredAs({}), snapshot.hosts, snapshot.origins)
        self._configured = time.time()
        self._notices.post(wanted.notices, wanted.certificates)

    async def _have_folders(self) -> None:
        if self._private:
            return
        have_own_folders(self._make.folder)  # of the thread that starts others, so before there are any
        os.mkdir(places(self._make.folder).state, 0o755)
        self._private = True
        loop = asyncio.get_running_loop()
        self._log, _ = await loop.create_datagram_endpoint(
            lambda: _LogReader(self._logged), sock=_log_socket(places(self._make.folder).log)
        )

    # --- the program ------------------------------------------------------------------------------------------------

    async def _use(self, wanted: L7Config, listeners: Mapping[str, socket.socket]) -> None:
        """Has the program follow a configuration."""
        around = EngineSettings(listeners, wanted.workers, self._generation + 1, dict(self._names))
        files, before = self._make.files(wanted, around), self._files
        await asyncio.to_thread(_write_files, files)
        same = listeners.keys() == self._sockets.keys() and all(
            sock is self._sockets[key] for key, sock in listeners.items()
        )
        if self._program.running and same:
            self._program.signal(self._make.reload)
        else:
            await self._begin(listeners)
        try:
            await self._until(around, wanted.workers)
        except ValueError:
            await asyncio.to_thread(_write_files, before)
            raise
        self._generation, self._files = around.generation, files

    async def _begin(self, listeners: Mapping[str, socket.socket]) -> None:
        """Starts it with these sockets, in the place of one that has others, which leaves when its work is done."""
        before, self._program = self._program, EngineProgram(*self._make.command)
        with suppress(FileNotFoundError):
            os.unlink(places(self._make.folder).status)
        descriptors = [sock.fileno() for sock in listeners.values()]
        await self._program.start({**os.environ, **self._make.environment(descriptors)}, descriptors)
        before.signal(self._make.leave)

    async def _until(self, around: EngineSettings, workers: int) -> None:
        """Until that configuration alone is in use. Raises ValueError, with the program's words, if it is refused."""
        status = places(self._make.folder).status
        clock, name = asyncio.get_running_loop().time, self._make.name
        doubt, end = clock() + _DOUBT, clock() + _RELOAD
        inodes = {str(os.fstat(sock.fileno()).st_ino) for sock in around.sockets.values()}
        late = self._make.leaves_late
        while await _asked(status, b"/generation") != str(around.generation) or (
            late and _listening(inodes) > workers
        ):
            now = clock()
            if now > doubt or not self._program.running:
                doubt = now + _DOUBT * 4
                tested = await run_program(self._make.test)
                if tested.status:
                    said = _complaint((tested.stderr + tested.stdout).decode(errors="replace"))
                    raise ValueError(f"{name} does not take the configuration: {said}")
                self._program.signal(self._make.reload)  # one that comes while a program begins anew is lost
            if now > end or not self._program.running:
                raise ValueError(f"{name} does not answer")
            await asyncio.sleep(0.005)

    async def _watch(self) -> None:
        """Nothing can go on without the program; who ends with it is started again."""
        program = self._program
        await program.ended()
        if program is self._program:
            raise RuntimeError(f"{self._make.name} has ended of its own accord")

    async def _learn_names(self) -> None:
        """Finds out what the names of servers are in full: programs know no search domains."""
        config = self._config
        resolver = ResolverConfig.parse(config.resolv_conf, config.hosts)
        servers = (one for upstream in config.upstreams.values() for one in upstream.servers)
        names = {one.rpartition(":")[0] for one in servers if is_named(one)} - self._names.keys()
        while names:
            found = {name: full for name in names if (full := await _in_full(name, resolver))}
            if found:
                names -= found.keys()
                async with self._lock:
                    self._names |= found
                    await self._use(self._config, self._sockets)
            else:
                await asyncio.sleep(_ASK_AGAIN)

    # --- what is answered and told here -----------------------------------------------------------------------------

    async def _serve_pages(self, wanted: L7Config, sockets: Mapping[str, socket.socket]) -> None:
        """The pages that the controller answers by itself, which isn't the program."""
        for key in [key for key in self._pages if key not in wanted.pages or key in sockets]:
            self._pages.pop(key).close()
        loop = asyncio.get_running_loop()
        for key in wanted.pages:
            if key in sockets and key not in wanted.tls_listen:
                self._pages[key] = await loop.create_server(self._reader_of(key), sock=sockets[key])

    def _reader_of(self, key: str) -> Callable[[], PageReader]:
        return lambda: PageReader(lambda path: self._page(key, path))

    def _page(self, key: str, path: str) -> tuple[str, str] | None:
        snapshot = self._snapshot
        if path == "/metrics" and key in snapshot.metrics_at:
            counted = Connections(self._counters["accepted"], self._counters["requests"], 0, 0)
            figures = self._metrics.figures(counted, own_process())
            return CONTENT_TYPE, self._metrics.text(figures, snapshot.certificates, self._configured)
        text = (snapshot.pages.get(key) or {}).get(path)
        return (PLAIN, text) if text is not None else None

    def _logged(self, datagram: bytes) -> None:
        """A request has been answered."""
        said = self._make.told(datagram)
        if said is None:
            self._counters["cut"] += 1
            return
        done = self._make.entry(said, self._routes)
        self._counters["requests"] += 1
        if self._snapshot.measured is not None:
            self._metrics.add_entry(done)
        silent = not done.rule.policy.access_log or done.head.target in self._snapshot.unlogged
        if not silent and self._journal.takes(OWN):
            self._journal.write(OWN, self._snapshot.log_line(done, time.time()))
        if self._emit.wanted:
            for record in records(done, said, self._make.name):
                self._emit(record)

    async def close(self, grace: float = 0.0) -> None:
        """See `base.Server`."""
        for task in self._tasks:
            task.cancel()
        for server in self._pages.values():
            server.close()
        self._program.signal(self._make.leave)
        if not await self._program.wait(grace):
            await self._program.end()
        if self._log is not None:
            self._log.close()
        self._notices.close()
        self._journal.flush()

    def status(self) -> dict[str, Any]:
        """Counters, and the program's process."""
        own = {"engine": self._make.name, "pid": self._program.pid, "generation": self._generation}
        return {**self._counters, **own}

    def files(self) -> Mapping[str, str]:
        """See `base.Filed`."""
        return {path: text for path, text in self._files.items() if "PRIVATE KEY" not in text}


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


def _complaint(text: str) -> str:
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


async def _in_full(name: str, resolver: ResolverConfig) -> str:
    """The first of a name's candidates that has an address; "" where none has."""
    if name in resolver.hosts:
        return resolver.hosts[name]
    for candidate in resolver.candidates(name):
        try:
            await resolve(candidate, resolver, _open_socket)
        except EmulabError:
            continue
        return candidate.removesuffix(".")
    return ""


async def _open_socket(family: int, kind: int) -> socket.socket:
    sock = socket.socket(family, kind)
    sock.setblocking(False)
    return sock


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
