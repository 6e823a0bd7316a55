"""Record types and record data: text, as configurations and people have it, read and shown by dnslib.

Record data is a `dnslib.RD` throughout; only this module and `wire` look into it.
"""

from __future__ import annotations

import shlex
import socket
from functools import lru_cache
from typing import Any

import dnslib
from dnslib.label import DNSBuffer, DNSLabelError

from emulab.servers.dns.names import Name, lower

A, NS, CNAME, SOA, PTR, HINFO, MX, TXT, AAAA, SRV, OPT, DS = 1, 2, 5, 6, 12, 13, 15, 16, 28, 33, 41, 43
IXFR, AXFR, ANY, CAA = 251, 252, 255, 257

# The types that zones may hold, and how many words their text has; TXT has rules of its own.
WORDS = {A: 1, NS: 1, CNAME: 1, SOA: 7, PTR: 1, MX: 2, TXT: 0, AAAA: 1, SRV: 4, CAA: 3}


def type_name(rtype: int) -> str:
    """`A` for 1; `TYPE65280` for a type without a name (RFC 3597 section 5)."""
    return str(dnslib.QTYPE[rtype])


@lru_cache
def type_number(name: str) -> int:
    """The number of a type's name, `TYPE123` included. Raises ValueError for others."""
    try:
        number = int(getattr(dnslib.QTYPE, name.upper()))
    except dnslib.DNSError:
        number = -1
    if not 0 <= number <= 0xFFFF:
        raise ValueError(f"unknown DNS record type {name!r}")
    return number


@lru_cache(maxsize=65536)
def from_text(rtype: int, text: str) -> Any:
    """Record data of a type in `WORDS`. Raises ValueError when the text doesn't fit the type."""
    packed = DNSBuffer()
    try:
        words = text.split(None, 2 if rtype == CAA else -1)
        data = dnslib.TXT(_strings(text)) if rtype == TXT else _fields(rtype, words)
        data.pack(packed)  # where dnslib checks lengths
    except (dnslib.DNSError, DNSLabelError, OSError) as error:
        raise ValueError(f"{text!r}: {error}") from None
    if len(packed) > 0xFFFF:
        raise ValueError("record data is over 65535 octets")
    return data


def _fields(rtype: int, words: list[str]) -> Any:
    if len(words) != WORDS[rtype]:
        raise ValueError(f"{' '.join(words)!r} shall have {WORDS[rtype]} fields")
    if rtype == A:  # dnslib itself takes much for an address that is none
        return dnslib.A(tuple(socket.inet_pton(socket.AF_INET, words[0])))
    if rtype == AAAA:
        return dnslib.AAAA(tuple(socket.inet_pton(socket.AF_INET6, words[0])))
    if rtype == CAA:  # RFC 8659 section 4.1
        flags, tag, value = words
        if not (flags.isdigit() and int(flags) < 256 and tag.isalnum() and tag.isascii()):
            raise ValueError(f"{' '.join(words)!r} is no FLAGS TAG VALUE")
        return dnslib.CAA(int(flags), tag, value.strip('"'))
    return dnslib.RDMAP[type_name(rtype)].fromZone(words)


def _strings(text: str) -> list[bytes]:
    """Quoted strings are taken as in zone files; anything else is one string, cut every 255 octets."""
    if text.startswith('"'):
        return [string.encode() for string in shlex.split(text)]
    raw = text.encode()
    return [raw[at : at + 255] for at in range(0, len(raw), 255)] or [b""]


def to_text(data: Any) -> str:
    """Record data as people read it, names with their last dot."""
    return str(data.toZone())


def target(data: Any) -> Name:
    """The name that CNAME, NS, PTR, MX or SRV data leads to, in lower case."""
    return lower((data.target if isinstance(data, dnslib.SRV) else data.label).label)


def minimum(soa: Any) -> int:
    """The last field of SOA data: the longest TTL of a negative answer, in seconds (RFC 2308 section 4)."""
    return int(soa.times[4])
