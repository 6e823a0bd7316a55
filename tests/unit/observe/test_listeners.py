"""Who listens, as the kernel of this namespace tells it."""

from __future__ import annotations

import socket

import pytest

from emulab.kernel.netlink.messages import open_socket
from emulab.kernel.netlink.sockdiag import NETLINK_SOCK_DIAG
from emulab.observe.capture.listeners import listeners
from emulab.observe.events import ListeningSocket


@pytest.mark.parametrize(
    ("address", "protocol", "kind"),
    [
        ("127.0.0.1", "tcp", socket.SOCK_STREAM),
        ("0.0.0.0", "tcp", socket.SOCK_STREAM),
        ("::1", "tcp", socket.SOCK_STREAM),
        ("127.0.0.1", "udp", socket.SOCK_DGRAM),
    ],
)
def test_a_listener_is_found_with_its_address(address: str, protocol: str, kind: int) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, kind) as server, open_socket(NETLINK_SOCK_DIAG) as sock:
        try:
            server.bind((address, 0))
        except OSError:
            pytest.skip(f"this machine has no {address}")
        if kind == socket.SOCK_STREAM:
            server.listen()
        port = server.getsockname()[1]
        found = listeners(sock, "here", protocol, port)
        if protocol == "udp" and not found:
            pytest.skip("this kernel doesn't tell of UDP sockets")
        assert found == [ListeningSocket("here", protocol, address, port)]
        assert listeners(sock, "here", protocol, port ^ 1) == []
