"""A node that speaks VRRP: as a server of the lab."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from emulab.kernel.flowcopies import FlowCopies
from emulab.kernel.linkaddresses import LinkAddresses
from emulab.servers.base import Config, Emit, Server
from emulab.servers.configuration import from_json
from emulab.servers.vrrp.config import VrrpConfig
from emulab.servers.vrrp.flows import FlowExchange
from emulab.servers.vrrp.machine import ACTIVE, EnterState, SendAdvertisement, VirtualRouter, VrrpEffect
from emulab.servers.vrrp.packet import Advertisement
from emulab.servers.vrrp.transport import VrrpTransport

_AGAIN = (0.0, 0.2, 1.0, 5.0)
"""Seconds after which neighbours are told of the addresses: a frame may be lost, and nobody answers it."""


def create(emit: Emit) -> Server:
    """A node without addresses until it is configured."""
    return VrrpNode(emit)


class VrrpNode:
    """One node of a virtual router."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._router: VirtualRouter | None = None
        self._link: LinkAddresses | None = None
        self._transport: VrrpTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._announcing: list[asyncio.TimerHandle] = []
        self._flows: FlowExchange | None = None
        self._since = 0.0
        self._counts = {"sent": 0, "received": 0, "transitions": 0}

    async def configure(self, config: Config, sockets: Mapping[str, socket.socket]) -> None:
        """See `base.Server`. A virtual router that is another one begins anew."""
        wanted = from_json(VrrpConfig, config)
        if self._router is not None and self._router.config == wanted:
            return
        self._end()
        loop = asyncio.get_running_loop()
        self._link = LinkAddresses(wanted.link)
        self._transport = VrrpTransport(wanted.link, self._link.index, wanted.own)
        for address in (*wanted.addresses, *wanted.along):
            self._link.remove(address)  # of one that ended without a word
        self._router = VirtualRouter(wanted)
        loop.add_reader(self._transport.sock, self._readable)
        loop.add_reader(self._link.news, self._link_changed)
        if wanted.peer:
            copies = FlowCopies((*wanted.addresses, *wanted.along))
            self._flows = FlowExchange(copies, wanted.own, wanted.peer)
        self._do(self._router.start(self._link.is_up(), loop.time()))

    def _readable(self) -> None:
        assert self._router is not None and self._transport is not None
        now, own = asyncio.get_running_loop().time(), self._router.config
        for said, source in self._transport.receive():
            if said.identifier == own.identifier and said.version == own.version and source != own.own:
                self._counts["received"] += 1
                self._do(self._router.heard(said, source, now))

    def _link_changed(self) -> None:
        assert self._router is not None and self._link is not None
        up = self._link.heard()
        if up is not None:
            self._do(self._router.link(up, asyncio.get_running_loop().time()))

    def _tick(self) -> None:
        assert self._router is not None
        self._do(self._router.tick(asyncio.get_running_loop().time()))

    def _do(self, effects: Iterable[VrrpEffect]) -> None:
        router, transport = self._router, self._transport
        assert router is not None and transport is not None
        for effect in effects:
            match effect:
                case SendAdvertisement(priority):
                    one = router.config
                    said = Advertisement(one.version, one.identifier, priority, one.interval, one.addresses)
                    transport.send(said)
                    self._counts["sent"] += 1
                case EnterState(state, why):
                    self._enter(state, why)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if router.due is not None:
            self._timer = asyncio.get_running_loop().call_at(router.due, self._tick)

    def _enter(self, state: str, why: str) -> None:
        """The addresses come or go before anybody hears of it."""
        router, link = self._router, self._link
        assert router is not None and link is not None
        self._quiet()
        own = (*router.config.addresses, *router.config.along)
        if state == ACTIVE:
            for address in own:
                link.put(address)
            loop = asyncio.get_running_loop()
            self._announce()
            self._announcing = [loop.call_later(pause, self._announce) for pause in _AGAIN[1:]]
        else:
            for address in own:
                link.remove(address)
        if self._flows is not None:
            self._flows.enter(state == ACTIVE)
        self._since = time.time()
        self._counts["transitions"] += 1
        print(f"{router.config.name}: {state}: {why}", flush=True)
        self._emit({"event": "vrrp", "router": router.config.name, "state": state, "why": why})

    def _announce(self) -> None:
        router, link, transport = self._router, self._link, self._transport
        assert router is not None and link is not None and transport is not None
        with suppress(OSError):
            mac = link.hardware()
            for address in (*router.config.addresses, *router.config.along):
                transport.announce(address, mac)

    def _quiet(self) -> None:
        for one in self._announcing:
            one.cancel()
        self._announcing = []

    def _end(self) -> None:
        if self._router is None or self._link is None or self._transport is None:
            return
        self._do(self._router.stop())
        self._quiet()
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._transport.sock)
        loop.remove_reader(self._link.news)
        self._transport.close()
        self._link.close()
        if self._flows is not None:
            self._flows.close()
            self._flows = None
        self._router = None

    async def close(self, grace: float = 0.0) -> None:
        """See `base.Server`. The addresses are given up, and the other node is told so."""
        self._end()

    def status(self) -> dict[str, Any]:
        """The state, and who has the addresses as far as this node knows."""
        router = self._router
        if router is None:
            return {}
        own = router.config
        told = {"state": router.state, "since": self._since, "active": router.active_at}
        numbers = {"priority": own.priority, "identifier": own.identifier, "version": own.version}
        flows = {"flows_told": self._flows.told, "flows_taken": self._flows.taken} if self._flows else {}
        return {**told, **numbers, **self._counts, **flows, "pid": os.getpid()}
