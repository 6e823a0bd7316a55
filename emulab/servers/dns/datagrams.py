"""Queries that come as datagrams, answered on the socket that they came to.

The first datagram of a wake-up is read and answered by itself, as most come alone and who sent one waits; what is there
by then is read and answered together. Both are the same for the event loop and for a thread (`udpport`).
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from emulab.kernel.datagrams import DatagramBatch
from emulab.servers.dns.hot import Hot, HotAnswers
from emulab.servers.dns.reporter import Host
from emulab.servers.dns.responder import Responder

_DATAGRAMS = 64  # at once; then others have their turn
_LARGEST_QUERY = 4096
_NONE: dict[bytes, Hot] = {}

MakeAnswer = Callable[[bytes, Host], bytes | None]
"""What makes an answer that isn't finished. None: it comes later, or none is due."""


class DatagramAnswers:
    """Answers the queries of one UDP socket, which stays its owner's."""

    def __init__(self, sock: socket.socket, responder: Responder, note: Callable[[Hot], None]) -> None:
        """`note` is told of each finished answer that is given, unless it is `noted` already."""
        self._sock, self._receive = sock, sock.recvfrom
        self._responder, self._note = responder, note
        self._inet6 = sock.family == socket.AF_INET6
        self._batch = DatagramBatch(sock, _DATAGRAMS, _LARGEST_QUERY)
        self._octets = memoryview(self._batch.octets)
        self._hot: HotAnswers | None = None
        self._table: dict[bytes, Hot] | None = None  # of all clients; None where they see different things
        self.finished = 0  # answers given that were finished
        self.worked = 0  # queries for which there was none

    def answer_one(self, work: MakeAnswer) -> None:
        """Reads a query and answers it. Raises OSError when there is none, or the socket has an error."""
        packet, host = self._receive(_LARGEST_QUERY)
        responder = self._responder
        if host is None:
            return  # no datagram: the socket takes no more
        answers = self._present()
        if responder.plain:
            table = self._table
            if table is None:
                table = answers.datagrams(host[0], self._inet6)
            hot = table.get(packet[2:])
            if hot is not None and (found := hot.take(responder.clock())) is not None:
                if not hot.noted:
                    self._note(hot)
                self.finished += 1
                self.send(packet[:2] + found, host)
                return
        self.worked += 1
        if reply := work(packet, host):
            self.send(reply, host)

    def answer_others(self, work: MakeAnswer) -> int:
        """Answers what came meanwhile, up to a number, with as few system calls as can be: how many came."""
        batch, octets, responder = self._batch, self._octets, self._responder
        count = batch.receive()
        if not count:
            return 0
        lengths, now, answers = batch.lengths, responder.clock(), self._present()
        table = self._table if responder.plain else _NONE
        first = 0
        reply: bytes | None
        for number in range(count):
            at = number * _LARGEST_QUERY
            query = octets[at + 2 : at + lengths[number]].tobytes()
            if table is not None:
                hot = table.get(query)
            else:
                hot = answers.datagrams(batch.host(number)[0], self._inet6).get(query)
            if hot is not None and (found := hot.take(now)) is not None:
                if not hot.noted:
                    self._note(hot)
                self.finished += 1
                if len(found) + 2 <= _LARGEST_QUERY:
                    batch.write_rest(number, found)
                    continue
                reply = octets[at : at + 2].tobytes() + found
            else:
                self.worked += 1
                reply = work(octets[at : at + lengths[number]].tobytes(), batch.host(number))
                if reply and len(reply) <= _LARGEST_QUERY:
                    batch.write(number, reply)
                    continue
            batch.send(first, number)
            first = number + 1
            if reply:  # there is no place for it
                self.send(reply, batch.host(number))
        batch.send(first, count)
        return count

    def _present(self) -> HotAnswers:
        """The finished answers as they are now; those of all clients are `_table`."""
        answers = self._responder.hot
        if answers is not self._hot:
            self._hot = answers
            self._table = None if answers.restricted else answers.datagrams("", self._inet6)
        return answers

    def send(self, reply: bytes, host: Host) -> None:
        """Sends an answer, if there is room for it; who asked asks again otherwise."""
        try:
            self._sock.sendto(reply, socket.MSG_DONTWAIT, host)
        except OSError:
            return  # or the socket was closed meanwhile
