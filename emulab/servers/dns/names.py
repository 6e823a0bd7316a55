"""Domain names in wire format (RFC 1035 section 3.1): length-prefixed labels, ended by an empty one.

A length octet is at most 63 and no ASCII letter is below 65, so `bytes.lower()` lowers the letters of a
name and leaves its lengths alone: names are compared (RFC 4343) without being decoded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from emulab.errors import PeerError

Name = bytes
ROOT: Name = b"\0"
MAX_NAME = 255
MAX_LABEL = 63

_ESCAPE = re.compile(rb"\\(\d{3}|.)", re.DOTALL)
_SPLIT = re.compile(rb"((?:[^.\\]|\\\d{3}|\\.)*)(\.|$)", re.DOTALL)


def unescape(text: bytes) -> bytes:
    r"""Resolves `\DDD` and `\X` (RFC 1035 section 5.1). Raises ValueError above `\255`."""

    def octet(match: re.Match[bytes]) -> bytes:
        code = match.group(1)
        return bytes([int(code)]) if len(code) == 3 else code

    return _ESCAPE.sub(octet, text) if b"\\" in text else text


@lru_cache(maxsize=65536)
def from_text(text: str) -> Name:
    """The wire form of a textual name, taken as absolute with or without its last dot; case is kept.

    Raises ValueError for empty or overlong labels, overlong names and characters outside ASCII.
    """
    raw = text.encode("ascii")
    if raw in (b".", b""):
        return ROOT
    if b"\\" in raw:
        labels = [unescape(match.group(1)) for match in _SPLIT.finditer(raw.removesuffix(b"."))]
        labels = labels[:-1] if not labels[-1] else labels
    else:
        labels = raw.removesuffix(b".").split(b".")
    if not all(0 < len(label) <= MAX_LABEL for label in labels):
        raise ValueError(f"{text!r} has an empty label or one over {MAX_LABEL} octets")
    name = b"".join(bytes([len(label)]) + label for label in labels) + ROOT
    if len(name) > MAX_NAME:
        raise ValueError(f"{text!r} is over {MAX_NAME} octets")
    return name


def _escaped(octet: int) -> str:
    if 0x21 <= octet <= 0x7E:
        return f"\\{chr(octet)}" if octet in b'.\\"();@$' else chr(octet)
    return f"\\{octet:03d}"


def labels(name: Name) -> list[bytes]:
    """The labels of a name, leftmost first, without the root's."""
    found, at = [], 0
    while length := name[at]:
        found.append(name[at + 1 : at + 1 + length])
        at += 1 + length
    return found


def to_text(name: Name) -> str:
    """The absolute textual form, with the last dot; octets that would mislead are escaped."""
    return ".".join("".join(map(_escaped, label)) for label in labels(name)) + "."


def suffixes(name: Name) -> Iterator[Name]:
    """The name itself, then each of its ancestors, ending with the root."""
    while name != ROOT:
        yield name
        name = name[1 + name[0] :]
    yield ROOT


def parent(name: Name) -> Name:
    """The name without its leftmost label; the root is its own parent."""
    return name[1 + name[0] :] or ROOT


def read(message: bytes, offset: int) -> tuple[Name, int]:
    """The uncompressed name at `offset` of a message, and the offset behind it (RFC 1035 section 4.1.4).

    Raises PeerError when it runs out of the message, is overlong, or has a pointer that doesn't lead
    strictly backwards: with that rule a chain of pointers must end.
    """
    parts: list[bytes] = []
    size, end, limit = 1, 0, offset
    while True:
        if offset >= len(message):
            raise PeerError("DNS name runs out of its message")
        length = message[offset]
        if length == 0:
            return b"".join(parts) + ROOT, end or offset + 1
        if length >= 0xC0:
            if offset + 1 >= len(message):
                raise PeerError("DNS name runs out of its message")
            target = (length & 0x3F) << 8 | message[offset + 1]
            if target >= limit:
                raise PeerError("DNS name has a pointer that leads forwards")
            end = end or offset + 2
            offset = limit = target
            continue
        size += 1 + length
        if length > MAX_LABEL or size > MAX_NAME:
            raise PeerError("DNS name has an overlong label or is overlong")
        if offset + 1 + length >= len(message):
            raise PeerError("DNS name runs out of its message")
        parts.append(message[offset : offset + 1 + length])
        offset += 1 + length
