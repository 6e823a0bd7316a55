"""The kernel's decisions about packets: nft trace events, conntrack entries, and rules by their handle.

nfnetlink (linux/netfilter/nfnetlink.h): a message's type is subsystem << 8 | message, a `struct nfgenmsg` with the
family comes first, and the numbers in attributes are big endian. A socket asks about the namespace that it was
opened in, from wherever it is used.

Trace events come for packets that a rule marked with `meta nftrace set 1` (nf_tables_trace.c). An event tells the
packet's headers and interfaces only when it is the first of its packet in a base chain; the later steps have just
the trace's id, which is made of the packet's address in memory and so is used again, for other packets, in time.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Mapping, MutableMapping
from typing import NamedTuple

from emulab.errors import KernelError
from emulab.kernel.netlink.codec import SOL_NETLINK, string
from emulab.kernel.netlink.queries import Attributes, attributes, dump, messages, text
from emulab.kernel.rules import conntrack as kernel_conntrack
from emulab.observe.events import Flow, RuleTrace, Translation

_NETLINK_ADD_MEMBERSHIP = 1
_NFNLGRP_NFTRACE = 9
_SO_RCVBUFFORCE = 33
_TRACE_BUFFER = 32 << 20  # an event takes some 1 KiB of it
_RECEIVE = 1 << 16
_NFGENMSG = 4  # its size

_SUBSYS_NFTABLES = 10
_NFT_MSG_GETTABLE = _SUBSYS_NFTABLES << 8 | 1
_NFT_MSG_GETRULE = _SUBSYS_NFTABLES << 8 | 7
_NFT_MSG_TRACE = _SUBSYS_NFTABLES << 8 | 17
_NFTA_TABLE_NAME = 1
_NFTA_RULE_TABLE, _NFTA_RULE_CHAIN, _NFTA_RULE_HANDLE = 1, 2, 3
_NFTA_VERDICT_CODE, _NFTA_VERDICT_CHAIN = 1, 2

# linux/netfilter/nf_tables.h, enum nft_trace_attributes
_TABLE, _CHAIN, _RULE_HANDLE, _TYPE, _VERDICT, _ID = 1, 2, 3, 4, 5, 6
_NETWORK_HEADER, _TRANSPORT_HEADER, _IIF, _OIF, _POLICY = 8, 9, 10, 12, 16
_KINDS = {1: "policy", 2: "return", 3: "rule"}
_VERDICTS = {0: "drop", 1: "accept", 2: "stolen", 3: "queue", 4: "repeat", 5: "stop"}
_CONTROL = {-1: "continue", -2: "break", -3: "jump", -4: "goto", -5: "return"}
_VERDICT_MASK = 0xFF  # above it: the queue's number, or the errno of a drop
_FAMILIES = {"inet": 1, "ip": 2, "arp": 3, "netdev": 5, "bridge": 7, "ip6": 10}
_FAMILY_NAMES = {number: name for name, number in _FAMILIES.items()}

_PROTOCOLS = {"icmp": socket.IPPROTO_ICMP, "tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}
_PROTOCOL_NAMES = {int(number): name for name, number in _PROTOCOLS.items()}


class Packet(NamedTuple):
    """What an event with headers told of its packet."""

    flow: Flow | None
    sequence: int
    input: str
    output: str


_UNKNOWN = Packet(None, 0, "", "")


def open_socket() -> socket.socket:
    """A socket for questions, of the calling thread's namespace. Raises KernelError."""
    return kernel_conntrack.open_socket()


def open_trace_socket() -> socket.socket:
    """A socket that gets the trace events of the calling thread's namespace from now on. Raises KernelError.

    Only the host's root may have a buffer above net.core.rmem_max; too small a one shows as loss in `read_traces`.
    """
    sock = kernel_conntrack.open_socket()
    try:
        sock.bind((0, 0))  # one without a number gets no multicast
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _TRACE_BUFFER)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _TRACE_BUFFER)
        sock.setsockopt(SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _NFNLGRP_NFTRACE)
    except OSError as error:
        sock.close()
        raise KernelError("subscribe to nftables traces", errno=error.errno or 0) from None
    return sock


def read_traces(
    sock: socket.socket,
    place: str,
    interface_names: Mapping[int, str],
    known: MutableMapping[int, Packet] | None = None,
) -> tuple[list[RuleTrace], bool]:
    """All trace events so far, without waiting, and whether any were lost for lack of room.

    `known` carries the packets' headers from one call to the next.
    """
    packets = {} if known is None else known
    found: list[RuleTrace] = []
    lost = False
    while True:
        try:
            data = sock.recv(_RECEIVE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return found, lost
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise KernelError("read nftables traces", place, error.errno or 0) from None
            lost = True  # told once; what still is in the buffer is read
            continue
        found += (
            decode_trace(body, place, interface_names, packets)
            for kind, _, body, _ in messages(data)
            if kind == _NFT_MSG_TRACE
        )


def decode_trace(
    body: bytes, place: str, interface_names: Mapping[int, str], known: MutableMapping[int, Packet]
) -> RuleTrace:
    """One NFT_MSG_TRACE without its netlink header. Packets are looked up, and kept, in `known` by trace id."""
    found = attributes(body, _NFGENMSG)
    trace_id = _number(found, _ID)
    if _NETWORK_HEADER in found:
        known[trace_id] = _packet(found, interface_names)
    packet = known.get(trace_id, _UNKNOWN)
    return RuleTrace(
        place=place,
        trace_id=trace_id,
        family=_FAMILY_NAMES.get(body[0], str(body[0])),
        table=text(found.get(_TABLE, b"")),
        chain=text(found.get(_CHAIN, b"")),
        kind=_KINDS.get(_number(found, _TYPE), ""),
        verdict=_verdict(found),
        handle=_number(found, _RULE_HANDLE),
        flow=packet.flow,
        sequence=packet.sequence,
        input=packet.input,
        output=packet.output,
    )


def _number(found: Attributes, kind: int) -> int:
    return int.from_bytes(found.get(kind, b""), "big")


def _verdict(found: Attributes) -> str:
    if _VERDICT not in found:
        return _VERDICTS.get(_number(found, _POLICY), "") if _POLICY in found else ""
    verdict = attributes(found[_VERDICT])
    code = int.from_bytes(verdict.get(_NFTA_VERDICT_CODE, b"\0"), "big", signed=True)
    if code >= 0:
        return _VERDICTS.get(code & _VERDICT_MASK, str(code))
    name = _CONTROL.get(code, str(code))
    chain = text(verdict.get(_NFTA_VERDICT_CHAIN, b""))
    return f"{name} {chain}" if chain else name


def _packet(found: Attributes, interface_names: Mapping[int, str]) -> Packet:
    flow, sequence = _headers(found[_NETWORK_HEADER], found.get(_TRANSPORT_HEADER, b""))
    interfaces = (_number(found, kind) for kind in (_IIF, _OIF))
    return Packet(flow, sequence, *(interface_names.get(i, f"if{i}") if i else "" for i in interfaces))


def _headers(network: bytes, transport: bytes) -> tuple[Flow | None, int]:
    """Flow and TCP sequence number of IPv4 headers (RFC 791, RFC 9293), as far as they were captured."""
    if len(network) < 20 or network[0] >> 4 != 4:
        return None, 0
    protocol = _PROTOCOL_NAMES.get(network[9])
    if protocol is None:
        return None, 0
    source, destination = socket.inet_ntoa(network[12:16]), socket.inet_ntoa(network[16:20])
    ports, sequence = (0, 0), 0
    if protocol != "icmp" and len(transport) >= 4:
        ports = struct.unpack_from("!HH", transport)
    if protocol == "tcp" and len(transport) >= 8:
        (sequence,) = struct.unpack_from("!I", transport, 4)
    return Flow(protocol, source, ports[0], destination, ports[1]), sequence


# conntrack


def conntrack(sock: socket.socket, place: str, flow: Flow) -> Translation | None:
    """The entry that `flow` belongs to, whichever of its directions that is. Raises KernelError.

    An ICMP entry is known by its id, which a flow doesn't tell: the last one between the two addresses is given.
    """
    if flow.protocol == "icmp":
        entries = reversed(kernel_conntrack.entries(sock, place))
        found = next((e for e in entries if tuple(flow) in e), None)
    else:
        found = kernel_conntrack.find(sock, place, flow)
    return Translation(place, Flow(*found[0]), Flow(*found[1])) if found else None


# rules


def tables(sock: socket.socket) -> list[str]:
    """The names of all tables, of whatever family. Raises KernelError."""
    found = dump(sock, _NFT_MSG_GETTABLE, struct.pack("=BBH", 0, 0, 0), "list the nftables tables")
    return [text(attributes(body, _NFGENMSG).get(_NFTA_TABLE_NAME, b"")) for body in found]


def rule_handles(sock: socket.socket, family: str, table: str, chain: str) -> list[int]:
    """The handles of a chain's rules in their order; none when there is no such chain. Raises KernelError."""
    nfgenmsg = struct.pack("=BBH", _FAMILIES[family], 0, 0)
    payload = nfgenmsg + string(_NFTA_RULE_TABLE, table) + string(_NFTA_RULE_CHAIN, chain)
    rules = dump(sock, _NFT_MSG_GETRULE, payload, f"list the rules of {family} {table} {chain}")
    return [_number(attributes(body, _NFGENMSG), _NFTA_RULE_HANDLE) for body in rules]
