"""One try of one request, with a socket of the place it comes from; whatever comes of it is an outcome.

Outcomes are words that compare equal where the same happened: `HTTP 200`, `TCP reset`, `ICMP port unreachable`, …
Both a reset and an ICMP message make connect() fail with ECONNREFUSED; the socket's error queue tells them apart
(ip(7), IP_RECVERR).
"""

from __future__ import annotations

import errno
import os
import secrets
import socket
import ssl
import struct
import time
from typing import NamedTuple

from emulab.errors import PeerError
from emulab.observe.join.packets import told_as_icmp
from emulab.observe.target import RequestTarget
from emulab.servers.wire.http1 import client as http

LATE = 0.9
"""Seconds: a datagram's refusal that takes longer is late."""

BELATED = ", late"
"""Behind the word for a late refusal. One of TCP is none of the first SYN, which is sent again after a second.

Whether an ICMP message about a SYN is heard at once is chance: one that comes while connect() still has the socket is
only noted (tcp_v4_err, sk_err_soft), and so heard with the next one.
"""

NO_NAME, NO_DNS, SILENCE = "NXDOMAIN", "no DNS answer", "no answer"
RESET, CLOSED, BROKEN = "TCP reset", "closed after connecting", "reset after connecting"
FORBIDDEN = "not permitted"
STALLED = "no answer after connecting"

DNS_PROBE = "kube-dns.kube-system.svc.cluster.local."
_LISTEN = 0.05  # seconds for which a bare TCP connection is kept, to see what becomes of it
_BODY = 1 << 20  # bytes of an answer that are read
_PIECE = 1 << 16
_DNS_HEADER = 12  # bytes, RFC 1035 4.1.1
_TOTAL_RETRANS = 100  # where struct tcp_info has tcpi_total_retrans, linux/tcp.h
_UNREACHABLE = {0: "network", 1: "host", 2: "protocol", 3: "port"}  # RFC 792
_TIME_EXCEEDED, _DESTINATION_UNREACHABLE = 11, 3
# How the error queue of a family's sockets is asked for, and what it calls ICMP (IP_RECVERR, linux/in.h; IPV6_RECVERR,
# linux/in6.h; SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6, linux/errqueue.h).
_RECVERR = {socket.AF_INET: (socket.IPPROTO_IP, 11, 2), socket.AF_INET6: (socket.IPPROTO_IPV6, 25, 3)}


class TryResult(NamedTuple):
    """What came of one try."""

    outcome: str
    answered: bool
    seconds: float
    body: bytes = b""
    local: str = ""  # the sender's own address
    late: bool = False  # of a refusal

    @property
    def category(self) -> str:
        """The outcome and, of a refusal, whether it came at once."""
        return f"{self.outcome}{BELATED}" if self.late else self.outcome


def try_once(sock: socket.socket, address: str, target: RequestTarget, timeout: float) -> TryResult:
    """Sends the request to `address` and waits for what comes of it. The socket is closed after."""
    begun = time.monotonic()
    connected = answered = late = False
    local, body, seconds = "", b"", None
    with sock:
        try:
            sock.setsockopt(*_RECVERR[sock.family][:2], 1)
            sock.settimeout(timeout)
            sock.connect((address, target.port))
            local = sock.getsockname()[0]
            if target.protocol != "udp":
                connected = True
                # Of bare TCP that's all there is to time: we only listen for a moment then.
                seconds = time.monotonic() - begun if target.protocol == "tcp" else None
            outcome, body = _SPEAK.get(target.protocol, _http)(sock, target)
            answered = outcome != CLOSED
        except TimeoutError:
            outcome = STALLED if connected else SILENCE
        except OSError as error:
            seconds = time.monotonic() - begun
            outcome = _failure(sock, error, connected)
            if target.protocol == "udp":
                late = seconds > LATE
            elif outcome == RESET:
                late = _sent_again(sock)
        except PeerError as error:
            outcome = CLOSED if isinstance(error, http.Unanswered | http.CutShort) else "no HTTP answer"
    if seconds is None:
        seconds = time.monotonic() - begun
    return TryResult(outcome, answered, seconds, body, local, late)


def _sent_again(sock: socket.socket) -> bool:
    """Whether a connection was refused only after a second SYN. The clock couldn't say: a busy machine is late, too."""
    size = _TOTAL_RETRANS + 4
    (again,) = struct.unpack_from(
        "=I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size), _TOTAL_RETRANS
    )
    return bool(again)


def _failure(sock: socket.socket, error: OSError, connected: bool) -> str:
    if isinstance(error, ssl.SSLError):
        return "TLS failure"
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return BROKEN
    if error.errno == errno.EPERM:  # a rule of the sender's own output hook
        return FORBIDDEN
    found = _icmp(sock)
    if found:
        return found
    if error.errno == errno.ECONNREFUSED:
        return RESET if not connected else BROKEN
    return os.strerror(error.errno) if error.errno else str(error)


def _icmp(sock: socket.socket) -> str:
    """The ICMP message that the error queue holds, in words; "" without one."""
    try:
        sock.setblocking(False)  # else Python waits for what isn't there, whatever MSG_DONTWAIT says
        _, ancillary, _, _ = sock.recvmsg(512, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
    except OSError:
        return ""
    *option, from_icmp = _RECVERR[sock.family]
    for level, kind, data in ancillary:
        if [level, kind] == option:
            _, origin, *told = struct.unpack_from("=IBBB", data)
            if origin != from_icmp:
                continue
            icmp_type, code = told if sock.family == socket.AF_INET else told_as_icmp(*told)
            if icmp_type == _TIME_EXCEEDED:
                return "ICMP time exceeded"
            if icmp_type == _DESTINATION_UNREACHABLE:
                return f"ICMP {_UNREACHABLE[code]} unreachable" if code in _UNREACHABLE else "ICMP prohibited"
            return f"ICMP type {icmp_type}"
    return ""


def _datagram(sock: socket.socket, target: RequestTarget) -> tuple[str, bytes]:
    """A datagram that nobody else sends and its echo; to port 53 a question and its answer's code."""
    if target.port == 53:
        import dnslib

        sock.send(dnslib.DNSRecord.question(DNS_PROBE).pack())
        answer = sock.recv(1 << 16)
        if len(answer) < _DNS_HEADER:
            return "datagram", b""
        code = answer[3] & 15
        return f"DNS {dnslib.RCODE.get(code)}", b""
    sent = f"emulab compare {secrets.token_hex(8)}\n".encode()
    sock.send(sent)
    return "echo" if sock.recv(1 << 16) == sent else "datagram", b""


def _connection(sock: socket.socket, target: RequestTarget) -> tuple[str, bytes]:
    """Sends nothing, and waits a moment: a server that refuses what its kernel has accepted already does it now."""
    sock.settimeout(_LISTEN)
    try:
        return ("connected" if sock.recv(1 << 16) else CLOSED), b""
    except TimeoutError:
        return "connected", b""


def _http(sock: socket.socket, target: RequestTarget) -> tuple[str, bytes]:
    if target.protocol == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # labs sign their certificates themselves
        sock = context.wrap_socket(sock, server_hostname=target.host)
    fields = [("Host", target.authority), ("User-Agent", "emulab-compare"), ("Connection", "close")]
    with sock:
        sock.sendall(http.request_bytes("GET", target.path, fields))
        response, body = http.ResponseReader(), bytearray()
        while not response.complete and len(body) < _BODY:
            body += response.feed(sock.recv(_PIECE))
        return f"HTTP {response.status}", bytes(body[:_BODY])


_SPEAK = {"udp": _datagram, "tcp": _connection}
