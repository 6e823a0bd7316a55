"""The header of the PROXY protocol, both versions, however it comes in pieces."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulab.errors import PeerError
from emulab.servers.wire.proxyprotocol import SIGNATURE, Proxied, ProxyHeaderReader

FIRST = b"PROXY TCP4 198.51.100.9 203.0.113.10 4711 443\r\n"
EXPECTED = Proxied("198.51.100.9", 4711, "203.0.113.10", 443)
SIX = Proxied("2001:db8::9", 4711, "2001:db8::10", 443)


def second(command: int, kind: int, block: bytes, version: int = 2) -> bytes:
    return SIGNATURE + struct.pack("!BBH", version << 4 | command, kind, len(block)) + block


def addresses(proxied: Proxied) -> bytes:
    family = socket.AF_INET6 if ":" in proxied.source else socket.AF_INET
    packed = [socket.inet_pton(family, one) for one in (proxied.source, proxied.destination)]
    return b"".join(packed) + struct.pack("!HH", proxied.source_port, proxied.destination_port)


HEADERS = [
    (FIRST, EXPECTED),
    (b"PROXY TCP6 2001:db8:0::9 2001:db8::10 4711 443\r\n", SIX),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
    (second(1, 0x11, addresses(EXPECTED)), EXPECTED),
    (second(1, 0x11, addresses(EXPECTED) + b"\x04\0\1x"), EXPECTED),  # with what else it tells
    (second(1, 0x21, addresses(SIX)), SIX),
    (second(0, 0x00, b""), None),
    (second(0, 0x11, addresses(EXPECTED)), None),
    (second(1, 0x31, bytes(216)), None),  # AF_UNIX
    (second(1, 0x00, b""), None),
]


@pytest.mark.parametrize(("header", "proxied"), HEADERS)
@given(data=st.data())
def test_is_read_in_whatever_pieces_it_comes(
    header: bytes, proxied: Proxied | None, data: st.DataObject
) -> None:
    stream, reader = header + b"GET / HTTP/1.1\r\n", ProxyHeaderReader()
    taken = 0
    while not reader.done:
        taken += reader.feed(stream[taken : taken + data.draw(st.integers(1, 40))])
    assert (taken, reader.proxied) == (len(header), proxied)


@pytest.mark.parametrize(
    "header",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
        b"PROXY TCP5 a b 1 2\r\n",
        b"PROXY TCP4 198.51.100.9 203.0.113.10 4711\r\n",
        b"PROXY TCP4 2001:db8::9 203.0.113.10 4711 443\r\n",
        b"PROXY TCP4 198.51.100.9 203.0.113.10 65536 443\r\n",
        b"PROXY TCP4 198.51.100.9 203.0.113.10 +1 443\r\n",
        b"PROXY  TCP4 198.51.100.9 203.0.113.10 1 443\r\n",
        b"PROXY UNKNOWN " + b"x" * 100 + b"\r\n",
        b"PROXY UNKNOWN " + b"x" * 100,
        second(1, 0x11, addresses(EXPECTED)[:11]),
        second(1, 0x11, addresses(EXPECTED), version=1),
        second(2, 0x11, addresses(EXPECTED)),
        second(1, 0x11, bytes(5000)),
    ],
)
def test_what_is_malformed_is_refused(header: bytes) -> None:
    with pytest.raises(PeerError):
        ProxyHeaderReader().feed(header)
