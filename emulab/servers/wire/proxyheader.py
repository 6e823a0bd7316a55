"""The header of the PROXY protocol, as who is in front writes it: versions 1 and 2 (HAProxy's proxy-protocol.txt).

It tells who is really at the other end of a connection. Who speaks for itself, as a health check does, says so: LOCAL,
or UNKNOWN in version 1.
"""

from __future__ import annotations

import socket
from typing import Any

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_LOCAL, _PROXY = b"\x20", b"\x21"  # version 2 and the command
_KINDS = {socket.AF_INET: (b"\x11", "TCP4"), socket.AF_INET6: (b"\x21", "TCP6")}


def proxy_header(version: int, source: Any = None, destination: Any = None) -> bytes:
    """The header for a connection with these ends, as sockets have them; without them, that of nobody else's."""
    if not source or not destination:
        return b"PROXY UNKNOWN\r\n" if version == 1 else _SIGNATURE + _LOCAL + b"\x00\x00\x00"
    one, other = _unmapped(source[0]), _unmapped(destination[0])
    family = socket.AF_INET6 if ":" in one + other else socket.AF_INET
    kind, word = _KINDS[family]
    if version == 1:
        return f"PROXY {word} {one} {other} {source[1]} {destination[1]}\r\n".encode("ascii")
    addresses = b"".join(socket.inet_pton(family, _as_family(text, family)) for text in (one, other))
    block = addresses + b"".join(int(end[1]).to_bytes(2) for end in (source, destination))
    return _SIGNATURE + _PROXY + kind + len(block).to_bytes(2) + block


def _unmapped(address: str) -> str:
    """An address without its zone; an IPv4 one as such, though a socket of IPv6 has it."""
    plain = address.partition("%")[0]
    return plain.removeprefix("::ffff:") if "." in plain else plain


def _as_family(address: str, family: socket.AddressFamily) -> str:
    return f"::ffff:{address}" if family == socket.AF_INET6 and ":" not in address else address
