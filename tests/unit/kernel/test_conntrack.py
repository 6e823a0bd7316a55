"""Which UDP flows are forgotten when endpoints change."""

from __future__ import annotations

from typing import Any

import pytest

from emulab.kernel.netlink.flowattributes import FLOW, IPS_SEEN_REPLY
from emulab.kernel.rules.conntrack import FlowTuple, Stale, _flow
from emulab.plan.state import UdpBackends

BEFORE = UdpBackends(
    {
        ("10.96.0.12", 53): frozenset({"10.244.1.2:5353", "10.244.1.9:5353"}),
        ("", 30054): frozenset({"10.244.1.2:5353", "10.244.1.9:5353"}),
    }
)
WANTED = UdpBackends(
    {
        ("10.96.0.10", 53): frozenset({"10.244.1.2:5353", "10.0.0.11:61053"}),
        ("", 30053): frozenset({"10.244.1.2:5353", "10.0.0.11:61053"}),
        ("10.96.0.11", 53): frozenset(),
    }
)


@pytest.mark.parametrize(
    ("protocol", "destination", "answerer", "stale"),
    [
        ("udp", ("10.96.0.10", 53), ("10.244.1.2", 5353), False),
        ("udp", ("10.96.0.10", 53), ("10.244.1.3", 5353), True),
        ("udp", ("10.96.0.10", 53), ("10.244.1.2", 5354), True),  # its endpoint has another port now
        ("tcp", ("10.96.0.10", 53), ("10.244.1.3", 5353), False),
        ("udp", ("10.96.0.10", 53), ("10.96.0.10", 53), True),  # from before there was the Service
        ("udp", ("10.96.0.10", 54), ("10.244.1.3", 5353), False),  # nobody's port
        ("udp", ("10.96.0.11", 53), ("10.244.1.3", 5353), True),  # nobody serves any more
        ("udp", ("10.96.0.12", 53), ("10.244.1.9", 5353), True),  # the Service is gone with its endpoint
        ("udp", ("10.96.0.12", 53), ("10.244.1.2", 5353), False),  # an endpoint of others goes on
        ("udp", ("10.96.0.12", 53), ("10.96.0.12", 53), False),
        ("udp", ("10.0.0.11", 30054), ("10.244.1.9", 5353), True),
        ("udp", ("10.0.0.11", 30054), ("10.0.0.11", 30054), False),
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
        ("udp", ("10.0.0.11", 30053), ("10.0.0.11", 30053), True),  # from before there was the node port
    ],
)
def test_stale_flows(
    protocol: str, destination: tuple[str, int], answerer: tuple[str, int], stale: bool
) -> None:
    first = FlowTuple(protocol, "10.244.2.9", 40000, *destination)
    second = FlowTuple(protocol, *answerer, "10.244.2.9", 40000)
    assert Stale(BEFORE, WANTED)(first, second) is stale


def test_a_flow_to_somebody_elses_port_keeps_its_translated_source() -> None:
    """The number of a node port is one of other hosts, too; a new entry would give the flow another source."""
    first = FlowTuple("udp", "10.244.1.9", 40000, "198.51.100.54", 30053)
    second = FlowTuple("udp", "198.51.100.54", 30053, "10.0.0.11", 51234)
    assert not Stale(BEFORE, WANTED)(first, second)


def test_an_address_that_another_services_pod_gets_in_the_same_pass() -> None:
    """Of a node without a free address, say: old flows don't come to that pod, though it serves somebody."""
    pod, one, other = "10.244.1.2:5353", ("10.96.0.10", 53), ("10.96.0.20", 53)
    before = UdpBackends({one: frozenset({pod}), other: frozenset()})
    wanted = UdpBackends({one: frozenset(), other: frozenset({pod})})
    first = FlowTuple("udp", "10.244.2.9", 40000, *one)
    second = FlowTuple("udp", "10.244.1.2", 5353, "10.244.2.9", 40000)
    assert Stale(before, wanted)(first, second)
    assert not Stale(before, wanted)(first._replace(destination="10.96.0.20"), second)


@pytest.mark.parametrize(
    ("number", "told", "shown"),
    [
        (6, {"CTA_PROTOINFO_TCP": {"CTA_PROTOINFO_TCP_STATE": 3}}, ("tcp", "ESTABLISHED")),
        (132, {"CTA_PROTOINFO_SCTP": {"CTA_PROTOINFO_SCTP_STATE": 3}}, ("sctp", "COOKIE_ECHOED")),
        (17, {}, ("udp", "")),
    ],
)
def test_an_entry_is_shown_in_conntracks_words(
    number: int, told: dict[str, Any], shown: tuple[str, str]
) -> None:
    def direction(source: str, destination: str) -> dict[str, Any]:
        ports = {"CTA_PROTO_NUM": number, "CTA_PROTO_SRC_PORT": 7000, "CTA_PROTO_DST_PORT": 7000}
        ends = {"CTA_IP_V4_SRC": source, "CTA_IP_V4_DST": destination}
        return {"CTA_TUPLE_IP": ends, "CTA_TUPLE_PROTO": ports}

    body = FLOW.encode(
        {
            "nfgen_family": 2,
            "CTA_TUPLE_ORIG": direction("10.244.1.2", "10.244.1.3"),
            "CTA_TUPLE_REPLY": direction("10.244.1.3", "10.244.1.2"),
            "CTA_STATUS": IPS_SEEN_REPLY,
            "CTA_PROTOINFO": told,
        }
    )
    flow = _flow(body)
    assert flow is not None and (flow.first.protocol, flow.state) == shown
