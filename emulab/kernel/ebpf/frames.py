"""Frames as programs see them: what flow one is of, and what it becomes.

Whatever isn't whole TCP or UDP in IP passes as it is.
"""

from __future__ import annotations

from emulab.kernel.bpf import Code
from emulab.kernel.ebpf import assembly
from emulab.kernel.ebpf.assembly import Assembly
from emulab.kernel.ebpf.layouts import MASQUERADE, OF_NODE, PROTOCOLS, network_order

# Fields of struct __sk_buff (linux/bpf.h), and what is where in a frame.
_MARK, _PROTOCOL, INPUT = 8, 16, 36
_ETHERNET, _IPV4_CHECKSUM = 14, 10
_NOT_WHOLE = 0x3FFF  # more fragments, or an offset
_MASQUERADED = 0x4000  # kube-proxy's mark, as the rules have it
_PSEUDO_HEADER, _UDP_WITHOUT = 0x10, 0x20  # BPF_F_PSEUDO_HDR, BPF_F_MARK_MANGLED_0
_LOOPBACK, _INWARDS = 1, 1

STACK = {
    "flow": -40,
    "becomes": -96,
    "service": -120,
    "header": -160,
    "range": -184,
    "client": -208,
    "seen": -224,
    "reply": -264,
    "answer": -320,
    "kept": -336,
}
# Of `flow` and `becomes` (FLOW_KEY, FLOW).
TO, PORTS, TO_PORT, KIND, DIRECTION = 16, 32, 34, 36, 37
FLAGS, BACKEND, SERVICE, SEEN = 36, 40, 44, 48
CONTEXT, TRANSPORT, TCP_FLAGS, POINTER = 6, 7, 8, 9  # registers
IS_IPV6, SPILLED = 0, 8  # of `kept`


def parse(a: Assembly) -> None:
    """Takes the packet's flow down; whatever isn't whole TCP or UDP passes."""
    a.move(CONTEXT, 1)
    a.put(Code.LOAD_32, 0, CONTEXT, _PROTOCOL)
    a.jump("ipv4", Code.JUMP_IF_EQUAL, 0, value=network_order(0x0800))
    a.jump("pass", Code.JUMP_IF_NOT_EQUAL, 0, value=network_order(0x86DD))
    _bytes(a, "header", 0, 40, at=_ETHERNET)
    a.store_value("kept", IS_IPV6, 8, 1)
    a.copy("flow", KIND, "header", 6, 1)
    a.copy("flow", 0, "header", 8, 32)
    a.set(TRANSPORT, _ETHERNET + 40)
    a.jump("addresses")
    a.label("ipv4")
    _bytes(a, "header", 0, 20, at=_ETHERNET)
    a.store_value("kept", IS_IPV6, 8, 0)
    a.load(0, "header", 6, 2)
    a.jump("pass", Code.JUMP_IF_ANY_BIT, 0, value=network_order(_NOT_WHOLE))
    a.load(TRANSPORT, "header", 0, 1)
    a.put(Code.AND_IMMEDIATE, TRANSPORT, immediate=0x0F)
    a.put(Code.SHIFT_LEFT_IMMEDIATE, TRANSPORT, immediate=2)
    a.put(Code.ADD_IMMEDIATE, TRANSPORT, immediate=_ETHERNET)
    a.copy("flow", KIND, "header", 9, 1)
    for at, word in ((0, 12), (TO, 16)):
        a.store_value("flow", at, 8, 0)
        a.store_value("flow", at + 8, 2, 0)
        a.store_value("flow", at + 10, 2, 0xFFFF)
        a.copy("flow", at + 12, "header", word, 4)
    a.label("addresses")
    a.set(TCP_FLAGS, 0)
    a.load(0, "flow", KIND, 1)
    a.jump("ports", Code.JUMP_IF_EQUAL, 0, value=PROTOCOLS["udp"])
    a.jump("pass", Code.JUMP_IF_NOT_EQUAL, 0, value=PROTOCOLS["tcp"])
    _bytes(a, "kept", SPILLED, 1, at=13, beyond=TRANSPORT)
    a.load(TCP_FLAGS, "kept", SPILLED, 1)
    a.label("ports")
    _bytes(a, "flow", PORTS, 4, at=0, beyond=TRANSPORT)
    a.store_value("flow", 38, 2, 0)


def _bytes(a: Assembly, buffer: str, offset: int, size: int, at: int, beyond: int = 0) -> None:
    """Loads bytes of the packet, `at` and so many further as a register says; a packet without them passes."""
    a.move(1, CONTEXT)
    if beyond:
        a.move(2, beyond)
        a.put(Code.ADD_IMMEDIATE, 2, immediate=at)
    else:
        a.set(2, at)
    a.point(3, buffer, offset)
    a.set(4, size)
    a.call(assembly.LOAD_BYTES)
    a.jump("pass", Code.JUMP_IF_NOT_EQUAL, 0)


def apply(a: Assembly) -> None:
    """Writes into the packet what its flow becomes."""
    a.label("apply")
    a.load(0, "kept", IS_IPV6, 8)
    a.jump("checksum", Code.JUMP_IF_NOT_EQUAL, 0)
    for at in (12, TO + 12):
        a.move(1, CONTEXT)
        a.set(2, _ETHERNET + _IPV4_CHECKSUM)
        a.load(3, "flow", at, 4)
        a.load(4, "becomes", at, 4)
        a.set(5, 4)
        a.call(assembly.L3_CHECKSUM)
    a.label("checksum")
    _transport_checksum(a)
    a.load(0, "kept", IS_IPV6, 8)
    a.jump("of ipv6", Code.JUMP_IF_NOT_EQUAL, 0)
    _write(a, 26, "becomes", 12, 4)
    _write(a, 30, "becomes", TO + 12, 4)
    a.jump("transport")
    a.label("of ipv6")
    _write(a, 22, "becomes", 0, 32)
    a.label("transport")
    _write(a, 0, "becomes", PORTS, 4, beyond=TRANSPORT)
    a.load(POINTER, "becomes", FLAGS, 4)
    a.move(1, POINTER)
    a.put(Code.AND_IMMEDIATE, 1, immediate=MASQUERADE)
    a.jump("marked", Code.JUMP_IF_EQUAL, 1)
    a.put(Code.LOAD_32, 1, CONTEXT, _MARK)
    a.put(Code.OR_IMMEDIATE, 1, immediate=_MASQUERADED)
    a.put(Code.STORE_32, CONTEXT, 1, _MARK)
    a.label("marked")
    a.put(Code.AND_IMMEDIATE, POINTER, immediate=OF_NODE)
    a.jump("pass", Code.JUMP_IF_EQUAL, POINTER)
    a.store_value("header", 0, 8, 0)  # the loopback's MAC address
    _write(a, 0, "header", 0, 6)
    a.set(1, _LOOPBACK)
    a.set(2, _INWARDS)
    a.call(assembly.REDIRECT)
    a.put(Code.EXIT)


def _transport_checksum(a: Assembly) -> None:
    """TCP's or UDP's checksum: first for the addresses, which are in it by the pseudo-header, then for the ports."""
    a.move(POINTER, TRANSPORT)
    a.load(0, "flow", KIND, 1)
    a.jump("of udp", Code.JUMP_IF_EQUAL, 0, value=PROTOCOLS["udp"])
    a.put(Code.ADD_IMMEDIATE, POINTER, immediate=16)
    a.set(TCP_FLAGS, 0)
    a.jump("sums")
    a.label("of udp")
    a.put(Code.ADD_IMMEDIATE, POINTER, immediate=6)
    a.set(TCP_FLAGS, _UDP_WITHOUT)
    a.label("sums")
    a.point(1, "flow")
    a.set(2, 32)
    a.point(3, "becomes")
    a.set(4, 32)
    a.set(5, 0)
    a.call(assembly.CHECKSUM_DIFFERENCE)
    a.move(4, 0)
    a.set(3, 0)
    a.move(5, TCP_FLAGS)
    a.put(Code.OR_IMMEDIATE, 5, immediate=_PSEUDO_HEADER)
    a.move(1, CONTEXT)
    a.move(2, POINTER)
    a.call(assembly.L4_CHECKSUM)
    a.load(3, "flow", PORTS, 4)
    a.load(4, "becomes", PORTS, 4)
    a.move(5, TCP_FLAGS)
    a.put(Code.OR_IMMEDIATE, 5, immediate=4)
    a.move(1, CONTEXT)
    a.move(2, POINTER)
    a.call(assembly.L4_CHECKSUM)


def _write(a: Assembly, at: int, buffer: str, offset: int, size: int, beyond: int = 0) -> None:
    """Writes bytes of a buffer into the packet."""
    a.move(1, CONTEXT)
    if beyond:
        a.move(2, beyond)
        a.put(Code.ADD_IMMEDIATE, 2, immediate=at)
    else:
        a.set(2, at)
    a.point(3, buffer, offset)
    a.set(4, size)
    a.set(5, 0)
    a.call(assembly.STORE_BYTES)
