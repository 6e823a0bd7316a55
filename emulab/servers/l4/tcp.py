"""TCP through the balancer: a session is a client's connection, and the one that is made for it (`pump`).

Rules:

* Until there is a connection to a target, nothing is read from the client: its kernel keeps what it sends. A reset by
  the client ends the attempt.
* A target near by has mostly answered when connect(2) returns; only the others are waited for.
* Whoever fails ends the other one by RST, an orderly end passes on by FIN: see `pump`.
* How long a session has been idle is the kernel's to know (TCP_INFO, tcp(7)): no clock is read for bytes.
"""

from __future__ import annotations

import asyncio
import os
import sys
from _socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_TCP,
    SO_ERROR,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_INFO,
    TCP_QUICKACK,
    socket,
)
from collections.abc import Iterator
from contextlib import suppress
from errno import EALREADY, EINPROGRESS, EMFILE, ENOSPC, EPIPE, ETIMEDOUT
from time import monotonic
from typing import Any, Final, NamedTuple

from emulab.servers.accesslog import OWN
from emulab.servers.base import Emit, socket_name
from emulab.servers.journal import Journal
from emulab.servers.l4.balance import BalancedTarget
from emulab.servers.l4.frontend import NOT_ALLOWED, Frontend
from emulab.servers.l4.pump import NOTHING, WRITABLE, Half, Pump, reset_on_close
from emulab.servers.l4.tcplog import EndedConnection, ended_line
from emulab.servers.wire.proxyheader import proxy_header

CONNECT_TIMEOUT = 1.0  # seconds for one target
_EINPROGRESS: Final = int(EINPROGRESS)
_LAST_DATA_RECEIVED = 52  # where tcpi_last_data_recv begins in struct tcp_info: four octets, in ms


class Around(NamedTuple):
    """What the sessions of a server share."""

    loop: asyncio.AbstractEventLoop
    pump: Pump
    emit: Emit
    journal: Journal
    sessions: set[Session]
    numbers: Iterator[int]


class Session:
    """One client's connection, and the one made for it."""

    __slots__ = (
        *("_around", "_attempt", "_begun", "_client", "_connected", "_drain", "_failures", "_how", "_let_in"),
        *("_peer", "_timer", "_told_in", "_told_out", "_upstream", "frontend", "number", "target"),
    )

    def __init__(self, frontend: Frontend, around: Around, sock: socket, peer: Any) -> None:
        self.number = next(around.numbers)  # joins the records of both sides
        self.frontend = frontend
        self.target: BalancedTarget | None = None  # the one that it is joined with
        self._around = around
        self._peer = peer
        self._client = Half(sock, at_once=True)  # as its listener
        self._upstream: Half | None = None
        self._attempt: _Attempt | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._drain: asyncio.TimerHandle | None = None
        self._let_in = False
        self._begun = monotonic()
        self._connected = 0.0  # when it was joined
        self._failures = 0
        self._told_in = self._told_out = 0  # octets that are in the target's counts already
        self._how = ""  # how it ended (HAProxy's termination state)

    def accepted(self) -> None:
        """The client is there: lets it in and begins to connect, or resets it."""
        frontend, around, address = self.frontend, self._around, self._peer[0]
        around.sessions.add(self)
        if frontend.guarded and not frontend.allows(address):
            # The kernel has answered its SYN already; no byte is read or sent.
            frontend.denied += 1
            self._refuse(NOT_ALLOWED, "PR", acl=frontend.spec.acl.ranges)
            return
        gate = frontend.gate
        if gate.limited and (reason := gate.refusal(address, self._begun)):
            frontend.denied += 1
            self._refuse(reason, "PR")
            return
        self._let_in = True
        gate.enter(address)
        frontend.total += 1
        if around.emit.wanted:
            around.emit({"event": "proxy-accept", **self._common()})
        self._attempt = _Attempt(frontend.order(address, self._begun))
        self._connect()

    def drain(self, seconds: float) -> None:
        """Its target is gone: it may go on for so long."""
        if self._drain is None:
            self._drain = self._around.loop.call_later(seconds, self.reset)

    def reset(self) -> None:
        """Resets both sides."""
        self._how = self._how or "KD"
        if self._upstream is not None:
            self._around.pump.reset(self._client)
        else:
            self._give_up()

    def settle(self) -> None:
        """Adds to the target's counts what has come since the last time."""
        target, upstream = self.target, self._upstream
        if target is None or upstream is None:
            return
        target.bytes_in += self._client.count - self._told_in
        target.bytes_out += upstream.count - self._told_out
        self._told_in, self._told_out = self._client.count, upstream.count

    def over(self, broken: Half | None) -> None:
        """Both sides are closed (`pump.JoinedPair`)."""
        upstream = self._upstream
        assert upstream is not None
        if broken is not None and not (self._client.eof or upstream.eof):
            self._how = self._how or ("CD" if broken is self._client else "SD")
        self._over()

    # --- connecting -----------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        """Connects to the first target that lets us, beginning with the next one."""
        attempt, emit = self._attempt, self._around.emit
        assert attempt is not None
        for target in attempt.left:
            if emit.wanted:
                aim = {"upstream": target.endpoint, "target": target.name}
                emit({"event": "proxy-try", **self._common(), **aim})
            code = attempt.begin(target)
            if code == EALREADY and not (code := self._await()):
                return
            if not code:
                self._join(Half(attempt.taken()), target, self._begun)
                return
            self._fault(code)
        self._stop_waiting()
        self._refuse(self.frontend.lament(attempt.failed), "SC")

    def _await(self) -> int:
        """Waits for a target, and for a client that leaves meanwhile. 0, or why neither can be waited for."""
        around, attempt = self._around, self._attempt
        assert attempt is not None and attempt.sock is not None
        self._stop_waiting()
        try:
            around.pump.watch(attempt.sock, WRITABLE, self._answered)
            around.pump.watch(self._client.sock, NOTHING, self._give_up)
        except OSError as error:  # fs.epoll.max_user_watches (epoll(7))
            return error.errno or ENOSPC
        self._timer = around.loop.call_later(CONNECT_TIMEOUT, self._next_target, ETIMEDOUT)
        return 0

    def _answered(self) -> None:
        """The target that is waited for has answered."""
        attempt = self._attempt
        assert attempt is not None and attempt.sock is not None and attempt.target is not None
        if code := attempt.sock.getsockopt(SOL_SOCKET, SO_ERROR):
            self._next_target(code)
            return
        self._around.pump.unwatch(attempt.sock)
        self._join(Half(attempt.taken()), attempt.target, monotonic())

    def _next_target(self, code: int) -> None:
        self._fault(code)
        self._connect()

    def _fault(self, code: int) -> None:
        """Tells that a target couldn't be reached, and says it for those who come after it."""
        attempt, emit = self._attempt, self._around.emit
        assert attempt is not None and attempt.target is not None
        target = attempt.target
        if attempt.sock is not None:
            self._around.pump.discard(attempt.taken())
        target.errors += 1
        self._failures += 1
        why = "timed out" if code == ETIMEDOUT else os.strerror(code)
        if emit.wanted:
            fault = {"upstream": target.endpoint, "target": target.name, "reason": why}
            emit({"event": "upstream-error", **self._common(), **fault})
        attempt.failed.append(f"{target.name} {why}")

    def _stop_waiting(self) -> None:
        self._cancel_timer()
        self._around.pump.unwatch(self._client.sock)

    def _give_up(self) -> None:
        """The client has gone, or has to, before it was joined with a target."""
        attempt, pump = self._attempt, self._around.pump
        self._stop_waiting()
        if attempt is not None and attempt.sock is not None:
            pump.discard(attempt.taken())
        self._how = self._how or "CC"
        reset_on_close(self._client.sock)
        pump.discard(self._client.sock)
        self._over()

    def _join(self, half: Half, target: BalancedTarget, now: float) -> None:
        attempt, around = self._attempt, self._around
        assert attempt is not None
        if self._timer is not None:
            self._stop_waiting()
        self._connected = now
        self._upstream, self.target, self._attempt = half, target, None
        if self.frontend.affine:
            self.frontend.chosen(target, self._peer[0], now)
        target.open += 1
        target.total += 1
        if around.emit.wanted:
            told = {
                "upstream_source": socket_name(half.sock.getsockname()),
                "upstream": target.endpoint,
                "target": target.name,
                "reason": self.frontend.explain(attempt.healthy, attempt.failed),
            }
            around.emit({"event": "proxy-connect", **self._common(), **told})
        if version := self.frontend.proxy_protocol:
            half.pending = header = proxy_header(version, self._peer, self._client.sock.getsockname())
            half.begun = True
            with suppress(OSError):  # the next attempt tells of it
                half.pending = header[os.write(half.fd, header) :]
        if self.frontend.idle_timeout:
            self._look()
        around.pump.join(self._client, half, self)

    # --- the end --------------------------------------------------------------------------------------------------

    def _refuse(self, reason: str, how: str, **more: Any) -> None:
        self.frontend.dropped += 1
        self._how = how
        if self._around.emit.wanted:
            self._around.emit({"event": "drop", **self._common(), "reason": reason, **more})
        reset_on_close(self._client.sock)
        self._around.pump.discard(self._client.sock)
        self._over()

    def _look(self) -> None:
        """Ends the session if it has been idle for too long, or looks again when that can be."""
        limit, upstream = self.frontend.idle_timeout, self._upstream
        if not limit or upstream is None:
            return
        left = limit - min(_silent(self._client.sock), _silent(upstream.sock))
        if left > 0:
            self._timer = self._around.loop.call_later(left, self._look)
            return
        self._how = "cD"
        self._around.pump.end(self._client)  # no RST, as HAProxy ends what is idle

    def _over(self) -> None:
        around, target, frontend, upstream = self._around, self.target, self.frontend, self._upstream
        if self._timer is not None:
            self._timer.cancel()
        if self._drain is not None:
            self._drain.cancel()
        if around.journal.takes(OWN):
            around.journal.write(OWN, ended_line(self._summary()))
        if target is not None and upstream is not None:
            self.settle()
            frontend.bytes_in += self._client.count
            frontend.bytes_out += upstream.count
            target.open -= 1
        if self._let_in:
            frontend.gate.leave(self._peer[0])
            self._let_in = False
        around.sessions.discard(self)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- what is told ---------------------------------------------------------------------------------------------

    def _common(self) -> dict[str, Any]:
        """What every record of this session says."""
        return {
            "protocol": "tcp",
            "connection": self.number,
            "client": socket_name(self._peer),
            "local": self.frontend.local,
        }

    def _summary(self) -> EndedConnection:
        return EndedConnection(
            *(socket_name(self._peer), self.frontend, self.target),
            connecting=self._connected - self._begun if self._connected else -1.0,
            seconds=monotonic() - self._begun,
            size=self._upstream.count if self._upstream else 0,
            how=self._how or "--",
            failures=self._failures,
        )


class _Attempt:
    """What is known while a session connects."""

    __slots__ = ("failed", "healthy", "left", "sock", "target")

    def __init__(self, ordered: list[BalancedTarget]) -> None:
        self.healthy = len(ordered)
        self.left: Iterator[BalancedTarget] = iter(ordered)
        self.failed: list[str] = []
        self.target: BalancedTarget | None = None  # the one that is being tried
        self.sock: socket | None = None

    def begin(self, target: BalancedTarget) -> int:
        """Begins to connect to a target: what `begin_connection` says, or why there is no socket for it."""
        self.target = target
        try:
            self.sock = socket(AF_INET6 if ":" in target.address else AF_INET, SOCK_STREAM | SOCK_NONBLOCK)
        except OSError as error:  # no descriptors
            return error.errno or EMFILE
        return begin_connection(self.sock, target.address, target.port)

    def taken(self) -> socket:
        """The socket, which is somebody else's from now on."""
        sock, self.sock = self.sock, None
        assert sock is not None
        return sock


def begin_connection(sock: socket, address: str, port: int) -> int:
    """0: it is there; EALREADY: it may come to be there; else the number of an error.

    The last segment of the handshake waits for what is sent first and goes out with it, as HAProxy has it by
    `tcp-smart-connect`: `Pump.join` sends it where there is nothing to be sent.
    """
    sock.setsockopt(IPPROTO_TCP, TCP_QUICKACK, 0)
    code = sock.connect_ex((address, port))
    if code != _EINPROGRESS:
        return code
    try:
        os.write(sock.fileno(), b"")  # says how far it has come
    except BlockingIOError:
        return EALREADY
    except OSError as error:
        return error.errno or EPIPE
    return 0


def _silent(sock: socket) -> float:
    """Seconds since anything came at a socket."""
    told = sock.getsockopt(IPPROTO_TCP, TCP_INFO, _LAST_DATA_RECEIVED + 4)
    return int.from_bytes(told[_LAST_DATA_RECEIVED:], sys.byteorder) / 1000
