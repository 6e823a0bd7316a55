"""agnhost netexec asks others: `/dial` sends requests from the pod and tells what came back.

The server's process is in no pod. A socket of a pod's is one for ever, so the connection over which somebody asks says
from where he is to be answered.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from ipaddress import ip_address
from typing import NamedTuple

from emulab.errors import KernelError
from emulab.kernel.sockets import open_socket_beside
from emulab.servers.base import socket_name
from emulab.servers.echo.answers import EchoAnswer
from emulab.servers.echo.images.gohttp import answered

_TIMEOUT = 5.0  # seconds
_MOST_TRIES = 1000
_LIMIT = 1 << 20  # octets of an answer


class Dial(NamedTuple):
    """Requests for somebody else, as often as `tries` says."""

    host: str
    port: str
    request: str
    protocol: str  # "" is http
    tries: int

    @property
    def problem(self) -> str:
        """Why nobody can be asked; "" if somebody can. Names aren't looked up."""
        try:
            ip_address(self.host)
        except ValueError:
            return f"lookup {self.host}: a stand-in dials addresses alone"
        if not self.port.isdecimal() or not 0 < int(self.port) < 65536:
            return f"address {self.port}: invalid port"
        return ""

    async def run(self, asked: socket.socket) -> EchoAnswer:
        """Asks from the namespace of a socket; the answer tells of all tries."""
        responses, errors, last = list[str](), list[str](), ""
        for _ in range(min(self.tries, _MOST_TRIES)):
            try:
                last = await self._once(asked)
                responses.append(last)
            except (OSError, ValueError, KernelError) as error:
                last = ""
                errors.append(self._said(error))
        told = {"errors": errors} if errors else {}
        if last:
            told["responses"] = responses
        return answered(json.dumps(told, separators=(",", ":")))

    async def _once(self, asked: socket.socket) -> str:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        kind = socket.SOCK_DGRAM if self.protocol == "udp" else socket.SOCK_STREAM
        sock = await asyncio.to_thread(open_socket_beside, asked, family, kind)
        with sock:
            async with asyncio.timeout(_TIMEOUT):
                await asyncio.get_running_loop().sock_connect(sock, (self.host, int(self.port)))
                return await (self._datagram(sock) if self.protocol == "udp" else self._get(sock))

    async def _datagram(self, sock: socket.socket) -> str:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, self.request.encode())
        return (await loop.sock_recv(sock, 2048)).decode(errors="replace")

    async def _get(self, sock: socket.socket) -> str:
        """The body of an answer, which HTTP/1.0 ends with the connection."""
        loop = asyncio.get_running_loop()
        host = socket_name((self.host, int(self.port)))
        target = "".join(c if c > " " and c != "\x7f" else f"%{ord(c):02X}" for c in self.request)
        head = f"GET /{target} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: Go-http-client/1.1\r\n\r\n"
        await loop.sock_sendall(sock, head.encode(errors="replace"))
        data = bytearray()
        while (piece := await loop.sock_recv(sock, 1 << 16)) and len(data) < _LIMIT:
            data += piece
        _, end, body = bytes(data).partition(b"\r\n\r\n")
        if not end:
            raise ValueError("EOF")
        return body.decode(errors="replace")

    def _said(self, error: Exception) -> str:
        where = socket_name((self.host, int(self.port)))
        if isinstance(error, TimeoutError):
            why = "i/o timeout"
        elif isinstance(error, OSError) and error.errno:
            why = f"connect: {os.strerror(error.errno).lower()}"
        else:
            why = str(error)
        if self.protocol == "udp":
            return f"reading from udp connection failed. err:'{why}'"
        return f'Get "http://{where}/{self.request}": dial tcp {where}: {why}'
