"""Filters in the language of tcpdump (pcap-filter(7)), compiled by libpcap, which comes with tcpdump and Wireshark."""

from __future__ import annotations

import ctypes
import struct

from emulab.errors import KernelError, UserError

_LIBRARY = "libpcap.so.0.8"  # Debian's name of it, whatever the version
_ETHERNET = 1  # DLT_EN10MB
_NO_NETMASK = 0xFFFFFFFF
_INSTRUCTION = struct.Struct("=HBBI")


class _Program(ctypes.Structure):
    """struct bpf_program."""

    _fields_ = [("length", ctypes.c_uint), ("instructions", ctypes.c_void_p)]


def compiled(expression: str, snap: int) -> bytes:
    """A program that keeps `snap` bytes of the frames that an expression names, and nothing of others.

    Raises UserError for what is no expression, KernelError where there is no libpcap.
    """
    try:
        pcap = ctypes.CDLL(_LIBRARY)
    except OSError:
        raise KernelError("compile a filter", remedy="install libpcap0.8, which comes with tcpdump") from None
    pcap.pcap_open_dead.restype = pcap.pcap_geterr.restype = ctypes.c_void_p
    handle = ctypes.c_void_p(pcap.pcap_open_dead(_ETHERNET, snap))
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
