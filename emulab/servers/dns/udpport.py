"""The listening UDP sockets, each read by the event loop, or by a thread of its own while it is asked a lot.

A thread that waits in recvfrom(2) needs half of the time that the loop takes from a datagram to its answer: nobody else
is asked what else there is to do. It gives finished answers alone; the loop gets everything else, as a callback. So a
socket is its thread's from `_OFTEN` finished answers in a `_WHILE` on, as long as most are finished and any are due,
and the loop keeps up with the others: what there is no time for waits in the kernel, which bounds it.
Finished answers are what loop and threads share (`hot`).
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from contextlib import suppress

from emulab.servers.dns.datagrams import DatagramAnswers
from emulab.servers.dns.hot import Hot
from emulab.servers.dns.reporter import Host
from emulab.servers.dns.responder import Responder

_ROOM = 4 << 20  # octets of queries that wait; with what the kernel needs beside them these are some 10,000
_RCVBUFFORCE = 33  # asm-generic/socket.h
_OFTEN, _WHILE = 64, 0.1  # finished answers; seconds
_WEIGHT = 4  # finished answers that make up for one that takes work
_MOST_HANDED_OVER = 128  # queries that the loop hasn't come to yet
_PATIENCE, _LOOK = 5.0, 0.1  # seconds; the second: so long a thread doesn't notice that it is to end
_ALONE, _CROWD = 16, 250e-6
"""Datagrams that are read one by one; seconds in which so many must have come for several to be read at once."""


class UdpPort:
    """One bound UDP socket; owns it."""

    def __init__(
        self, sock: socket.socket, responder: Responder, within: float = _WHILE, patience: float = _PATIENCE
    ) -> None:
        """A thread begins at `_OFTEN` finished answers `within` so many seconds; it ends when it has waited for a
        datagram for `patience` seconds."""
        self._sock = sock
        self._within, self._looks = within, max(round(patience / _LOOK), 1)
        self._responder = responder
        self._answers = DatagramAnswers(sock, responder, self._note)
        # when counting began, and with what
        self._since, self._finished, self._worked = time.monotonic(), 0, 0
        self._handed_over = self._taken = (
            0  # queries; the first is the thread's to count, the second the loop's
        )
        self._loop = asyncio.get_running_loop()
        self._threaded = self._stopped = self._closed = False
        sock.setblocking(False)
        _have_room(sock)
        self._loop.add_reader(sock, self._readable)

    @property
    def threaded(self) -> bool:
        """Whether a thread reads the socket."""
        return self._threaded

    def _readable(self) -> None:
        """Answers what is there."""
        answers = self._answers
        try:
            answers.answer_one(self._work)
        except OSError:
            return  # mostly: nothing there
        answers.answer_others(self._work)
        if answers.finished - self._finished >= _OFTEN:
            self._look()

    def _look(self) -> None:
        """Begins a thread if the last answers were finished, and took little time; counts anew."""
        answers = self._answers
        often = time.monotonic() - self._since <= self._within
        ready = answers.finished - self._finished > _WEIGHT * (answers.worked - self._worked)
        self._count_anew()
        if often and ready and self._responder.plain:
            self._begin()

    def _count_anew(self) -> None:
        answers = self._answers
        self._since, self._finished, self._worked = time.monotonic(), answers.finished, answers.worked

    def _note(self, hot: Hot) -> None:
        if self._responder.note(hot):
            self._loop.call_soon_threadsafe(self._responder.add_up)

    def _work(self, packet: bytes, host: Host) -> bytes | None:
        """The answer to a query for which there is nothing finished, if it is due and there at once."""
        return self._responder.answer(packet, host, False, lambda late: self._answers.send(late, host))

    # --- the thread ---------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", int(_LOOK), int(_LOOK % 1 * 1e6))
        )
        self._sock.setblocking(True)
        self._loop.remove_reader(self._sock)
        self._threaded = True
        try:
            threading.Thread(target=self._run, daemon=True).start()
        except RuntimeError:  # the machine has no more threads
            self._take_back()

    def _run(self) -> None:
        """Answers queries until the socket is the loop's again."""
        error: BaseException | None = None
        try:
            self._answer()
        except BaseException as caught:  # the loop's, to whom it would be fatal, too
            error = caught
        with suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(self._take_back, error)

    def _answer(self) -> None:
        answers, hand_over = self._answers, self._hand_over
        finished, worked, credit = answers.finished, answers.worked, _OFTEN
        looks, alone, now, crowd = 0, 0, 0.0, False
        while not self._stopped and self._responder.plain and credit >= 0 and not self._behind():
            try:
                answers.answer_one(hand_over)
            except OSError:  # mostly: nothing came in time
                looks += 1
                if looks >= self._looks:
                    return
                continue
            looks, alone = 0, alone + 1
            if crowd:
                crowd = answers.answer_others(hand_over) > 1
                alone = 0
            elif alone >= _ALONE:
                alone, before, now = 0, now, time.monotonic()
                crowd = now - before < _CROWD
            if answers.worked != worked:
                credit = min(credit + answers.finished - finished, _OFTEN) - _WEIGHT * (
                    answers.worked - worked
                )
                finished, worked = answers.finished, answers.worked

    def _behind(self) -> bool:
        """Whether the loop is behind with what it is left."""
        return self._handed_over - self._taken >= _MOST_HANDED_OVER

    def _hand_over(self, packet: bytes, host: Host) -> None:
        """Leaves a query to the loop."""
        self._handed_over += 1
        with suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(self._take, packet, host)

    def _take(self, packet: bytes, host: Host) -> None:
        self._taken += 1
        if reply := self._work(packet, host):
            self._answers.send(reply, host)

    def _take_back(self, error: BaseException | None = None) -> None:
        """The loop reads the socket again, if anybody does."""
        self._threaded = False
        if self._closed:
            self._sock.close()
        elif not self._stopped:
            self._count_anew()
            self._sock.setblocking(False)
            self._loop.add_reader(self._sock, self._readable)
        if error is not None:
            raise error

    # --- its end ------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Takes no more queries, but for one that a thread waits for; those under way can still be answered."""
        if not (self._stopped or self._threaded):
            self._loop.remove_reader(self._sock)
        self._stopped = True

    def close(self) -> None:
        """Closes the socket, once its thread has let go of it, which is at once."""
        self.stop()
        self._closed = True
        if not self._threaded:
            self._sock.close()
            return
        with suppress(
            OSError
        ):  # it isn't connected; who waits for a datagram is woken all the same (inet_shutdown)
            self._sock.shutdown(socket.SHUT_RD)


def _have_room(sock: socket.socket) -> None:
    """Makes room for many queries at once, beyond what the system bounds it to where we may (socket(7))."""
    for option in (_RCVBUFFORCE, socket.SO_RCVBUF):
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, _ROOM)
        except PermissionError:
            continue
        return
