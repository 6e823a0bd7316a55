"""The running DNS server: the sockets that are open, and the responder behind them."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from emulab.servers.base import Config, Emit, Server, WontStart, parse_socket_key
from emulab.servers.configuration import BadConfiguration, from_json
from emulab.servers.dns.checks import RecordChecks
from emulab.servers.dns.config import NODE_CACHE_METRICS, DnsConfig, PodNames, ServiceNames, SliceNames
from emulab.servers.dns.directory import ClusterChanges
from emulab.servers.dns.metrics import setup_errors
from emulab.servers.dns.pages import PagesPort
from emulab.servers.dns.plugins.reloading import reload
from emulab.servers.dns.responder import Responder
from emulab.servers.dns.settings import DnsSettings
from emulab.servers.dns.tcpport import TcpPort
from emulab.servers.dns.udpport import UdpPort
from emulab.servers.patches import read_changes

LAMEDUCK = "[INFO] plugin/health: Going into lameduck mode for {:g}s"
_OWN_LOG = "/proc/self/fd/1"
"""What the process prints to, opened anew: that it never blocks holds of this descriptor alone."""


def create(emit: Emit) -> Server:
    """A DNS server without sockets and zones; `configure` gives it both."""
    return DnsServer(emit)


class DnsServer:
    """Implements `base.Server`; the configuration is described in `config`."""

    def __init__(self, emit: Emit) -> None:
        self._responder = Responder(emit)
        with suppress(OSError):  # without /proc there is no log
            self._responder.journal.open(os.open(_OWN_LOG, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC))
        self._settings = DnsSettings()
        self._ports: dict[str, UdpPort | TcpPort | PagesPort] = {}
        self._checks = RecordChecks(emit)
        self._emit = emit
        self._begun = False

    async def configure(self, config: Config, sockets: Mapping[str, socket.socket]) -> None:
        """Takes a whole configuration: new answers from the next query on, then sockets opened and closed.

        Raises BadConfiguration for a wrong configuration or a listed socket that isn't there; nothing has changed
        then, and `sockets` stay the caller's.
        """
        told = from_json(DnsConfig, config)
        if not told.begins:
            raise WontStart(f"/etc/coredns/Corefile - Error during parsing: {told.refused}")
        settings = self._settings.changed(told)
        missing = [key for key in settings.listen if key not in sockets and key not in self._ports]
        if missing:
            raise BadConfiguration(f"DNS: no socket for {', '.join(missing)}")
        reloaded = reload(self._settings if self._begun else None, settings)
        self._settings, self._begun = settings, True
        self._responder.configure(settings)
        if reloaded is not None:
            self._responder.note_reload(reloaded)
            if reloaded.refused or reloaded.unread:
                self._emit({"event": "corefile", "refused": reloaded.refused})
        self._checks.follow(settings.zones.zones)
        for key in [key for key in self._ports if key not in settings.listen or key in sockets]:
            self._ports.pop(key).close()
        for key, port in self._ports.items():
            if isinstance(port, TcpPort):
                port.idle = settings.tcp_idle
            elif isinstance(port, PagesPort):
                port.pages = self._pages(settings.pages.get(str(parse_socket_key(key)[2]), ""))
        for key, sock in sockets.items():
            if key not in settings.listen:
                sock.close()
            elif (what := settings.pages.get(str(parse_socket_key(key)[2]))) is not None:
                self._ports[key] = page = PagesPort(self._pages(what))
                await page.open(sock)
            elif parse_socket_key(key)[0] == "udp":
                self._ports[key] = UdpPort(sock, self._responder)
            else:
                self._ports[key] = listener = TcpPort(self._responder, settings.tcp_idle)
                await listener.open(sock)

    def _pages(self, what: str) -> Mapping[str, Callable[[], str]]:
        """The pages of CoreDNS' plug-ins prometheus, health and ready, by their paths."""
        if what == "metrics":
            return {"/metrics": self._responder.metrics}
        if what == NODE_CACHE_METRICS:
            return {"/metrics": lambda: self._responder.metrics() + setup_errors()}
        return {f"/{what}": lambda: "OK"}

    def patch(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """See `base.Patchable`: Services and endpoints of a cluster have other names from the next query on."""
        services, slices, verified = (
            changes.get(f"kubernetes.{one}", {}) for one in ("services", "slices", "verified")
        )
        told = ClusterChanges(
            read_changes(ServiceNames, services, "kubernetes.services"),
            read_changes(SliceNames, slices, "kubernetes.slices"),
        )
        self._settings = self._settings.patched(told, read_changes(PodNames, verified, "kubernetes.verified"))
        self._responder.configure(self._settings)

    def order(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """See `base.Orderly` and `orders`."""
        return self._responder.order(order)

    async def close(self, grace: float = 0.0) -> None:
        """Goes on answering as `lameduck` of health has it, gives queries under way what is left of `grace` seconds,
        and closes sockets and connections."""
        lameduck = min(self._settings.lameduck, grace)
        if lameduck > 0:
            self._responder.say(LAMEDUCK.format(self._settings.lameduck))
            await asyncio.sleep(lameduck)
            grace -= lameduck
        self._checks.stop()
        for port in self._ports.values():
            port.stop()
        await self._responder.close(grace)
        for port in self._ports.values():
            port.close()
        self._ports.clear()
        await asyncio.sleep(0)  # transports close in the loop's next round

    def status(self) -> dict[str, Any]:
        """Counters and sizes; see `Responder.status`."""
        connections = sum(len(port.streams) for port in self._ports.values() if isinstance(port, TcpPort))
        return self._responder.status() | {"listen": sorted(self._ports), "connections": connections}
