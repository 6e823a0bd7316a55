"""Bytes between two sockets: an epoll(7) set of our own, in which one function has its turns in the event loop.

A transport of an event loop costs a call into a protocol for each read, and objects for each connection. Here two
system calls are all there is for bytes that nobody looks at. Measured beside HAProxy 2.6 on kernel 6.18, all with one
CPU, as HAProxy's CPU time over ours (more is better), by programs that did nothing else:

    way                                             small requests   new connections   1 MB answers
    transports and protocols of uvloop              0.96             0.51              1.9 … 2.3
    readv(2) and write(2), 256 KiB                  0.98 … 1.04      1.04              1.8 … 2.2
    readv(2) and write(2), 16 KiB                   1.05             1.05              0.83
    splice(2) by a pipe                             1.01             1.00              3.7
    sockmap (BPF, sk_skb verdict, sockhash)         1.6 (rate)       0.58 (rate)       1.75 (rate)

So bytes go by readv(2), and by splice(2) where they come in bulk. A sockmap costs each connection four system calls
more, by which new connections are slower than HAProxy's; it takes CAP_BPF in the first user namespace, which a lab of
an ordinary user hasn't; and what is in its queue at a connection's end is easily lost.

Rules:

* A half isn't read while the other one has bytes that its peer doesn't take: memory is bounded by one read, each way.
* FIN ends one direction only and is passed on once all before it has been written; after both, both are closed.
* RST (any error) is passed on as RST, by SO_LINGER 0 (socket(7)). epoll tells of it even where nothing is asked for,
  so it is seen after a FIN, too.
* The last segment of a target's handshake goes out with what the client says first (`tcp.begin_connection`). What has
  come from it by the next look at all sockets is that; else the segment goes out by itself, as the target may be who
  speaks first. TCP_NODELAY is set when something follows.
* A socket that has ended is closed at the end of the turn: its number could otherwise be another's in the same turn.
"""

from __future__ import annotations

import asyncio
import os
import select
import sys
import traceback
from _socket import IPPROTO_TCP, MSG_MORE, SO_LINGER, SOL_SOCKET, TCP_NODELAY, TCP_QUICKACK, socket
from collections.abc import Callable
from contextlib import suppress
from errno import EINVAL
from fcntl import F_SETPIPE_SZ, fcntl
from typing import Final, Protocol

from emulab.servers.health.checks import RESET_ON_CLOSE

READ: Final = 256 << 10  # octets of one read
_BULK: Final = 16 << 10  # of that many there may be more to come
_MORE: Final = 0x1  # EPOLLIN (sys/epoll.h), as numbers that the compiler knows
_LAST: Final = 0x2000  # EPOLLRDHUP: FIN has come
READABLE: Final = 0x2001  # both
WRITABLE: Final = 0x4  # EPOLLOUT
NOTHING: Final = 0
_ERROR: Final = 0x8  # EPOLLERR
_HANGUP: Final = 0x10  # EPOLLHUP
_BATCH: Final = 64  # events at a time
_BATCHES: Final = 16  # times in a turn of the event loop
_FEW: Final = 4  # events after which there are likely none yet
_UNWATCHED: Final = -1  # not even for its end
_SHUT_WR: Final = 1

_buffer: Final = memoryview(bytearray(READ))  # one for all: what is read is written before anyone else runs
_buffers: Final = [_buffer]


class JoinedPair(Protocol):
    """What two halves are halves of."""

    def over(self, broken: Half | None) -> None:
        """Both are closed; `broken` is the one that failed."""


class Half:
    """One socket of a pair."""

    __slots__ = ("at_once", "begun", "bulk", "count", "eof", "fd", "mask", "pair", "peer", "pending", "sock")
    __deletable__ = ("pair", "peer")  # for mypyc

    def __init__(self, sock: socket, at_once: bool = False) -> None:
        self.sock = sock
        self.at_once = at_once  # it has TCP_NODELAY, which the first that is sent doesn't need
        self.begun = at_once  # something was sent to it
        self.fd = sock.fileno()
        self.pair: JoinedPair  # these two while it is joined: cycles would wait for the collector
        self.peer: Half
        self.pending = b""  # what it hasn't taken yet
        self.count = 0  # octets that were read from it
        self.bulk = False  # the last read was a large one
        self.eof = False  # nothing more will be read from it
        self.mask = _UNWATCHED


class Pump:
    """The sockets of a server that are watched so, in the running event loop."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._halves: dict[int, Half] = {}
        self._others: dict[int, Callable[[], None]] = {}  # what is called, by descriptor
        self._ended: list[socket] = []
        self._silent: list[Half] = []  # targets whose handshakes what is sent first is to end
        self._turning = False
        self._pipe = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)  # empty between two events
        with suppress(OSError):  # an ordinary user may have too many
            fcntl(self._pipe[0], F_SETPIPE_SZ, READ)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._epoll.fileno(), self._turn)

    def close(self) -> None:
        """Watches nothing any more."""
        self._loop.remove_reader(self._epoll.fileno())
        self._close_ended()
        self._epoll.close()
        for end in self._pipe:
            os.close(end)

    def watch(self, sock: socket, mask: int, call: Callable[[], None]) -> None:
        """Calls when `mask` or an error is true of a socket that has no half yet. Raises OSError (epoll(7))."""
        self._epoll.register(sock.fileno(), mask)
        self._others[sock.fileno()] = call

    def unwatch(self, sock: socket) -> None:
        """Calls no more; a socket that isn't watched is no error."""
        if self._others.pop(sock.fileno(), None) is not None:
            self._epoll.unregister(sock.fileno())

    def discard(self, sock: socket) -> None:
        """Closes a socket that has no half."""
        self.unwatch(sock)
        self._close(sock)

    def join(self, one: Half, other: Half, pair: JoinedPair) -> None:
        """From now on what is read from either goes to the other."""
        one.peer, other.peer = other, one
        one.pair = other.pair = pair
        self._halves[one.fd], self._halves[other.fd] = one, other
        try:
            if other.pending:
                self._watch(other)
                self._watch(one)
            else:
                one.mask = other.mask = READABLE
                self._epoll.register(other.fd, READABLE)
                self._epoll.register(one.fd, READABLE)
        except OSError:  # fs.epoll.max_user_watches (epoll(7))
            traceback.print_exc(file=sys.stderr)
            self.reset(one)
            return
        if not self._silent and not self._turning:
            self._loop.call_soon(self._turn_unless_closed)
        self._silent.append(other)

    def reset(self, half: Half, broken: Half | None = None) -> None:
        """Resets a pair; what wasn't taken is forgotten. One that has ended stays as it is."""
        if self._halves.get(half.fd) is half:
            for one in (half, half.peer):
                reset_on_close(one.sock)
            self.end(half, broken)

    def end(self, half: Half, broken: Half | None = None) -> None:
        """Closes a pair; what wasn't taken is forgotten. One that has ended stays as it is."""
        if self._halves.get(half.fd) is not half:
            return
        pair, peer = half.pair, half.peer
        del self._halves[half.fd], half.peer, half.pair
        del self._halves[peer.fd], peer.peer, peer.pair
        self._close(half.sock, peer.sock)
        try:
            pair.over(broken)
        except Exception:  # what is wrong with one pair ends that one
            traceback.print_exc(file=sys.stderr)

    def _close(self, *socks: socket) -> None:
        if not self._ended and not self._turning:
            self._loop.call_soon(self._close_ended)
        self._ended += socks

    def _close_ended(self) -> None:
        """Which ends their being watched, too. Until then nobody else has their descriptors."""
        ended, self._ended = self._ended, []
        for sock in ended:
            try:
                sock.close()
            except OSError:  # close() tells of an error that came before
                continue

    def _acknowledge(self, count: int) -> None:
        """Ends the handshakes of the first `count` to whom nothing has been sent yet: they may be who speaks first."""
        for half in self._silent[:count]:
            if not half.begun and half.sock.fileno() >= 0:
                with suppress(OSError):  # an error shows by the next event
                    half.sock.setsockopt(IPPROTO_TCP, TCP_QUICKACK, 1)
        del self._silent[:count]

    def _turn_unless_closed(self) -> None:
        if not self._epoll.closed:
            self._turn()

    def _turn(self) -> None:
        """Passes on what there is."""
        self._turning = True
        try:
            for _ in range(_BATCHES):
                joined = len(self._silent)
                if events := self._epoll.poll(0, _BATCH):
                    self._pass_on(events)
                if joined:  # who connects to ask has mostly asked by now
                    self._acknowledge(joined)
                if self._ended:
                    self._close_ended()
                if len(events) < _FEW and not self._silent:
                    return
        finally:
            self._turning = False
            if self._silent:  # the last batch's, or all where something went wrong
                self._acknowledge(len(self._silent))

    def _pass_on(self, events: list[tuple[int, int]]) -> None:
        """What the speed of a balancer depends on."""
        halves, readv, write = self._halves, os.readv, os.write
        for fd, event in events:
            half = halves.get(fd)
            if half is None or event != _MORE:
                self._attend(fd, half, event)
                continue
            if half.bulk:
                self._splice(half)
                continue
            try:
                size = readv(fd, _buffers)
            except BlockingIOError:
                continue
            except OSError:
                self.reset(half, half)
                continue
            if not size:
                self._finish(half)
                continue
            half.count += size
            if not half.peer.at_once:
                self._hasten(half.peer)
            try:
                sent = write(half.peer.fd, _buffer[:size])
            except BlockingIOError:
                sent = 0
            except OSError:
                self.reset(half, half.peer)
                continue
            if sent < size:
                self._hold(half.peer, bytes(_buffer[sent:size]))
            if size >= _BULK:
                half.bulk = True

    def _splice(self, half: Half) -> None:
        """Passes on what there is, pages and all. What the other half doesn't take is kept like anything else."""
        source, sink = self._pipe
        try:
            size = os.splice(half.fd, sink, READ)
        except BlockingIOError:
            return
        except OSError as error:
            half.bulk = False
            if error.errno != EINVAL:  # which a kernel says whose sockets can't do so
                self.reset(half, half)
            return
        if not size:
            self._finish(half)
            return
        half.count += size
        half.bulk = size >= _BULK
        if not half.peer.at_once:
            self._hasten(half.peer)
        left = size
        try:
            while left:
                left -= os.splice(source, half.peer.fd, left)
        except BlockingIOError:
            self._hold(half.peer, _all_of(source, left))
        except OSError:
            _all_of(source, left)
            self.reset(half, half.peer)

    def _attend(self, fd: int, half: Half | None, event: int) -> None:
        """Sees to whatever isn't just more bytes."""
        if half is None:
            if (call := self._others.get(fd)) is not None:
                call()
            return
        if event & WRITABLE:
            self._flush(half)
            if self._halves.get(fd) is not half:
                return
        if event & _ERROR:
            self._drain(half)  # what was sent before a reset still arrives
            self.reset(half, half)
        elif half.mask & _MORE:
            self._drain(half, MSG_MORE if event & _LAST else 0)  # the last bytes and FIN are one segment
        elif event & _HANGUP and half.mask != _UNWATCHED:
            # Both ways have ended, but it has to wait with what was read from it: it would be told of for ever.
            self._epoll.unregister(fd)
            half.mask = _UNWATCHED

    def _drain(self, half: Half, flags: int = 0) -> None:
        """Passes on all that there is, and then the end."""
        while self._halves.get(half.fd) is half and not half.eof and not half.peer.pending:
            try:
                size = os.readv(half.fd, _buffers)
            except BlockingIOError:
                return
            except OSError:
                self.reset(half, half)
                return
            if not size:
                self._finish(half)
                return
            half.count += size
            self._send(half.peer, size, flags)

    def _send(self, half: Half, size: int, flags: int) -> None:
        """Sends so much of the buffer to a half."""
        if not half.at_once:
            self._hasten(half)
        try:
            sent = half.sock.send(_buffer[:size], flags)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.reset(half, half)
            return
        if sent < size:
            self._hold(half, bytes(_buffer[sent:size]))

    def _hasten(self, half: Half) -> None:
        """Something is sent to a half: what follows the first of it shan't wait until that has arrived."""
        if half.begun:
            half.at_once = True
            with suppress(OSError):  # it was reset, which the next call tells
                half.sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        half.begun = True

    def _hold(self, half: Half, rest: bytes) -> None:
        """A half doesn't take any more now: keeps the rest, and reads no more for it."""
        half.pending = rest
        self._watch(half)
        self._watch(half.peer)

    def _flush(self, half: Half) -> None:
        """A half takes some more."""
        if not half.at_once:
            self._hasten(half)
        try:
            half.pending = half.pending[os.write(half.fd, half.pending) :]
        except BlockingIOError:
            return
        except OSError:
            self.reset(half, half)
            return
        if not half.pending:
            self._watch(half)
            self._watch(half.peer)

    def _finish(self, half: Half) -> None:
        """Nothing more comes from a half. All that came has been taken, or it wouldn't have been read."""
        half.eof = True
        if half.peer.eof:
            self.end(half)
            return
        try:
            half.peer.sock.shutdown(_SHUT_WR)
        except OSError:  # it was reset meanwhile
            self.reset(half, half.peer)
            return
        self._watch(half)

    def _watch(self, half: Half) -> None:
        """Watches a half for what is wanted of it now."""
        mask = NOTHING if half.eof or half.peer.pending else READABLE
        if half.pending:
            mask |= WRITABLE
        if half.mask == _UNWATCHED:
            self._epoll.register(half.fd, mask)
        elif mask != half.mask:
            self._epoll.modify(half.fd, mask)
        half.mask = mask


def _all_of(pipe: int, size: int) -> bytes:
    """The octets that are in a pipe."""
    found = b""
    while len(found) < size:
        found += os.read(pipe, size - len(found))
    return found


def reset_on_close(sock: socket) -> None:
    """Has close() send RST."""
    with suppress(OSError):  # it is gone already
        sock.setsockopt(SOL_SOCKET, SO_LINGER, RESET_ON_CLOSE)
