"""Which connections of BPF programs are over."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from emulab.kernel.ebpf import layouts
from emulab.kernel.ebpf.flows import over

SECOND = 10**9
CLIENT, VIP, END = (layouts.packed(ip_address(a)) for a in ("10.244.1.2", "10.96.0.7", "10.244.2.2"))
BOTH = layouts.ENDED | layouts.OPEN


def connection(
    kind: str = "tcp", flags: int = 0, asked: int = 0, answered: int = 0, vip: bytes = VIP
) -> dict[bytes, bytes]:
    """Both halves, with when they were seen, in seconds."""
    key = layouts.FLOW_KEY.pack(CLIENT, vip, 5000, 80, layouts.PROTOCOLS[kind], layouts.FORWARD)
    back = layouts.FLOW_KEY.pack(END, CLIENT, 8080, 5000, layouts.PROTOCOLS[kind], layouts.REPLY)
    return {
        key: layouts.FLOW.pack(CLIENT, END, 5000, 8080, flags, 1, 2, asked * SECOND),
        back: layouts.FLOW.pack(vip, CLIENT, 80, 5000, 0, 1, 2, answered * SECOND),
    }


@pytest.mark.parametrize(
    ("kind", "flags", "seconds"),
    [
        ("tcp", 0, 60),
        ("tcp", layouts.OPEN, 8000),
        ("tcp", layouts.OPEN | layouts.ENDED_BY_CLIENT, 8000),
        ("tcp", layouts.OPEN | layouts.ENDED_BY_ENDPOINT, 8000),
        ("tcp", BOTH, 10),
        ("udp", layouts.OPEN, 120),
    ],
)
def test_how_long_what_is_known(kind: str, flags: int, seconds: int) -> None:
    known = connection(kind, flags, asked=100, answered=90)
    assert over(known, (100 + seconds) * SECOND) == []
    assert {*over(known, (100 + seconds) * SECOND + 1)} == known.keys()
    answered = connection(kind, flags, asked=0, answered=100)
    assert over(answered, (100 + seconds) * SECOND) == [], "answers count, too"


def test_halves_whose_other_one_is_forgotten() -> None:
    request, answer = connection(flags=BOTH).items()
    assert over(dict([request]), 11 * SECOND) == [request[0]]
    assert over(dict([answer]), 11 * SECOND) == [answer[0]] and over(dict([answer]), 9 * SECOND) == []


def test_answers_that_are_anothers_by_now_stay() -> None:
    """Two Services with one endpoint, asked from one port: the later request has the answers."""
    other = layouts.packed(ip_address("10.96.0.8"))
    old, new = connection(flags=BOTH), connection(flags=layouts.OPEN, asked=11, answered=11, vip=other)
    assert over(old | new, 12 * SECOND) == [next(iter(old))]
