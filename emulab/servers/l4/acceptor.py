"""A listening socket of TCP, whose clients become sessions."""

from __future__ import annotations

import socket

from emulab.servers.l4.frontend import Frontend
from emulab.servers.l4.pump import READABLE
from emulab.servers.l4.tcp import Around, Session
from emulab.servers.streams.accepting import Acceptor

_BACKLOG = 4096  # the kernel caps it at net.core.somaxconn


def accept_sessions(sock: socket.socket, frontend: Frontend, around: Around) -> Acceptor:
    """Accepts the clients of a frontend, from now on."""
    pump = around.pump
    return Acceptor(
        sock,
        _BACKLOG,
        lambda accept: pump.watch(sock, READABLE, accept),
        lambda: pump.unwatch(sock),
        lambda client, peer: Session(frontend, around, client, peer).accepted(),
    )
