"""The server of the lab around nginx: its files, its reloads, and what it tells of requests."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from emulab.errors import EmulabError
from emulab.kernel.processes.beside import EngineProgram, have_own_folders
from emulab.kernel.processes.programs import run_program
from emulab.servers.accesslog import OWN
from emulab.servers.base import Config, Emit, Server, socket_name
from emulab.servers.configuration import from_json
from emulab.servers.engines.nginx.access import USERS, files
from emulab.servers.engines.nginx.conf import CERTIFICATES, FOLDER, LOG, STATE, STATUS, NginxPlace, nginx_conf
from emulab.servers.engines.nginx.locations import is_named
from emulab.servers.engines.nginx.logged import entry, records, told
from emulab.servers.exposition import CONTENT_TYPE
from emulab.servers.journal import Journal
from emulab.servers.l7.config import L7Config, MeasuredAs
from emulab.servers.l7.engine.routes import ReadyRoute
from emulab.servers.l7.engine.snapshot import Snapshot, take
from emulab.servers.l7.personalities.personality import Connections
from emulab.servers.l7.shell.pages import PLAIN, PageReader
from emulab.servers.l7.shell.process import own_process
from emulab.servers.l7.shell.tls import fake_certificate
from emulab.servers.stub import ResolverConfig, resolve

CONF = f"{FOLDER}/nginx.conf"
_NGINX = ("nginx", "-c", CONF, "-e", "stderr")
_RELOAD = 10.0
"""Seconds within which a configuration has to be in use."""
_WORKERS = 1
_NOBODY = 65534
_ASK_AGAIN = 2.0
_DOUBT = 0.5
"""Seconds after which it is asked whether nginx takes it at all."""


def create(emit: Emit) -> Server:
    """An nginx that serves nothing until it is configured; what it logs is reported through `emit`."""
    return NginxServer(emit)


class NginxServer:
    """nginx with the configuration of an L7 proxy."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._program = EngineProgram(*_NGINX)
        self._snapshot: Snapshot = take(L7Config(()), {})
        self._sockets: dict[str, socket.socket] = {}  # what nginx listens at, and we keep for a restart
        self._pages: dict[str, asyncio.Server] = {}
        self._routes: dict[int, ReadyRoute] = {}
        self._config = L7Config(())
        self._generation = 0
        self._names: dict[str, str] = {}
        self._lock = asyncio.Lock()
        self._learning: asyncio.Future[None] | None = None
        self._private = False
        self._metrics = self._snapshot.personality.metrics()
        self._configured = time.time()
        self._counters: Counter[str] = Counter()
        self._journal = Journal(single=True)
        self._log: asyncio.DatagramTransport | None = None
        self._text = ""
        with suppress(OSError):  # without /proc there is no log
            self._journal.open(os.open("/proc/self/fd/1", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC))

    async def configure(self, config: Config, sockets: Mapping[str, socket.socket]) -> None:
        """See `base.Server`. Raises ValueError, with nothing changed, for what nginx refuses."""
        async with self._lock:
            await self._configure(config, sockets)
        if self._learning is not None:
            self._learning.cancel()
        self._learning = asyncio.ensure_future(self._learn_names())

    async def _learn_names(self) -> None:
        """Finds out what the names of servers are in full: nginx knows no search domains."""
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

    async def _have_folders(self) -> None:
        if self._private:
            return
        have_own_folders(FOLDER, STATE)  # of the thread that starts others, so before there are any
        self._private = True
        os.mkdir(CERTIFICATES, 0o700)
        loop = asyncio.get_running_loop()
        self._log, _ = await loop.create_datagram_endpoint(
            lambda: _LogReader(self._logged), sock=_log_socket()
        )

    async def _use(self, wanted: L7Config, listeners: Mapping[str, socket.socket]) -> None:
        """Has nginx follow a configuration."""
        engine = NginxPlace(
            {key: _listen_at(sock) for key, sock in listeners.items()},
            workers=_WORKERS,
            generation=self._generation + 1,
            user=_worker(),
            names=self._names,
        )
        text = nginx_conf(wanted, engine)
        await asyncio.to_thread(_write_files, wanted, text)
        before = self._text
        same = {*listeners} == {*self._sockets} and all(
            listeners[key] is self._sockets[key] for key in listeners
        )
        if self._program.running and same:
            self._program.signal(signal.SIGHUP)
        else:
            await self._begin(listeners)
        try:
            await self._until(engine.generation)
        except ValueError:
            if before:
                await asyncio.to_thread(_write, CONF, before)
            raise
        self._generation, self._text = engine.generation, text

    async def _begin(self, listeners: Mapping[str, socket.socket]) -> None:
        """Starts nginx with these sockets, in the place of one that has others, which ends when its work is done."""
        before, self._program = self._program, EngineProgram(*_NGINX)
        with suppress(FileNotFoundError):
            os.unlink(STATUS)
        descriptors = [sock.fileno() for sock in listeners.values()]
        # By this variable nginx is told which sockets it has inherited (src/core/nginx.c).
        environment = {**os.environ, "NGINX": "".join(f"{fd};" for fd in descriptors)}
        await self._program.start(environment, descriptors)
        before.signal(signal.SIGQUIT)

    async def _until(self, generation: int) -> None:
        """Until nginx uses that configuration. Raises ValueError, with its own words, where it refuses it."""
        clock = asyncio.get_running_loop().time
        doubt, end = clock() + _DOUBT, clock() + _RELOAD
        while await _asked(b"/generation") != str(generation) or not _alone():
            now = clock()
            if now > doubt or not self._program.running:
                doubt = now + _RELOAD
                tested = await run_program([*_NGINX, "-t", "-q"])
                if tested.status:
                    said = tested.stderr.decode(errors="replace").strip().partition("\n")[0]
                    raise ValueError(f"nginx does not take the configuration: {said}")
            if now > end or not self._program.running:
                raise ValueError("nginx does not answer")
            await asyncio.sleep(0.005)

    async def _serve_pages(self, wanted: L7Config, sockets: Mapping[str, socket.socket]) -> None:
        """The pages that the proxy answers by itself: the controller's, which isn't nginx."""
        for key in [key for key in self._pages if key not in wanted.pages or key in sockets]:
            self._pages.pop(key).close()
        loop = asyncio.get_running_loop()
        for key in wanted.pages:
            if key in sockets and key not in wanted.tls_listen:
                self._pages[key] = await loop.create_server(self._reader_of(key), sock=sockets[key])

    def _reader_of(self, key: str) -> Any:
        return lambda: PageReader(lambda path: self._page(key, path))

    def _page(self, key: str, path: str) -> tuple[str, str] | None:
        snapshot = self._snapshot
        if path == "/metrics" and key in snapshot.metrics_at:
            counted = Connections(self._counters["accepted"], self._counters["requests"], 0, 0)
            return CONTENT_TYPE, self._metrics.text(
                counted, own_process(), snapshot.certificates, self._configured
            )
        text = (snapshot.pages.get(key) or {}).get(path)
        return (PLAIN, text) if text is not None else None

    def _logged(self, datagram: bytes) -> None:
        """nginx has answered a request."""
        said = told(datagram)
        if said is None:
            self._counters["cut"] += 1
            return
        done = entry(said, self._routes)
        self._counters["requests"] += 1
        if self._snapshot.measured is not None:
            self._metrics.add(done)
        if self._journal.takes(OWN):
            self._journal.write(OWN, self._snapshot.log_line(done, time.time()))
        if self._emit.wanted:
            for record in records(done, said):
                self._emit(record)

    async def close(self, grace: float = 0.0) -> None:
        """See `base.Server`."""
        if self._learning is not None:
            self._learning.cancel()
        for server in self._pages.values():
            server.close()
        self._program.signal(signal.SIGQUIT)
        if not await self._program.wait(grace):
            await self._program.end()
        if self._log is not None:
            self._log.close()
        self._journal.flush()

    def status(self) -> dict[str, Any]:
        """Counters, and nginx' process."""
        return {**self._counters, "engine": "nginx", "pid": self._program.pid, "generation": self._generation}

    def files(self) -> Mapping[str, str]:
        """See `base.Filed`."""
        return {CONF: self._text}


class _LogReader(asyncio.DatagramProtocol):
    def __init__(self, take_message: Any) -> None:
        self._take = take_message

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._take(data)


def _log_socket() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(LOG)
    os.chmod(LOG, 0o666)  # workers aren't root
    return sock


def _listen_at(sock: socket.socket) -> str:
    """A socket as nginx's `listen` names it."""
    return socket_name(sock.getsockname())


def _write_files(wanted: L7Config, text: str) -> None:
    for number, one in enumerate(wanted.certificates):
        name = one.secret.replace("/", "-") or f"certificate-{number}"
        _write(f"{CERTIFICATES}/{name}.pem", one.certificate.rstrip() + "\n" + one.key)
    if wanted.tls_listen:
        _write(f"{CERTIFICATES}/fake.pem", "\n".join(fake_certificate()))
    os.makedirs(USERS, mode=0o755, exist_ok=True)
    for path, kept in files(wanted).items():
        _write(path, kept)
    _write(CONF, text)


def _write(path: str, text: str) -> None:
    """Whole or not at all: nginx may read it at any time."""
    Path(f"{path}.new").write_text(text)
    Path(f"{path}.new").replace(path)


def _worker() -> str:
    """Whose the workers are: nginx' default, unless this user namespace has no such user; then there is but one."""
    try:
        lines = Path("/proc/self/uid_map").read_text().splitlines()
    except OSError:
        return "root root"
    ranges = [tuple(map(int, line.split())) for line in lines]
    return (
        "nobody nogroup"
        if any(start <= _NOBODY < start + count for start, _, count in ranges)
        else "root root"
    )


def _alone() -> bool:
    """Whether the workers of one configuration are left, and those that end.

    /proc may be the host's, whose numbers are others than ours; by `self` it is found all the same.
    """
    try:
        masters = [child for task in Path("/proc/self/task").iterdir() for child in _children(task)]
        workers = [
            worker for master in masters for worker in _children(Path(f"/proc/{master}/task/{master}"))
        ]
        titles = [Path(f"/proc/{worker}/cmdline").read_bytes() for worker in workers]
    except OSError:
        return False  # one has just ended
    return len([title for title in titles if title and b"shutting down" not in title]) == _WORKERS


def _children(task: Path) -> list[str]:
    return (task / "children").read_text().split()


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


async def _asked(path: bytes) -> str:
    """What nginx answers at its own socket; "" where it doesn't."""
    try:
        async with asyncio.timeout(1.0):
            reader, writer = await asyncio.open_unix_connection(STATUS)
            writer.write(b"GET %b HTTP/1.0\r\n\r\n" % path)
            answer = await reader.read()
            writer.close()
    except (OSError, TimeoutError):
        return ""
    return answer.partition(b"\r\n\r\n")[2].decode("latin-1").strip()
