"""How TLS begins: by which certificates, and for how long somebody may take."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from time import monotonic
from typing import Any

from emulab.servers.streams.plain import StreamTransport

HANDSHAKE = 60.0
"""Seconds that a handshake may take (nginx' `client_header_timeout`)."""


class Handshakes:
    """Those of a listener that aren't done. Who takes too long is cut off; one timer does for all."""

    __slots__ = ("_begun", "_seconds", "_timer", "context")

    def __init__(self, context: ssl.SSLContext, seconds: Callable[[], float] = lambda: HANDSHAKE) -> None:
        """`seconds` tells how long one may take at the moment."""
        self.context = context
        self._seconds = seconds
        self._begun: dict[Any, float] = {}  # the transport below, and when; the oldest first
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, transport: StreamTransport) -> None:
        """Somebody has connected."""
        self._begun[transport] = monotonic()
        if self._timer is None:
            self._wait(self._seconds())

    def end(self, transport: StreamTransport) -> None:
        """The handshake is done, or never will be."""
        self._begun.pop(transport, None)

    def _wait(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expire)

    def _expire(self) -> None:
        self._timer = None
        now, seconds = monotonic(), self._seconds()
        for transport, begun in list(self._begun.items()):
            if begun + seconds > now:
                self._wait(begun + seconds - now)
                return
            del self._begun[transport]
            transport.abort()
