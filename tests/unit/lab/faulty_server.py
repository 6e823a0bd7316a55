"""A server with a fault in each place where one may be; what its connections say brings them about."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import Any


class _Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        match data:
            case b"loop":
                while True:
                    pass
            case b"memory":
                bytearray(1 << 44)
            case b"fault":
                raise ValueError("of this connection alone")
            case b"accept":
                FaultyServer.accepts = False
        self._transport.write(data)  # type: ignore[attr-defined]


class FaultyServer:
    """Echoes what isn't the name of a fault."""

    accepts = True

    async def configure(self, config: Mapping[str, Any], sockets: Mapping[str, socket.socket]) -> None:
        loop = asyncio.get_running_loop()
        for sock in sockets.values():
            await loop.create_server(self._protocol, sock=sock)

    def _protocol(self) -> _Connection:
        if not self.accepts:
            raise ValueError("no protocol could be made")
        return _Connection()

    async def close(self, grace: float = 0.0) -> None:
        return

    def status(self) -> dict[str, Any]:
        return {}


def create(emit: Any) -> FaultyServer:
    return FaultyServer()
