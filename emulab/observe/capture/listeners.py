"""Who listens in a place, as its kernel has it now (sock_diag(7))."""

from __future__ import annotations

import socket

from emulab.errors import KernelError
from emulab.kernel.netlink.requests import dump
from emulab.kernel.netlink.sockdiag import SOCK_DIAG_BY_FAMILY, bound, question
from emulab.observe.events import ListeningSocket

_FAMILIES = (int(socket.AF_INET), int(socket.AF_INET6))


def listeners(sock: socket.socket, place: str, protocol: str, port: int) -> list[ListeningSocket]:
    """The sockets on that port, of either family; none where the kernel doesn't tell."""
    found: list[ListeningSocket] = []
    for family in _FAMILIES:
        what = f"list the {protocol} sockets of {place}"
        try:
            answers = dump(sock, SOCK_DIAG_BY_FAMILY, question(family, protocol), what)
        except KernelError:  # a kernel without udp_diag, say
            continue
        for body in answers:
            address, number = bound(body, family)
            if number == port:
                found.append(ListeningSocket(place, protocol, address, port))
    return found
