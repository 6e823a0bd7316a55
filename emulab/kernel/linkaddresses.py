"""Addresses that come and go on a link of the caller's own network namespace, and whether that link is up."""

from __future__ import annotations

import errno
import socket
import struct
from contextlib import suppress
from ipaddress import ip_address

from emulab.errors import KernelError
from emulab.kernel.netlink.messages import FAMILIES, open_socket, received
from emulab.kernel.netlink.requests import ask_kernel, command
from emulab.kernel.netlink.rtnetlink import (
    IFA_F_NODAD,
    IFF_LOWER_UP,
    IFF_UP,
    INTERFACE_ADDRESS,
    LINK,
    RTM_DELADDR,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
)

NETLINK_ROUTE = 0
_RTMGRP_LINK = 1
_IFA_CACHEINFO, _FOR_EVER = 6, 0xFFFFFFFF
_ROOM = 1 << 16


class LinkAddresses:
    """One link. Raises KernelError where there is none of that name."""

    def __init__(self, link: str) -> None:
        self.link = link
        try:
            self.index = socket.if_nametoindex(link)
        except OSError as error:
            raise KernelError(f"find link {link}", errno=error.errno or 0) from None
        self._sock = open_socket(NETLINK_ROUTE)
        self.news = open_socket(NETLINK_ROUTE)
        self.news.setblocking(False)
        self.news.bind((0, _RTMGRP_LINK))

    def close(self) -> None:
        """The addresses stay."""
        self._sock.close()
        self.news.close()

    def put(self, address: str) -> None:
        """Gives the link an address, if it hasn't it. Raises KernelError."""
        try:
            command(self._sock, RTM_NEWADDR, self._payload(address))
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise KernelError(f"add {address} on {self.link}", errno=error.errno or 0) from None

    def remove(self, address: str) -> None:
        """Takes an address from the link, if it has it."""
        with suppress(OSError):
            command(self._sock, RTM_DELADDR, self._payload(address))

    def _payload(self, address: str) -> bytes:
        own = ip_address(address)
        values = {
            "family": FAMILIES[own.version],
            "prefixlen": own.max_prefixlen,
            "index": self.index,
            "IFA_LOCAL": own,
            "IFA_ADDRESS": own,
        }
        more = b""
        if own.version == 6:
            values["IFA_FLAGS"] = IFA_F_NODAD
            # Deprecated, so that nothing is sent from it of its own accord (RFC 6724, rule 3).
            more = struct.pack("=HHIIII", 20, _IFA_CACHEINFO, 0, _FOR_EVER, 0, 0)
        return INTERFACE_ADDRESS.encode(values) + more

    def is_up(self) -> bool:
        """Whether the link is up, and has a carrier."""
        try:
            answer = ask_kernel(self._sock, RTM_GETLINK, LINK.encode({"index": self.index}))
        except OSError:
            return False
        return _up(LINK.decode(answer)["flags"])

    def heard(self) -> bool | None:
        """What the news say of the link: whether it is up; None where they say nothing of it."""
        found = None
        while True:
            try:
                data = self.news.recv(_ROOM)
            except BlockingIOError:
                return found
            except OSError:  # more news than there was room for
                return self.is_up()
            for kind, _, body, _ in received(data):
                if kind == RTM_NEWLINK:
                    told = LINK.decode(body)
                    if told["index"] == self.index:
                        found = _up(told["flags"])

    def hardware(self) -> bytes:
        """Its MAC address. Raises OSError."""
        answer = LINK.decode(ask_kernel(self._sock, RTM_GETLINK, LINK.encode({"index": self.index})))
        return bytes.fromhex(str(answer["IFLA_ADDRESS"]).replace(":", ""))


def _up(flags: int) -> bool:
    return bool(flags & IFF_UP and flags & IFF_LOWER_UP)
