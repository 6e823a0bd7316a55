"""Record types and record data: text, as configurations and people have it, to wire and back.

The wire form kept here is uncompressed. `NAMES` says where domain names stand in it; `wire` uses
that to resolve and write compression pointers.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Callable
from functools import lru_cache

from emulab.servers.dns import names
from emulab.servers.dns.names import Name

A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, SRV, DNAME, OPT, DS = 1, 2, 5, 6, 12, 15, 16, 28, 33, 39, 41, 43
IXFR, AXFR, ANY = 251, 252, 255

# The types that zones may hold.
TYPES = {
    "A": A,
    "NS": NS,
    "CNAME": CNAME,
    "SOA": SOA,
    "PTR": PTR,
    "MX": MX,
    "TXT": TXT,
    "AAAA": AAAA,
    "SRV": SRV,
}
_TYPE_NAMES = {number: name for name, number in TYPES.items()}
_TYPE_NAMES |= {13: "HINFO", DNAME: "DNAME", DS: "DS", 64: "SVCB", 65: "HTTPS"}
_TYPE_NAMES |= {IXFR: "IXFR", AXFR: "AXFR", ANY: "ANY"}

# Per type: octets before the first name, how many names follow, may they be written compressed?
# Compression is for the types of RFC 1035 alone (RFC 3597 section 4); SRV forbids it (RFC 2782).
NAMES: dict[int, tuple[int, int, bool]] = {
    NS: (0, 1, True),
    CNAME: (0, 1, True),
    SOA: (0, 2, True),
    PTR: (0, 1, True),
    MX: (2, 1, True),
    SRV: (6, 1, False),
    DNAME: (0, 1, False),
}

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


def type_name(rtype: int) -> str:
    """`A` for 1; `TYPE65280` for a type without a name here (RFC 3597 section 5)."""
    return _TYPE_NAMES.get(rtype) or f"TYPE{rtype}"


def type_number(name: str) -> int:
    """The number of a type's name, `TYPE123` included. Raises ValueError for others."""
    for number, known in _TYPE_NAMES.items():
        if known == name.upper():
            return number
    if re.fullmatch(r"TYPE\d{1,5}", name.upper()) and int(name[4:]) < 0x10000:
        return int(name[4:])
    raise ValueError(f"unknown DNS record type {name!r}")


def _fields(text: str, layout: str) -> bytes:
    """Packs white-space separated fields: `n` a name, else a struct letter for an integer."""
    words = text.split()
    if len(words) != len(layout):
        raise ValueError(f"{text!r} shall have {len(layout)} fields")
    packed = b""
    for word, kind in zip(words, layout, strict=True):
        try:
            packed += names.from_text(word) if kind == "n" else struct.pack(f"!{kind}", int(word))
        except struct.error:
            raise ValueError(f"{word!r} in {text!r} is out of range") from None
    return packed


def _address(family: socket.AddressFamily, text: str) -> bytes:
    try:
        return socket.inet_pton(family, text)
    except OSError:
        raise ValueError(f"{text!r} is no address of the record's family") from None


def _text(text: str) -> bytes:
    """Quoted strings are taken as in zone files; anything else is one string, cut every 255 octets."""
    if text.startswith('"'):
        if _QUOTED.sub("", text).strip():
            raise ValueError(f"{text!r} is no sequence of quoted strings")
        strings = [names.unescape(match.encode()) for match in _QUOTED.findall(text)]
        if any(len(string) > 255 for string in strings):
            raise ValueError("a quoted string of a TXT record is over 255 octets")
    else:
        raw = text.encode()
        strings = [raw[at : at + 255] for at in range(0, len(raw), 255)] or [b""]
    return b"".join(bytes([len(string)]) + string for string in strings)


_ENCODERS: dict[int, Callable[[str], bytes]] = {
    A: lambda text: _address(socket.AF_INET, text),
    AAAA: lambda text: _address(socket.AF_INET6, text),
    NS: lambda text: _fields(text, "n"),
    CNAME: lambda text: _fields(text, "n"),
    PTR: lambda text: _fields(text, "n"),
    MX: lambda text: _fields(text, "Hn"),
    SRV: lambda text: _fields(text, "HHHn"),
    SOA: lambda text: _fields(text, "nnIIIII"),
    TXT: _text,
}


@lru_cache(maxsize=65536)
def from_text(rtype: int, text: str) -> bytes:
    """The wire form of a record's data. Raises ValueError when the text doesn't fit the type."""
    data = _ENCODERS[rtype](text)
    if len(data) > 0xFFFF:
        raise ValueError("record data is over 65535 octets")
    return data


def to_text(rtype: int, data: bytes) -> str:
    r"""The textual form of uncompressed record data; `\# LENGTH HEX` where none is known (RFC 3597)."""
    if rtype in (A, AAAA):
        return socket.inet_ntop(socket.AF_INET if rtype == A else socket.AF_INET6, data)
    if rtype == TXT:
        strings = []
        while data:
            strings.append(data[1 : 1 + data[0]])
            data = data[1 + data[0] :]
        return " ".join('"' + "".join(_quotable(octet) for octet in string) + '"' for string in strings)
    if rtype in NAMES:
        lead, count, _ = NAMES[rtype]
        words = [str(number) for number in struct.unpack(f"!{lead // 2}H", data[:lead])]
        at = lead
        for _ in range(count):
            name, at = names.read(data, at)
            words.append(names.to_text(name))
        words += [str(number) for number in struct.unpack(f"!{(len(data) - at) // 4}I", data[at:])]
        return " ".join(words)
    return f"\\# {len(data)} {data.hex()}".rstrip()


def _quotable(octet: int) -> str:
    if octet in b'"\\':
        return f"\\{chr(octet)}"
    return chr(octet) if 0x20 <= octet <= 0x7E else f"\\{octet:03d}"


def target(rtype: int, data: bytes) -> Name | None:
    """The name that a record leads to (CNAME, NS, PTR, MX, SRV, DNAME), as written; else None."""
    if rtype == SOA or rtype not in NAMES:
        return None
    return data[NAMES[rtype][0] :]
