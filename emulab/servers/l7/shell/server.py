"""The server around the connections: listeners, configuration, sweeping, the end."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from emulab.dataclass import dataclass
from emulab.servers.base import Config, Emit, Server
from emulab.servers.configuration import from_json
from emulab.servers.exposition import CONTENT_TYPE
from emulab.servers.l7.config import L7Config, MeasuredAs, RequestRoute
from emulab.servers.l7.dated import dated
from emulab.servers.l7.engine.changing import with_routes
from emulab.servers.l7.engine.snapshot import Snapshot, take
from emulab.servers.l7.personalities.figures import Connections, Figures, added
from emulab.servers.l7.shell.client import ClientConnection
from emulab.servers.l7.shell.context import Context
from emulab.servers.l7.shell.notices import Notices
from emulab.servers.l7.shell.pages import PLAIN, FoundPage, PageReader
from emulab.servers.l7.shell.process import own_process
from emulab.servers.l7.shell.proxied import ProxiedListener
from emulab.servers.lastbytes import until_sent
from emulab.servers.patches import spliced
from emulab.servers.streams.accepting import Acceptor
from emulab.servers.streams.handshakes import Handshakes
from emulab.servers.streams.listening import listen
from emulab.servers.stub import ResolverConfig, families_at

BACKLOG = 4096
MANY = 1000  # routes


def create(emit: Emit) -> Server:
    """A worker that serves nothing until it is configured; it reports through `emit`."""
    return L7Server(emit, shares=True)


@dataclass(slots=True)
class Listener:
    """One listening socket. `socket` is ours to listen on again if TLS is switched on or off."""

    socket: socket.socket
    tls: bool
    pages: bool
    server: Acceptor | ProxiedListener
    proxied: bool = False  # whether a PROXY header is in front of its connections


class L7Server:
    """An HTTP reverse proxy; see the package's docstring for its configuration."""

    def __init__(self, emit: Emit, shares: bool = False) -> None:
        """`shares`: others serve the same, and are to know which servers fail."""
        self._shares = shares
        self._told = L7Config(())
        self._context = Context(emit, take(self._told, {}))
        with suppress(OSError):  # without /proc there is no log
            self._context.journal.open(_own_log())
        self._notices = Notices(self._context.journal)
        self._measured = self._snapshot.personality.metrics()
        self._configured = time.time()
        self._listeners: dict[str, Listener] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self.gather: Callable[[], Awaitable[list[Figures]]] | None = None  # what other processes have counted

    async def configure(self, config: Config, sockets: Mapping[str, socket.socket]) -> None:
        """See `base.Server`. Raises `ValueError`, with nothing changed, for a configuration that is wrong."""
        await self.take(from_json(L7Config, config), sockets)

    async def take(self, told: L7Config, sockets: Mapping[str, socket.socket]) -> None:
        """What `configure` does, of a value."""
        snapshot = take(told, self._snapshot.groups, self._context.clock(), before=self._snapshot)
        missing = snapshot.listen - set(sockets) - set(self._listeners)
        if missing:
            raise ValueError(f"no socket for {', '.join(sorted(missing))}")
        self._follow(told, snapshot)
        await self._listen(snapshot, sockets)

    def patch(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """See `base.Patchable`: routes change. Raises BadConfiguration, with nothing changed."""
        if (change := changes.get("routes")) is None:
            return
        told = replace(self._told, routes=spliced(RequestRoute, self._told.routes, change, "routes"))
        snapshot = with_routes(self._snapshot, told, change["from"], change["to"])
        self._told = told
        if told.verifications or snapshot.options.reject_handshake:
            self._context.certificates.configure_handshakes(
                snapshot.options, told.verifications, snapshot.hosts
            )
        self._follow_routes(snapshot)

    def _follow(self, told: L7Config, snapshot: Snapshot) -> None:
        """Requests go by this from now on."""
        # By which servers that are names (ExternalName) are resolved.
        resolver = ResolverConfig.parse(told.resolv_conf, told.hosts, families_at(told.listen))
        self._context.certificates.configure(dated(snapshot.certificates))
        self._context.certificates.configure_handshakes(snapshot.options, told.verifications, snapshot.hosts)
        if snapshot.tls_listen:
            self._context.certificates.offer(("h2", "http/1.1") if snapshot.options.http2 else ("http/1.1",))
        self._notices.post(told.notices, told.certificates)
        self._context.surroundings.measure = self._measured.add if snapshot.measured is not None else None
        for name, group in snapshot.groups.items() if self._shares else ():
            group.heard = partial(self._share, name)
        self._follow_routes(snapshot)
        self._context.pool.configure(snapshot.options, snapshot.servers, resolver)
        self._context.mirrors.resolver = resolver
        self._told = told
        if len(snapshot.ready) >= MANY:  # the collector would stop everything to look at all of them again
            gc.collect(1)
            gc.freeze()

    def _follow_routes(self, snapshot: Snapshot) -> None:
        """What follows from the routes alone."""
        self._measured.configure(snapshot.measured or MeasuredAs({}), snapshot.hosts, snapshot.origins)
        self._configured = time.time()
        self._context.surroundings.snapshot = snapshot
        self._context.surroundings.kept.forget_zones(snapshot.zones)
        self._schedule()

    async def _listen(self, snapshot: Snapshot, sockets: Mapping[str, socket.socket]) -> None:
        for key in set(self._listeners) - snapshot.listen:
            self._stop(key)
        for key in sorted(snapshot.listen):
            tls = key in snapshot.tls_listen
            known = self._listeners.get(key)
            fresh = sockets.get(key)
            if known is not None:
                pages = key in snapshot.pages
                proxied = snapshot.options.proxy_protocol and not pages
                if fresh is None and (known.tls, known.pages, known.proxied) == (tls, pages, proxied):
                    continue
                fresh = fresh or known.socket.dup()
                self._stop(key)
            assert fresh is not None
            self._listeners[key] = await self._start(key, fresh, tls)

    async def _start(self, key: str, sock: socket.socket, tls: bool) -> Listener:
        context, pages = self._context, key in self._snapshot.pages
        if self._snapshot.options.proxy_protocol and not pages:
            return Listener(sock, tls, False, self._behind_proxy(sock.dup(), tls), proxied=True)
        secrets = context.certificates.own() if pages else context.certificates.base
        connection = self._page_reader(key) if pages else lambda: ClientConnection(context, tls)
        handshakes = self._handshakes(secrets) if tls else None
        server = listen(context.streams(), sock.dup(), BACKLOG, connection, handshakes)
        return Listener(sock, tls, pages, server)

    def _behind_proxy(self, sock: socket.socket, tls: bool) -> ProxiedListener:
        context = self._context
        return ProxiedListener(
            context.streams(),
            sock,
            BACKLOG,
            lambda proxied: ClientConnection(context, tls, proxied),
            self._handshakes(context.certificates.base) if tls else None,
            lambda: self._snapshot.options.header_timeout,
            context.refused,
            lambda: self._snapshot.options.proxy_optional,
        )

    def _handshakes(self, secrets: ssl.SSLContext) -> Handshakes:
        return Handshakes(secrets, lambda: self._snapshot.options.header_timeout)

    def _page_reader(self, key: str) -> Callable[[], PageReader]:
        return lambda: PageReader(partial(self._page, key), self._fails)

    def tell(self, message: Mapping[str, Any]) -> None:
        """See `base.Informed`: that it will be closed, so that health pages fail and no connection is kept; and what
        a server has answered to another worker."""
        if message.get("ending"):
            self._context.surroundings.ending = True
        if (group := self._snapshot.groups.get(message.get("upstream", ""))) is not None:
            group.learn(message["server"], message["status"], self._context.clock())

    def _share(self, upstream: str, server: str, status: int) -> None:
        """Has the others learn what a server has answered here."""
        self._context.emit({"event": "outlier", "upstream": upstream, "server": server, "status": status})

    def _fails(self, path: str) -> bool:
        """Whether a page says that it fails: that of the controller's health, once it is to end."""
        return self._context.surroundings.ending and path != "/metrics"

    def _page(self, key: str, path: str) -> FoundPage | Awaitable[FoundPage]:
        """The content type and the text of a page; None where there is none."""
        snapshot = self._snapshot
        if path == "/metrics" and key in snapshot.metrics_at:
            return self._gathered_metrics() if self.gather is not None else self._metrics(self._figures())
        text = (snapshot.pages.get(key) or {}).get(path)
        return (PLAIN, text) if text is not None else None

    async def _gathered_metrics(self) -> FoundPage:
        assert self.gather is not None
        others = await self.gather()
        return self._metrics(added([self._figures(), *others]))

    def _metrics(self, figures: Figures) -> FoundPage:
        return CONTENT_TYPE, self._measured.text(figures, self._snapshot.certificates, self._configured)

    def _figures(self) -> Figures:
        return self._measured.figures(self._connections(), own_process())

    def figures(self) -> dict[str, Any]:
        """See `base.Figuring`."""
        return self._figures().to_json()

    @property
    def told(self) -> L7Config:
        """The configuration in use."""
        return self._told

    def sockets(self) -> dict[str, socket.socket]:
        """Descriptors of their own for the sockets that are listened at."""
        return {key: one.socket.dup() for key, one in self._listeners.items() if not one.pages}

    def _connections(self) -> Connections:
        context, counters = self._context, self._context.surroundings.counters
        waiting = sum(client.waits for client in context.clients)
        there = len(context.clients) + len(context.tunnels)
        return Connections(counters.accepted, counters.requests, there, waiting)

    @property
    def _snapshot(self) -> Snapshot:
        return self._context.surroundings.snapshot

    def _stop(self, key: str) -> None:
        listener = self._listeners.pop(key)
        listener.server.close()
        listener.socket.close()

    def _schedule(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        self._sweep = asyncio.get_running_loop().call_later(
            _sweep_interval(self._context.surroundings.snapshot), self._tick
        )

    def _tick(self) -> None:
        self._context.sweep()
        self._schedule()

    async def close(self, grace: float = 0.0) -> None:
        """See `base.Server`."""
        context, until = self._context, time.monotonic() + grace
        ports = {one.socket.getsockname()[1] for one in self._listeners.values()}
        context.surroundings.closing = True
        listeners = [one.server for one in self._listeners.values()]
        for key in list(self._listeners):
            self._stop(key)
        for client in list(context.clients):
            client.shutdown()
        if grace > 0 and (context.clients or context.tunnels):
            with suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await context.empty.wait()
        context.outbox.flush()
        for listener in listeners:
            if isinstance(listener, ProxiedListener):
                listener.forget()
        for survivor in [*context.clients, *context.tunnels]:
            survivor.abort()
        context.pool.close()
        context.mirrors.close()
        self._notices.close()
        context.journal.flush()
        if self._sweep is not None:
            self._sweep.cancel()
        await asyncio.sleep(0)  # transports close in the loop's next turn
        await until_sent(ports, until - time.monotonic())

    def status(self) -> dict[str, Any]:
        """Counters, who is connected, and the sizes of the upstream pools."""
        context = self._context
        return {
            **context.surroundings.counters.as_dict(),
            "opened": context.pool.opened,
            "clients": len(context.clients),
            "tunnels": len(context.tunnels),
            "listen": sorted(self._listeners),
            "upstreams": context.pool.sizes(),
            "balanced": {
                group.name: group.status(context.clock())
                for group in self._snapshot.groups.values()
                if not group.plain
            },
        }


def _own_log() -> int:
    """What the process prints to, opened anew: that it never blocks holds of this descriptor alone."""
    return os.open("/proc/self/fd/1", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)


def _sweep_interval(snapshot: Snapshot) -> float:
    """Seconds between sweeps: a tenth of the shortest time that is watched, at most half a second."""
    return max(0.01, min(0.5, snapshot.shortest / 10))
