"""What links have carried, as the kernel of a place counts it (rtnetlink(7))."""

from __future__ import annotations

import socket
from typing import NamedTuple

from emulab.kernel.netlink.messages import AF_UNSPEC
from emulab.kernel.netlink.requests import dump
from emulab.kernel.netlink.rtnetlink import LINK_STATISTICS, RTM_GETLINK


class LinkCounters(NamedTuple):
    """Since the link was made, as its own end sees it."""

    received: int  # packets
    sent: int
    received_bytes: int
    sent_bytes: int
    dropped: int  # both ways, and what came damaged


def link_counters(sock: socket.socket, place: str) -> dict[str, LinkCounters]:
    """Those of every link of a place, by name. Raises KernelError."""
    question = LINK_STATISTICS.encode({"family": AF_UNSPEC})
    found = {}
    for body in dump(sock, RTM_GETLINK, question, f"list the links of {place}"):
        link = LINK_STATISTICS.decode(body)
        if numbers := link.get("IFLA_STATS64"):
            received, sent, received_bytes, sent_bytes, *bad = numbers
            found[str(link["IFLA_IFNAME"])] = LinkCounters(
                received, sent, received_bytes, sent_bytes, sum(bad)
            )
    return found
