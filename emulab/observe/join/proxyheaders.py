"""The PROXY header that may stand before all else on a connection (HAProxy's proxy-protocol.txt). Pure."""

from __future__ import annotations

import re
from ipaddress import ip_address

from emulab.model.addresses import socket_name

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_FIXED = 16
_LINE = re.compile(rb"PROXY (?:UNKNOWN[^\r\n]*|TCP[46] (\S+) \S+ (\d+) \d+)\r\n")
_SIZES = {1: 4, 2: 16}  # octets of an address, by the family


def split_header(payload: bytes) -> tuple[str, bytes]:
    """What a PROXY header at the beginning says, in a few words, and what follows it; "" and all without one."""
    if match := _LINE.match(payload):
        whose = f" of {socket_name(match[1].decode('latin-1'), match[2].decode())}" if match[1] else ""
        return f"PROXY v1{whose}", payload[match.end() :]
    if not payload.startswith(_SIGNATURE) or len(payload) < _FIXED:
        return "", payload
    end = _FIXED + int.from_bytes(payload[14:_FIXED])
    size = _SIZES.get(payload[13] >> 4, 0)
    if payload[12] & 15 != 1 or not size or end < _FIXED + 2 * size + 4 or len(payload) < end:
        return "PROXY v2", payload[end:]
    address = ip_address(payload[_FIXED : _FIXED + size])
    port = int.from_bytes(payload[_FIXED + 2 * size : _FIXED + 2 * size + 2])
    return f"PROXY v2 of {socket_name(address, port)}", payload[end:]
