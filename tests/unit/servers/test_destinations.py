"""Which address a client tries first: RFC 6724 as glibc has it."""

from __future__ import annotations

import pytest

from emulab.servers.destinations import by_preference

CLIENT4, CLIENT6, POD4, POD6 = "198.51.100.2", "2001:db8:1::2", "10.244.1.2", "fd00:244:0:1::2"


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ({"203.0.113.10": CLIENT4, "2001:db8:2::a": CLIENT6}, ["2001:db8:2::a", "203.0.113.10"]),
        ({"10.96.0.7": POD4, "fd00:96::7": POD6}, ["fd00:96::7", "10.96.0.7"]),
        ({"fd00:96::7": None, "10.96.0.7": POD4}, ["10.96.0.7", "fd00:96::7"]),
        ({"10.0.0.11": CLIENT4, "fd00:10::b": CLIENT6}, ["10.0.0.11", "fd00:10::b"]),
        ({"fd00:244:0:2::3": POD6, "fd00:244:0:1::9": POD6}, ["fd00:244:0:1::9", "fd00:244:0:2::3"]),
        ({"127.0.0.1": "127.0.0.1", "::1": "::1"}, ["::1", "127.0.0.1"]),
        ({"fe80::1": "fe80::2", "10.0.0.1": "10.0.0.2"}, ["fe80::1", "10.0.0.1"]),
        ({"2002:c000:201::1": "fd00::1", "192.0.2.1": "10.0.0.2"}, ["192.0.2.1", "2002:c000:201::1"]),
        ({"2001:db8:2::b": None, "203.0.113.10": None}, ["2001:db8:2::b", "203.0.113.10"]),
        ({"203.0.113.11": CLIENT4, "203.0.113.10": CLIENT4}, ["203.0.113.11", "203.0.113.10"]),
    ],
    ids=[
        *(
            "global",
            "unique local",
            "no way",
            "other kind of source",
            "near",
            "loopback",
            "link-local",
            "6to4",
        ),
        *("nowhere", "as answered"),
    ],
)
def test_the_order_of_addresses(sources: dict[str, str | None], expected: list[str]) -> None:
    assert by_preference(sources) == expected
