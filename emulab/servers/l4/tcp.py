"""TCP through the balancer: two halves of a session and the bytes between them.

Rules:

* Until both halves are there, what the first sends is kept, and it isn't read any further. uvloop starts
  reading after `connection_made` whatever was paused in it, so the bytes of one read are kept here.
* A half isn't read while the other's write buffer is above its limit: memory is bounded by that limit
  and one read (256 KiB), each way.
* FIN is passed on and ends one direction only; after both, both halves are closed. RST (any error) is
  passed on as RST, by SO_LINGER 0 (socket(7)).
* After a FIN neither loop watches the socket, so a reset that follows would go unseen while nothing is
  written; it is looked for every second.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from typing import TYPE_CHECKING, Any, cast

from emulab.servers.accesslog import OWN
from emulab.servers.base import Emit, socket_name
from emulab.servers.health.checks import RESET_ON_CLOSE
from emulab.servers.journal import Journal
from emulab.servers.l4.balance import BalancedTarget
from emulab.servers.l4.frontend import NOT_ALLOWED, Frontend
from emulab.servers.l4.tcplog import EndedConnection, ended_line
from emulab.servers.wire.proxyheader import proxy_header

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECT_TIMEOUT = 1.0  # seconds for one target
HALF_OPEN_CHECK = 1.0  # seconds between looks for a reset after a FIN
_TCP_CLOSE = 7  # include/net/tcp_states.h

_numbers = itertools.count(1)


class Half(asyncio.Protocol):
    """One side of a session: the client's or the upstream's."""

    __slots__ = ("_early", "_session", "eof", "lost", "peer", "transport")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._early: list[bytes] = []  # read before there was a peer
        self.transport: asyncio.Transport
        self.peer: Half | None = None
        self.eof = False
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self is self._session.client:
            self._session.accepted()

    def data_received(self, data: bytes) -> None:
        peer = self.peer
        if peer is None:
            self._early.append(data)
            self.transport.pause_reading()
        elif not peer.lost:
            peer.transport.write(data)
            self._session.count(self, len(data))

    def eof_received(self) -> bool:
        self.eof = True
        if self.peer is not None:
            self._session.finish(self.peer)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._session.ended(self)

    def pause_writing(self) -> None:
        if self.peer is not None and not self.peer.lost:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer is not None and not self.peer.lost and not self.peer.eof:
            self.peer.transport.resume_reading()

    def join(self, peer: Half) -> None:
        """From now on what is read goes to `peer`, beginning with what was read before."""
        self.peer = peer
        early, self._early = self._early, []
        if not self.eof:
            self.transport.resume_reading()  # before the write, which may pause it again
        for data in early:
            peer.transport.write(data)
            self._session.count(self, len(data))

    def reset(self) -> None:
        """Sends RST and forgets what was not sent yet."""
        if self.lost:
            return
        try:
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        except OSError:
            pass  # it is gone already
        self.transport.abort()

    def is_dead(self) -> bool:
        """Whether the kernel has ended the connection by itself, that is by a reset or a timeout."""
        if self.lost:
            return False
        sock = self.transport.get_extra_info("socket")
        return bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE)


class Session:
    """One client's connection, and the one made for it."""

    def __init__(
        self, frontend: Frontend, emit: Emit, forget: Callable[[Session], None], journal: Journal
    ) -> None:
        self.number = next(_numbers)  # joins the records of both sides
        self.client = Half(self)
        self._upstream: Half | None = None
        self._target: BalancedTarget | None = None
        self._frontend = frontend
        self._emit = emit
        self._forget = forget
        self._loop = asyncio.get_running_loop()
        self._connecting: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._idle = frontend.spec.idle_timeout
        self._last = 0.0
        self._who = ""
        self._journal = journal
        self._source = ""  # the client's address, once it is let in
        self._begun = self._loop.time()
        self._connected = 0.0  # when it was joined
        self._failures = 0
        self._bytes_in = self._bytes_out = 0
        self._how = ""  # how it ended, where that was of our own making (HAProxy's termination state)
        self._drain: asyncio.TimerHandle | None = None

    @property
    def frontend(self) -> Frontend:
        return self._frontend

    @property
    def target(self) -> BalancedTarget | None:
        """The one that it is joined with."""
        return self._target

    def drain(self, seconds: float) -> None:
        """Its target is gone: it may go on for so long."""
        if self._drain is None:
            self._drain = self._loop.call_later(seconds, self._drained)

    def _drained(self) -> None:
        self._how = "KD"
        self.reset()

    def accepted(self) -> None:
        """The client is there: lets it in and begins to connect, or resets it."""
        peer = self.client.transport.get_extra_info("peername") or ("", 0)
        self._who = socket_name(peer)
        if not peer[0] or not self._frontend.allows(peer[0]):
            # The kernel has answered its SYN already; no byte is read or sent.
            self._frontend.denied += 1
            self._drop(NOT_ALLOWED, "PR", acl=self._frontend.spec.acl.ranges)
            return
        gate = self._frontend.gate
        if gate.limits.any and (reason := gate.refusal(peer[0], self._loop.time())):
            self._frontend.denied += 1
            self._drop(reason, "PR")
            return
        self._source = peer[0]
        gate.enter(peer[0])
        self._frontend.total += 1
        if self._emit.wanted:
            self._emit({"event": "proxy-accept", **self._common()})
        self._connecting = self._loop.create_task(self._connect(peer[0]))

    def count(self, half: Half, size: int) -> None:
        """Takes note of bytes that came from `half`."""
        target = self._target
        if half is self.client:
            self._bytes_in += size
            if target is not None:
                target.bytes_in += size
        else:
            self._bytes_out += size
            if target is not None:
                target.bytes_out += size
        if self._idle:
            self._last = self._loop.time()

    def finish(self, half: Half) -> None:
        """Nothing more is to be sent to `half`; closes both if that is true both ways."""
        if half.peer is None or half.transport.is_closing():
            return
        try:
            half.transport.write_eof()
        except OSError:  # asyncio's shutdown() of a socket that was reset meanwhile
            self.reset()
            return
        if half.eof:
            half.transport.close()
            half.peer.transport.close()
        else:
            self._schedule()

    def ended(self, half: Half) -> None:
        """`half`'s connection is over."""
        other = half.peer
        if other is not None and not other.lost:
            if half.eof and other.eof:
                return  # an orderly end; the other one is still writing its last bytes
            other.reset()
            return
        if self._connecting is not None and half is self.client:
            self._connecting.cancel()
        if half is self.client or other is not None:
            self._over()

    def reset(self) -> None:
        """Resets both sides."""
        if self._connecting is not None:
            self._connecting.cancel()
        for half in (self.client, self._upstream):
            if half is not None:
                half.reset()

    async def _connect(self, client: str) -> None:
        """Connects to the first target that lets us, and joins the halves."""
        failed: list[str] = []
        healthy = self._frontend.order(client, self._loop.time())
        for target in healthy:
            if self._emit.wanted:
                aim = {"upstream": target.endpoint, "target": target.name}
                self._emit({"event": "proxy-try", **self._common(), **aim})
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    half = await self._reach(target)
            except OSError as error:  # TimeoutError is one
                failed.append(self._fault(target, error))
                continue
            self._connecting = None
            self._frontend.chosen(target, client, self._loop.time())
            self._join(half, target, len(healthy), failed)
            return
        self._connecting = None
        self._drop(self._frontend.lament(failed), "SC")

    def _fault(self, target: BalancedTarget, error: OSError) -> str:
        """Tells that a target couldn't be reached, and says it for those who come after it."""
        target.errors += 1
        self._failures += 1
        why = "timed out" if isinstance(error, TimeoutError) else str(error)
        if error.errno:
            why = os.strerror(error.errno)
        if self._emit.wanted:
            fault = {"upstream": target.endpoint, "target": target.name, "reason": why}
            self._emit({"event": "upstream-error", **self._common(), **fault})
        return f"{target.name} {why}"

    async def _reach(self, target: BalancedTarget) -> Half:
        half = Half(self)
        await self._loop.create_connection(lambda: half, target.address, target.port)
        return half

    def _join(self, half: Half, target: BalancedTarget, healthy: int, failed: list[str]) -> None:
        if half.lost or self.client.lost:
            half.reset()
            self.client.reset()
            return
        self._upstream, self._target = half, target
        target.open += 1
        target.total += 1
        if self._emit.wanted:
            source = half.transport.get_extra_info("sockname")
            self._emit(
                {
                    "event": "proxy-connect",
                    **self._common(),
                    "upstream_source": socket_name(source) if source else "",
                    "upstream": target.endpoint,
                    "target": target.name,
                    "reason": self._frontend.explain(healthy, failed),
                }
            )
        self._last = self._connected = self._loop.time()
        if version := self._frontend.spec.proxy_protocol:
            ends = (self.client.transport.get_extra_info(name) for name in ("peername", "sockname"))
            half.transport.write(proxy_header(version, *ends))
        # Both know their peer before a byte moves: writing can pause the other half at once.
        self.client.peer, half.peer = half, self.client
        self.client.join(half)
        half.join(self.client)
        for side in (self.client, half):
            if side.eof and side.peer is not None:
                self.finish(side.peer)
        if self._idle:
            self._schedule()

    def _drop(self, reason: str, how: str, **more: Any) -> None:
        self._frontend.dropped += 1
        self._how = how
        if self._emit.wanted:
            self._emit({"event": "drop", **self._common(), "reason": reason, **more})
        self.client.reset()

    def _common(self) -> dict[str, Any]:
        """What every record of this session says."""
        return {
            "protocol": "tcp",
            "connection": self.number,
            "client": self._who,
            "local": self._frontend.local,
        }

    def _schedule(self) -> None:
        """Sets the timer to what has to be looked at next."""
        if self._timer is not None:
            self._timer.cancel()
        waits = [self._last + self._idle - self._loop.time()] if self._idle else []
        if self.client.eof or (self._upstream is not None and self._upstream.eof):
            waits.append(HALF_OPEN_CHECK)
        self._timer = self._loop.call_later(max(0.0, min(waits)), self._look) if waits else None

    def _look(self) -> None:
        self._timer = None
        halves = [half for half in (self.client, self._upstream) if half is not None]
        if any(half.eof and half.is_dead() for half in halves):
            self.reset()
        elif self._idle and self._loop.time() >= self._last + self._idle:
            self._how = "cD"
            for half in halves:
                # No RST, as HAProxy ends what is idle: `eof` tells `ended` that this is in order. What
                # the peer hasn't read for so long is not waited for.
                half.eof = True
                half.transport.abort()
        else:
            self._schedule()

    def _over(self) -> None:
        for timer in (self._timer, self._drain):
            if timer is not None:
                timer.cancel()
        target, frontend = self._target, self._frontend
        if self._journal.takes(OWN):
            self._journal.write(OWN, ended_line(self._summary()))
        frontend.bytes_in += self._bytes_in
        frontend.bytes_out += self._bytes_out
        if target is not None:
            target.open -= 1
            self._target = None
        if self._source:
            frontend.gate.leave(self._source)
            self._source = ""
        self._forget(self)

    def _summary(self) -> EndedConnection:
        now = self._loop.time()
        return EndedConnection(
            *(self._who, self._frontend, self._target),
            connecting=self._connected - self._begun if self._connected else -1.0,
            seconds=now - self._begun,
            size=self._bytes_out,
            how=self._how or self._side(),
            failures=self._failures,
        )

    def _side(self) -> str:
        """Who ended it before its time: the client or the server, while connecting or with data; nobody."""
        upstream = self._upstream
        if self.client.eof and (upstream is None or upstream.eof):
            return "--"
        if upstream is None:
            return "CC"
        return "--" if self.client.eof or upstream.eof else "CD"
