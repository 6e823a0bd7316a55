"""Which frames a packet tap keeps: classic BPF programs, run by the kernel on every frame before it is copied.

A program is the bytes of `struct sock_filter` instructions (linux/filter.h; Documentation/networking/filter.rst).
The kernel compiles it, so a tap costs the traffic that it doesn't want next to nothing. Loads beyond the end of a
short frame end the program with 0, "drop".
"""

from __future__ import annotations

import array
import socket
import struct
from collections.abc import Collection, Sequence

from emulab.errors import KernelError
from emulab.model.families import IPV4, IPV6, Family

# linux/bpf_common.h
_LD_HALF, _LD_BYTE = 0x28, 0x30  # A = frame[k], big endian
_LD_HALF_X = 0x48  # A = frame[X + k]
_LDX_IP_LENGTH = 0xB1  # X = 4 * (frame[k] & 15): the length of an IPv4 header
_JUMP, _JUMP_EQUAL, _JUMP_SET = 0x05, 0x15, 0x45
_RETURN = 0x06
_INSTRUCTION = struct.Struct("=HBBI")
_MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS
_GROUP = 200  # ports whose comparisons share one `return`: conditional jumps reach 255 instructions

_ETHERTYPE, _IP_HEADER = 12, 14  # offsets in an Ethernet frame
_FRAGMENT, _PROTOCOL = {IPV4: _IP_HEADER + 6}, {IPV4: _IP_HEADER + 9, IPV6: _IP_HEADER + 6}
_ETH_P_ARP = 0x0806
_FRAGMENT_OFFSET = 0x1FFF  # zero in a first or only fragment, the one with the ports
_DNS = 53
PLAIN = {IPV4: 0x45, IPV6: 0x60}
"""How a header begins: of IPv4 without options, of IPv6 without a class of traffic."""
_IPIP = {IPV4: 4, IPV6: 41}  # what has a header of the family in another one (RFC 2003, RFC 2473)
_SO_ATTACH_FILTER = 26  # include/uapi/asm-generic/socket.h

ClassicInstruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand


def filter_program(ports: Collection[int] | None, snap: int, families: Sequence[Family] = (IPV4,)) -> bytes:
    """Keeps the first `snap` bytes of the families' packets with ICMP, TCP, UDP or IP in IP in them, and of ARP for
    IPv4. Without `ports` also what begins with a plain header, as on links that have none of their own (tunl0): as the
    beginning of a MAC address that would be a group's, or a maker's of network cards, which nobody has in a lab.

    With `ports`, TCP and UDP only from or to one of them or 53 (DNS), and no later fragments, which have no ports;
    the outer packets of an overlay are then kept only if its port is among them. What has extension headers in IPv6
    (RFC 8200 section 4), fragments among it, isn't kept. Raises ValueError for more ports than a program has room
    for, some 1,900 in one family.
    """
    wanted = None if ports is None else sorted({*ports, _DNS})
    code: list[ClassicInstruction] = []
    for family in families if wanted is None else ():
        bare = _packets(family, None, snap, 0)
        code += [(_LD_BYTE, 0, 0, 0), (_JUMP_EQUAL, 1, 0, PLAIN[family]), (_JUMP, 0, 0, len(bare)), *bare]
    code.append((_LD_HALF, 0, 0, _ETHERTYPE))
    if IPV4 in families:
        code += _return_if(_ETH_P_ARP, snap)
    *others, last = families
    for family in others:
        block = _packets(family, wanted, snap)
        code += [(_JUMP_EQUAL, 1, 0, family.ethertype), (_JUMP, 0, 0, len(block)), *block]
    return _assemble([*code, *_return_unless(last.ethertype), *_packets(last, wanted, snap)])


def _packets(
    family: Family, ports: list[int] | None, snap: int, begin: int = _IP_HEADER
) -> list[ClassicInstruction]:
    """The part for packets of a family, which ends in any case. `begin`: where they begin, of all ports alone."""
    code: list[ClassicInstruction] = [
        (_LD_BYTE, 0, 0, _PROTOCOL[family] - _IP_HEADER + begin),
        *_return_if(family.icmp_number, snap),
        *_return_if(_IPIP[family], snap),
        (_JUMP_EQUAL, 2, 0, socket.IPPROTO_TCP),
        (_JUMP_EQUAL, 1, 0, socket.IPPROTO_UDP),
        (_RETURN, 0, 0, 0),
    ]
    if ports is None:
        return [*code, (_RETURN, 0, 0, snap)]
    load, start = _LD_HALF, _IP_HEADER + family.header
    if family in _FRAGMENT:
        code += [
            (_LD_HALF, 0, 0, _FRAGMENT[family]),
            (_JUMP_SET, 0, 1, _FRAGMENT_OFFSET),
            (_RETURN, 0, 0, 0),
            (_LDX_IP_LENGTH, 0, 0, _IP_HEADER),
        ]
        load, start = _LD_HALF_X, _IP_HEADER
    for port_offset in (0, 2):  # source, destination
        code.append((load, 0, 0, start + port_offset))
        code += _return_if_any(ports, snap)
    return [*code, (_RETURN, 0, 0, 0)]


def nothing() -> bytes:
    """Keeps no frame at all."""
    return _assemble([(_RETURN, 0, 0, 0)])


def is_program(program: bytes) -> bool:
    """Whether bytes have the form of a program. What is in it is the kernel's to judge."""
    return 0 < len(program) <= _MAX_INSTRUCTIONS * _INSTRUCTION.size and len(program) % _INSTRUCTION.size == 0


def attach_filter(sock: socket.socket, program: bytes) -> None:
    """Makes the kernel run `program` on what `sock` receives, in place of the one before. Raises KernelError."""
    code = array.array("B", program)
    address, length = code.buffer_info()
    sock_fprog = struct.pack("@HP", length // _INSTRUCTION.size, address)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, sock_fprog)
    except OSError as error:
        raise KernelError("attach a packet filter", errno=error.errno or 0) from None


def _return_if(value: int, result: int) -> list[ClassicInstruction]:
    return [(_JUMP_EQUAL, 0, 1, value), (_RETURN, 0, 0, result)]


def _return_unless(value: int) -> list[ClassicInstruction]:
    return [(_JUMP_EQUAL, 1, 0, value), (_RETURN, 0, 0, 0)]


def _return_if_any(values: list[int], result: int) -> list[ClassicInstruction]:
    code: list[ClassicInstruction] = []
    for start in range(0, len(values), _GROUP):
        group = values[start : start + _GROUP]
        code += [(_JUMP_EQUAL, len(group) - i, 0, value) for i, value in enumerate(group)]
        code += [(_JUMP, 0, 0, 1), (_RETURN, 0, 0, result)]
    return code


def _assemble(code: list[ClassicInstruction]) -> bytes:
    if len(code) > _MAX_INSTRUCTIONS:
        raise ValueError(f"{len(code)} instructions; a packet filter has at most {_MAX_INSTRUCTIONS}")
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in code)
