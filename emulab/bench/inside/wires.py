"""Connections that carry one request at a time, over an epoll, with or without TLS."""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import time
from collections.abc import Callable

from emulab.bench.inside.answers import WireAnswer

_IN, _OUT = select.EPOLLIN, select.EPOLLOUT
_CHUNK = 1 << 20
_AGAIN = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError)


def secured() -> ssl.SSLContext:
    """TLS that takes any certificate: whoever measures isn't who judges them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Goal:
    """Where requests go, and what they are."""

    def __init__(self, address: str, port: int, host: str, path: str, tls: bool, closing: bool) -> None:
        self.address = (address, port)
        self.family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.host = host
        self.context = secured() if tls else None
        named = f"[{host}]" if ":" in host and not host.startswith("[") else host
        usual = port == (443 if tls else 80)
        fields = [f"Host: {named if usual else f'{named}:{port}'}", "User-Agent: emulab-bench", "Accept: */*"]
        if closing:
            fields.append("Connection: close")
        self.request = "\r\n".join([f"GET {path} HTTP/1.1", *fields, "", ""]).encode()


class Wire:
    """A connection. `ended` is called with it when its request is answered (`failure` is "") or has failed."""

    def __init__(self, hub: WireHub, goal: Goal, ended: Callable[[Wire], None]) -> None:
        self._hub = hub
        self._goal = goal
        self._ended = ended
        self._state = "idle"
        self._sock: socket.socket | None = None
        self._unsent = b""
        self.answer = WireAnswer()
        self.failure = ""
        self.due = self.sent = 0

    @property
    def idle(self) -> bool:
        return self._state == "idle"

    def ask(self, due: int) -> None:
        """Sends the request, over a connection that is made if there is none. `due`: when it should have been."""
        self.due, self.failure, self.answer = due, "", WireAnswer()
        self.sent = time.perf_counter_ns()
        self._unsent = self._goal.request
        if self._sock is None:
            self._connect()
        else:
            self._state = "asking"
            self._go_on(0)

    def close(self) -> None:
        if self._sock is not None:
            self._hub.forget(self._sock.fileno())
            self._sock.close()
        self._sock, self._state = None, "idle"

    def _connect(self) -> None:
        sock = socket.socket(self._goal.family, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock, self._state = sock, "connecting"
        wrong = sock.connect_ex(self._goal.address)
        if wrong not in (0, errno.EINPROGRESS):
            self._fail(os.strerror(wrong))
            return
        self._hub.watch(sock.fileno(), self._go_on, _IN | _OUT)

    def _go_on(self, events: int) -> None:
        if self._state == "idle":  # the other side has ended it, or says what nobody asked for
            self.close()
            return
        try:
            if self._state == "connecting":
                self._connected(events)
            if self._state == "shaking":
                self._shake()
            if self._state == "asking":
                self._send()
            if self._state == "waiting":
                self._receive()
        except _AGAIN as again:
            writing = isinstance(again, ssl.SSLWantWriteError) or self._state in ("connecting", "asking")
            self._want(_IN | _OUT if writing else _IN)
        except (OSError, ValueError) as error:
            self._fail(getattr(error, "strerror", None) or str(error))

    def _connected(self, events: int) -> None:
        assert self._sock is not None
        if wrong := self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(wrong, os.strerror(wrong))
        if not events & _OUT:
            raise BlockingIOError
        self._state = "asking"
        if (context := self._goal.context) is not None:
            number = self._sock.fileno()
            self._sock = context.wrap_socket(
                self._sock, server_hostname=self._goal.host, do_handshake_on_connect=False
            )
            assert self._sock.fileno() == number  # it stays the same descriptor
            self._state = "shaking"

    def _shake(self) -> None:
        assert isinstance(self._sock, ssl.SSLSocket)
        self._sock.do_handshake()
        self._state = "asking"

    def _send(self) -> None:
        assert self._sock is not None
        while self._unsent:
            self._unsent = self._unsent[self._sock.send(self._unsent) :]
        self._state = "waiting"
        self._want(_IN)
        raise BlockingIOError  # nobody answers before it has read

    def _receive(self) -> None:
        assert self._sock is not None
        room = self._hub.room
        while not self.answer.done:
            size = self._sock.recv_into(room)
            if not size:
                if self.answer.ended():
                    break
                self._fail("the connection ended before the answer")
                return
            self.answer.feed(room[:size])
        if self.answer.last:
            self.close()
        self._state = "idle"
        self._ended(self)

    def _want(self, events: int) -> None:
        if self._sock is not None:
            self._hub.change(self._sock.fileno(), events)

    def _fail(self, why: str) -> None:
        self.failure = why
        self.close()
        self._ended(self)


class WireHub:
    """Waits for all connections at once."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, tuple[Callable[[int], None], int]] = {}
        self.room = memoryview(bytearray(_CHUNK))

    def watch(self, number: int, call: Callable[[int], None], events: int) -> None:
        self._watched[number] = call, events
        self._epoll.register(number, events)

    def change(self, number: int, events: int) -> None:
        call, before = self._watched[number]
        if events != before:
            self._watched[number] = call, events
            self._epoll.modify(number, events)

    def forget(self, number: int) -> None:
        if self._watched.pop(number, None) is not None:
            self._epoll.unregister(number)

    def wait(self, seconds: float) -> None:
        """Waits so long at the most, and has who is concerned go on. (An epoll alone counts milliseconds.)"""
        if seconds > 0:
            select.select([self._epoll], [], [], seconds)
        for number, events in self._epoll.poll(0):
            if (found := self._watched.get(number)) is not None:
                found[0](events)

    def close(self) -> None:
        self._epoll.close()
