"""Filters in the language of tcpdump (pcap-filter(7)), compiled by libpcap, which comes with tcpdump and Wireshark."""

from __future__ import annotations

import ctypes
import struct

from emulab.errors import KernelError, UserError

_LIBRARY = "libpcap.so.0.8"  # Debian's name of it, whatever the version
_ETHERNET, _BARE = 1, 12  # DLT_EN10MB, and DLT_RAW: links without a header of their own
_LOAD_FIRST, _IF_EQUAL, _SKIP = 0x30, 0x15, 0x05  # linux/bpf_common.h
_PLAIN = 0x45, 0x60
"""How packets of IPv4 and IPv6 begin there; as MAC addresses they would be a group's and a maker's of network cards,
which nobody has in a lab."""
_NO_NETMASK = 0xFFFFFFFF
_INSTRUCTION = struct.Struct("=HBBI")


class _Program(ctypes.Structure):
    """struct bpf_program."""

    _fields_ = [("length", ctypes.c_uint), ("instructions", ctypes.c_void_p)]


def compiled(expression: str, snap: int) -> bytes:
    """A program that keeps `snap` bytes of the frames that an expression names, and nothing of others; also of packets
    on links that have no frames (tunl0), unless the expression speaks of frames.

    Raises UserError for what is no expression, KernelError where there is no libpcap.
    """
    framed = _compiled(expression, snap, _ETHERNET)
    try:
        bare = _compiled(expression, snap, _BARE)
    except UserError:
        return framed
    first, second = _PLAIN
    which = [
        (_LOAD_FIRST, 0, 0, 0),
        (_IF_EQUAL, 2, 0, first),
        (_IF_EQUAL, 1, 0, second),
        (_SKIP, 0, 0, len(bare) // _INSTRUCTION.size),
    ]
    return b"".join([*(_INSTRUCTION.pack(*one) for one in which), bare, framed])


def _compiled(expression: str, snap: int, link: int) -> bytes:
    """The program for links of one kind. Raises as `compiled` does."""
    try:
        pcap = ctypes.CDLL(_LIBRARY)
    except OSError:
        raise KernelError("compile a filter", remedy="install libpcap0.8, which comes with tcpdump") from None
    pcap.pcap_open_dead.restype = pcap.pcap_geterr.restype = ctypes.c_void_p
    handle = ctypes.c_void_p(pcap.pcap_open_dead(link, snap))
    program = _Program()
    try:
        if pcap.pcap_compile(handle, ctypes.byref(program), expression.encode(), 1, _NO_NETMASK):
            said = ctypes.string_at(pcap.pcap_geterr(handle)).decode(errors="replace")
            raise UserError(f"{expression!r} is no filter of packets: {said}")
        size = program.length * _INSTRUCTION.size
        found = ctypes.string_at(program.instructions, size) if program.instructions else b""
        pcap.pcap_freecode(ctypes.byref(program))
        return found
    finally:
        pcap.pcap_close(handle)


def everything(snap: int) -> bytes:
    """A program that keeps `snap` bytes of every frame."""
    return _INSTRUCTION.pack(0x06, 0, 0, snap)  # BPF_RET
