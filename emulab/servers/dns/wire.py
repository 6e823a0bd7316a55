"""DNS messages: bytes to values and back (RFC 1035 section 4, EDNS0 of RFC 6891). Pure.

Rules:

* What a client sends becomes a `Query`, or `Malformed`, which carries the answer that the fault deserves.
* What an upstream server sends becomes a `Response` of uncompressed records, or raises PeerError.
* A message is packed up to a size limit. Whole records are left out at the end; TC is set when the answer
  or authority section lost one, never for the additional section (RFC 2181 section 9).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from emulab.errors import PeerError
from emulab.servers.dns import names, rdata
from emulab.servers.dns.names import Name

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16
RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 16: "BADVERS"}

QR, AA, TC, RD, RA, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0010
OPCODE = 0x7800
CLASS_IN = 1

HEADER = 12
PLAIN_LIMIT = 512  # UDP without EDNS (RFC 1035 section 2.3.4)
UDP_LIMIT = 1232  # what no link of 1280 octets must fragment (DNS flag day 2020)
TCP_LIMIT = 0xFFFF

_HEADER = struct.Struct("!HHHHHH")
_FIXED = struct.Struct("!HHIH")  # type, class, TTL, data length
_OPT_SIZE = 11
_MAX_TTL = 0x7FFFFFFF


class Record(NamedTuple):
    """A resource record of class IN; `data` is uncompressed, `ttl` in seconds."""

    owner: Name
    rtype: int
    ttl: int
    data: bytes


class Malformed(PeerError):
    """A query that can't be processed; `reply` is the whole answer to send, None for silence."""

    def __init__(self, reason: str, reply: bytes | None) -> None:
        super().__init__(reason)
        self.reply = reply


@dataclass(slots=True, frozen=True)
class Query:
    """One client's question. `name` is lower case, `question` the question section as it was sent."""

    id: int
    flags: int
    name: Name
    rtype: int
    rclass: int
    question: bytes
    edns: bool = False
    size: int = PLAIN_LIMIT
    version: int = 0
    do: bool = False
    options: bool = False  # the OPT record carried options, such as a cookie


@dataclass(slots=True)
class Reply:
    """What to answer. `authoritative` is the AA bit; sections are in the order to send."""

    rcode: int = NOERROR
    authoritative: bool = False
    answer: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()


@dataclass(slots=True, frozen=True)
class Response:
    """An upstream server's message; records of other classes than IN, and OPT, are left out."""

    id: int
    flags: int
    rcode: int
    question: bytes  # name in lower case, type, class; empty when the server sent none
    answer: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()

    @property
    def truncated(self) -> bool:
        """Whether the TC bit asks to come again over TCP."""
        return bool(self.flags & TC)

    def texts(self) -> list[tuple[str, str, str, int]]:
        """The answer section as text: owner, type, data, TTL in seconds."""
        return [
            (names.to_text(r.owner), rdata.type_name(r.rtype), rdata.to_text(r.rtype, r.data), r.ttl)
            for r in self.answer
        ]


def error_header(message: bytes, rcode: int) -> bytes:
    """A bare header that reports `rcode`, with the id, opcode and RD bit of the message it answers."""
    ident, flags = struct.unpack_from("!HH", message)
    return _HEADER.pack(ident, QR | flags & (OPCODE | RD) | rcode, 0, 0, 0, 0)


def parse_query(message: bytes) -> Query:
    """Reads one query.

    Raises Malformed: without a reply for what is too short or is itself a response (answering those makes
    two servers talk for ever), with NOTIMP for other opcodes than QUERY, else with FORMERR.
    """
    if len(message) < HEADER:
        raise Malformed("no whole DNS header", None)
    ident, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(message)
    if flags & QR:
        raise Malformed("a response where a query belongs", None)
    if flags & OPCODE:
        raise Malformed("opcode is not QUERY", error_header(message, NOTIMP))
    try:
        if questions != 1:
            raise PeerError("a query has exactly one question")
        name, at = names.read(message, HEADER)
        if at - HEADER != len(name) or at + 4 > len(message):
            raise PeerError("the question is compressed or cut short")
        rtype, rclass = struct.unpack_from("!HH", message, at)
        if rtype == rdata.OPT:
            raise PeerError("OPT is no type to ask for")
        question, at = message[HEADER : at + 4], at + 4
        if not (answers or authorities or additionals):
            return Query(ident, flags, name.lower(), rtype, rclass, question)
        opt = _find_opt(message, at, answers + authorities, additionals)
    except PeerError as error:
        raise Malformed(str(error), error_header(message, FORMERR)) from None
    if opt is None:
        return Query(ident, flags, name.lower(), rtype, rclass, question)
    size, ttl, length = opt
    size = min(max(size, PLAIN_LIMIT), UDP_LIMIT)
    return Query(
        ident, flags, name.lower(), rtype, rclass, question,
        edns=True, size=size, version=ttl >> 16 & 0xFF, do=bool(ttl & 0x8000), options=length > 0,
    )  # fmt: skip


def _find_opt(message: bytes, at: int, before: int, additionals: int) -> tuple[int, int, int] | None:
    """The size, TTL field and option length of the OPT record; walks `before` + `additionals` records."""
    found = None
    for index in range(before + additionals):
        owner, at = names.read(message, at)
        rtype, size, ttl, length, at = _fixed(message, at)
        if rtype == rdata.OPT:
            if found or owner != names.ROOT or index < before:
                raise PeerError("OPT record twice or out of place")
            found = size, ttl, length
        at += length
    return found


def _fixed(message: bytes, at: int) -> tuple[int, int, int, int, int]:
    """Type, class, TTL and data length of the record whose owner ends at `at`, and where data starts."""
    if at + _FIXED.size > len(message):
        raise PeerError("a DNS record is cut short")
    rtype, rclass, ttl, length = _FIXED.unpack_from(message, at)
    at += _FIXED.size
    if at + length > len(message):
        raise PeerError("a DNS record is cut short")
    return rtype, rclass, ttl, length, at


def parse_response(message: bytes) -> Response:
    """Reads an upstream server's answer. Raises PeerError when it isn't one or is broken."""
    if len(message) < HEADER:
        raise PeerError("no whole DNS header")
    ident, flags, questions, *counts = _HEADER.unpack_from(message)
    if not flags & QR or questions > 1:
        raise PeerError("no DNS response to one question")
    question, at = b"", HEADER
    if questions:
        name, at = names.read(message, at)
        if at + 4 > len(message):
            raise PeerError("the question is cut short")
        question, at = name.lower() + message[at : at + 4], at + 4
    rcode = flags & 0xF
    if flags & TC:  # what a cut message still holds is of no use: the question is asked again over TCP
        return Response(ident, flags, rcode, question)
    sections: list[tuple[Record, ...]] = []
    for count in counts:
        records = []
        for _ in range(count):
            owner, at = names.read(message, at)
            rtype, rclass, ttl, length, at = _fixed(message, at)
            if rtype == rdata.OPT:
                rcode |= ttl >> 24 << 4
            elif rclass == CLASS_IN:
                data = _expand(message, rtype, at, length)
                records.append(
                    Record(owner, rtype, ttl if ttl <= _MAX_TTL else 0, data)
                )  # RFC 2181 section 8
            at += length
        sections.append(tuple(records))
    return Response(ident, flags, rcode, question, sections[0], sections[1])


def _expand(message: bytes, rtype: int, at: int, length: int) -> bytes:
    """Record data with its compression pointers resolved."""
    end = at + length
    if rtype not in rdata.NAMES:
        if length != {rdata.A: 4, rdata.AAAA: 16}.get(rtype, length):
            raise PeerError("an address record has a wrong length")
        return message[at:end]
    lead, count, _ = rdata.NAMES[rtype]
    parts, at = [message[at : at + lead]], at + lead
    for _ in range(count):
        name, at = names.read(message, at)
        parts.append(name)
    if at + (20 if rtype == rdata.SOA else 0) != end:
        raise PeerError("a record's data has a wrong length")
    return b"".join(parts) + message[at:end]


def pack_question(ident: int, name: Name, rtype: int, *, do: bool = False, edns: bool = True) -> bytes:
    """A recursive query for `name`, as sent to upstream servers."""
    head = _HEADER.pack(ident, RD, 1, 0, 0, 1 if edns else 0)
    return head + name + struct.pack("!HH", rtype, CLASS_IN) + (_opt(0, do) if edns else b"")


def _opt(rcode: int, do: bool) -> bytes:
    """Our OPT record; carries the upper bits of an extended rcode."""
    return names.ROOT + _FIXED.pack(rdata.OPT, UDP_LIMIT, rcode >> 4 << 24 | (0x8000 if do else 0), 0)


def pack_reply(query: Query, reply: Reply, limit: int, recursion: bool) -> bytes:
    """The message that answers `query`, at most `limit` octets; `recursion` is the RA bit.

    The question is sent back byte for byte; owners equal to it become pointers to it, so that the answer
    shows the case that was asked.
    """
    out = bytearray(HEADER) + query.question
    known: dict[Name, int] = {}
    offset = HEADER
    for suffix in names.suffixes(query.name):
        known[suffix] = offset
        offset += 1 + suffix[0]
    known.pop(names.ROOT)  # a pointer would be longer than the root itself
    room = limit - (_OPT_SIZE if query.edns else 0)
    counts = [0, 0, 0]
    full = False
    for section, records in enumerate((reply.answer, reply.authority, reply.additional)):
        for record in records:
            mark = len(out)
            _append(out, record, known)
            if len(out) > room:
                del out[mark:]
                full = True
                break
            counts[section] += 1
        if full:
            break
    cut = counts[0] < len(reply.answer) or counts[1] < len(reply.authority)
    flags = QR | query.flags & (RD | CD) | reply.rcode & 0xF
    flags |= (AA if reply.authoritative else 0) | (TC if cut else 0) | (RA if recursion else 0)
    if query.edns:
        out += _opt(reply.rcode, query.do)
        counts[2] += 1
    _HEADER.pack_into(out, 0, query.id, flags, 1, *counts)
    return bytes(out)


def _append(out: bytearray, record: Record, known: dict[Name, int]) -> None:
    """Appends one record and notes the names it wrote."""
    _append_name(out, record.owner, known)
    layout = rdata.NAMES.get(record.rtype)
    data = record.data
    if layout is None or not layout[2]:
        out += _FIXED.pack(record.rtype, CLASS_IN, record.ttl, len(data)) + data
        return
    lead, count, _ = layout
    out += _FIXED.pack(record.rtype, CLASS_IN, record.ttl, 0) + data[:lead]
    start, at = len(out) - lead, lead
    for _ in range(count):
        name, at = names.read(data, at)
        _append_name(out, name, known)
    out += data[at:]
    struct.pack_into("!H", out, start - 2, len(out) - start)


def _append_name(out: bytearray, name: Name, known: dict[Name, int]) -> None:
    """Appends a name, ending in a pointer where its rest was written before."""
    while name != names.ROOT:
        lowered = name.lower()
        pointer = known.get(lowered)
        if pointer is not None:
            out += (0xC000 | pointer).to_bytes(2, "big")
            return
        if len(out) < 0x4000:  # pointers have 14 bits
            known[lowered] = len(out)
        out += name[: 1 + name[0]]
        name = name[1 + name[0] :]
    out += names.ROOT
