"""Listeners in many namespaces, and the change from one configuration to the next."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping
from typing import Any, cast

from emulab.servers.base import Config, Emit, Server
from emulab.servers.configuration import BadConfiguration, from_json
from emulab.servers.kubeproxy import pages
from emulab.servers.kubeproxy.config import KubeProxyConfig, SiteConfig
from emulab.servers.kubeproxy.pages import ProxyPage
from emulab.servers.kubeproxy.proxy import Proxy
from emulab.servers.wire.http1.requests import Request, RequestReader

_BACKLOG = 128
NOTHING: Mapping[str, Any] = {"failed": False, "families": {}}
"""The sync of a change that asked for no other rule on a node."""


def create(_emit: Emit) -> Server:
    """A new server, without any socket until it is configured."""
    return KubeProxyServer()


class KubeProxyServer:
    """The server of all nodes' proxies; its configuration is described in `config`.

    Messages: what `emulab.lab.supervisor.proxysyncs` makes of a pass.
    """

    def __init__(self) -> None:
        self._proxies: dict[str, Proxy] = {}
        self._endpoints: dict[str, Mapping[str, int]] = {}
        self._sites: dict[str, SiteConfig] = {}
        self._servers: dict[str, asyncio.Server] = {}
        self._connections: set[_Connection] = set()
        self.requests = 0

    async def configure(self, config: Config, sockets: Mapping[str, socket.socket]) -> None:
        """Makes the server equal to `config`; proxies that stay in their mode keep their metrics.

        Raises:
            ValueError: the configuration is wrong, or a listed socket was not given. Nothing is changed then.
        """
        told = from_json(KubeProxyConfig, config)
        if unsaid := [key for key in told.listen if key not in told.sockets]:
            raise BadConfiguration(f"config.sockets: nothing says what is at {', '.join(unsaid)}")
        wanted = {key: told.sockets[key] for key in told.listen}
        missing = [key for key in wanted if key not in sockets and key not in self._servers]
        if missing:
            raise ValueError(f"no socket was given for {', '.join(missing)}")
        known = {
            name: proxy
            for name, proxy in self._proxies.items()
            if (proxy.mode, proxy.families) == (told.mode, told.families)
        }
        self._proxies = {name: known.get(name) or Proxy(told.mode, told.families) for name in told.nodes}
        for name, node in told.nodes.items():
            self._proxies[name].configure(node.no_local, node.rules)
        self._endpoints = {name: node.endpoints for name, node in told.nodes.items()}
        self._sites = wanted
        for key in [key for key in self._servers if key not in wanted or key in sockets]:
            self._servers.pop(key).close()
        loop = asyncio.get_running_loop()
        for key, sock in sockets.items():
            if key not in wanted:
                sock.close()
                continue
            self._servers[key] = await loop.create_server(self._protocol(key), sock=sock, backlog=_BACKLOG)

    def tell(self, message: Mapping[str, Any]) -> None:
        """Takes note of changes and syncs: numbers for all proxies, and `nodes` with what each one did."""
        now = message["at"]
        for name, proxy in self._proxies.items():
            proxy.changed(message)
            sync = message["nodes"].get(name) or (NOTHING if message["queued"] else None)
            if sync is None:
                continue
            if sync["failed"]:
                proxy.failed(now)
            else:
                proxy.synced(sync, message["programmed"], now)

    async def close(self, grace: float = 0.0) -> None:
        """Stops accepting and ends what is open: no answer takes any time."""
        for server in self._servers.values():
            server.close()
        self._servers.clear()
        for connection in list(self._connections):
            connection.end()
        await asyncio.sleep(0)  # the loop tells the protocols of their end in its next turn

    def status(self) -> dict[str, Any]:
        """Numbers of open sockets and of what was answered."""
        return {
            "sockets": len(self._servers),
            "connections": len(self._connections),
            "requests": self.requests,
        }

    def page(self, key: str, path: str) -> ProxyPage:
        """The answer to a request at a socket."""
        self.requests += 1
        now = time.time()
        site = self._sites.get(key)
        proxy = self._proxies.get(site.node) if site else None
        if site is None or proxy is None:
            return pages.NOT_FOUND  # it has just gone
        if site.page == "metrics":
            return pages.metrics(path, proxy)
        if site.page == "healthz":
            return pages.health(path, proxy, now)
        namespace, _, name = site.service.partition("/")
        return pages.service(namespace, name, self._endpoints[site.node].get(site.service, 0), proxy, now)

    def opened(self, connection: _Connection) -> None:
        self._connections.add(connection)

    def closed(self, connection: _Connection) -> None:
        self._connections.discard(connection)

    def _protocol(self, key: str) -> Any:
        return lambda: _Connection(self, key)


class _Connection(asyncio.Protocol):
    """One accepted connection: every request is answered as it comes."""

    def __init__(self, server: KubeProxyServer, key: str) -> None:
        self._server = server
        self._key = key
        self._reader = RequestReader()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.closed(self)

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        reader.feed(data)
        while reader.requests and not self._transport.is_closing():
            self._answer(reader.requests.popleft())
        if reader.failure or reader.upgraded:
            if not self._transport.is_closing():
                self._transport.write(pages.page_bytes(pages.BAD_REQUEST, time.time(), close=True))
            self._transport.close()

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def end(self) -> None:
        self._transport.close()

    def _answer(self, request: Request) -> None:
        close = not request.keep_alive
        page = self._server.page(self._key, request.path)
        self._transport.write(pages.page_bytes(page, time.time(), request.method, close))
        if close:
            self._transport.close()
