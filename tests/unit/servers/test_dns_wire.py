"""Messages of the DNS server: dnslib reads what we write and writes what we read."""

from __future__ import annotations

import struct
import time

import dnslib
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from emulab.errors import PeerError
from emulab.servers.dns import names, rdata, wire
from emulab.servers.dns.wire import MalformedQuery, Reply, ResourceRecord


def question(
    name: str = "shop.example.com.", rtype: str = "A", *, edns: int | None = None, **options
) -> bytes:
    record = dnslib.DNSRecord.question(name, rtype)
    if edns is not None:
        record.add_ar(dnslib.EDNS0(udp_len=edns, **options))
    return record.pack()


def record(owner: str, rtype: str, text: str, ttl: int = 30) -> ResourceRecord:
    number = rdata.type_number(rtype)
    return ResourceRecord(names.from_text(owner), number, ttl, rdata.from_text(number, text))


@pytest.mark.parametrize(
    ("rtype", "text", "dnslib_text"),
    [
        ("A", "203.0.113.10", "203.0.113.10"),
        ("AAAA", "2001:db8::1", "2001:db8::1"),
        ("CNAME", "Target.example.org.", "Target.example.org."),
        ("NS", "ns.example.org.", "ns.example.org."),
        ("PTR", "web.example.org.", "web.example.org."),
        ("MX", "10 mail.example.com.", "10 mail.example.com."),
        ("SRV", "0 100 80 web.example.com.", "0 100 80 web.example.com."),
        ("TXT", "v=spf1 -all", '"v=spf1 -all"'),
        ("TXT", '"one" "two \\"quoted\\""', '"one","two "quoted""'),
        ("SOA", "ns.example.com. root.example.com. 1 2 3 4 5", "ns.example.com. root.example.com. 1 2 3 4 5"),
    ],
)
def test_records_are_packed_as_dnslib_reads_them(rtype, text, dnslib_text):
    query = wire.parse_query(question(rtype=rtype))
    packed = wire.pack_reply(query, Reply(answer=(record("shop.example.com.", rtype, text),)), 512, False)
    read = dnslib.DNSRecord.parse(packed)
    assert " ".join(str(read.rr[0].rdata).split()) == dnslib_text
    assert str(read.rr[0].rname) == "shop.example.com."
    back = wire.parse_response(packed)
    assert back.answer[0].data == rdata.from_text(rdata.type_number(rtype), text)
    assert rdata.from_text(rdata.type_number(rtype), back.answer[0].data.toZone())


@pytest.mark.parametrize("edns", [None, 1232])
def test_ttls_are_found_in_what_is_packed(edns):
    query = wire.parse_query(question(edns=edns))
    alias = record("shop.example.com.", "CNAME", "lb.example.com.", 7)
    soa = record("example.com.", "SOA", "ns.example.com. root.example.com. 1 2 3 4 5", 9)
    reply = Reply(answer=(alias, record("lb.example.com.", "A", "10.0.0.1", 8)), authority=(soa,))
    packed = wire.pack_reply(query, reply, 512, False)
    places = wire.ttl_places(packed[2:])
    assert [int.from_bytes(packed[2 + at : 6 + at], "big") for at in places] == [7, 8, 9]


def test_names_in_answers_are_compressed():
    query = wire.parse_query(question())
    alias = record("shop.example.com.", "CNAME", "lb.example.com.")
    packed = wire.pack_reply(
        query, Reply(answer=(alias, record("lb.example.com.", "A", "10.0.0.1"))), 512, False
    )
    # pointer + fixed + "lb" and a pointer; pointer + fixed + address
    assert len(packed) == len(question()) + (2 + 10 + 5) + (2 + 10 + 4)


@pytest.mark.parametrize(
    ("rtype", "text"),
    [
        ("A", "203.0.113.256"),
        ("A", "2001:db8::1"),
        ("SRV", "0 100 80"),
        ("SRV", "0 100 65536 a."),
        ("MX", "x mail."),
        ("CNAME", "a..b."),
        ("CNAME", "a" * 64 + "."),
        ("TXT", '"open'),
    ],
)
def test_wrong_record_data_is_a_value_error(rtype, text):
    with pytest.raises(ValueError):
        rdata.from_text(rdata.type_number(rtype), text)


def test_names_with_escapes_survive_both_ways():
    name = names.from_text(r"c\032d.example.")
    assert name == (b"c d", b"example")
    assert names.to_text(name) == r"c\032d.example."
    assert names.from_text("example.com") == names.from_text("example.com.")


def test_plain_query_is_read():
    query = wire.parse_query(question("Shop.Example.COM."))
    assert query.name == names.from_text("shop.example.com.")
    assert (query.edns, query.size, query.rtype, query.rclass) == (False, 512, 1, 1)


@pytest.mark.parametrize(("asked", "given_"), [(100, 512), (1000, 1000), (4096, 4096)])
def test_edns_size_is_what_dns_has_room_for_at_least(asked, given_):
    assert wire.parse_query(question(edns=asked)).size == given_


def test_edns_is_echoed_with_the_do_bit():
    query = wire.parse_query(question(edns=4096, flags="do"))
    assert query.do
    answer = dnslib.DNSRecord.parse(wire.pack_reply(query, Reply(), 512, False))
    assert answer.ar[0].rtype == dnslib.QTYPE.OPT and answer.ar[0].edns_do and answer.ar[0].edns_len == 1232


def test_some_options_of_edns_are_echoed():
    given = [dnslib.EDNSOption(code, data) for code, data in ((3, b""), (8, b"\0\1\0\0"), (10, b"12345678"))]
    query = wire.parse_query(question(edns=4096, opts=given))
    for echoes, codes in ((False, []), (True, [3, 10])):
        packed = wire.pack_reply(query, Reply(), 4096, False, 2000, echoes)
        (opt,) = dnslib.DNSRecord.parse(packed).ar
        assert opt.edns_len == 2000 and [option.code for option in opt.rdata] == codes
    assert opt.rdata[1].data == b"12345678"
    # The rest is none: too many, too long for the room, or cut off.
    assert len(wire.echoed(b"\0\3\0\0" * 100)) == wire._MOST_OPTIONS
    assert [(o.code, o.data) for o in wire.echoed(b"\0\x0a\0\1x\0\x0a\0\5x")] == [(10, b"x")]
    long = wire.parse_query(question(edns=512, opts=[dnslib.EDNSOption(12, bytes(400))]))
    assert len(wire.pack_reply(long, Reply(), 512, False, 512, True)) < 50


def test_badvers_is_an_extended_rcode():
    query = wire.parse_query(question(edns=1232, version=1))
    assert query.version == 1
    answer = dnslib.DNSRecord.parse(wire.pack_reply(query, Reply(wire.BADVERS), 512, False))
    assert answer.header.rcode == 0 and answer.ar[0].edns_rcode == 1


def test_two_opt_records_are_a_format_error():
    message = bytearray(question(edns=1232))
    message += message[-11:]
    message[11] = 2
    with pytest.raises(MalformedQuery) as caught:
        wire.parse_query(bytes(message))
    assert dnslib.DNSRecord.parse(caught.value.reply).header.rcode == wire.FORMERR


def with_records(answers: int = 0, authority: int = 0, additional: int = 0, flags: int = 0x0100) -> bytes:
    """A question and as many records behind it, of 12 octets each."""
    head = struct.pack("!6H", 0x1234, flags, 1, answers, authority, additional)
    record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + b"\x0a\0\0\1"
    return head + b"\x01a\0\0\x01\0\x01" + record * (answers + authority + additional)


@pytest.mark.parametrize("counts", [(1,), (0, 1), (0, 0, 3), (4093,), (0, 4093), (0, 0, 4093)])
def test_records_beside_a_question_are_refused_by_the_header_alone(counts):
    message = with_records(*counts)
    begun = time.process_time()
    for _ in range(200):
        with pytest.raises(MalformedQuery) as caught:
            wire.parse_query(message)
    assert time.process_time() - begun < 2  # reading 200 times 4,093 records takes a minute and more
    assert caught.value.reply == struct.pack("!6H", 0x1234, 0x8101, 0, 0, 0, 0)


def test_a_signature_beside_a_question_is_passed_over():
    query = wire.parse_query(with_records(additional=2))
    assert query.name == (b"a",) and not query.edns


def test_the_options_of_an_opt_record_make_no_work():
    message = bytearray(question(edns=1232))
    message[-2:] = struct.pack("!H", 60000)
    begun = time.process_time()
    for _ in range(200):
        assert wire.parse_query(bytes(message + b"\xff\xfe\0\0" * 15000)).options
    assert time.process_time() - begun < 2  # looking at 200 times 15,000 options takes ten seconds and more


def test_an_opt_record_of_a_name_is_a_format_error():
    message = bytearray(question(edns=1232))
    message[-11:-10] = b"\xc0\x0c"
    with pytest.raises(MalformedQuery) as caught:
        wire.parse_query(bytes(message))
    assert caught.value.reply[3] & 0xF == wire.FORMERR


def test_the_records_of_an_upstream_answer_are_bounded():
    assert len(wire.parse_response(with_records(4000, flags=0x8180)).answer) == 4000
    nothing = b"\0" + struct.pack("!HHIH", 1, 4, 60, 0)  # of another class, which would be left out
    head = struct.pack("!6H", 1, 0x8180, 0, 2049, 2048, 0)
    with pytest.raises(PeerError, match="4096 records"):
        wire.parse_response(head + nothing * 4097)


def test_additional_records_of_an_upstream_answer_are_passed_over():
    broken = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 1) + b"\x0a"  # an address of one octet
    message = bytearray(with_records(1, flags=0x8180) + broken)
    message[11] = 1
    assert len(wire.parse_response(bytes(message)).answer) == 1
    message[7], message[11] = 2, 0
    with pytest.raises(PeerError):
        wire.parse_response(bytes(message))


def test_truncation_keeps_whole_records_and_sets_tc():
    query = wire.parse_query(question())
    records = tuple(record("shop.example.com.", "A", f"10.0.0.{i}") for i in range(60))
    packed = wire.pack_reply(query, Reply(answer=records), 512, False)
    answer = dnslib.DNSRecord.parse(packed)
    assert answer.header.tc and len(answer.rr) == (512 - len(question())) // 16 and len(packed) <= 512
    whole = dnslib.DNSRecord.parse(wire.pack_reply(query, Reply(answer=records), 0xFFFF, False))
    assert not whole.header.tc and len(whole.rr) == 60


def test_losing_additional_records_is_no_truncation():
    query = wire.parse_query(question(edns=512))
    records = tuple(record("a.example.com.", "A", f"10.0.0.{i}") for i in range(60))
    packed = wire.pack_reply(query, Reply(additional=records), query.size, False)
    answer = dnslib.DNSRecord.parse(packed)
    assert not answer.header.tc and 10 < len(answer.ar) < 60 and len(packed) <= 512


@pytest.mark.parametrize(
    ("message", "rcode"),
    [
        (b"\x12\x34\x01\x00" + b"\0" * 8, wire.FORMERR),  # no question
        (b"\x12\x34\x01\x00\x00\x01" + b"\0" * 6 + b"\x05ab", wire.FORMERR),  # name cut short
        (
            b"\x12\x34\x01\x00\x00\x01" + b"\0" * 6 + b"\xc0\x0c\0\x01\0\x01",
            wire.FORMERR,
        ),  # pointer to itself
        (b"\x12\x34\x01\x00\x00\x01" + b"\0" * 6 + b"\x02\xff\xfe\0\0\x01\0\x01", wire.FORMERR),  # not UTF-8
        (b"\x12\x34\x01\x00\x00\x01" + b"\0" * 6 + b"\x40" + b"a" * 64 + b"\0\0\x01\0\x01", wire.FORMERR),
        (b"\x12\x34\x28\x00\x00\x01" + b"\0" * 6 + b"\0\0\x06\0\x01", wire.NOTIMP),  # UPDATE
    ],
)
def test_bad_queries_get_an_error_with_their_id(message, rcode):
    with pytest.raises(MalformedQuery) as caught:
        wire.parse_query(message)
    reply = caught.value.reply
    assert reply[:2] == b"\x12\x34" and reply[3] & 0xF == rcode and reply[2] & 0x80


@pytest.mark.parametrize("message", [b"", b"\0" * 11, b"\x12\x34\x81\x80" + b"\0" * 8])
def test_short_messages_and_responses_get_silence(message):
    with pytest.raises(MalformedQuery) as caught:
        wire.parse_query(message)
    assert caught.value.reply is None


def test_pointers_stay_right_in_messages_beyond_their_reach():
    query = wire.parse_query(question(rtype="NS"))
    answer = tuple(
        record("shop.example.com.", "NS", f"host{i}.of.zone{i // 2}.example.") for i in range(1500)
    )
    packed = wire.pack_reply(query, Reply(answer=answer), 0xFFFF, False)
    assert len(packed) > 0x4000
    assert [str(rr.rdata) for rr in dnslib.DNSRecord.parse(packed).rr] == [str(r.data) for r in answer]
    assert wire.parse_response(packed).answer == answer


def test_many_records_of_a_long_name_are_read():
    owner = ".".join("0123456789abcdef" * 2) + ".ip6.arpa."
    query = wire.parse_query(question(owner, "PTR"))
    answer = tuple(record(owner, "PTR", f"h{i}.example.com.") for i in range(2000))
    assert wire.parse_response(wire.pack_reply(query, Reply(answer=answer), 0xFFFF, False)).answer == answer


def test_a_loop_of_pointers_is_refused():
    # the first pointer leads to its own second octet, which is the length of a label before the second
    message = (
        struct.pack("!HHHHHH", 1, 0x0100, 1, 0, 0, 0) + b"\xc0\x0d" + b"x" * 12 + b"\xc0\x0c" + b"\0\x01" * 2
    )
    with pytest.raises(MalformedQuery) as caught:
        wire.parse_query(message)
    assert caught.value.reply[3] & 0xF == wire.FORMERR


def test_long_chains_of_pointers_are_refused_soon():
    tail = struct.pack("!HHIH", 1, 1, 0, 4) + b"\0" * 4
    hops, start = 400, 12 + 5 + 11  # behind the header, a question for the root and the first record's head
    chain = b"".join((0xC000 | (start + 2 * i - 2 if i else 12)).to_bytes(2, "big") for i in range(hops))
    first = b"\0" + struct.pack("!HHIH", 65280, 1, 0, len(chain)) + chain
    follow = (0xC000 | start + len(chain) - 2).to_bytes(2, "big") + tail
    assert wire.parse_response(_response_of([first, follow])).answer[1].owner == ()
    begun = time.process_time()  # of us alone: a busy machine gives us less of it, not more to do
    with pytest.raises(PeerError):
        wire.parse_response(_response_of([first] + [follow] * 3000))
    assert time.process_time() - begun < 1.5


def _response_of(records: list[bytes]) -> bytes:
    return struct.pack("!HHHHHH", 1, 0x8000, 1, len(records), 0, 0) + b"\0\0\x01\0\x01" + b"".join(records)


@given(st.binary(max_size=600))
@example(struct.pack("!HHHHHH", 1, 0x8000, 0, 1, 0, 0) + b"\xc0\x00" + b"\0" * 10)
def test_arbitrary_responses_are_read_or_refused(message):
    try:
        wire.parse_response(message)
    except PeerError:
        return


@given(st.data())
def test_mangled_responses_are_read_or_refused(data):
    query = wire.parse_query(question("example.com.", "MX"))
    answer = tuple(record("example.com.", "MX", f"1 m{i}.example.com.") for i in range(3))
    message = bytearray(wire.pack_reply(query, Reply(answer=answer), 512, True))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    try:
        response = wire.parse_response(bytes(message))
    except PeerError:
        return
    # What was taken as good can be packed again.
    reply = Reply(answer=response.answer, authority=response.authority)
    assert len(wire.pack_reply(query, reply, 512, True)) <= 512


# What dnslib reads back from its own text: no dots or backslashes within labels, nothing outside ASCII.
_octets = st.sampled_from([octet for octet in range(1, 127) if octet not in b".\\"])
_labels = st.lists(st.lists(_octets, min_size=1, max_size=20).map(bytes), max_size=8)


@given(_labels)
def test_names_come_back_from_text(labels):
    name = tuple(labels)
    assert names.from_text(names.to_text(name)) == name
    query = dnslib.DNSRecord(q=dnslib.DNSQuestion(dnslib.DNSLabel(name)))
    assert wire.parse_query(bytes(query.pack())).asked == name
