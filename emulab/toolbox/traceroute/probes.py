"""One packet of ours and its answer: a class for each protocol, each with a socket of the place it is sent from."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from emulab.errors import UserError
from emulab.lab.client.client import LabClient
from emulab.model.addresses import parse_address
from emulab.model.families import Family, family_of
from emulab.toolbox.traceroute import packets
from emulab.toolbox.traceroute.packets import IcmpMessage, ProbeKey

_HOP_LIMITS = {
    socket.AF_INET: (socket.IPPROTO_IP, socket.IP_TTL),
    socket.AF_INET6: (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS),
}
_RESET = struct.pack("=ii", 1, 0)  # struct linger: a connection that is closed is over at once
_FAILED = {
    errno.ENETUNREACH: "no route",
    errno.EHOSTUNREACH: "no route to host",
    errno.EPERM: "a rule forbids it",
    errno.EACCES: "a rule forbids it",
}


class Sender:
    """Where packets are sent from."""

    def __init__(self, client: LabClient, target: str, namespace: str, address: str) -> None:
        self._client = client
        self._asked: dict[str, Any] = {"target": target, "namespace": namespace}
        self.address = address
        self.family: Family = family_of(parse_address(address))

    def open(self, kind: int, protocol: int = 0) -> socket.socket:
        """A socket of the place, for the target's family. Raises UserError."""
        asked = {**self._asked, "family": int(self.family.number), "type": kind, "protocol": protocol}
        return self._client.request_socket(**asked)

    def icmp(self) -> socket.socket:
        """A socket that hears all ICMP that comes to the place."""
        return self.open(int(socket.SOCK_RAW), self.family.icmp_number)


class SentProbe:
    """A packet on its way. `key` is what answers tell it by, `answer` the address that did, `mark` why it went no
    further; `reached`: whether it was the target."""

    protocol = ""

    def __init__(self, sender: Sender, hops: int) -> None:
        self.sender = sender
        self.hops = hops
        self.answer, self.mark, self.reached = "", "", False
        self.seconds = 0.0
        self.sock = self._socket()
        self.sock.setsockopt(*_HOP_LIMITS[socket.AddressFamily(sender.family.number)], hops)
        self.port = 0  # that of the target
        self.key: ProbeKey = ("", 0, 0)
        self.spent = False  # whether its own socket has nothing more to tell
        self._sent = 0.0

    @property
    def done(self) -> bool:
        return bool(self.answer)

    def _socket(self) -> socket.socket:
        raise NotImplementedError

    def send(self, port: int, number: int) -> None:
        """Sends it. Raises UserError where the place can't send it at all."""
        self.port, self._sent = port, time.perf_counter()
        try:
            self._send(port, number)
        except OSError as error:
            why = _FAILED.get(error.errno or 0) or os.strerror(error.errno or 0)
            raise UserError(f"{self.sender.address}: can't be sent to: {why}") from None

    def _send(self, port: int, number: int) -> None:
        raise NotImplementedError

    def look(self) -> None:
        """Looks for an answer of the target itself on the packet's own socket."""

    def hear(self, message: IcmpMessage, teller: str) -> None:
        """A message of ICMP with the packet's key."""
        if message.kind[0] == packets.EXCEEDED:
            self._answered(teller, False)
        elif message.kind[0] == packets.ECHO_REPLY or teller == self.sender.address:
            self._answered(teller, message.mark == "", message.mark)
        else:  # refused by a rule on the way, maybe as if it were the target
            self._answered(teller, False, message.mark or packets.REFUSED)

    def _answered(self, teller: str, reached: bool, mark: str = "") -> None:
        if not self.done:
            self.seconds = time.perf_counter() - self._sent
            self.answer, self.reached, self.mark = teller, reached, mark

    def close(self) -> None:
        self.sock.close()


class UdpProbe(SentProbe):
    """A datagram, to a port where nobody waits as a rule."""

    protocol = "udp"

    def _socket(self) -> socket.socket:
        return self.sender.open(int(socket.SOCK_DGRAM))

    def _send(self, port: int, number: int) -> None:
        self.sock.bind(("", 0))
        self.key = ("udp", self.sock.getsockname()[1], 0)
        self.sock.sendto(b"emulab traceroute", (self.sender.address, port))

    def look(self) -> None:
        with suppress(OSError):
            self.sock.recv(1)
            self._answered(self.sender.address, True)


class TcpProbe(SentProbe):
    """A SYN. A target that takes the connection is reset at once."""

    protocol = "tcp"

    def _socket(self) -> socket.socket:
        return self.sender.open(int(socket.SOCK_STREAM))

    def _send(self, port: int, number: int) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.sock.bind(("", 0))
        self.key = ("tcp", self.sock.getsockname()[1], 0)
        code = self.sock.connect_ex((self.sender.address, port))
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))

    def look(self) -> None:
        poll = select.poll()
        poll.register(self.sock, select.POLLOUT)
        if not poll.poll(0):
            return
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self.spent = True
        if code in (0, errno.ECONNREFUSED):
            self._answered(self.sender.address, True)


class IcmpProbe(SentProbe):
    """An echo request."""

    protocol = "icmp"

    def _socket(self) -> socket.socket:
        return self.sender.icmp()

    def _send(self, port: int, number: int) -> None:
        identifier = os.getpid() & 0xFFFF
        self.key = ("icmp", identifier, number)
        request = packets.echo_request(self.sender.family, identifier, number)
        self.sock.sendto(request, (self.sender.address, 0))


PROBES: dict[str, type[SentProbe]] = {kind.protocol: kind for kind in (UdpProbe, TcpProbe, IcmpProbe)}


def await_answers(icmp: socket.socket, family: Family, probes: Sequence[SentProbe], seconds: float) -> None:
    """Waits until all are answered, or so long."""
    end = time.monotonic() + seconds
    poll = select.poll()
    poll.register(icmp, select.POLLIN)
    waiting = {probe.key: probe for probe in probes if not probe.done}
    for probe in waiting.values():
        if not probe.spent and not isinstance(probe, IcmpProbe):
            poll.register(probe.sock, select.POLLIN | (select.POLLOUT if isinstance(probe, TcpProbe) else 0))
    while waiting and (left := end - time.monotonic()) > 0:
        poll.poll(left * 1000)
        _hear(icmp, family, waiting)
        for key, probe in list(waiting.items()):
            if not probe.done and not probe.spent:
                probe.look()
            if probe.done or probe.spent:
                with suppress(KeyError):
                    poll.unregister(probe.sock)
            if probe.done:
                del waiting[key]


def _hear(icmp: socket.socket, family: Family, waiting: dict[ProbeKey, SentProbe]) -> None:
    while True:
        try:
            data, sender = icmp.recvfrom(2048)
        except BlockingIOError:
            return
        message = packets.parsed(family, data)
        probe = waiting.get(message.key) if message else None
        if message is not None and probe is not None:
            probe.hear(message, _address(sender))


def _address(sender: tuple[Any, ...]) -> str:
    return str(sender[0]).partition("%")[0]
