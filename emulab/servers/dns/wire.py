"""DNS messages: bytes to values and back, by dnslib (RFC 1035 section 4, EDNS0 of RFC 6891). Pure.

Rules:

* What a client sends becomes a `Query`, or `Malformed`, which carries the answer that the fault deserves.
* What an upstream server sends becomes a `Response`, or raises PeerError.
* dnslib checks neither the size of names nor how long their pointers lead about, and lets out whatever its
  parts raise: `_Reader` bounds it, and its errors end here.
* A message is packed up to a size limit. Whole records are left out at the end; TC is set when the answer
  or authority section lost one, never for the additional section (RFC 2181 section 9).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from dnslib import EDNS0, RCODE, RR, DNSHeader, DNSQuestion, DNSRecord
from dnslib.buffer import BufferError as BrokenBuffer
from dnslib.label import DNSBuffer, DNSLabel

from emulab.errors import PeerError
from emulab.servers.dns import names, rdata
from emulab.servers.dns.names import Name, lower

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16

QR, AA, TC, RD, RA, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0010
OPCODE = 0x7800
CLASS_IN = 1

HEADER = 12
PLAIN_LIMIT = 512  # UDP without EDNS (RFC 1035 section 2.3.4)
UDP_LIMIT = 1232  # what no link of 1280 octets must fragment (DNS flag day 2020)
TCP_LIMIT = 0xFFFF

_OPT_SIZE = 11
_MAX_TTL = 0x7FFFFFFF
_POINTERS = 0x4000  # compression pointers have 14 bits


class Record(NamedTuple):
    """A resource record of class IN; `data` is a `dnslib.RD`, `ttl` in seconds."""

    owner: Name
    rtype: int
    ttl: int
    data: Any


class Malformed(PeerError):
    """A query that can't be processed; `reply` is the whole answer to send, None for silence."""

    def __init__(self, reason: str, reply: bytes | None) -> None:
        super().__init__(reason)
        self.reply = reply


@dataclass(slots=True, frozen=True)
class Query:
    """One client's question: `asked` is the name as it was sent, `name` the same in lower case."""

    id: int
    flags: int
    asked: Name
    name: Name
    rtype: int
    rclass: int
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


Question = tuple[Name, int, int]  # the name in lower case, type, class


@dataclass(slots=True, frozen=True)
class Response:
    """An upstream server's message; records of other classes than IN, and OPT, are left out."""

    id: int
    flags: int
    rcode: int
    question: Question | None = None
    answer: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()


class _Reader(DNSBuffer):  # type: ignore[misc]
    """dnslib's reader, held to the sizes of RFC 1035 and to work in proportion to the message."""

    def __init__(self, message: bytes) -> None:
        super().__init__(message)
        self._work = 8 * len(message)

    def decode_name(self, last: int = -1) -> DNSLabel:
        name = super().decode_name(last)  # calls this again for each pointer
        self._work -= 8 + len(name.label)
        if len(name) > names.MAX_NAME or max(map(len, name.label), default=0) > names.MAX_LABEL:
            raise BrokenBuffer("a label or a name is overlong")
        if self._work < 0:
            raise BrokenBuffer("names lead about without end")
        return name


class _Pointers(dict[Name, int]):
    """Where names stand in a message that is written, as far as pointers reach; dnslib would go on."""

    def __setitem__(self, name: Name, offset: int) -> None:
        if offset < _POINTERS:
            super().__setitem__(name, offset)


def rcode_name(rcode: int) -> str:
    """`NOERROR` for 0; the number itself for a code without a name here."""
    return "BADVERS" if rcode == BADVERS else str(RCODE.get(rcode))


def error_header(message: bytes, rcode: int) -> bytes:
    """A bare header that reports `rcode`, with the id, opcode and RD bit of the message it answers."""
    header = DNSHeader.parse(DNSBuffer(message))
    return bytes(DNSRecord(DNSHeader(header.id, QR | header.bitmap & (OPCODE | RD) | rcode)).pack())


def parse_query(message: bytes) -> Query:
    """Reads one query.

    Raises Malformed: without a reply for what is too short or is itself a response (answering those makes
    two servers talk for ever), with NOTIMP for other opcodes than QUERY, else with FORMERR.
    """
    if len(message) < HEADER:
        raise Malformed("no whole DNS header", None)
    reader = _Reader(message)
    header = DNSHeader.parse(reader)
    if header.bitmap & QR:
        raise Malformed("a response where a query belongs", None)
    if header.bitmap & OPCODE:
        raise Malformed("opcode is not QUERY", error_header(message, NOTIMP))
    try:
        return _query(reader, header)
    except Exception as error:
        raise Malformed(f"no DNS query: {error}", error_header(message, FORMERR)) from None


def _query(reader: _Reader, header: DNSHeader) -> Query:
    if header.q != 1:
        raise PeerError("a query has exactly one question")
    question = DNSQuestion.parse(reader)
    asked: Name = question.qname.label
    before = [RR.parse(reader) for _ in range(header.a + header.auth)]
    additional = [RR.parse(reader) for _ in range(header.ar)]
    opts = [record for record in before + additional if record.rtype == rdata.OPT]
    if question.qtype == rdata.OPT or len(opts) > 1 or any(opt.rname.label or opt in before for opt in opts):
        raise PeerError("OPT asked for, or an OPT record twice or out of place")
    plain = header.id, header.bitmap, asked, lower(asked), question.qtype, question.qclass
    if not opts:
        return Query(*plain)
    opt = opts[0]
    size = min(max(opt.edns_len, PLAIN_LIMIT), UDP_LIMIT)
    return Query(*plain, True, size, opt.edns_ver, bool(opt.edns_do), bool(opt.rdata))


def parse_response(message: bytes) -> Response:
    """Reads an upstream server's answer. Raises PeerError when it isn't one or is broken."""
    try:
        return _response(_Reader(message))
    except Exception as error:
        raise PeerError(f"no DNS response: {error}") from None


def _response(reader: _Reader) -> Response:
    header = DNSHeader.parse(reader)
    if not header.bitmap & QR or header.q > 1:
        raise PeerError("no DNS response to one question")
    question = None
    if header.q:
        asked = DNSQuestion.parse(reader)
        question = lower(asked.qname.label), asked.qtype, asked.qclass
    rcode = header.bitmap & 0xF
    if header.bitmap & TC:  # what a cut message still holds is of no use: it is asked for again over TCP
        return Response(header.id, header.bitmap, rcode, question)
    sections: list[tuple[Record, ...]] = []
    for count in (header.a, header.auth, header.ar):
        read = [RR.parse(reader) for _ in range(count)]
        rcode |= sum(rr.edns_rcode << 4 for rr in read if rr.rtype == rdata.OPT)
        sections.append(tuple(_record(rr) for rr in read if rr.rtype != rdata.OPT and rr.rclass == CLASS_IN))
    return Response(header.id, header.bitmap, rcode, question, sections[0], sections[1])


def _record(rr: RR) -> Record:
    """The record as it is kept. Raises what dnslib raises for one that it could read, but not write again."""
    if rr.rtype not in rdata.WORDS:
        rr.pack(DNSBuffer())
    ttl = rr.ttl if rr.ttl <= _MAX_TTL else 0  # RFC 2181 section 8
    return Record(rr.rname.label, rr.rtype, ttl, rr.rdata)


def pack_question(ident: int, name: Name, rtype: int, *, do: bool = False, edns: bool = True) -> bytes:
    """A recursive query for `name`, as sent to upstream servers."""
    query = DNSRecord(DNSHeader(ident, RD), q=DNSQuestion(DNSLabel(name), rtype))
    if edns:
        query.add_ar(_opt(0, do))
    return bytes(query.pack())


@lru_cache
def _opt(rcode: int, do: bool) -> EDNS0:
    """Our OPT record; carries the upper bits of an extended rcode."""
    return EDNS0(ext_rcode=rcode >> 4, flags="do" if do else "", udp_len=UDP_LIMIT)


def pack_reply(query: Query, reply: Reply, limit: int, recursion: bool) -> bytes:
    """The message that answers `query`, at most `limit` octets; `recursion` is the RA bit.

    The name asked for keeps the case it was asked in, as owner of records too.
    """
    out, asked = DNSBuffer(bytes(HEADER)), DNSLabel(query.asked)
    out.offset, out.names = HEADER, _Pointers()
    DNSQuestion(asked, query.rtype, query.rclass).pack(out)
    room = limit - (_OPT_SIZE if query.edns else 0)
    sections = reply.answer, reply.authority, reply.additional
    counts = [0, 0, 0]
    for section, record in ((index, record) for index in range(3) for record in sections[index]):
        mark = out.offset
        owner = asked if record.owner == query.name else DNSLabel(record.owner)
        RR(owner, record.rtype, CLASS_IN, record.ttl, record.data).pack(out)
        if out.offset > room:
            del out.data[mark:]
            out.offset = mark
            break
        counts[section] += 1
    cut = counts[0] < len(reply.answer) or counts[1] < len(reply.authority)
    flags = QR | query.flags & (RD | CD) | reply.rcode & 0xF
    flags |= (AA if reply.authoritative else 0) | (TC if cut else 0) | (RA if recursion else 0)
    if query.edns:
        _opt(reply.rcode, query.do).pack(out)
        counts[2] += 1
    header = DNSBuffer()
    DNSHeader(query.id, flags, 1, *counts).pack(header)
    return bytes(header.data + out.data[HEADER:])
