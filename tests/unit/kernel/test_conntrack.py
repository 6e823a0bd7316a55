"""Which UDP flows are forgotten when endpoints change."""

from __future__ import annotations

import pytest

from emulab.kernel.conntrack import Tuple, is_stale
from emulab.plan.state import UdpBackends

WANTED = UdpBackends(
    {
        ("10.96.0.10", 53): frozenset({"10.244.1.2", "10.0.0.11:61053"}),
        ("", 30053): frozenset({"10.244.1.2", "10.0.0.11:61053"}),
        ("10.96.0.11", 53): frozenset(),
    }
)


@pytest.mark.parametrize(
    ("protocol", "destination", "answerer", "stale"),
    [
        ("udp", ("10.96.0.10", 53), ("10.244.1.2", 5353), False),
        ("udp", ("10.96.0.10", 53), ("10.244.1.3", 5353), True),
        ("tcp", ("10.96.0.10", 53), ("10.244.1.3", 5353), False),
        ("udp", ("10.96.0.10", 53), ("10.96.0.10", 53), False),  # nobody translated it
        ("udp", ("10.96.0.10", 54), ("10.244.1.3", 5353), False),  # nobody's port
        ("udp", ("10.96.0.11", 53), ("10.244.1.3", 5353), False),  # without endpoints it is left alone
        ("udp", ("10.96.0.10", 53), ("10.0.0.11", 61053), False),
        ("udp", ("10.96.0.10", 53), ("10.0.0.11", 61054), True),
        ("udp", ("10.0.0.11", 30053), ("10.244.1.2", 5353), False),
        ("udp", ("10.0.0.11", 30053), ("10.244.1.3", 5353), True),
        ("udp", ("10.0.0.11", 30053), ("10.0.0.11", 61053), False),
        (
            "udp",
            ("10.0.0.11", 30053),
            ("10.0.0.11", 61054),
            True,
        ),  # translated to another port of the same address
        ("udp", ("10.0.0.11", 30053), ("10.0.0.11", 30053), False),
    ],
)
def test_stale_flows(
    protocol: str, destination: tuple[str, int], answerer: tuple[str, int], stale: bool
) -> None:
    first = Tuple(protocol, "10.244.2.9", 40000, *destination)
    second = Tuple(protocol, *answerer, "10.244.2.9", 40000)
    assert is_stale(WANTED, first, second) is stale
