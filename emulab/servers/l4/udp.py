"""UDP through the balancer: a socket of its own to a target for each client address.

A datagram is passed on whole or lost, never queued. A flow ends by idleness, for UDP has no other end, or when its
target is configured away: a client that never stops would lose all its datagrams for ever. An ICMP refusal
from the target shows as an error of its socket and concerns a datagram already lost.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from emulab.servers.base import Emit, socket_name
from emulab.servers.l4.balance import BalancedTarget
from emulab.servers.l4.frontend import NOT_ALLOWED, Frontend

IDLE_TIMEOUT = 30.0  # seconds, as conntrack's for UDP without replies
FLOW_LIMIT = 8192  # flows of one frontend; beyond it the one idle for longest ends

_BURST = 64  # datagrams before other sockets get their turn
_buffer = bytearray(65536)  # one for all: a datagram is read and sent before anyone else runs


class _Flow:
    __slots__ = ("last", "sock", "target")

    def __init__(self, sock: socket.socket, target: BalancedTarget, now: float) -> None:
        self.sock = sock
        self.target = target
        self.last = now


class UdpProxy:
    """The datagrams of one frontend's socket."""

    def __init__(self, frontend: Frontend, sock: socket.socket, emit: Emit, numbers: Iterator[int]) -> None:
        self._numbers = numbers  # join the records of both sides
        self._frontend = frontend
        self._sock = sock
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self._flows: OrderedDict[Any, _Flow] = OrderedDict()  # by client, the longest idle first
        self._timer: asyncio.TimerHandle | None = None
        sock.setblocking(False)
        self._loop.add_reader(sock, self._from_clients)

    def __len__(self) -> int:
        return len(self._flows)

    def close(self) -> None:
        """Closes the socket and ends all flows."""
        self._loop.remove_reader(self._sock)
        self._sock.close()
        for client in list(self._flows):
            self._end(client)
        if self._timer is not None:
            self._timer.cancel()

    def follow(self) -> None:
        """Ends the flows to targets that are configured no more; the next datagram of each begins a new one."""
        targets = set(self._frontend.targets)
        for client in [client for client, flow in self._flows.items() if flow.target not in targets]:
            self._end(client)

    def _from_clients(self) -> None:
        for _ in range(_BURST):
            try:
                size, client = self._sock.recvfrom_into(_buffer)
            except OSError:
                return
            flow = self._flows.get(client) or self._begin(client)
            if flow is None:
                continue
            flow.last = self._loop.time()
            self._flows.move_to_end(client)
            self._to_target(client, flow, memoryview(_buffer)[:size])

    def _to_target(self, client: Any, flow: _Flow, data: memoryview) -> None:
        """Sends one datagram, or loses it."""
        for _ in range(2):
            try:
                size = flow.sock.send(data)
                flow.target.bytes_in += size
                self._frontend.bytes_in += size
            except BlockingIOError:
                return
            except OSError:
                self._watch(client, flow)  # an earlier datagram's refusal; this one hasn't been sent
            else:
                return

    def _from_target(self, client: Any, flow: _Flow) -> None:
        for _ in range(_BURST):
            try:
                size = flow.sock.recv_into(_buffer)
            except BlockingIOError:
                return
            except OSError:
                self._watch(client, flow)
                continue  # a refusal; what follows it in the queue is of use
            flow.last = self._loop.time()
            if client in self._flows:
                self._flows.move_to_end(client)
            try:
                self._sock.sendto(memoryview(_buffer)[:size], client)
            except OSError:
                continue
            flow.target.bytes_out += size
            self._frontend.bytes_out += size

    def _begin(self, client: Any) -> _Flow | None:
        frontend = self._frontend
        common = {
            "protocol": "udp",
            "connection": f"udp-{next(self._numbers)}",
            "client": socket_name(client),
            "local": frontend.local,
        }
        if not frontend.allows(client[0]):
            frontend.denied += 1
            self._drop(common, NOT_ALLOWED, acl=frontend.spec.acl.ranges)
            return None
        gate = frontend.gate
        if gate.limited and (reason := gate.refusal(client[0], self._loop.time())):
            frontend.denied += 1
            self._drop(common, reason)
            return None
        failed: list[str] = []
        healthy = frontend.order(client[0], self._loop.time())
        for target in healthy:
            sock = _connected(target, failed)
            if sock is not None:
                break
        else:
            self._drop(common, frontend.lament(failed))
            return None
        while len(self._flows) >= FLOW_LIMIT:
            self._end(next(iter(self._flows)))
        flow = self._flows[client] = _Flow(sock, target, self._loop.time())
        gate.enter(client[0])
        frontend.total += 1
        target.open += 1
        target.total += 1
        frontend.chosen(target, client[0], flow.last)
        self._watch(client, flow)
        if self._timer is None:
            self._timer = self._loop.call_later(self._idle, self._expire)
        if self._emit.wanted:
            self._emit({"event": "proxy-accept", **common})
            source = sock.getsockname()
            self._emit(
                {
                    "event": "proxy-connect",
                    **common,
                    "upstream_source": socket_name(source),
                    "upstream": target.endpoint,
                    "target": target.name,
                    "reason": frontend.explain(len(healthy), failed),
                }
            )
        return flow

    def _watch(self, client: Any, flow: _Flow) -> None:
        """Watches a flow's socket, anew after an error: libuv stops polling a socket that reports one."""
        self._loop.remove_reader(flow.sock)
        self._loop.add_reader(flow.sock, self._from_target, client, flow)

    @property
    def _idle(self) -> float:
        return self._frontend.spec.idle_timeout or IDLE_TIMEOUT

    def _drop(self, common: dict[str, str], reason: str, **more: Any) -> None:
        self._frontend.dropped += 1
        if self._emit.wanted:
            self._emit({"event": "drop", **common, "reason": reason, **more})

    def _expire(self) -> None:
        now, idle = self._loop.time(), self._idle
        self._timer = None
        while self._flows:
            client, flow = next(iter(self._flows.items()))
            if flow.last + idle > now:
                self._timer = self._loop.call_later(flow.last + idle - now, self._expire)
                return
            self._end(client)

    def _end(self, client: Any) -> None:
        flow = self._flows.pop(client)
        self._loop.remove_reader(flow.sock)
        flow.sock.close()
        flow.target.open -= 1
        self._frontend.gate.leave(client[0])


def _connected(target: BalancedTarget, failed: list[str]) -> socket.socket | None:
    """A socket to a target, or None, and why in `failed`, where there is no route to it, or no descriptor for it."""
    family = socket.AF_INET6 if ":" in target.address else socket.AF_INET
    sock: socket.socket | None = None
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        sock.connect((target.address, target.port))
    except OSError as error:
        if sock is not None:
            sock.close()
        target.errors += 1
        failed.append(f"{target.name} {os.strerror(error.errno or 0)}")
        return None
    return sock
