"""What is told of a request in IPv4 is told of one in IPv6 in the same words, with that family's own names."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest
from handmade import ACK, RST, START, SYN, Wire, arp, ethernet, icmp, ipv4, ipv6, ndp, recording, tcp

from emulab.model.addresses import socket_name
from emulab.model.families import FAMILIES, IPV4, IPV6, Family
from emulab.observe.events import (
    LinkState,
    Recording,
    RouteAnswer,
    ServerRecord,
    Tap,
    Translation,
    TriedConnection,
)
from emulab.observe.join.flows import Flow
from emulab.observe.path import Failure
from emulab.observe.story import tell
from emulab.plan.owner import Owner

CLIENT = {IPV4: "198.51.100.2", IPV6: "2001:db8:1::2"}
ROUTER = {IPV4: "198.51.100.1", IPV6: "2001:db8:1::1"}
NODE = {IPV4: "10.0.0.11", IPV6: "fd00:10::b"}
POD = {IPV4: "10.244.1.2", IPV6: "fd00:244:1::2"}
SERVER = {IPV4: "10.0.0.2", IPV6: "fd00:10::2"}
ASK: dict[Family, Callable[..., bytes]] = {IPV4: arp, IPV6: ndp}
every = pytest.mark.parametrize("family", FAMILIES)


def packet(family: Family, source: str, destination: str, protocol: int, body: bytes) -> bytes:
    if family is IPV4:
        return ethernet(ipv4(source, destination, protocol, body))
    return ethernet(ipv6(source, destination, protocol, body), family.ethertype)


def taps(family: Family) -> tuple[Tap, ...]:
    return (
        Tap("client", "client", (CLIENT[family],), {2: "eth0"}),
        Tap("router", "router", (ROUTER[family],), {2: "internet", 3: "vpc"}),
        Tap("node1", "node", (NODE[family],), {2: "eth0", 4: "veth1"}),
        Tap("pod", "pod", (POD[family],), {2: "eth0"}),
    )


def request(wire: Wire, family: Family, **given: Any) -> Recording:
    """A request from the client to the node's port 80."""
    known: dict[str, Any] = {
        "address": NODE[family],
        "host": "web.test",
        "target": "http://web.test/",
        "local": (CLIENT[family], 40000),
        "taps": taps(family),
        "links": [LinkState("client", "eth0", True, True, 1500)],
        "status": None,
        "error": "connect",
        "errno": errno.EHOSTUNREACH,
        "reason": "No route to host",
    }
    return recording(wire.frames, **known | given)


def failure(found: Recording) -> Failure:
    told = tell(found).failure
    assert told is not None
    return told


def plain(text: str, family: Family) -> str:
    """A text without what is a family's own."""
    for addresses, name in ((CLIENT, "CLIENT"), (ROUTER, "ROUTER"), (NODE, "NODE"), (POD, "POD")):
        text = text.replace(f"[{addresses[family]}]", name).replace(addresses[family], name)
    return text.replace(f"{family.iproute} route", "ip route").replace(family.discovery, "ARP")


@every
def test_a_neighbour_that_nobody_is(family: Family) -> None:
    wire = Wire()
    for _ in range(3):
        wire.see("client eth0 >", ASK[family](CLIENT[family], ROUTER[family]))
    way = RouteAnswer("client", NODE[family], "eth0", ROUTER[family], "default", "default via …")
    found = failure(request(wire, family, routes=[way]))
    assert (found.place, found.reason) == ("client", "arp")
    assert found.text == (
        f"client asked by {family.discovery} on eth0 for {ROUTER[family]}, the next hop to"
        f" {socket_name(NODE[family], 80)}, and nobody answered: nobody in the lab has that address"
    )


@every
def test_a_neighbour_that_answered_is_not_to_blame(family: Family) -> None:
    wire = Wire()
    wire.see("client eth0 >", ASK[family](CLIENT[family], ROUTER[family]))
    wire.see("client eth0 <", ASK[family](ROUTER[family], CLIENT[family], True))
    way = RouteAnswer("client", NODE[family], "eth0", ROUTER[family], "default", "default via …")
    found = failure(request(wire, family, routes=[way]))
    assert found.reason == "not-sent"
    assert f"{family.iproute} route get {NODE[family]}" in found.remedy


@every
def test_a_family_that_was_tried_first_is_told_of(family: Family) -> None:
    """Refused in one family, answered in the other: two connections, and a note that says why."""
    other, wire = IPV4 if family is IPV6 else IPV6, Wire()
    asked = (CLIENT[family], NODE[family], 6, tcp(40000, 80, 1, SYN))
    refused = (NODE[family], CLIENT[family], 6, tcp(80, 40000, 0, RST | ACK, ack=2))
    wire.see("client eth0 >", packet(family, *asked))
    wire.see("node1 eth0 <", packet(family, *asked))
    wire.see("node1 eth0 >", packet(family, *refused))
    wire.see("client eth0 <", packet(family, *refused))
    went_on = (CLIENT[other], NODE[other], 6, tcp(40001, 80, 9, SYN))
    wire.see("client eth0 >", packet(other, *went_on))
    wire.see("node1 eth0 <", packet(other, *went_on))
    why = errno.ECONNREFUSED, "Connection refused"
    attempt = TriedConnection(NODE[family], (CLIENT[family], 40000), True, "connect", *why)
    sent = {"address": NODE[other], "local": (CLIENT[other], 40001), "status": 200, "attempts": (attempt,)}
    path = tell(request(wire, family, error="", errno=0, reason="", **sent))
    assert path.failure is None and list(path.places) == ["client", "node1"]
    first, second = path.connections
    assert first.title.endswith(f"→ {socket_name(NODE[family], 80)} (passed over: Connection refused)")
    assert second.title.endswith(f"→ {socket_name(NODE[other], 80)}")
    [note] = path.notes
    assert note.startswith(
        f"{socket_name(NODE[family], 80)} ({family}) was tried first: Connection refused ("
    )
    assert note.endswith(f"; then {other} (RFC 8305)")


@every
def test_a_place_without_a_route(family: Family) -> None:
    nowhere = RouteAnswer("client", NODE[family], "", "", "", "Network is unreachable", errno.ENETUNREACH)
    found = failure(request(Wire(), family, errno=errno.ENETUNREACH, routes=[nowhere]))
    assert found.reason == "no-route"
    add = f"{family.iproute} route add {NODE[family]} via GATEWAY"
    owner = Owner("Node", "", "node1", "node node1")
    known = {("", NODE[family], 0): owner}
    assert add in failure(request(Wire(), family, errno=101, routes=[nowhere], owners=known)).remedy


@every
def test_a_name_server_to_which_there_is_no_way(family: Family) -> None:
    """The server's address is in the resolver's own words."""
    reason = f"no answer from {SERVER[family]} (Network is unreachable)"
    known = {("", SERVER[family], 0): Owner("resolver", "", "resolver", "resolver")}
    found = failure(
        request(Wire(), family, error="name", errno=110, address="", local=None, reason=reason, owners=known)
    )
    assert found.reason == "no-route"
    assert f"{family.iproute} route add {SERVER[family]} via GATEWAY" in found.remedy


@every
def test_a_closed_port_and_translation_on_the_way(family: Family) -> None:
    """Through a node that translates, to a pod that refuses; words are the same but for addresses."""
    texts = []
    for each in (IPV4, family):
        client, node, pod = CLIENT[each], NODE[each], POD[each]
        wire, number = Wire(), 6
        wire.pass_by(
            ("client eth0 >", "node1 eth0 <"), packet(each, client, node, number, tcp(40000, 80, 1, SYN))
        )
        wire.pass_by(
            ("node1 veth1 >", "pod eth0 <"), packet(each, node, pod, number, tcp(3333, 8080, 1, SYN))
        )
        wire.pass_by(
            ("pod eth0 >", "node1 veth1 <"),
            packet(each, pod, node, number, tcp(8080, 3333, 0, 4 | ACK, ack=2)),
        )
        wire.pass_by(
            ("node1 eth0 >", "client eth0 <"),
            packet(each, node, client, number, tcp(80, 40000, 0, 4 | ACK, ack=2)),
        )
        asked, given = Flow("tcp", client, 40000, node, 80), Flow("tcp", node, 3333, pod, 8080)
        entry = Translation("node1", asked, given.reverse)
        path = tell(request(wire, each, errno=errno.ECONNREFUSED, translations=[entry]))
        assert path.failure is not None and path.failure.reason == "closed-port"
        assert path.places == ["client", "node1", "pod"]
        texts.append(
            [plain(" ".join((h.event, h.place, h.source, h.destination, h.detail)), each) for h in path.hops]
            + [plain(path.failure.text, each)]
        )
    assert texts[0] == texts[1]


@every
def test_too_big_for_a_link(family: Family) -> None:
    """ICMPv6's Packet Too Big is told as ICMP's fragmentation needed."""
    client, node = CLIENT[family], NODE[family]
    wire = Wire()
    body = tcp(40000, 80, 1, ACK, b"x" * 1400)
    big = packet(family, client, node, 6, body)
    wire.pass_by(("client eth0 >", "router internet <"), big)
    kind = (3, 4) if family is IPV4 else (2, 0)
    error = icmp(*kind, big[14 : 14 + 68], rest=1280)
    number = family.icmp_number
    wire.pass_by(
        ("router internet >", "client eth0 <"), packet(family, ROUTER[family], client, number, error)
    )
    found = failure(request(wire, family, error="timeout", errno=errno.ETIMEDOUT))
    assert (found.place, found.reason) == ("router", "mtu") and "which takes 1280" in found.text


@every
def test_who_is_shut_out_is_let_in_by_his_address(family: Family) -> None:
    client, node = CLIENT[family], NODE[family]
    wire = Wire()
    wire.pass_by(("client eth0 >", "node1 eth0 <"), packet(family, client, node, 6, tcp(40000, 80, 1, SYN)))
    fields = {
        "event": "drop",
        "client": socket_name(client, 40000),
        "local": socket_name(node, 80),
        "reason": "source address not allowed",
        "acl": [str(family.host(family.loopback))],
    }
    record = ServerRecord(START + 40_500, "lb", "node1", fields)
    found = failure(
        request(wire, family, protocol="tcp", error="", errno=0, target=f"{node}:80", records=[record])
    )
    assert found.reason == "acl" and f"add {client}/{family.bits} to" in found.remedy


@every
def test_a_record_at_all_addresses_of_a_place_is_about_any_of_them(family: Family) -> None:
    client, node = CLIENT[family], NODE[family]
    wire = Wire()
    wire.pass_by(("client eth0 >", "node1 eth0 <"), packet(family, client, node, 6, tcp(40000, 80, 1, SYN)))
    fields = {
        "event": "drop",
        "client": socket_name(client, 40000),
        "local": socket_name(str(family.any), 80),
        "reason": "no healthy target",
    }
    record = ServerRecord(START + 40_500, "lb", "node1", fields)
    bare = {"protocol": "tcp", "error": "", "errno": 0}
    found = failure(request(wire, family, target="web.test:80", records=[record], **bare))
    assert found.reason == "no-target"
