"""The kernel's decisions about packets: nft trace events, conntrack entries, and rules by their handle.

A socket asks about the namespace that it was opened in, from wherever it is used.

Trace events come for packets that a rule marked with `meta nftrace set 1` (nf_tables_trace.c). An event tells the
packet's headers and interfaces only when it is the first of its packet in a base chain; the later steps have just
the trace's id, which is made of the packet's address in memory and so is used again, for other packets, in time.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Mapping, MutableMapping
from typing import Any, NamedTuple

from emulab.errors import KernelError
from emulab.kernel.netlink import nftables
from emulab.kernel.netlink.messages import AF_UNSPEC, NETLINK_ADD_MEMBERSHIP, SOL_NETLINK, received
from emulab.kernel.netlink.requests import dump
from emulab.kernel.rules import conntrack as kernel_conntrack
from emulab.model.addresses import parse_address
from emulab.model.families import family_of
from emulab.observe.events import Flow, RuleTrace, Translation

_SO_RCVBUFFORCE = 33
_TRACE_BUFFER = 32 << 20  # an event takes some 1 KiB of it
_RECEIVE = 1 << 16

_FAMILY_NAMES = {number: name for name, number in nftables.FAMILIES.items()}
_VERDICTS = {number: name for name, number in nftables.VERDICTS.items()}
_CONTROL = {number: name for name, number in nftables.CONTROL.items()}

_PROTOCOL_NAMES = {
    socket.IPPROTO_ICMP: "icmp",
    socket.IPPROTO_TCP: "tcp",
    socket.IPPROTO_UDP: "udp",
    socket.IPPROTO_ICMPV6: "icmp",
}
_WITH_PORTS = frozenset({"tcp", "udp"})


class PacketHeaders(NamedTuple):
    """What an event with headers told of its packet."""

    flow: Flow | None
    sequence: int
    input: str
    output: str


_UNKNOWN = PacketHeaders(None, 0, "", "")


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
        sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, nftables.NFNLGRP_NFTRACE)
    except OSError as error:
        sock.close()
        raise KernelError("subscribe to nftables traces", errno=error.errno or 0) from None
    return sock


def read_traces(
    sock: socket.socket,
    place: str,
    interface_names: Mapping[int, str],
    known: MutableMapping[int, PacketHeaders] | None = None,
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
            for kind, _, body, _ in received(data)
            if kind == nftables.NFT_MSG_TRACE
        )


def decode_trace(
    body: bytes, place: str, interface_names: Mapping[int, str], known: MutableMapping[int, PacketHeaders]
) -> RuleTrace:
    """One NFT_MSG_TRACE without its netlink header. Packets are looked up, and kept, in `known` by trace id."""
    found = nftables.TRACE.decode(body)
    get = found.get
    trace_id = get("NFTA_TRACE_ID", 0)
    if "NFTA_TRACE_NETWORK_HEADER" in found:
        known[trace_id] = _packet(found, interface_names)
    packet = known.get(trace_id, _UNKNOWN)
    family = found["nfgen_family"]
    return RuleTrace(
        place=place,
        trace_id=trace_id,
        family=_FAMILY_NAMES.get(family, str(family)),
        table=get("NFTA_TRACE_TABLE", ""),
        chain=get("NFTA_TRACE_CHAIN", ""),
        kind=nftables.TRACE_TYPES.get(get("NFTA_TRACE_TYPE", 0), ""),
        verdict=_verdict(found),
        handle=get("NFTA_TRACE_RULE_HANDLE", 0),
        flow=packet.flow,
        sequence=packet.sequence,
        input=packet.input,
        output=packet.output,
    )


def _verdict(found: Mapping[str, Any]) -> str:
    verdict = found.get("NFTA_TRACE_VERDICT")
    if verdict is None:
        return _VERDICTS.get(found.get("NFTA_TRACE_POLICY", -1), "")
    code = verdict.get("NFTA_VERDICT_CODE", 0)
    if code >= 0:
        return _VERDICTS.get(code & nftables.VERDICT_MASK, str(code))
    name, chain = _CONTROL.get(code, str(code)), verdict.get("NFTA_VERDICT_CHAIN")
    return f"{name} {chain}" if chain else name


def _packet(found: Mapping[str, Any], interface_names: Mapping[int, str]) -> PacketHeaders:
    transport = found.get("NFTA_TRACE_TRANSPORT_HEADER", b"")
    flow, sequence = _headers(found["NFTA_TRACE_NETWORK_HEADER"], transport)
    interfaces = (found.get(name, 0) for name in ("NFTA_TRACE_IIF", "NFTA_TRACE_OIF"))
    return PacketHeaders(flow, sequence, *(interface_names.get(i, f"if{i}") if i else "" for i in interfaces))


def _headers(network: bytes, transport: bytes) -> tuple[Flow | None, int]:
    """Flow and TCP sequence number of a packet's headers (RFC 9293), as far as they were captured."""
    number, source, destination = _addresses(network)
    protocol = _PROTOCOL_NAMES.get(number)
    if protocol is None:
        return None, 0
    ports, sequence = (0, 0), 0
    if protocol in _WITH_PORTS and len(transport) >= 4:
        ports = struct.unpack_from("!HH", transport)
    if protocol == "tcp" and len(transport) >= 8:
        (sequence,) = struct.unpack_from("!I", transport, 4)
    return Flow(protocol, source, ports[0], destination, ports[1]), sequence


def _addresses(network: bytes) -> tuple[int, str, str]:
    """Protocol and both addresses of an IPv4 or IPv6 header (RFC 791, RFC 8200); -1: it is none."""
    version = network[0] >> 4 if network else 0
    if version == 4 and len(network) >= 20:
        return network[9], socket.inet_ntoa(network[12:16]), socket.inet_ntoa(network[16:20])
    if version == 6 and len(network) >= 40:
        source, destination = (socket.inet_ntop(socket.AF_INET6, network[at : at + 16]) for at in (8, 24))
        return network[6], source, destination
    return -1, "", ""


# conntrack


def translation_of(sock: socket.socket, place: str, flow: Flow) -> Translation | None:
    """The entry that `flow` belongs to, whichever of its directions that is. Raises KernelError.

    An ICMP entry is known by its id, which a flow doesn't tell: the last one between the two addresses is given.
    """
    if flow.protocol in _WITH_PORTS:
        found = kernel_conntrack.find(sock, place, flow)
        return Translation(place, Flow(*found[0]), Flow(*found[1])) if found else None
    control = family_of(parse_address(flow.source)).icmp
    wanted = (control, *flow[1:])
    entries = reversed(kernel_conntrack.entries(sock, place))
    found = next((e for e in entries if wanted in e), None)
    return Translation(place, *(Flow(flow.protocol, *side[1:]) for side in found)) if found else None


# rules


def table_names(sock: socket.socket) -> list[str]:
    """The names of all tables, of whatever family. Raises KernelError."""
    everything = nftables.TABLE.encode({"nfgen_family": AF_UNSPEC})
    found = dump(sock, nftables.NFT_MSG_GETTABLE, everything, "list the nftables tables")
    return [nftables.TABLE.decode(body).get("NFTA_TABLE_NAME", "") for body in found]


def rule_handles(sock: socket.socket, family: str, table: str, chain: str) -> list[int]:
    """The handles of a chain's rules in their order; none when there is no such chain. Raises KernelError."""
    question = nftables.RULE.encode(
        {
            "nfgen_family": nftables.FAMILIES[family],
            "NFTA_RULE_TABLE": table,
            "NFTA_RULE_CHAIN": chain,
        }
    )
    rules = dump(sock, nftables.NFT_MSG_GETRULE, question, f"list the rules of {family} {table} {chain}")
    return [nftables.RULE.decode(body).get("NFTA_RULE_HANDLE", 0) for body in rules]
