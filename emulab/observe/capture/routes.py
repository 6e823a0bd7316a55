"""Routes, links and neighbours as the kernel of a place has them now, over rtnetlink (rtnetlink(7)).

A way is asked for twice: as a packet would be routed, which chooses the hop and the source address, and with
RTM_F_FIB_MATCH, which answers with the entry of the table that matched.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Mapping
from typing import NamedTuple

from emulab.dataclass import dataclass
from emulab.errors import KernelError
from emulab.kernel.netlink.codec import attribute, u32
from emulab.kernel.netlink.queries import Refused, ask, attributes, dump, text
from emulab.observe.events import Link, Route

NETLINK_ROUTE = 0
_RTM_GETLINK, _RTM_GETROUTE, _RTM_GETNEIGH = 18, 26, 30
_RTM_F_FIB_MATCH = 0x2000
_RTA_DST, _RTA_SRC, _RTA_IIF, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC = 1, 2, 3, 4, 5, 7
_RTNH_F_ONLINK = 4
_TYPES = {
    2: "local",
    3: "broadcast",
    4: "anycast",
    5: "multicast",
}  # linux/rtnetlink.h; 1, unicast, isn't said
_IFLA_IFNAME, _IFLA_MTU = 3, 4
_IFF_UP, _IFF_LOWER_UP = 0x1, 0x10000
_NDA_DST, _NDA_LLADDR = 1, 2
_STATES = {  # linux/neighbour.h
    0x00: "NONE",
    0x01: "INCOMPLETE",
    0x02: "REACHABLE",
    0x04: "STALE",
    0x08: "DELAY",
    0x10: "PROBE",
    0x20: "FAILED",
    0x40: "NOARP",
    0x80: "PERMANENT",
}
_RTMSG = struct.Struct(
    "=BBBBBBBBI"
)  # family, prefix lengths of both, tos, table, protocol, scope, type, flags
_IFINFOMSG = struct.Struct("=BxHiII")  # family, type, index, flags, change
_NDMSG = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type


class Neighbour(NamedTuple):
    """An entry of the neighbour table (ARP). `state` is one of the kernel's NUD_ names."""

    address: str
    interface: str
    state: str
    mac: str  # "" while unknown


def open_socket() -> socket.socket:
    """A socket for questions, of the calling thread's namespace. Raises KernelError."""
    try:
        return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE)
    except OSError as error:
        raise KernelError("open an rtnetlink socket", errno=error.errno or 0) from None


@dataclass(frozen=True, slots=True)
class _Answer:
    """An RTM_NEWROUTE, of what is wanted from it."""

    kind: int
    flags: int
    prefix_length: int
    destination: str
    gateway: str
    source: str
    interface: int


def route(
    sock: socket.socket,
    place: str,
    destination: str,
    source: str = "",
    input_index: int = 0,
    names: Mapping[int, str] | None = None,
) -> Route:
    """The way to an IPv4 address: of a packet that is sent, or of one that came in by `input_index` from `source`.

    An answer "no" is a Route with an error. `names` are the interfaces' by index, asked for when not given.
    Raises KernelError.
    """
    if input_index and not source:
        raise ValueError("an input route needs a source")
    names = interface_names(sock) if names is None else names
    question = attribute(_RTA_DST, socket.inet_aton(destination))
    if source:
        question += attribute(_RTA_SRC, socket.inet_aton(source))
    if input_index:
        question += u32(_RTA_IIF, input_index)
    lengths = (32, 32 if source else 0)
    try:
        way = _answer(ask(sock, _RTM_GETROUTE, _rtmsg(*lengths, 0) + question))
        try:
            entry = _answer(ask(sock, _RTM_GETROUTE, _rtmsg(*lengths, _RTM_F_FIB_MATCH) + question))
        except Refused:  # a change in between, or an answer that no entry of a table stands for
            entry = way
    except Refused as error:
        code = error.errno or 0
        return Route(place, destination, "", "", "", os.strerror(code), code)
    except OSError as error:
        raise KernelError(f"look up the route to {destination}", place, error.errno or 0) from None
    interface = names.get(way.interface, f"if{way.interface}")
    prefix = _prefix(entry, destination)
    words = _words(way, entry, prefix, interface)
    return Route(place, destination, interface, way.gateway, prefix, " ".join(words))


def _rtmsg(destination_length: int, source_length: int, flags: int) -> bytes:
    return _RTMSG.pack(socket.AF_INET, destination_length, source_length, 0, 0, 0, 0, 0, flags)


def _answer(body: bytes) -> _Answer:
    _, length, _, _, _, _, _, kind, flags = _RTMSG.unpack_from(body)
    found = attributes(body, _RTMSG.size)
    destination, gateway, source = (
        socket.inet_ntoa(found[key]) if len(found.get(key, b"")) == 4 else ""
        for key in (_RTA_DST, _RTA_GATEWAY, _RTA_PREFSRC)
    )
    interface = int.from_bytes(found.get(_RTA_OIF, b""), sys.byteorder)
    return _Answer(kind, flags, length, destination, gateway, source, interface)


def _prefix(entry: _Answer, destination: str) -> str:
    if entry.prefix_length == 0:
        return "default"
    address = entry.destination or destination
    return address if entry.prefix_length == 32 else f"{address}/{entry.prefix_length}"


def _words(way: _Answer, entry: _Answer, prefix: str, interface: str) -> list[str]:
    """As iproute2 prints it, without what is the same for all of a lab's routes (table, protocol, scope)."""
    words = [_TYPES[entry.kind]] if entry.kind in _TYPES else []
    words.append(prefix)
    if way.gateway:
        words += ["via", way.gateway]
    words += ["dev", interface]
    if entry.source:
        words += ["src", entry.source]
    if entry.flags & _RTNH_F_ONLINK:
        words.append("onlink")
    return words


def links(sock: socket.socket, place: str) -> list[Link]:
    """All interfaces, in the order of their indexes. Raises KernelError."""
    found = []
    for body in dump(sock, _RTM_GETLINK, _IFINFOMSG.pack(0, 0, 0, 0, 0), f"list the links of {place}"):
        flags = _IFINFOMSG.unpack_from(body)[3]
        fields = attributes(body, _IFINFOMSG.size)
        (mtu,) = struct.unpack("=I", fields[_IFLA_MTU])
        name = text(fields[_IFLA_IFNAME])
        found.append(Link(place, name, bool(flags & _IFF_UP), bool(flags & _IFF_LOWER_UP), mtu))
    return found


def interface_names(sock: socket.socket) -> dict[int, str]:
    """The names of all interfaces by their indexes. Raises KernelError."""
    bodies = dump(sock, _RTM_GETLINK, _IFINFOMSG.pack(0, 0, 0, 0, 0), "list the links")
    return {
        _IFINFOMSG.unpack_from(body)[2]: text(attributes(body, _IFINFOMSG.size)[_IFLA_IFNAME])
        for body in bodies
    }


def neighbours(sock: socket.socket, names: Mapping[int, str] | None = None) -> list[Neighbour]:
    """The IPv4 neighbour table. Raises KernelError."""
    names = interface_names(sock) if names is None else names
    found = []
    for body in dump(sock, _RTM_GETNEIGH, _NDMSG.pack(socket.AF_INET, 0, 0, 0, 0), "list the neighbours"):
        _, index, state, _, _ = _NDMSG.unpack_from(body)
        fields = attributes(body, _NDMSG.size)
        found.append(
            Neighbour(
                socket.inet_ntoa(fields[_NDA_DST]),
                names.get(index, f"if{index}"),
                _STATES.get(state, hex(state)),
                fields.get(_NDA_LLADDR, b"").hex(":"),
            )
        )
    return found
