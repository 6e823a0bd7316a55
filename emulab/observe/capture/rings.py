"""Packet taps: AF_PACKET sockets whose frames arrive in memory that the kernel shares (TPACKET_V3).

One tap sees every interface of its namespace, those included that appear later. Rules, from net/packet/af_packet.c:

* Setting up a ring waits for RCU once, closing it three times, 7 to 15 ms each. The waits cost no CPU, so they are
  done in many threads at once.
* Ring and filter are there before the socket is bound: no frame slips in unfiltered, and binding waits for nothing.
* The ring is blocks that the kernel fills in turn. A full block is the reader's until it gives it back; when the
  reader owns all of them, frames are dropped and counted. The reader also reads the block that is being filled: the
  kernel counts a frame in it before it writes the frame, and writes the frame's address (sockaddr_ll) last, so a
  frame without an interface isn't finished. This holds because a block is zeroed before it is given back.
* A block that isn't full could be handed over by a timer. Nobody waits for it here, so it hardly ever ticks.
* Full blocks can be copied away unread, at the speed of memory, so that the kernel has room while others' traffic
  is heavy; reading a frame takes a thousand times as long as copying it.

A frame on the loopback interface is seen twice: outgoing, and coming in.
"""

from __future__ import annotations

import errno
import mmap
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from emulab.errors import KernelError
from emulab.kernel import netns, taps
from emulab.model.families import IPV4, IPV6
from emulab.observe.capture import filters

RING_BYTES = 1 << 20
_BLOCK = 1 << 16
_FRAME = 2048  # the kernel checks that frames fill the blocks; in version 3 they are as long as they are
_TIMEOUT = 60_000  # ms until a block that isn't full is handed over; 16 bits in older kernels

_SOL_PACKET = 263  # linux/socket.h, linux/if_packet.h
_PACKET_RX_RING, _PACKET_STATISTICS, _PACKET_VERSION = 5, 6, 10
_TPACKET_V3 = 2
_TP_STATUS_USER = 1
_NO_HEADER = {
    filters.PLAIN[family]: bytes(12) + family.ethertype.to_bytes(2, "big") for family in (IPV4, IPV6)
}
"""By how a packet begins that has no header of Ethernet, one from nobody to nobody."""
_PACKET_OTHERHOST, _PACKET_OUTGOING = 3, 4

_BLOCK_STATE = struct.Struct("=III")  # of tpacket_hdr_v1: status, number of frames, offset of the first
_BLOCK_STATE_AT = 8  # after tpacket_block_desc's version and offset_to_priv
# tpacket3_hdr: next, seconds, nanoseconds, captured, length, status, mac, net; sockaddr_ll: interface, packet type
_HEADER = struct.Struct("=IIIIIIHH20x4xi2xB")
_INTERFACE_AT = 52  # in a frame's header
_STATISTICS = struct.Struct("=III")  # tpacket_stats_v3: packets, drops, times frozen
_ZEROS = bytes(_BLOCK)
_KEPT_BLOCKS = 1024  # 64 MiB: what a ring's reader copies away at the most
_THREADS = 128
_ENOUGH = 0.001  # seconds in which the kernel finishes a frame that it has begun

RawFrame = tuple[int, int, bool, int, bytes]
"""Time (ns, CLOCK_REALTIME), interface index, whether it went out, length on the link, captured bytes."""


def open_taps(wanted: Sequence[tuple[int, bytes, int]]) -> list[socket.socket]:
    """Running taps, in order, for triples of a namespace's descriptor, a filter program and the ring's size.

    The size is one for `Ring` to be told. All or none; raises KernelError.
    """
    opened: list[socket.socket] = []
    try:
        netns.inside_each((fd, lambda: opened.append(_open())) for fd, _, _ in wanted)
        starts = (
            partial(_start, sock, program, size)
            for sock, (_, program, size) in zip(opened, wanted, strict=True)
        )
        _in_parallel(starts)
    except BaseException:
        close_sockets(opened)
        raise
    return opened


def close_sockets(opened: Iterable[socket.socket]) -> None:
    """Closes taps that no `Ring` was made of, all at once."""
    _in_parallel(sock.close for sock in opened)


def _open() -> socket.socket:
    try:
        # Protocol 0 receives nothing until it is bound.
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    except OSError as error:
        remedy = "raise the limit of open files (ulimit -n)" if error.errno == errno.EMFILE else ""
        raise KernelError("open a packet socket", errno=error.errno or 0, remedy=remedy) from None


def _start(sock: socket.socket, program: bytes, size: int) -> None:
    blocks = _blocks(size)
    request = struct.pack("=7I", _BLOCK, blocks, _FRAME, blocks * (_BLOCK // _FRAME), _TIMEOUT, 0, 0)
    version = struct.pack("=I", _TPACKET_V3)
    taps.set_option(sock, _SOL_PACKET, _PACKET_VERSION, version, "use TPACKET_V3")
    taps.set_option(
        sock, _SOL_PACKET, _PACKET_RX_RING, request, f"make a packet ring of {blocks * _BLOCK} bytes"
    )
    filters.attach_filter(sock, program)
    taps.bind_everywhere(sock)


def _blocks(size: int) -> int:
    return max(2, -(-size // _BLOCK))


def _in_parallel(work: Iterable[Callable[[], Any]]) -> None:
    """Runs everything to its end, then raises the first failure."""
    todo = list(work)
    if not todo:
        return
    with ThreadPoolExecutor(min(len(todo), _THREADS), thread_name_prefix="rings") as pool:
        running = [pool.submit(job) for job in todo]
    for job in running:
        job.result()


class Ring:
    """The frames of a tap, each given once and in the order of the kernel's. Not for several threads at once.

    Those for somebody else's MAC address are left out: whoever gets them doesn't look at them. But a bridge does at
    what comes in by its ports: `hosts` are the interfaces that aren't any, by index, where some are; None: all of them.

    `size` is the one that the tap was opened with; the socket is the ring's from here on.
    """

    def __init__(
        self, sock: socket.socket, size: int = RING_BYTES, hosts: Iterable[int] | None = None
    ) -> None:
        self._sock = sock
        self._hosts = None if hosts is None else frozenset(hosts)
        self._blocks = _blocks(size)
        try:
            self._memory = mmap.mmap(sock.fileno(), self._blocks * _BLOCK)
        except OSError as error:
            raise KernelError("map a packet ring", errno=error.errno or 0) from None
        self._block = 0  # the one that is read
        self._next = 0  # where its next frame begins, once it has one
        self._read = 0  # how many of its frames were given
        self._before = 0  # frames in blocks that were given back
        self._lost = 0
        self._kept: deque[bytes] = deque()  # full blocks that were copied away, not read yet

    def frames(self) -> Iterator[RawFrame]:
        """What came since the last call, until now."""
        while self._kept:
            block = self._kept.popleft()
            _, count, at = _BLOCK_STATE.unpack_from(block, _BLOCK_STATE_AT)
            for _ in range(count):
                step, frame = _frame(block, at, self._hosts)
                at += step
                if frame is not None:
                    yield frame
        memory = self._memory
        while True:
            base = self._block * _BLOCK
            # The status first: once it is the reader's, the number of frames is final.
            status, count, first = _BLOCK_STATE.unpack_from(memory, base + _BLOCK_STATE_AT)
            if self._read == 0:
                self._next = base + first
            while self._read < count:
                at = self._next
                # The last thing that is written is looked at first, in a reading of its own.
                if not status & _TP_STATUS_USER and not any(
                    memory[at + _INTERFACE_AT : at + _INTERFACE_AT + 4]
                ):
                    return
                step, frame = _frame(memory, at, self._hosts)
                self._next = at + step
                self._read += 1
                if frame is not None:
                    yield frame
            if not status & _TP_STATUS_USER:
                return
            self._give_back(base)

    def make_room(self) -> None:
        """Copies the full blocks away and gives them back, so that no frame is lost; `frames` tells them later.

        To be called every few milliseconds while there is traffic; not once `frames` has begun.
        """
        while self._read == 0 and len(self._kept) < _KEPT_BLOCKS:
            base = self._block * _BLOCK
            status, count, _ = _BLOCK_STATE.unpack_from(self._memory, base + _BLOCK_STATE_AT)
            if not status & _TP_STATUS_USER:
                return
            self._kept.append(self._memory[base : base + _BLOCK])
            self._read = count
            self._give_back(base)

    def _give_back(self, base: int) -> None:
        state = base + _BLOCK_STATE_AT
        self._memory[state + 4 : base + _BLOCK] = _ZEROS[: _BLOCK - _BLOCK_STATE_AT - 4]
        self._memory[state : state + 4] = _ZEROS[:4]  # last: with it the block is the kernel's
        self._block = (self._block + 1) % self._blocks
        self._before += self._read
        self._read = 0

    def count(self) -> int:
        """How many frames there were so far, those not yet read included; cheap, to see whether it is quiet."""
        total = self._before
        for i in range(self._blocks):
            base = (self._block + i) % self._blocks * _BLOCK
            status, count, _ = _BLOCK_STATE.unpack_from(self._memory, base + _BLOCK_STATE_AT)
            total += count
            if not status & _TP_STATUS_USER:
                break
        return total

    def unread(self) -> int:
        """How many frames there are that `frames` hasn't given yet, blocks that were copied away apart."""
        return self.count() - self._before - self._read

    def lost(self) -> int:
        """How many frames found no room so far."""
        answer = self._sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size)
        self._lost += _STATISTICS.unpack(answer)[1]  # the kernel starts again from 0 whenever it is asked
        return self._lost

    def stop(self) -> None:
        """No frame is kept from now on; one that the kernel was just writing may need a moment. See `stop_all`."""
        filters.attach_filter(self._sock, filters.nothing())

    def close(self) -> None:
        """Waits for RCU, see `close_all`. The map has a descriptor of its own."""
        self._memory.close()
        self._sock.close()


def _frame(memory: mmap.mmap | bytes, at: int, hosts: frozenset[int] | None) -> tuple[int, RawFrame | None]:
    """How far it is to the next frame, and the frame; None for one that was somebody else's."""
    step, seconds, nanoseconds, captured, length, _, mac, _, index, kind = _HEADER.unpack_from(memory, at)
    if kind == _PACKET_OTHERHOST and (
        hosts is None or index in hosts
    ):  # a bridge that knew no better sent it everywhere
        return step, None
    data = memory[at + mac : at + mac + captured]
    if data and (header := _NO_HEADER.get(data[0])) is not None:  # of a link without headers of its own
        data, length = header + data, length + len(header)
    return step, (seconds * 1_000_000_000 + nanoseconds, index, kind == _PACKET_OUTGOING, length, data)


def stop_all(rings: Iterable[Ring]) -> None:
    """Stops rings and returns when what they hold is whole, so that `frames` then gives all there will ever be."""
    for ring in rings:
        ring.stop()
    time.sleep(_ENOUGH)


def close_all(rings: Iterable[Ring]) -> None:
    """Closes rings, all at once."""
    _in_parallel(ring.close for ring in rings)
