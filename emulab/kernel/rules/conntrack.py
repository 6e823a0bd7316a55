"""conntrack: the entries of a namespace, and forgetting those that must go.

A socket asks about the namespace that it was opened in.
"""

from __future__ import annotations

import errno
import socket
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

from emulab.errors import KernelError
from emulab.kernel import netns
from emulab.kernel.netlink import messages
from emulab.kernel.netlink.conntrack import (
    CONNECTION,
    IPCTNL_MSG_CT_DELETE,
    IPCTNL_MSG_CT_GET,
    IPCTNL_MSG_CT_GET_STATS,
    STATS,
)
from emulab.kernel.netlink.flowattributes import FLOW, IPS_ASSURED, IPS_SEEN_REPLY
from emulab.kernel.netlink.messages import AF_UNSPEC, FAMILIES, NETLINK_NETFILTER
from emulab.kernel.netlink.requests import Refused, ask_kernel, command, dump
from emulab.model.addresses import socket_name
from emulab.plan.state import UdpBackends

_PROTOCOLS = {
    "icmp": socket.IPPROTO_ICMP,
    "tcp": socket.IPPROTO_TCP,
    "udp": socket.IPPROTO_UDP,
    "icmpv6": socket.IPPROTO_ICMPV6,
    "sctp": socket.IPPROTO_SCTP,
}
_PROTOCOL_NAMES = {int(number): name for name, number in _PROTOCOLS.items()}
_TCP_STATES = {
    1: "SYN_SENT",
    2: "SYN_RECV",
    3: "ESTABLISHED",
    4: "FIN_WAIT",
    5: "CLOSE_WAIT",
    6: "LAST_ACK",
    7: "TIME_WAIT",
    8: "CLOSE",
    9: "SYN_SENT2",
}
"""Those of a tracked connection (linux/netfilter/nf_conntrack_tcp.h)."""
_SCTP_STATES = {
    1: "CLOSED",
    2: "COOKIE_WAIT",
    3: "COOKIE_ECHOED",
    4: "ESTABLISHED",
    5: "SHUTDOWN_SENT",
    6: "SHUTDOWN_RECD",
    7: "SHUTDOWN_ACK_SENT",
    8: "HEARTBEAT_SENT",
    9: "HEARTBEAT_ACKED",  # before Linux 6.2
}
"""Those of a tracked association (linux/netfilter/nf_conntrack_sctp.h)."""
_ENDS = {4: ("CTA_IP_V4_SRC", "CTA_IP_V4_DST"), 6: ("CTA_IP_V6_SRC", "CTA_IP_V6_DST")}
"""The attributes of both addresses, by their version."""


class FlowTuple(NamedTuple):
    """One direction of a tracked connection."""

    protocol: str  # tcp | udp | sctp | icmp | icmpv6
    source: str
    source_port: int
    destination: str
    destination_port: int


class TrackedFlow(NamedTuple):
    """An entry with what is known of it, in the words of conntrack(8)."""

    first: FlowTuple
    second: FlowTuple
    state: str  # of TCP and SCTP; with UNREPLIED behind where no answer came; "" for what has none
    assured: bool
    timeout: int  # seconds until it is forgotten


TrackedConnection = tuple[FlowTuple, FlowTuple]
"""The first direction as it came, and the second as its answers come."""


def open_socket() -> socket.socket:
    """A socket for the calling thread's namespace. Raises KernelError."""
    try:
        return messages.open_socket(NETLINK_NETFILTER)
    except OSError as error:
        remedy = "use a kernel with CONFIG_NF_CT_NETLINK"
        raise KernelError("open a netfilter socket", errno=error.errno or 0, remedy=remedy) from None


def find(
    sock: socket.socket, namespace: str, wanted: tuple[str, str, int, str, int]
) -> TrackedConnection | None:
    """The entry that has this direction, first or second. Raises KernelError."""
    what = f"look up the connection {wanted[1]} → {wanted[3]}"
    try:
        answer = ask_kernel(sock, IPCTNL_MSG_CT_GET, _encode(FlowTuple(*wanted)))
    except Refused as error:
        if error.errno == errno.ENOENT:
            return None
        raise KernelError(what, namespace, error.errno or 0) from None
    except OSError as error:
        raise KernelError(what, namespace, error.errno or 0) from None
    return _decode(answer)


def entries(sock: socket.socket, namespace: str) -> list[TrackedConnection]:
    """Every entry, of any family. Raises KernelError."""
    everything = CONNECTION.encode({"nfgen_family": AF_UNSPEC})
    bodies = dump(sock, IPCTNL_MSG_CT_GET, everything, f"list the connections of {namespace}")
    return [entry for body in bodies if (entry := _decode(body)) is not None]


def flows(sock: socket.socket, namespace: str) -> list[TrackedFlow]:
    """Every entry, of any family, with its state. Raises KernelError."""
    everything = CONNECTION.encode({"nfgen_family": AF_UNSPEC})
    bodies = dump(sock, IPCTNL_MSG_CT_GET, everything, f"list the connections of {namespace}")
    return [flow for body in bodies if (flow := _flow(body)) is not None]


def _flow(body: bytes) -> TrackedFlow | None:
    found = FLOW.decode(body)
    first, second = (_direction(found.get(name, {})) for name in ("CTA_TUPLE_ORIG", "CTA_TUPLE_REPLY"))
    if first is None or second is None:
        return None
    status, known = found.get("CTA_STATUS", 0), found.get("CTA_PROTOINFO", {})
    tcp, sctp = known.get("CTA_PROTOINFO_TCP", {}), known.get("CTA_PROTOINFO_SCTP", {})
    state = _TCP_STATES.get(tcp.get("CTA_PROTOINFO_TCP_STATE", 0), "")
    state = state or _SCTP_STATES.get(sctp.get("CTA_PROTOINFO_SCTP_STATE", 0), "")
    if not status & IPS_SEEN_REPLY:
        state = f"{state} UNREPLIED".strip()
    return TrackedFlow(first, second, state, bool(status & IPS_ASSURED), found.get("CTA_TIMEOUT", 0))


def forget_stale(fd: int, namespace: str, before: UdpBackends, wanted: UdpBackends) -> dict[int, int]:
    """Forgets UDP flows that go to an endpoint which serves no more, or past a Service that there was not when they
    began, and only those; how many, by the version of IP. Raises KernelError.

    A flow that goes on is never looked up in the rules again, so nothing else would ever end it
    (kube-proxy's pkg/proxy/conntrack).
    """
    if _only_grew(before.frontends, wanted.frontends):
        return {}
    is_stale = Stale(before, wanted)
    with netns.inside(fd, open_socket) as sock:
        if not _count(sock, namespace):
            return {}
        stale = [first for first, second in entries(sock, namespace) if is_stale(first, second)]
        for direction in stale:
            _delete(sock, namespace, direction)
    return Counter(6 if ":" in direction.destination else 4 for direction in stale)


def _only_grew(
    before: Mapping[tuple[str, int], frozenset[str]], wanted: Mapping[tuple[str, int], frozenset[str]]
) -> bool:
    """Whether all who served go on, and there were some of each: then nothing has become stale."""
    served = (before.get(frontend, frozenset()) for frontend in wanted)
    kept = all(were and were <= are for were, are in zip(served, wanted.values(), strict=True))
    return kept and before.keys() <= wanted.keys()


def _count(sock: socket.socket, namespace: str) -> int:
    """How many entries there are. A listing looks through the table that all namespaces of the machine have together,
    most of which have nothing in it. Raises KernelError."""
    try:
        answer = ask_kernel(sock, IPCTNL_MSG_CT_GET_STATS, STATS.encode({"nfgen_family": AF_UNSPEC}))
    except OSError as error:
        raise KernelError("count connections", namespace, error.errno or 0) from None
    number: int = STATS.decode(answer)["CTA_STATS_GLOBAL_ENTRIES"]
    return number


class Stale:
    """Whether an entry leads from a Service's address to what is no serving endpoint of it. Pure."""

    def __init__(self, before: UdpBackends, wanted: UdpBackends) -> None:
        """`before`: who served until now, by which the flows of a Service that is gone are known."""
        self._before = before.frontends
        self._wanted = wanted.frontends

    def __call__(self, first: FlowTuple, second: FlowTuple) -> bool:
        if first.protocol != "udp":
            return False
        port = first.destination_port
        answerer = socket_name(second.source, second.source_port)
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


def _leaves_no_trace(first: FlowTuple, second: FlowTuple) -> bool:
    """Whether an entry to the number of a node port may go, though its address may be anybody's: it was translated
    as a node port is, or not at all, and then the next packet makes the same one, if no rule has it now. One whose
    source alone was translated would get another."""
    destination = (first.destination, first.destination_port) == (second.source, second.source_port)
    source = (first.source, first.source_port) == (second.destination, second.destination_port)
    return not destination or source


def _delete(sock: socket.socket, namespace: str, direction: FlowTuple) -> None:
    try:
        command(sock, IPCTNL_MSG_CT_DELETE, _encode(direction))
    except OSError as error:
        if error.errno != errno.ENOENT:  # it ended by itself meanwhile
            what = f"forget the flow {direction.source} → {direction.destination}"
            raise KernelError(what, namespace, error.errno or 0) from None


def _encode(direction: FlowTuple) -> bytes:
    version = 6 if ":" in direction.source else 4
    source, destination = _ENDS[version]
    return CONNECTION.encode(
        {
            "nfgen_family": FAMILIES[version],
            "CTA_TUPLE_ORIG": {
                "CTA_TUPLE_IP": {source: direction.source, destination: direction.destination},
                "CTA_TUPLE_PROTO": {
                    "CTA_PROTO_NUM": _PROTOCOLS[direction.protocol],
                    "CTA_PROTO_SRC_PORT": direction.source_port,
                    "CTA_PROTO_DST_PORT": direction.destination_port,
                },
            },
        }
    )


def _decode(body: bytes) -> TrackedConnection | None:
    found = CONNECTION.decode(body)
    first, second = (_direction(found.get(name, {})) for name in ("CTA_TUPLE_ORIG", "CTA_TUPLE_REPLY"))
    return (first, second) if first and second else None


def _direction(found: Mapping[str, Any]) -> FlowTuple | None:
    addresses, protocol = found.get("CTA_TUPLE_IP", {}), found.get("CTA_TUPLE_PROTO", {})
    name = _PROTOCOL_NAMES.get(protocol.get("CTA_PROTO_NUM"))
    if name is None:
        return None
    for source, destination in _ENDS.values():
        if source in addresses and destination in addresses:
            ports = protocol.get("CTA_PROTO_SRC_PORT", 0), protocol.get("CTA_PROTO_DST_PORT", 0)
            return FlowTuple(name, addresses[source], ports[0], addresses[destination], ports[1])
    return None
