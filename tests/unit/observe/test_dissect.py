"""What packets carry, in words."""

from __future__ import annotations

import ssl
import struct

import dnslib
import pytest
from handmade import ACK, FIN, RST, START, SYN, ethernet, icmp, ipv4, tcp, udp
from hypothesis import given
from hypothesis import strategies as st

from emulab.observe.events import Frame
from emulab.observe.join.dissect import (
    describe_dns,
    describe_http,
    describe_packet,
    describe_tls,
    server_name_asked,
)
from emulab.observe.join.packets import Packet, decode

A, B = "10.0.0.1", "10.0.0.2"


def words(protocol: int, body: bytes) -> str:
    data = ethernet(ipv4(A, B, protocol, body))
    found = decode(0, Frame(START, "a", "eth0", True, len(data), data))
    assert isinstance(found, Packet)
    return describe_packet(found)


def hello(name: str | None) -> bytes:
    """What a client of OpenSSL says first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


@pytest.mark.parametrize(
    ("flags", "text"), [(SYN, "SYN"), (SYN | ACK, "SYN-ACK"), (ACK, "ACK"), (FIN | ACK, "FIN"), (RST, "RST")]
)
def test_flags(flags: int, text: str) -> None:
    assert words(6, tcp(1, 2, 3, flags)) == f"TCP {text}"


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n", "GET /a?b=c"),
        (b"OPTIONS * HTTP/1.0\r\n", "OPTIONS *"),
        (b"HTTP/1.1 404 Not Found\r\n", "HTTP 404 Not Found"),
        (b"HTTP/1.1 204\r\n", "HTTP 204"),
        (b"HTTP/1.1 200 OK", "HTTP 200 OK"),
        (b"GET /a HTTP/2.0\r\n", ""),
        (b"get /a HTTP/1.1\r\n", ""),
        (b"\x00\x01", ""),
        (b"", ""),
    ],
)
def test_http(payload: bytes, text: str) -> None:
    assert describe_http(payload) == text
    assert words(6, tcp(1, 80, 3, ACK, payload)) == (
        text or (f"TCP, {len(payload)} bytes" if payload else "TCP ACK")
    )


def test_the_last_of_an_answer_may_end_the_connection() -> None:
    assert words(6, tcp(80, 1, 3, FIN | ACK, b"HTTP/1.1 200 OK\r\n")) == "HTTP 200 OK, FIN"


def test_client_hello() -> None:
    assert describe_tls(hello("shop.example.com")) == "TLS ClientHello, SNI shop.example.com"
    assert describe_tls(hello(None)) == "TLS ClientHello, no SNI"
    assert server_name_asked(hello("shop.example.com")) == "shop.example.com"


def test_a_client_hello_that_was_cut_claims_no_more_than_it_shows() -> None:
    whole = hello("shop.example.com")
    told = {describe_tls(whole[:end]) for end in range(6, len(whole) + 1)}
    assert told == {"TLS ClientHello", "TLS ClientHello, SNI shop.example.com"}
    assert {describe_tls(hello(None)[:end]) for end in range(6, 100)} == {"TLS ClientHello"}


def test_server_hello_and_others() -> None:
    chosen = struct.pack("!HHH", 43, 2, 0x0304)
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x13\x01\x00" + struct.pack("!H", len(chosen)) + chosen
    record = (
        b"\x16\x03\x03" + struct.pack("!H", len(body) + 4) + b"\x02" + len(body).to_bytes(3, "big") + body
    )
    assert describe_tls(record) == "TLS ServerHello, TLS 1.3"
    assert describe_tls(record[:45]) == "TLS ServerHello"
    assert describe_tls(b"\x15\x03\x03\x00\x02\x02\x28") == "TLS alert"
    assert describe_tls(b"\x17\x03\x03\x00\x10" + bytes(16)) == "TLS application data"
    assert describe_tls(b"\x18\x03\x03\x00\x10" + bytes(16)) == ""


def test_dns() -> None:
    question = dnslib.DNSRecord.question("shop.example.com", "A")
    assert describe_dns(question.pack()) == "DNS A? shop.example.com"
    reply = question.reply()
    reply.add_answer(*dnslib.RR.fromZone("shop.example.com 30 A 203.0.113.10"))
    assert describe_dns(reply.pack()) == "DNS A shop.example.com: 203.0.113.10 (TTL 30)"
    assert describe_dns(question.reply().pack()) == "DNS A shop.example.com: no such record"
    refused = question.reply()
    refused.header.rcode = dnslib.RCODE.NXDOMAIN
    assert describe_dns(refused.pack()) == "DNS A shop.example.com: NXDOMAIN"
    assert words(17, udp(40000, 53, question.pack())) == "DNS A? shop.example.com"
    length = struct.pack("!H", len(question.pack()))
    assert words(6, tcp(40000, 53, 1, ACK, length + question.pack())) == "DNS A? shop.example.com (TCP)"


def test_broken_dns_is_bytes() -> None:
    whole = dnslib.DNSRecord.question("shop.example.com", "A").pack()
    for end in range(len(whole)):
        assert describe_dns(whole[:end]) == ""
    assert words(17, udp(53, 40000, b"hello")) == "UDP, 5 bytes"
    assert words(6, tcp(53, 40000, 1, ACK, b"hello")) == "TCP, 5 bytes"


def test_icmp() -> None:
    about = ipv4(A, B, 17, udp(5000, 6000, b""))
    assert words(1, icmp(3, 3, about)) == f"ICMP port unreachable, about {A}:5000 → {B}:6000"
    assert words(1, icmp(3, 4, about, rest=1400)).startswith(
        "ICMP fragmentation needed, next MTU 1400, about"
    )
    assert words(1, icmp(8, 0)) == "ICMP echo request"
    assert words(1, icmp(42, 1)) == "ICMP type 42 code 1"


@given(
    st.binary(max_size=120),
    st.sampled_from([b"", b"\x16\x03\x01\x00\x60\x01", b"\x16\x03\x01\x00\x60\x02", b"HTTP/1.1 "]),
)
def test_random_bytes_never_raise(data: bytes, prefix: bytes) -> None:
    payload = prefix + data
    describe_http(payload)
    describe_tls(payload)
    describe_dns(payload)
    describe_dns(b"\x00\x01\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00" + data)
    for port in (53, 80):
        words(6, tcp(1, port, 3, ACK, payload))
        words(17, udp(1, port, payload))
