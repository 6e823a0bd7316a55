"""DNS messages: bytes to values and back, by dnslib (RFC 1035 section 4, EDNS0 of RFC 6891). Pure.

Rules:

* What a client sends becomes a `Query`, or `MalformedQuery`, which carries the answer that the fault deserves.
* What an upstream server sends becomes a `Response`, or raises PeerError.
* Of a query its question and its OPT record are read, and nothing else: whoever sends records along with a
  question makes no work by them. A query with answers or authority, or with more than an OPT and a signature
  behind them, is FORMERR by its header alone, as unbound and CoreDNS have it.
* Of an upstream server's answer no more than `MAX_RECORDS` records are taken; additional ones are skipped, but for
  addresses behind a referral.
* dnslib checks neither the size of names nor how long their pointers lead about, and lets out whatever its
  parts raise: `MessageReader` reads names itself, in bounds, and dnslib's errors end here.
* A message is packed up to a size limit. Whole records are left out at the end; TC is set when the answer
  or authority section lost one, never for the additional section (RFC 2181 section 9).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from struct import Struct
from typing import Any, NamedTuple

from dnslib import AAAA, EDNS0, QTYPE, RCODE, RDMAP, RR, A, DNSHeader, DNSQuestion, DNSRecord, EDNSOption
from dnslib import RD as Opaque
from dnslib.buffer import BufferError as BrokenBuffer
from dnslib.label import DNSBuffer, DNSLabel

from emulab.dataclass import dataclass
from emulab.errors import PeerError
from emulab.servers.dns import rdata
from emulab.servers.dns.names import Name, lower
from emulab.servers.dns.reader import ASKED, HEADER, RECORD, MessageReader, RecordHead

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16

QR, AA, TC, RD, RA, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0010
OPCODE = 0x7800
_DO = 0x8000  # in the TTL of an OPT record
CLASS_IN = 1

PLAIN_LIMIT = 512  # UDP without EDNS (RFC 1035 section 2.3.4)
UDP_LIMIT = 1232  # what no link of 1280 octets must fragment (DNS flag day 2020)
MOST_BY_UDP = 65507  # what a datagram of IPv4 holds
TCP_LIMIT = 0xFFFF
MAX_GLUE = 32  # addresses of name servers that a referral tells
MAX_RECORDS = 4096  # of an upstream answer: as many addresses as 65535 octets hold

_ADDITIONAL = 2  # records that may follow a question: OPT, and a signature (TSIG or SIG(0))
_OPT_SIZE = 11
_OPTION = Struct("!2H")  # its code and its length
_MOST_OPTIONS = 16
_EXTENDED_ERROR = 15
_ECHOED = frozenset({3, 9, 10, 11, 12})
"""Options that CoreDNS sends back as they came: NSID, EXPIRE, COOKIE, TCP-KEEPALIVE, PADDING (request/edns0.go)."""
_MAX_TTL = 0x7FFFFFFF
_POINTERS = 0x4000  # compression pointers have 14 bits


class ResourceRecord(NamedTuple):
    """A resource record of class IN; `data` is a `dnslib.RD`, `ttl` in seconds."""

    owner: Name
    rtype: int
    ttl: int
    data: Any


class MalformedQuery(PeerError):
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
    options: bytes = b""  # those of the OPT record, such as a cookie


@dataclass(slots=True)
class Reply:
    """What to answer. `authoritative` is the AA bit; sections are in the order to send."""

    rcode: int = NOERROR
    authoritative: bool = False
    answer: tuple[ResourceRecord, ...] = ()
    authority: tuple[ResourceRecord, ...] = ()
    additional: tuple[ResourceRecord, ...] = ()
    error: int | None = None  # an extended one, for who speaks EDNS (RFC 8914)


Question = tuple[Name, int, int]  # the name in lower case, type, class


@dataclass(slots=True, frozen=True)
class Response:
    """An upstream server's message; records of other classes than IN, and OPT, are left out. Of the additional ones
    there are addresses, and those alone where there is no answer beside them."""

    id: int
    flags: int
    rcode: int
    question: Question | None = None
    answer: tuple[ResourceRecord, ...] = ()
    authority: tuple[ResourceRecord, ...] = ()
    asked: Name = ()  # the name of the question, in the case in which it came back
    additional: tuple[ResourceRecord, ...] = ()


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
    ident, flags, *_ = HEADER.unpack_from(message)
    return HEADER.pack(ident, QR | flags & (OPCODE | RD) | rcode, 0, 0, 0, 0)


def parse_query(message: bytes) -> Query:
    """Reads one query.

    Raises Malformed: without a reply for what is too short or is itself a response (answering those makes
    two servers talk for ever), with NOTIMP for other opcodes than QUERY, else with FORMERR.
    """
    if len(message) < HEADER.size:
        raise MalformedQuery("no whole DNS header", None)
    ident, flags, *counts = HEADER.unpack_from(message)
    if flags & QR:
        raise MalformedQuery("a response where a query belongs", None)
    if flags & OPCODE:
        raise MalformedQuery("opcode is not QUERY", error_header(message, NOTIMP))
    try:
        return _query(message, ident, flags, counts)
    except Exception as error:
        raise MalformedQuery(f"no DNS query: {error}", error_header(message, FORMERR)) from None


def _query(message: bytes, ident: int, flags: int, counts: list[int]) -> Query:
    questions, answers, authority, additional = counts
    if questions != 1 or answers or authority or additional > _ADDITIONAL:
        raise PeerError("a query has one question and no records but an OPT and a signature")
    reader = MessageReader(message)
    reader.offset = HEADER.size
    asked = reader.name()
    rtype, rclass = reader.fixed(ASKED)
    opts = []
    for _ in range(additional):
        head = reader.head()
        if head.rtype == rdata.OPT:
            opts.append((head, bytes(message[reader.offset : head.end])))
        reader.offset = head.end
    if rtype == rdata.OPT or len(opts) > 1 or any(head.owner for head, _ in opts):
        raise PeerError("OPT asked for, or an OPT record twice or of a name")
    plain = ident, flags, asked, lower(asked), rtype, rclass
    if not opts:
        return Query(*plain)
    (opt, options), *_ = opts  # its class is a size, its TTL version and flags (RFC 6891 section 6.1.3)
    size = max(opt.rclass, PLAIN_LIMIT)
    return Query(*plain, True, size, opt.ttl >> 16 & 0xFF, bool(opt.ttl & _DO), options)


def parse_response(message: bytes) -> Response:
    """Reads an upstream server's answer. Raises PeerError when it isn't one or is broken."""
    try:
        return _response(MessageReader(message))
    except Exception as error:
        raise PeerError(f"no DNS response: {error}") from None


def _response(reader: MessageReader) -> Response:
    ident, flags, questions, *counts = reader.fixed(HEADER)
    if not flags & QR or questions > 1:
        raise PeerError("no DNS response to one question")
    question: Question | None = None
    asked: Name = ()
    if questions:
        asked = reader.name()
        rtype, rclass = reader.fixed(ASKED)
        question = lower(asked), rtype, rclass
    rcode = flags & 0xF
    if flags & TC:  # what a cut message still holds is of no use: it is asked for again over TCP
        return Response(ident, flags, rcode, question, asked=asked)
    if counts[0] + counts[1] > MAX_RECORDS:
        raise PeerError(f"more than {MAX_RECORDS} records")
    sections: tuple[list[ResourceRecord], ...] = [], [], []
    for section, count in enumerate(counts):
        for _ in range(count):
            head = reader.head()
            if head.rtype == rdata.OPT:
                rcode |= head.ttl >> 24 << 4
            elif head.rclass == CLASS_IN and (section < 2 or _is_glue(sections, head)):
                sections[section].append(_record(reader, head))
            reader.offset = head.end
    return Response(
        ident, flags, rcode, question, tuple(sections[0]), tuple(sections[1]), asked, tuple(sections[2])
    )


def _is_glue(sections: Sequence[Sequence[ResourceRecord]], head: RecordHead) -> bool:
    """Whether an additional record may be wanted: an address, where there is no answer."""
    wanted = head.rtype in (rdata.A, rdata.AAAA) and not sections[0] and bool(sections[1])
    return wanted and len(sections[2]) < MAX_GLUE


def _record(reader: MessageReader, head: RecordHead) -> ResourceRecord:
    """The record as it is kept. Raises what dnslib raises for one that it could read, but not write again."""
    length = head.end - reader.offset
    if head.rtype == rdata.A and length == 4:
        data = A(tuple(reader.get(4)))
    elif head.rtype == rdata.AAAA and length == 16:
        data = AAAA(tuple(reader.get(16)))
    else:
        data = RDMAP.get(QTYPE.get(head.rtype), Opaque).parse(reader, length)
    if not length or reader.offset != head.end:
        raise BrokenBuffer("record data is of another length than it says")
    if head.rtype not in rdata.WORDS:
        data.pack(DNSBuffer())
    ttl = head.ttl if head.ttl <= _MAX_TTL else 0  # RFC 2181 section 8
    return ResourceRecord(head.owner, head.rtype, ttl, data)


def ttl_places(message: bytes) -> list[int]:
    """Where the TTLs of all records stand in a message of ours that lacks its id; those of OPT are none."""
    counts = HEADER.unpack_from(b"\0\0" + message[: HEADER.size - 2])[3:]
    at = _past_name(message, HEADER.size - 2) + ASKED.size
    found = []
    for _ in range(sum(counts)):
        at = _past_name(message, at)
        rtype, _, _, length = RECORD.unpack_from(message, at)
        if rtype != rdata.OPT:
            found.append(at + ASKED.size)
        at += RECORD.size + length
    return found


def _past_name(message: bytes, at: int) -> int:
    while length := message[at]:
        if length >= 0xC0:
            return at + 2
        at += 1 + length
    return at + 1


def pack_question(ident: int, name: Name, rtype: int, *, do: bool = False, edns: bool = True) -> bytes:
    """A recursive query for `name`, as sent to upstream servers."""
    query = DNSRecord(DNSHeader(ident, RD), q=DNSQuestion(DNSLabel(name), rtype))
    if edns:
        query.add_ar(_opt(0, do))
    return bytes(query.pack())


@lru_cache
def _opt(rcode: int, do: bool, size: int = UDP_LIMIT) -> EDNS0:
    """Our OPT record; carries the upper bits of an extended rcode."""
    return EDNS0(ext_rcode=rcode >> 4, flags="do" if do else "", udp_len=size)


def echoed(options: bytes) -> list[EDNSOption]:
    """Those of a client's first options that CoreDNS sends back; what comes behind a broken one is none."""
    found, at = [], 0
    for _ in range(_MOST_OPTIONS):
        if len(options) - at < _OPTION.size:
            break
        code, length = _OPTION.unpack_from(options, at)
        at += _OPTION.size + length
        if at <= len(options) and code in _ECHOED:
            found.append(EDNSOption(code, options[at - length : at]))
    return found


def pack_reply(
    query: Query, reply: Reply, limit: int, recursion: bool, size: int = UDP_LIMIT, echoes: bool = False
) -> bytes:
    """The message that answers `query`, at most `limit` octets; `recursion` is the RA bit. It says that `size` octets
    may come by UDP, and `echoes` options of the query.

    The name asked for keeps the case it was asked in, as owner of records too.
    """
    opt = _opt(reply.rcode, query.do, size)
    # Longer options leave no room for an answer.
    options = echoed(query.options) if echoes and len(query.options) <= limit // 2 else []
    if reply.error is not None:
        options.append(EDNSOption(_EXTENDED_ERROR, reply.error.to_bytes(2, "big")))
    if options:
        word = "do" if query.do else ""
        opt = EDNS0(ext_rcode=reply.rcode >> 4, flags=word, udp_len=size, opts=options)
    out, asked = DNSBuffer(bytes(HEADER.size)), DNSLabel(query.asked)
    out.offset, out.names = HEADER.size, _Pointers()
    DNSQuestion(asked, query.rtype, query.rclass).pack(out)
    room = limit - (_OPT_SIZE + sum(_OPTION.size + len(o.data) for o in opt.rdata) if query.edns else 0)
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
        opt.pack(out)
        counts[2] += 1
    header = DNSBuffer()
    DNSHeader(query.id, flags, 1, *counts).pack(header)
    return bytes(header.data + out.data[HEADER.size :])
