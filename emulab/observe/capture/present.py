"""The interfaces and addresses that a namespace has, where others than the lab make some of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from emulab.kernel import netns
from emulab.kernel.netlink.messages import AF_UNSPEC, NETLINK_ROUTE, open_socket
from emulab.kernel.netlink.requests import dump
from emulab.kernel.netlink.rtnetlink import INTERFACE_ADDRESS, RTM_GETADDR
from emulab.observe.capture.routes import interface_names


class Present(NamedTuple):
    interfaces: Mapping[int, str]  # by index
    addresses: tuple[str, ...]


def look(namespaces: Iterable[int]) -> list[Present]:
    """What each of these open namespaces has now. Blocks. Raises KernelError."""
    found: list[Present] = netns.inside_each((fd, _look) for fd in namespaces)
    return found


def _look() -> Present:
    everything = INTERFACE_ADDRESS.encode({"family": AF_UNSPEC})
    with open_socket(NETLINK_ROUTE) as sock:
        sock.bind((0, 0))
        names = interface_names(sock)
        entries = map(INTERFACE_ADDRESS.decode, dump(sock, RTM_GETADDR, everything, "list the addresses"))
        own = [
            str(e.get("IFA_LOCAL", e.get("IFA_ADDRESS"))) for e in entries if names.get(e["index"]) != "lo"
        ]
        return Present(names, tuple(own))
