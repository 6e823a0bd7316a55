"""What was said over TCP connections that are closed, and hasn't arrived."""

from __future__ import annotations

import socket
from collections.abc import Collection

from emulab.errors import KernelError
from emulab.kernel.netlink.messages import open_socket
from emulab.kernel.netlink.requests import dump
from emulab.kernel.netlink.sockdiag import NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, bound, leaving


def any_unacknowledged(ports: Collection[int]) -> bool:
    """Whether somebody has yet to acknowledge the end of a connection to these ports, in the caller's network."""
    try:
        with open_socket(NETLINK_SOCK_DIAG) as sock:
            return any(
                bound(body, family)[1] in ports
                for family in (socket.AF_INET, socket.AF_INET6)
                for body in dump(sock, SOCK_DIAG_BY_FAMILY, leaving(family), "list the TCP sockets that end")
            )
    except (KernelError, OSError):  # a kernel without sock_diag
        return False
