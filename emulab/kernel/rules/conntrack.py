"""conntrack over nfnetlink: the entries of a namespace, and forgetting those that must go.

Numbers in attributes are big endian (linux/netfilter/nfnetlink_conntrack.h). A socket asks about the namespace
that it was opened in.
"""

from __future__ import annotations

import errno
import socket
import struct
from functools import cached_property
from typing import NamedTuple

from emulab.errors import KernelError
from emulab.kernel import netns
from emulab.kernel.netlink.codec import attribute, nested
from emulab.kernel.netlink.queries import Attributes, Refused, ask, attributes, command, dump
from emulab.plan.state import UdpBackends

NETLINK_NETFILTER = 12
_SUBSYS_CTNETLINK = 1
_IPCTNL_MSG_CT_GET, _IPCTNL_MSG_CT_DELETE = _SUBSYS_CTNETLINK << 8 | 1, _SUBSYS_CTNETLINK << 8 | 2
_NFGENMSG = 4  # its size
_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY = 1, 2
_CTA_TUPLE_IP, _CTA_TUPLE_PROTO = 1, 2
_CTA_IP_V4_SRC, _CTA_IP_V4_DST = 1, 2
_CTA_PROTO_NUM, _CTA_PROTO_SRC_PORT, _CTA_PROTO_DST_PORT = 1, 2, 3
_PROTOCOLS = {"icmp": socket.IPPROTO_ICMP, "tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}
_PROTOCOL_NAMES = {int(number): name for name, number in _PROTOCOLS.items()}


class Tuple(NamedTuple):
    """One direction of an entry."""

    protocol: str  # tcp | udp | icmp
    source: str
    source_port: int
    destination: str
    destination_port: int


Entry = tuple[Tuple, Tuple]
"""The first direction as it came, and the second as its answers come."""


def open_socket() -> socket.socket:
    """A socket for the calling thread's namespace. Raises KernelError."""
    try:
        return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
    except OSError as error:
        remedy = "use a kernel with CONFIG_NF_CT_NETLINK"
        raise KernelError("open a netfilter socket", errno=error.errno or 0, remedy=remedy) from None


def find(sock: socket.socket, namespace: str, wanted: tuple[str, str, int, str, int]) -> Entry | None:
    """The entry that has this direction, first or second. Raises KernelError."""
    what = f"look up the connection {wanted[1]} → {wanted[3]}"
    try:
        answer = ask(sock, _IPCTNL_MSG_CT_GET, _header() + _encode(Tuple(*wanted)))
    except Refused as error:
        if error.errno == errno.ENOENT:
            return None
        raise KernelError(what, namespace, error.errno or 0) from None
    except OSError as error:
        raise KernelError(what, namespace, error.errno or 0) from None
    return _decode(answer)


def entries(sock: socket.socket, namespace: str) -> list[Entry]:
    """Every IPv4 entry. Raises KernelError."""
    bodies = dump(sock, _IPCTNL_MSG_CT_GET, _header(), f"list the connections of {namespace}")
    return [entry for body in bodies if (entry := _decode(body)) is not None]


def forget_stale(fd: int, namespace: str, before: UdpBackends, wanted: UdpBackends) -> int:
    """Forgets UDP flows that go to an endpoint which serves no more, or past a Service that there was not when they
    began, and only those; how many. Raises KernelError.

    A flow that goes on is never looked up in the rules again, so nothing else would ever end it
    (kube-proxy's pkg/proxy/conntrack).
    """
    if not before.frontends and not wanted.frontends:
        return 0
    is_stale = Stale(before, wanted)
    with netns.inside(fd, open_socket) as sock:
        stale = [first for first, second in entries(sock, namespace) if is_stale(first, second)]
        for direction in stale:
            _delete(sock, namespace, direction)
    return len(stale)


class Stale:
    """Whether an entry leads from a Service's address to what is no serving endpoint of it. Pure."""

    def __init__(self, before: UdpBackends, wanted: UdpBackends) -> None:
        """`before`: who served until now, by which the flows of a Service that is gone are known."""
        self._before = before.frontends
        self._wanted = wanted.frontends

    def __call__(self, first: Tuple, second: Tuple) -> bool:
        if first.protocol != "udp":
            return False
        port = first.destination_port
        answerer = f"{second.source}:{second.source_port}"
        for frontend in ((first.destination, port), ("", port)):
            serving = self._wanted.get(frontend)
            if serving is not None:
                return answerer not in serving and (frontend[0] != "" or _leaves_no_trace(first, second))
            if answerer in self._before.get(frontend, ()):
                return answerer not in self._serving  # an endpoint of other Services may keep its flows
        return False

    @cached_property
    def _serving(self) -> frozenset[str]:
        """Whoever serves anything."""
        return frozenset().union(*self._wanted.values())


def _leaves_no_trace(first: Tuple, second: Tuple) -> bool:
    """Whether an entry to the number of a node port may go, though its address may be anybody's: it was translated
    as a node port is, or not at all, and then the next packet makes the same one, if no rule has it now. One whose
    source alone was translated would get another."""
    destination = (first.destination, first.destination_port) == (second.source, second.source_port)
    source = (first.source, first.source_port) == (second.destination, second.destination_port)
    return not destination or source


def _delete(sock: socket.socket, namespace: str, direction: Tuple) -> None:
    try:
        command(sock, _IPCTNL_MSG_CT_DELETE, _header() + _encode(direction))
    except OSError as error:
        if error.errno != errno.ENOENT:  # it ended by itself meanwhile
            what = f"forget the flow {direction.source} → {direction.destination}"
            raise KernelError(what, namespace, error.errno or 0) from None


def _header() -> bytes:
    return struct.pack("=BBH", socket.AF_INET, 0, 0)


def _encode(direction: Tuple) -> bytes:
    return nested(
        _CTA_TUPLE_ORIG,
        nested(
            _CTA_TUPLE_IP,
            attribute(_CTA_IP_V4_SRC, socket.inet_aton(direction.source)),
            attribute(_CTA_IP_V4_DST, socket.inet_aton(direction.destination)),
        ),
        nested(
            _CTA_TUPLE_PROTO,
            attribute(_CTA_PROTO_NUM, struct.pack("=B", _PROTOCOLS[direction.protocol])),
            attribute(_CTA_PROTO_SRC_PORT, struct.pack("!H", direction.source_port)),
            attribute(_CTA_PROTO_DST_PORT, struct.pack("!H", direction.destination_port)),
        ),
    )


def _decode(body: bytes) -> Entry | None:
    found = attributes(body, _NFGENMSG)
    first, second = (
        _direction(attributes(found.get(kind, b""))) for kind in (_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY)
    )
    return (first, second) if first and second else None


def _direction(found: Attributes) -> Tuple | None:
    addresses = attributes(found.get(_CTA_TUPLE_IP, b""))
    protocol = attributes(found.get(_CTA_TUPLE_PROTO, b""))
    name = _PROTOCOL_NAMES.get(_number(protocol, _CTA_PROTO_NUM))
    if name is None or _CTA_IP_V4_SRC not in addresses or _CTA_IP_V4_DST not in addresses:
        return None
    return Tuple(
        name,
        socket.inet_ntoa(addresses[_CTA_IP_V4_SRC]),
        _number(protocol, _CTA_PROTO_SRC_PORT),
        socket.inet_ntoa(addresses[_CTA_IP_V4_DST]),
        _number(protocol, _CTA_PROTO_DST_PORT),
    )


def _number(found: Attributes, kind: int) -> int:
    return int.from_bytes(found.get(kind, b""), "big")
