"""What a Cluster sets its nodes' connection tracking to."""

from __future__ import annotations

from typing import Any

import pytest
from manifest_texts import accepted, described

from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.emulab.conntrack import seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("24h0m0s", 86400),
        ("1h30m", 5400),
        ("60s", 60),
        ("0", 0),
        ("0s", 0),
        ("", None),
        ("1d", None),
        ("1.5h", None),
    ],
)
def test_durations(text: str, expected: int | None) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"tcp_timeout_established": "86400", "tcp_timeout_close_wait": "3600"}),
        ({"tcpEstablishedTimeout": "0s"}, {"tcp_timeout_close_wait": "3600"}),
        (
            {
                "tcpCloseWaitTimeout": "10m",
                "udpTimeout": "5s",
                "udpStreamTimeout": "1m",
                "tcpBeLiberal": True,
            },
            {
                "tcp_timeout_established": "86400",
                "tcp_timeout_close_wait": "600",
                "udp_timeout": "5",
                "udp_timeout_stream": "60",
                "tcp_be_liberal": "1",
            },
        ),
    ],
)
def test_settings_of_nodes(given: dict[str, Any], expected: dict[str, str]) -> None:
    (o,) = accepted(described("Cluster", {"proxy": {"conntrack": given}}))
    assert dict(Cluster.of(o).conntrack) == {
        f"net/netfilter/nf_conntrack_{k}": v for k, v in expected.items()
    }
    assert Cluster().conntrack == Cluster.of(accepted(described("Cluster", {}))[0]).conntrack
