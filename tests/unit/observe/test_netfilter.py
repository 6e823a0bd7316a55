"""Trace events as bytes: what is decoded of each step, and what later steps inherit from the first."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest

from emulab.kernel.netlink.nftables import TRACE
from emulab.observe.capture.netfilter import PacketHeaders, decode_trace
from emulab.observe.events import Flow

NAMES = {10: "eth0", 11: "veth1"}
RULE, RETURN, POLICY = 3, 2, 1
ACCEPT, DROP, CONTINUE, JUMP, GOTO, LEAVE = 1, 0, -1, -3, -4, -5


def step(trace_id: int, kind: int, *more: dict[str, Any], family: int = 2) -> bytes:
    """An NFT_MSG_TRACE of table `nat`, chain `services`, from its nfgenmsg on."""
    values = {
        "nfgen_family": family,
        "NFTA_TRACE_ID": trace_id,
        "NFTA_TRACE_TYPE": kind,
        "NFTA_TRACE_TABLE": "nat",
        "NFTA_TRACE_CHAIN": "services",
    }
    for part in more:
        values |= part
    return TRACE.encode(values)


def interfaces(input: int, output: int | None = None) -> dict[str, Any]:
    return {"NFTA_TRACE_IIF": input, "NFTA_TRACE_OIF": output}


def verdict(code: int, chain: str = "") -> dict[str, Any]:
    return {"NFTA_TRACE_VERDICT": {"NFTA_VERDICT_CODE": code, "NFTA_VERDICT_CHAIN": chain or None}}


def policy(code: int) -> dict[str, Any]:
    return {"NFTA_TRACE_POLICY": code}


def headers(protocol: int, transport: bytes, source: str = "10.0.0.1") -> dict[str, Any]:
    addresses = socket.inet_aton(source) + socket.inet_aton("10.96.0.10")
    network = struct.pack("!BBHHHBBH", 0x45, 0, 40, 1, 0, 64, protocol, 0) + addresses
    return {"NFTA_TRACE_NETWORK_HEADER": network + bytes(20), "NFTA_TRACE_TRANSPORT_HEADER": transport}


TCP = struct.pack("!HHII", 40000, 80, 4_000_000_000, 0) + bytes(8)
WEB = Flow("tcp", "10.0.0.1", 40000, "10.96.0.10", 80)


def test_a_packet_is_known_from_its_first_step_on() -> None:
    known: dict[int, PacketHeaders] = {}
    handle = {"NFTA_TRACE_RULE_HANDLE": 7}
    first = decode_trace(
        step(99, RULE, headers(6, TCP), interfaces(10, 11), handle, verdict(JUMP, "svc-1")),
        "node1",
        NAMES,
        known,
    )
    assert (first.family, first.table, first.chain, first.kind) == ("ip", "nat", "services", "rule")
    assert (first.handle, first.verdict) == (7, "jump svc-1")
    assert (first.flow, first.sequence, first.input, first.output) == (WEB, 4_000_000_000, "eth0", "veth1")

    second = decode_trace(step(99, POLICY, policy(ACCEPT)), "node1", NAMES, known)
    assert (second.kind, second.verdict, second.handle) == ("policy", "accept", 0)
    assert (second.flow, second.sequence, second.input) == (WEB, 4_000_000_000, "eth0")

    stranger = decode_trace(step(98, POLICY, policy(DROP)), "node1", NAMES, known)
    assert (stranger.flow, stranger.verdict) == (None, "drop")


def test_an_id_that_is_used_again_is_another_packet() -> None:
    known: dict[int, PacketHeaders] = {}
    decode_trace(step(99, RULE, headers(6, TCP), interfaces(10), verdict(CONTINUE)), "node1", NAMES, known)
    decode_trace(step(99, RULE, headers(1, bytes(8), "10.0.0.9"), verdict(CONTINUE)), "node1", NAMES, known)
    later = decode_trace(step(99, RETURN, verdict(CONTINUE)), "node1", NAMES, known)
    assert (later.flow, later.sequence) == (Flow("icmp", "10.0.0.9", 0, "10.96.0.10", 0), 0)
    assert (later.input, later.kind) == ("", "return")


@pytest.mark.parametrize(
    ("code", "chain", "text"),
    [
        (ACCEPT, "", "accept"),
        (DROP, "", "drop"),
        (DROP | 111 << 16, "", "drop"),
        (3 | 5 << 16, "", "queue"),
        (CONTINUE, "", "continue"),
        (LEAVE, "", "return"),
        (JUMP, "a", "jump a"),
        (GOTO, "b", "goto b"),
    ],
)
def test_verdicts(code: int, chain: str, text: str) -> None:
    assert decode_trace(step(1, RULE, verdict(code, chain)), "node1", NAMES, {}).verdict == text


@pytest.mark.parametrize(
    ("protocol", "transport", "flow"),
    [
        (17, struct.pack("!HHHH", 53, 40000, 8, 0), Flow("udp", "10.0.0.1", 53, "10.96.0.10", 40000)),
        (6, b"", Flow("tcp", "10.0.0.1", 0, "10.96.0.10", 0)),
        (132, TCP, None),
    ],
    ids=["udp", "no transport header", "sctp"],
)
def test_flows(protocol: int, transport: bytes, flow: Flow | None) -> None:
    event = step(1, RULE, headers(protocol, transport), verdict(ACCEPT))
    assert decode_trace(event, "node1", NAMES, {}).flow == flow


def test_families_and_unknown_interfaces() -> None:
    event = step(1, RULE, headers(6, TCP), interfaces(77), verdict(ACCEPT), family=1)
    trace = decode_trace(event, "node1", NAMES, {})
    assert (trace.family, trace.input, trace.output) == ("inet", "if77", "")


def test_an_empty_event() -> None:
    trace = decode_trace(struct.pack("=BBH", 2, 0, 0), "node1", NAMES, {})
    assert (trace.trace_id, trace.verdict, trace.flow) == (0, "", None)


def test_ipv6() -> None:
    ends = (socket.inet_pton(socket.AF_INET6, a) for a in ("fd00::1", "fd00::2"))
    network = struct.pack("!IHBB", 6 << 28, 20, socket.IPPROTO_TCP, 64) + b"".join(ends)
    event = {"NFTA_TRACE_NETWORK_HEADER": network, "NFTA_TRACE_TRANSPORT_HEADER": TCP}
    trace = decode_trace(step(1, RULE, event, verdict(ACCEPT), family=10), "node1", NAMES, {})
    assert (trace.family, trace.flow) == ("ip6", Flow("tcp", "fd00::1", 40000, "fd00::2", 80))
    assert trace.sequence == 4_000_000_000


@pytest.mark.parametrize("network", [b"", b"\x45" + bytes(10), b"\x60" + bytes(30), b"\x50" + bytes(60)])
def test_headers_that_are_cut_off_or_of_no_ip(network: bytes) -> None:
    event = {"NFTA_TRACE_NETWORK_HEADER": network}
    assert decode_trace(step(1, RULE, event), "node1", NAMES, {}).flow is None
