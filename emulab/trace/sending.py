"""The one request that a trace is about: sent from a place with its own sockets, as curl or nc would.

Blocking, in a thread of its own; whatever goes wrong is a result and not an exception.
"""

from __future__ import annotations

import errno
import os
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from emulab.dataclass import dataclass, field
from emulab.errors import EmulabError, PeerError
from emulab.observe.events import Sending, TriedConnection
from emulab.observe.target import RequestTarget
from emulab.servers.eyeballs import lanes
from emulab.servers.stubquestions import socket_family
from emulab.servers.wire.http1 import client as http
from emulab.trace.certificates import certificate_problem, describe_certificate
from emulab.trace.connecting import race

_LISTEN = 0.05  # seconds for which a bare TCP connection is kept, to see what becomes of it
_PIECE = 1 << 16
_HEAD_MAX = 1 << 16
_PATIENCE = 0.2
"""Seconds between looks whether anybody still waits; shutdown(2) doesn't wake who waits for UDP."""


@dataclass(slots=True)
class RequestToSend:
    """What is to be sent. `resolve` gives the host's addresses in the order in which to try them, and raises
    EmulabError when there is none."""

    text: str  # the target as the user wrote it
    target: RequestTarget
    place: str
    addresses: Sequence[str]  # the place's, where the kernel tells none
    sockets: Mapping[int, socket.socket]  # of the place, by family; each is bound to a port
    resolve: Callable[[str], Sequence[str]]
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 5.0
    verify: bool = True
    http2: bool = False
    abandoned: bool = False  # nobody waits for the answer any more

    def socket_to(self, address: str) -> socket.socket | None:
        """The place's socket of an address's family; None where it has none."""
        return self.sockets.get(socket_family(address))

    def own(self, address: str) -> str:
        """The place's own address of another one's family."""
        family = socket_family(address)
        return next((a for a in self.addresses if socket_family(a) == family), "")

    def abandon(self) -> None:
        """Lets `send_request` end soon. For another thread."""
        self.abandoned = True
        for sock in self.sockets.values() if self.target.protocol != "udp" else ():
            with suppress(OSError):  # it has ended already
                sock.shutdown(socket.SHUT_RDWR)


@dataclass(slots=True)
class _Outcome:
    status: int | None = None
    size: int = 0
    error: str = ""
    errno: int = 0
    reason: str = ""
    tls: dict[str, Any] = field(default_factory=dict)


def send_request(request: RequestToSend, name_ports: list[int]) -> Sending:
    """Sends the request and waits for its answer. `name_ports` are those that `resolve` has used by then."""
    begun = time.time_ns()
    outcome = _Outcome()
    addresses: Sequence[str] = ()
    address = ""
    local: tuple[str, int] | None = None
    attempts: Sequence[TriedConnection] = ()
    try:
        addresses = request.resolve(request.target.host)
    except EmulabError as error:
        outcome.error, outcome.reason = "name", str(error).partition(": ")[2] or str(error)
        if isinstance(error, PeerError):
            outcome.errno = errno.ETIMEDOUT
    if addresses:
        address, local, attempts = _sent(request, addresses, outcome)
    for sock in request.sockets.values():
        sock.close()
    return Sending(
        place=request.place,
        protocol=request.target.protocol,
        target=request.text,
        method=request.method if request.target.protocol.startswith("http") else "",
        path=request.target.path,
        host=request.target.host,
        address=address,
        port=request.target.port,
        local=local,
        name_ports=tuple(name_ports),
        begun=begun,
        ended=time.time_ns(),
        status=outcome.status,
        error=outcome.error,
        errno=outcome.errno,
        reason=outcome.reason,
        tls=outcome.tls,
        size=outcome.size,
        attempts=attempts,
    )


def _sent(
    request: RequestToSend, addresses: Sequence[str], outcome: _Outcome
) -> tuple[str, tuple[str, int] | None, Sequence[TriedConnection]]:
    """Sends to one of the host's addresses, from the place's socket of its family: which one, what it came from, if it
    could, and what else was tried."""
    first, other = lanes(addresses)
    address = first[0]
    if other and request.target.protocol != "udp":
        pair = [(a, sock, request.own(a)) for a in (address, other[0]) if (sock := request.socket_to(a))]
        if len(pair) == 2:
            raced = race(pair, request.target.port, request.timeout, lambda: request.abandoned)
            sock = request.sockets[socket_family(raced.address)]
            local = _exchange(request, sock, raced.address, outcome, raced.code)
            return raced.address, local or raced.local, raced.others
    return address, _sent_to(request, address, outcome), ()


def _sent_to(request: RequestToSend, address: str, outcome: _Outcome) -> tuple[str, int] | None:
    """Sends to an address; what it came from, if it could."""
    sock = request.socket_to(address)
    if sock is None:
        outcome.error, outcome.errno = "connect", errno.ENETUNREACH
        outcome.reason = os.strerror(errno.ENETUNREACH)
        return None
    port = sock.getsockname()[1]
    return _exchange(request, sock, address, outcome) or (request.own(address), port)


def _exchange(
    request: RequestToSend, sock: socket.socket, address: str, outcome: _Outcome, tried: int | None = None
) -> tuple[str, int] | None:
    """Connects, where that wasn't `tried` already with this errno, and speaks; the socket's own address, once it has
    one."""
    local: tuple[str, int] | None = None
    doing = "connect"
    try:
        sock.settimeout(request.timeout)
        if tried is None:
            sock.connect((address, request.target.port))
        elif tried == errno.ETIMEDOUT:
            raise TimeoutError
        elif tried:
            raise OSError(tried, os.strerror(tried))
        local = sock.getsockname()[:2]
        doing = "protocol"
        if request.target.protocol == "udp":
            _datagram(request, sock, outcome)
        elif request.target.protocol == "tcp":
            _connection(request, sock, outcome)
        else:
            _http(request, sock, outcome)
    except TimeoutError:
        outcome.error = "timeout"
        outcome.errno = errno.ETIMEDOUT
        outcome.reason = f"no answer within {request.timeout:g} s"
    except ssl.SSLError as error:
        outcome.error, outcome.reason = "tls", _words(error)
    except (PeerError, ValueError) as error:
        outcome.error, outcome.reason = "protocol", f"no whole HTTP answer: {error}"
    except OSError as error:
        outcome.error, outcome.errno = doing, error.errno or 0
        outcome.reason = os.strerror(error.errno) if error.errno else str(error)
    return local


def _datagram(request: RequestToSend, sock: socket.socket, outcome: _Outcome) -> None:
    """One datagram that nobody else sends, and whatever comes back."""
    sock.send(f"emulab trace {secrets.token_hex(8)}\n".encode())
    end = time.monotonic() + request.timeout
    while True:
        sock.settimeout(max(0.001, min(_PATIENCE, end - time.monotonic())))
        try:
            outcome.size = len(sock.recv(_PIECE))
            return
        except TimeoutError:
            if request.abandoned or time.monotonic() >= end:
                raise


def _connection(request: RequestToSend, sock: socket.socket, outcome: _Outcome) -> None:
    """Sends nothing, and waits a moment: a server that refuses what its kernel has accepted already does it now."""
    sock.settimeout(min(_LISTEN, request.timeout))
    try:
        outcome.size = len(sock.recv(_PIECE))
    except TimeoutError:
        return


def _http(request: RequestToSend, sock: socket.socket, outcome: _Outcome) -> None:
    target = request.target
    with _secured(request, sock, outcome) if target.protocol == "https" else sock as connection:
        if outcome.error:
            return
        given = {name.lower() for name in request.headers}
        own = (("Host", target.authority), ("User-Agent", "emulab-trace"), ("Accept", "*/*"))
        fields = [(name, value) for name, value in own if name.lower() not in given]
        asked = http.request_bytes(request.method, target.path, [*fields, *request.headers.items()])
        if request.http2:
            _http2(request, connection, asked, outcome)
            return
        connection.sendall(asked)
        response = http.ResponseReader(to_head=request.method == "HEAD")
        while not response.complete:
            outcome.size += len(response.feed(connection.recv(_PIECE)))
        outcome.status = response.status


def _http2(request: RequestToSend, connection: socket.socket, asked: bytes, outcome: _Outcome) -> None:
    """Asks over HTTP/2 what is written as of HTTP/1. Raises PeerError."""
    from emulab.servers.l7.messages.headers import HOP_BY_HOP, ActionTable
    from emulab.servers.l7.messages.http2response import Http2Response  # takes a while to load
    from emulab.servers.l7.messages.response import fields_by

    both = Http2Response(request.target.protocol)
    both.begin(request.method == "HEAD", fields_by(ActionTable(HOP_BY_HOP)))
    both.write(asked)
    while not both.complete:
        connection.sendall(both.output())
        data = connection.recv(_PIECE)
        if not data:
            raise PeerError("the connection ended")
        both.feed(data, _HEAD_MAX)
        outcome.size += sum(map(len, both.pieces))
        both.pieces.clear()
    outcome.status = both.status


def _secured(request: RequestToSend, sock: socket.socket, outcome: _Outcome) -> ssl.SSLSocket:
    """TLS, whoever signed the certificate: labs sign theirs themselves. Its dates and names are looked at."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"] if request.http2 else ["http/1.1"])
    name = request.target.host
    secured = context.wrap_socket(sock, server_hostname=name)
    request.sockets = {**request.sockets, int(secured.family): secured}
    cipher = secured.cipher()
    outcome.tls = {
        "version": (secured.version() or "").replace("TLSv", "TLS "),
        "cipher": cipher[0] if cipher else "",
        "server_name": name,
    }
    if request.http2 and secured.selected_alpn_protocol() != "h2":
        outcome.error, outcome.reason = "protocol", "the server doesn't speak HTTP/2 (ALPN)"
    certificate = secured.getpeercert(binary_form=True)
    if certificate is not None:
        outcome.tls |= describe_certificate(certificate)
        wrong = certificate_problem(outcome.tls, name, time.time())
        if wrong and request.verify:
            outcome.error, outcome.reason = "tls", wrong
        elif wrong:
            outcome.tls["ignored"] = wrong
    return secured


def _words(error: ssl.SSLError) -> str:
    """OpenSSL's reason without its own clutter."""
    reason = (error.reason or "").replace("_", " ").lower()
    return reason or str(error)
