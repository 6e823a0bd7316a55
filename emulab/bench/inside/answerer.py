"""Who answers, always the same: a hundred octets, or as many as the path says, `/bytes/N`. `slow`: µs of each answer.

It reads whole requests and no more of them than the path and whether the connection is to be closed.
"""

from __future__ import annotations

import select
import socket
import time

_SMALL = 100
_BACKLOG = 4096
_END = b"\r\n\r\n"
_MOST = 64 << 20
_KEPT = 16  # answers


def answer(size: int) -> bytes:
    """An answer with so many octets."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {size}\r\n\r\n"
    return head.encode() + b"x" * size


class _Client:
    __slots__ = ("closing", "read", "sock", "unsent", "writing")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.read = b""
        self.unsent = memoryview(b"")
        self.closing = False
        self.writing = False  # whether it is waited for until more can be sent


class Answerer:
    """All connections of one listener."""

    def __init__(self, listener: socket.socket, slow: int = 0) -> None:
        self._listener = listener
        self._slow = slow / 1e6
        self._epoll = select.epoll()
        self._clients: dict[int, _Client] = {}
        self._answers = {b"/": memoryview(answer(_SMALL))}
        self._epoll.register(listener.fileno(), select.EPOLLIN)

    def serve(self) -> None:
        """For ever."""
        number = self._listener.fileno()
        while True:
            for fd, _ in self._epoll.poll():
                if fd == number:
                    self._accept()
                else:
                    self._go_on(self._clients[fd])

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return  # it has left again
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._clients[sock.fileno()] = client = _Client(sock)
        self._epoll.register(sock.fileno(), select.EPOLLIN)
        self._go_on(client)  # its request is mostly here already

    def _go_on(self, client: _Client) -> None:
        try:
            if not client.unsent:
                self._read(client)
            if client.unsent:
                client.unsent = client.unsent[client.sock.send(client.unsent) :]
                if client.closing and not client.unsent:
                    raise ConnectionError
                if bool(client.unsent) != client.writing:
                    client.writing = not client.writing
                    wanted = select.EPOLLOUT if client.writing else select.EPOLLIN
                    self._epoll.modify(client.sock.fileno(), wanted)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            self._epoll.unregister(client.sock.fileno())
            del self._clients[client.sock.fileno()]
            client.sock.close()

    def _read(self, client: _Client) -> None:
        data = client.sock.recv(1 << 16)
        if not data:
            raise ConnectionError
        client.read += data
        head, end, client.read = client.read.partition(_END)
        if not end:
            client.read = head
            return
        if self._slow:
            time.sleep(self._slow)
        path = head.split(b" ", 2)[1]
        client.closing = b"connection: close" in head.lower() or b" HTTP/1.0" in head
        client.unsent = self._answers.get(path) or self._made(path)

    def _made(self, path: bytes) -> memoryview:
        _, _, number = path.rpartition(b"/")
        size = min(int(number), _MOST) if path.startswith(b"/bytes/") else _SMALL
        made = memoryview(answer(size))
        if len(self._answers) < _KEPT:
            self._answers[path] = made
        return made


def main(port: str, slow: str = "0") -> None:
    """`slow`: microseconds that each answer takes longer."""
    family = socket.AF_INET6 if socket.has_ipv6 else socket.AF_INET
    listener = socket.create_server(
        ("", int(port)), family=family, backlog=_BACKLOG, dualstack_ipv6=family == socket.AF_INET6
    )
    listener.setblocking(False)
    Answerer(listener, int(slow)).serve()
