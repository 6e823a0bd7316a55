"""Frames as programs see them: what flow one is of, and what it becomes.

Whatever isn't TCP, UDP or SCTP in IP passes as it is, but for ICMP errors about these. SCTP keeps its ports, as its
checksum is one of all that is in the packet, and addresses aren't in it.

Of what comes in fragments (RFC 791, RFC 8200) the first alone has ports. They are written down for those that follow,
which pass as they are when none came before them (Cilium's `bpf/lib/ipv4.h`).
"""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kernel.bpf import Code
from emulab.kernel.ebpf import assembly
from emulab.kernel.ebpf.assembly import Assembly
from emulab.kernel.ebpf.layouts import MASQUERADE, OF_NODE, PROTOCOLS, network_order

# Fields of struct __sk_buff (linux/bpf.h), and what is where in a frame.
_MARK, _PROTOCOL, INPUT = 8, 16, 36
_ETHERNET, _IPV4_CHECKSUM = 14, 10
_NOT_WHOLE, _OFFSET = 0x3FFF, 0x1FFF  # of IPv4: more fragments, or an offset; the offset
_NOT_WHOLE6, _OFFSET6 = 0xFFF9, 0xFFF8  # of IPv6, likewise
_FRAGMENT = 44  # the header of IPv6's fragments
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
    "error": -352,
    "fragment": -392,
    "part": -400,
}
# Of `flow` and `becomes` (FLOW_KEY, FLOW).
TO, PORTS, TO_PORT, KIND, DIRECTION = 16, 32, 34, 36, 37
FLAGS, BACKEND, SERVICE, SEEN = 36, 40, 44, 48
CONTEXT, TRANSPORT, TCP_FLAGS, POINTER = 6, 7, 8, 9  # registers
IS_IPV6, SPILLED = 0, 8  # of `kept`
INNER, MESSAGE = (
    0,
    8,
)  # of `error`: where the IP header is that an ICMP error is about, and where that error begins
_ID, _OF_KIND = 32, 36  # of `fragment` (FRAGMENT_KEY)
_WHOLE, _FIRST, _LATER = 0, 1, 2  # what `part` says: which fragment it is
_ICMP, _ICMP6 = 1, 58
_ERRORS = {_ICMP: (3, 11, 12), _ICMP6: (1, 2, 3, 4)}  # what they are about is behind eight bytes
_ABOUT = 8


def parse(a: Assembly, fragments: int) -> None:
    """Takes the packet's flow down; whatever isn't TCP, UDP or SCTP passes. `fragments`: the map of their ports.

    Of an ICMP error it is the flow that goes the other way than what the error is about, and so the error's own way.
    """
    a.store_value("error", INNER, 8, 0)
    a.store_value("part", 0, 8, _WHOLE)
    a.store_value("fragment", _ID, 8, 0)
    a.move(CONTEXT, 1)
    a.put(Code.LOAD_32, 0, CONTEXT, _PROTOCOL)
    a.jump("ipv4", Code.JUMP_IF_EQUAL, 0, value=network_order(0x0800))
    a.jump("pass", Code.JUMP_IF_NOT_EQUAL, 0, value=network_order(0x86DD))
    _header6(a)
    a.jump("addresses")
    a.label("ipv4")
    _header4(a)
    a.label("addresses")
    a.set(TCP_FLAGS, 0)
    a.load(0, "part", 0, 8)
    a.jump("has a transport", Code.JUMP_IF_EQUAL, 0)
    _fragment(a, fragments)
    a.label("has a transport")
    a.load(0, "flow", KIND, 1)
    for protocol in (PROTOCOLS["udp"], PROTOCOLS["sctp"]):
        a.jump("ports", Code.JUMP_IF_EQUAL, 0, value=protocol)
    for protocol in _ERRORS:
        a.jump(f"icmp {protocol}", Code.JUMP_IF_EQUAL, 0, value=protocol)
    a.jump("pass", Code.JUMP_IF_NOT_EQUAL, 0, value=PROTOCOLS["tcp"])
    _bytes(a, "kept", SPILLED, 1, at=13, beyond=TRANSPORT)
    a.load(TCP_FLAGS, "kept", SPILLED, 1)
    a.label("ports")
    _bytes(a, "flow", PORTS, 4, at=0, beyond=TRANSPORT)
    a.store_value("flow", 38, 2, 0)
    a.load(0, "part", 0, 8)
    a.jump("parsed", Code.JUMP_IF_EQUAL, 0)
    a.update(fragments, "fragment", "flow", PORTS)
    a.jump("parsed")
    for protocol, kinds in _ERRORS.items():
        a.label(f"icmp {protocol}")
        _is_error(a, kinds)
        _about(a, protocol == _ICMP6)
    a.label("parsed")


def _header6(a: Assembly) -> None:
    _bytes(a, "header", 0, 40, at=_ETHERNET)
    a.store_value("kept", IS_IPV6, 8, 1)
    a.copy("flow", KIND, "header", 6, 1)
    a.copy("flow", 0, "header", 8, 32)
    a.set(TRANSPORT, _ETHERNET + 40)
    a.load(0, "flow", KIND, 1)
    a.jump("addresses", Code.JUMP_IF_NOT_EQUAL, 0, value=_FRAGMENT)
    _bytes(a, "kept", SPILLED, 8, at=_ETHERNET + 40)
    a.copy("flow", KIND, "kept", SPILLED, 1)
    a.copy("fragment", _ID, "kept", SPILLED + 4, 4)
    a.set(TRANSPORT, _ETHERNET + 48)
    a.load(0, "kept", SPILLED + 2, 2)
    _note_part(a, _NOT_WHOLE6, _OFFSET6)


def _header4(a: Assembly) -> None:
    _bytes(a, "header", 0, 20, at=_ETHERNET)
    a.store_value("kept", IS_IPV6, 8, 0)
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
    a.copy("fragment", _ID, "header", 4, 2)
    a.load(0, "header", 6, 2)
    _note_part(a, _NOT_WHOLE, _OFFSET)


def _note_part(a: Assembly, not_whole: int, offset: int) -> None:
    """Notes in `part` what the field in r0 says."""
    some, later, noted = map(a.fresh, ("some", "later", "noted"))
    a.jump(some, Code.JUMP_IF_ANY_BIT, 0, value=network_order(not_whole))
    a.jump(noted)
    a.label(some)
    a.store_value("part", 0, 8, _FIRST)
    a.jump(later, Code.JUMP_IF_ANY_BIT, 0, value=network_order(offset))
    a.jump(noted)
    a.label(later)
    a.store_value("part", 0, 8, _LATER)
    a.label(noted)


def _fragment(a: Assembly, fragments: int) -> None:
    """Of a fragment: what it is known by, and the ports that the first one had."""
    a.load(0, "flow", KIND, 1)
    known = a.fresh("known")
    for protocol in PROTOCOLS.values():
        a.jump(known, Code.JUMP_IF_EQUAL, 0, value=protocol)
    a.jump("pass")
    a.label(known)
    a.copy("fragment", 0, "flow", 0, 32)
    a.copy("fragment", _OF_KIND, "flow", KIND, 1)
    a.load(0, "part", 0, 8)
    a.jump("has a transport", Code.JUMP_IF_EQUAL, 0, value=_FIRST)
    a.lookup(fragments, "fragment", missing="pass")
    a.take("flow", PORTS, 0, 0, 4)
    a.store_value("flow", 38, 2, 0)
    a.jump("parsed")


def _is_error(a: Assembly, kinds: Sequence[int]) -> None:
    _bytes(a, "kept", SPILLED, 1, at=0, beyond=TRANSPORT)
    a.load(0, "kept", SPILLED, 1)
    error = a.fresh("is one")
    for kind in kinds:
        a.jump(error, Code.JUMP_IF_EQUAL, 0, value=kind)
    a.jump("pass")
    a.label(error)


def _about(a: Assembly, ipv6: bool) -> None:
    """Takes down what an error is about. It goes to who sent that, or else passes."""
    source, destination, length = (8, 24, 16) if ipv6 else (12, 16, 4)
    a.store("error", MESSAGE, 8, TRANSPORT)
    _bytes(a, "header", 0, 40 if ipv6 else 20, at=_ABOUT, beyond=TRANSPORT)
    a.put(Code.ADD_IMMEDIATE, TRANSPORT, immediate=_ABOUT)
    a.store("error", INNER, 8, TRANSPORT)
    at = 16 - length
    for word in range(0, length, 4):
        a.load(0, "flow", TO + at + word, 4)
        a.load(1, "header", source + word, 4)
        a.jump("pass", Code.JUMP_IF_NOT_EQUAL_TO, 0, 1)
    a.copy("flow", at, "header", destination, length)
    if ipv6:
        a.copy("flow", KIND, "header", 6, 1)
        a.put(Code.ADD_IMMEDIATE, TRANSPORT, immediate=40)
    else:
        a.copy("flow", KIND, "header", 9, 1)
        a.load(0, "header", 6, 2)
        a.jump("pass", Code.JUMP_IF_ANY_BIT, 0, value=network_order(_NOT_WHOLE))
        a.load(0, "header", 0, 1)
        a.put(Code.AND_IMMEDIATE, 0, immediate=0x0F)
        a.put(Code.SHIFT_LEFT_IMMEDIATE, 0, immediate=2)
        a.put(Code.ADD, TRANSPORT, 0)
    has_ports = a.fresh("has ports")
    a.load(0, "flow", KIND, 1)
    for protocol in PROTOCOLS.values():
        a.jump(has_ports, Code.JUMP_IF_EQUAL, 0, value=protocol)
    a.jump("pass")
    a.label(has_ports)
    _bytes(a, "kept", SPILLED, 4, at=0, beyond=TRANSPORT)
    a.copy("flow", PORTS, "kept", SPILLED + 2, 2)
    a.copy("flow", TO_PORT, "kept", SPILLED, 2)
    a.store_value("flow", 38, 2, 0)
    a.jump("parsed")


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
    for which in (12, TO + 12):
        _header_checksum(a, which, at=_ETHERNET + _IPV4_CHECKSUM)
    a.label("checksum")
    a.load(0, "part", 0, 8)
    a.jump("summed up", Code.JUMP_IF_EQUAL, 0, value=_LATER)
    _transport_checksum(a)
    a.load(0, "kept", IS_IPV6, 8)
    a.jump("of ipv6", Code.JUMP_IF_NOT_EQUAL, 0)
    _write(a, 26, "becomes", 12, 4)
    _write(a, 30, "becomes", TO + 12, 4)
    a.jump("transport")
    a.label("of ipv6")
    _write(a, 22, "becomes", 0, 32)
    a.label("transport")
    a.load(0, "part", 0, 8)
    a.jump("written", Code.JUMP_IF_EQUAL, 0, value=_LATER)
    _write(a, 0, "becomes", PORTS, 4, beyond=TRANSPORT)
    a.label("written")
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


def apply_to_error(a: Assembly) -> None:
    """Writes what its flow becomes into an ICMP error: to whom it goes, and into the packet that it is about.

    Of that one TCP's or UDP's checksum stays, as nobody looks at it. ICMP's own one counts what it is about; in IPv4
    the checksum of the header in there makes up for the addresses.
    """
    a.load(0, "kept", IS_IPV6, 8)
    a.jump("error of ipv6", Code.JUMP_IF_NOT_EQUAL, 0)
    _header_checksum(a, TO + 12, at=_ETHERNET + _IPV4_CHECKSUM)
    a.load(POINTER, "error", INNER, 8)
    for which in (TO + 12, 12):
        _header_checksum(a, which, at=_IPV4_CHECKSUM, beyond=POINTER)
    _write(a, _ETHERNET + 16, "becomes", TO + 12, 4)
    _write(a, 12, "becomes", TO + 12, 4, beyond=POINTER)
    _write(a, 16, "becomes", 12, 4, beyond=POINTER)
    a.load(POINTER, "error", MESSAGE, 8)
    a.put(Code.ADD_IMMEDIATE, POINTER, immediate=2)
    a.jump("ports of an error")
    a.label("error of ipv6")
    a.load(POINTER, "error", MESSAGE, 8)
    a.put(Code.ADD_IMMEDIATE, POINTER, immediate=2)
    for begin, size, flags in ((0, 32, 0), (TO, 16, _PSEUDO_HEADER)):
        _addresses_checksum(a, begin, size, flags)
    _write(a, _ETHERNET + 24, "becomes", TO, 16)
    a.load(TCP_FLAGS, "error", INNER, 8)
    _write(a, 8, "becomes", TO, 16, beyond=TCP_FLAGS)
    _write(a, 24, "becomes", 0, 16, beyond=TCP_FLAGS)
    a.label("ports of an error")
    a.load(3, "flow", PORTS, 4)
    a.load(4, "becomes", PORTS, 4)
    a.set(5, 4)
    a.move(1, CONTEXT)
    a.move(2, POINTER)
    a.call(assembly.L4_CHECKSUM)
    _write(a, 0, "becomes", TO_PORT, 2, beyond=TRANSPORT)
    _write(a, 2, "becomes", PORTS, 2, beyond=TRANSPORT)
    a.load(POINTER, "becomes", FLAGS, 4)
    a.jump("marked")


def _header_checksum(a: Assembly, which: int, at: int, beyond: int = 0) -> None:
    """That of IPv4 for one address, which in `flow` and `becomes` is at an offset."""
    a.move(1, CONTEXT)
    if beyond:
        a.move(2, beyond)
        a.put(Code.ADD_IMMEDIATE, 2, immediate=at)
    else:
        a.set(2, at)
    a.load(3, "flow", which, 4)
    a.load(4, "becomes", which, 4)
    a.set(5, 4)
    a.call(assembly.L3_CHECKSUM)


def _addresses_checksum(a: Assembly, begin: int, size: int, flags: int) -> None:
    """Makes a checksum, where r9 says, that counts addresses of `flow` one that counts those of `becomes`."""
    a.point(1, "flow", begin)
    a.set(2, size)
    a.point(3, "becomes", begin)
    a.set(4, size)
    a.set(5, 0)
    a.call(assembly.CHECKSUM_DIFFERENCE)
    a.move(4, 0)
    a.set(3, 0)
    a.set(5, flags)
    a.move(1, CONTEXT)
    a.move(2, POINTER)
    a.call(assembly.L4_CHECKSUM)


def _transport_checksum(a: Assembly) -> None:
    """TCP's or UDP's checksum: first for the addresses, which are in it by the pseudo-header, then for the ports."""
    a.move(POINTER, TRANSPORT)
    a.load(0, "flow", KIND, 1)
    a.jump("summed up", Code.JUMP_IF_EQUAL, 0, value=PROTOCOLS["sctp"])
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
    a.label("summed up")


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
