"""Sockets as the kernel of this namespace tells of them."""

from __future__ import annotations

import socket

import pytest

from emulab.kernel.netlink.messages import open_socket
from emulab.kernel.netlink.requests import dump
from emulab.kernel.netlink.sockdiag import NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, everything, state_of


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_both_ends_of_a_connection(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as server, socket.socket(family) as client:
        try:
            server.bind((address, 0))
        except OSError:
            pytest.skip(f"this machine has no {address}")
        server.listen(7)
        client.connect(server.getsockname())
        client.send(b"12345")
        port, own = server.getsockname()[1], client.getsockname()[1]
        with open_socket(NETLINK_SOCK_DIAG) as sock:
            bodies = dump(sock, SOCK_DIAG_BY_FAMILY, everything(int(family), "tcp"), "list sockets")
    found = {(s.state, s.address, s.port, s.peer_port): s for s in (state_of(b, "tcp") for b in bodies)}
    assert found["LISTEN", address, port, 0].unsent == 7
    assert found["ESTAB", address, own, port].peer == address
    assert found["ESTAB", address, port, own].waiting == 5
