"""Any message at all, to name servers in each of their roles: what comes back fits, and a good question is answered."""

from __future__ import annotations

from functools import cache
from typing import Any

import dnslib
from examples import examples
from fuzz.fuzz_roles import roles
from hypothesis import given
from hypothesis import strategies as st

from emulab.servers.dns import wire
from emulab.servers.dns.responder import Responder

GOOD = (
    "b.a.",
    "s.n.svc.k.",
    "x.s.n.svc.k.n.svc.k.",
    "s.w.",
    "h.",
    "y.t.",
    "f.a.",
    "c.a.",
    "x.d.a.",
    "x.e.a.",
    "p.k.",
)
LABELS = st.lists(st.binary(min_size=1, max_size=63), max_size=8)


@cache
def servers() -> list[Any]:
    """Those that answer at once: nobody is asked upstream without a loop."""
    authority, _, cluster = roles(Responder)
    return [authority, cluster]


def sound(packet: bytes) -> None:
    for server in servers():
        for stream in (False, True):
            for _ in range(2):  # the second time it may be there already
                reply = server.answer(packet, ("192.0.2.1", 1), stream, lambda late: None)
                assert reply is not None
                assert len(reply) <= (0xFFFF if stream else wire.UDP_LIMIT)
                if reply:
                    assert reply[:2] == packet[:2] and reply[2] & 0x80
                    dnslib.DNSRecord.parse(reply)


@examples(300)
@given(
    st.sampled_from(GOOD),
    st.integers(0, 0xFFFF),
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), max_size=4),
    st.none() | st.integers(0, 80),
)
def test_good_questions_that_were_spoilt(
    name: str, rtype: int, changes: list[tuple[int, int]], end: int | None
) -> None:
    packet = bytearray(dnslib.DNSRecord(q=dnslib.DNSQuestion(name, rtype)).pack())
    for at, octet in changes:
        packet[at % len(packet)] = octet
    sound(bytes(packet[:end]))


@examples(300)
@given(LABELS, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.binary(max_size=40))
def test_names_of_any_octets(labels: list[bytes], rtype: int, rclass: int, rest: bytes) -> None:
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    head = b"\x12\x34\x01\x00\x00\x01" + b"\0" * 5 + bytes([min(len(rest), 2)])
    sound(head + name + rtype.to_bytes(2, "big") + rclass.to_bytes(2, "big") + rest)
