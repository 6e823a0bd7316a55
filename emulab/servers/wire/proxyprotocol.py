"""The header of the PROXY protocol, versions 1 and 2: who is really at the other end of a connection. Sans-I/O.

HAProxy's proxy-protocol.txt. A header is in front of everything else, TLS included. Who reads it peeks at what has
come, and takes as many bytes as `feed` says: never one of what follows. A header that is malformed is a `PeerError`,
after which nothing that comes can be believed.
"""

from __future__ import annotations

import socket
from typing import NamedTuple

from emulab.errors import PeerError

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
LINE_MAX = 107
_FIXED = 16
_BLOCK_MAX = 4096  # nginx' own buffer; the protocol says no more than that somebody has to bound it
_FAMILIES = {1: (socket.AF_INET, 4), 2: (socket.AF_INET6, 16)}


class Proxied(NamedTuple):
    """The ends of the connection that the one in front has with its client."""

    source: str
    source_port: int
    destination: str
    destination_port: int


class ProxyHeaderReader:
    """Reads one header. `done` says that it is whole; `proxied` is None where the one in front speaks for itself."""

    __slots__ = ("_taken", "done", "proxied")

    def __init__(self) -> None:
        self._taken = b""
        self.done = False
        self.proxied: Proxied | None = None

    def begins(self, peeked: bytes) -> bool:
        """Whether what has come, with these bytes, may be a header, or the beginning of one."""
        known = self._taken + peeked
        return known[: len(SIGNATURE)] == SIGNATURE[: len(known)] or known[:6] == b"PROXY "[: len(known)]

    def feed(self, peeked: bytes) -> int:
        """How many of these bytes belong to the header; they are taken, and not given again."""
        known = self._taken + peeked
        if known[: len(SIGNATURE)] == SIGNATURE[: len(known)]:
            end = self._second(known)
        elif known[:6] == b"PROXY "[: len(known)]:
            end = self._first(known)
        else:
            raise PeerError(f"a PROXY header was expected, not {known[:16]!r}")
        size = end - len(self._taken)
        self._taken = known[:end]
        return size

    def _first(self, known: bytes) -> int:
        end = known.find(b"\r\n")
        if end < 0:
            if len(known) >= LINE_MAX:
                raise PeerError("the PROXY header's line is too long")
            return len(known)
        if end + 2 > LINE_MAX:
            raise PeerError("the PROXY header's line is too long")
        self.done = True
        line = known[:end]
        match line.split(b" "):
            case [_, b"UNKNOWN", *_]:
                pass
            case [_, b"TCP4" | b"TCP6" as kind, source, destination, source_port, destination_port]:
                family = socket.AF_INET if kind == b"TCP4" else socket.AF_INET6
                self.proxied = Proxied(
                    _address(family, source),
                    _port(source_port),
                    _address(family, destination),
                    _port(destination_port),
                )
            case _:
                raise PeerError(f"the PROXY header is malformed: {line!r}")
        return end + 2

    def _second(self, known: bytes) -> int:
        if len(known) < _FIXED:
            return len(known)
        version, kind = known[12], known[13]
        size = int.from_bytes(known[14:_FIXED])
        if version >> 4 != 2:
            raise PeerError(f"unknown version {version >> 4} of a PROXY header")
        if size > _BLOCK_MAX:
            raise PeerError("the PROXY header is too large")
        if len(known) < _FIXED + size:
            return len(known)
        self.done = True
        end = _FIXED + size
        command, family = version & 15, _FAMILIES.get(kind >> 4)
        if command > 1:
            raise PeerError(f"unknown command {command} in a PROXY header")
        if command == 0 or kind & 15 != 1 or family is None:  # LOCAL, or nothing of TCP
            return end
        af, length = family
        if size < 2 * length + 4:
            raise PeerError("the PROXY header is too short for its addresses")
        block = known[_FIXED:end]
        ports = block[2 * length :]
        self.proxied = Proxied(
            socket.inet_ntop(af, block[:length]),
            int.from_bytes(ports[:2]),
            socket.inet_ntop(af, block[length : 2 * length]),
            int.from_bytes(ports[2:4]),
        )
        return end


def _address(family: socket.AddressFamily, text: bytes) -> str:
    try:
        return socket.inet_ntop(family, socket.inet_pton(family, text.decode("ascii")))
    except (OSError, ValueError):
        raise PeerError(f"the PROXY header has no address where {text!r} is") from None


def _port(text: bytes) -> int:
    if not text.isdigit() or len(text) > 5 or int(text) > 65535:
        raise PeerError(f"the PROXY header has no port where {text!r} is")
    return int(text)
