"""Which packets are one packet, and one connection: in worlds made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from handmade import ACK, FIN, PSH, START, SYN, Wire, ethernet, icmp, ipv4, ipv6, recording, tcp, udp, vxlan

from emulab.observe.events import Flow, Recording, ServerRecord, Translation
from emulab.observe.join.flows import NAME_RESOLUTION, Leg, Transit, join
from emulab.observe.join.packets import Packet

CLIENT, NODE, POD = "198.51.100.2", "10.0.0.11", "10.244.1.2"
OUT = ("client eth0 >", "router internet <", "router vpc >", "node1 eth0 <")
BACK = ("node1 eth0 >", "router vpc <", "router internet >", "client eth0 <")


def segment(flags: int, seq: int, *, ack: int = 0, payload: bytes = b"", **given: Any) -> bytes:
    """From the client to the node."""
    return ethernet(ipv4(CLIENT, NODE, 6, tcp(40000, 80, seq, flags, payload, ack), **given))


def answer(flags: int, seq: int, *, ack: int = 0, payload: bytes = b"", **given: Any) -> bytes:
    return ethernet(ipv4(NODE, CLIENT, 6, tcp(80, 40000, seq, flags, payload, ack), **given))


def only(made: Recording) -> Leg:
    (leg,) = join(made).legs
    return leg


def shown(transits: Sequence[Transit]) -> list[tuple[bool, list[str]]]:
    return [(t.forward, [f"{p.place} {p.interface}" for p in t.packets]) for t in transits]


def when(packets: Sequence[Packet]) -> list[int]:
    return [p.time - START for p in packets]


def test_a_packet_and_its_answer() -> None:
    wire = Wire()
    wire.pass_by(OUT, segment(SYN, 100))
    wire.pass_by(BACK, answer(SYN | ACK, 900, ack=101, number=0))
    leg = only(recording(wire.frames))
    assert shown(leg.transits) == [(True, [w[:-2] for w in OUT]), (False, [w[:-2] for w in BACK])]
    assert leg.begun is leg.transits[0] and leg.arrived is leg.transits[0].last
    assert leg.clients() == {f"{CLIENT}:40000"} and leg.servers() == {f"{NODE}:80"}


def test_what_is_sent_again_is_a_transit_of_its_own() -> None:
    wire = Wire()
    wire.pass_by(OUT[:2], segment(SYN, 100, number=7))
    wire.pass_by(OUT, segment(SYN, 100, number=8))
    leg = only(recording(wire.frames))
    assert [len(t.packets) for t in leg.transits] == [2, 4]
    assert leg.arrived is leg.transits[1].last


def test_sent_again_without_a_number_of_its_own() -> None:
    """A SYN-ACK has none: that it is seen where it was before tells."""
    wire = Wire()
    wire.pass_by(OUT, segment(SYN, 100))
    wire.pass_by(BACK[:3], answer(SYN | ACK, 900, ack=101, number=0))
    wire.pass_by(BACK, answer(SYN | ACK, 900, ack=101, number=0))
    assert [len(t.packets) for t in only(recording(wire.frames)).transits] == [4, 3, 4]


def test_acknowledgements_that_overtake_nobody_but_follow_closely() -> None:
    """Two of the same numbers are on their way at once."""
    wire = Wire()
    wire.pass_by(OUT, segment(SYN, 100))
    first, second = (segment(ACK, 101, ack=901, number=n) for n in (8, 9))
    for where in OUT:
        wire.see(where, first)
        wire.see(where, second, after=100)
    leg = only(recording(wire.frames))
    assert [len(t.packets) for t in leg.transits] == [4, 4, 4]
    assert all(when(t.packets) == sorted(when(t.packets)) for t in leg.transits)


def test_a_circle_is_one_transit() -> None:
    wire = Wire()
    wire.see("client eth0 >", segment(SYN, 100))
    for ttl in range(64, 58, -2):
        wire.see("router internet <", segment(SYN, 100, ttl=ttl))
        wire.see("router vpc >", segment(SYN, 100, ttl=ttl - 1))
        wire.see("node1 eth0 <", segment(SYN, 100, ttl=ttl - 1))
        wire.see("node1 eth0 >", segment(SYN, 100, ttl=ttl - 2))
    (transit,) = only(recording(wire.frames)).transits
    assert len(transit.packets) == 13 and [p.ttl for p in transit.packets][-1] == 58


def test_both_addresses_translated_and_encapsulated() -> None:
    wire = Wire()
    wire.pass_by(OUT, segment(SYN, 100))
    inner = ethernet(ipv4("10.244.1.0", "10.244.2.3", 6, tcp(3333, 8080, 100, SYN), ttl=61))
    wire.see("node1 flannel.1 >", inner)
    wire.see("node1 eth0 >", vxlan(inner, NODE, "10.0.0.12"))
    reply = ethernet(ipv4("10.244.2.3", "10.244.1.0", 6, tcp(8080, 3333, 900, SYN | ACK, ack=101), number=0))
    wire.see("node1 eth0 <", vxlan(reply, "10.0.0.12", NODE))
    wire.see("node1 flannel.1 <", reply)
    wire.pass_by(BACK, answer(SYN | ACK, 900, ack=101, number=0))
    leg = only(recording(wire.frames))
    assert [len(t.packets) for t in leg.transits] == [6, 6]
    assert [t.forward for t in leg.transits] == [True, False]
    assert leg.flows[Flow("tcp", "10.244.1.0", 3333, "10.244.2.3", 8080)] is True
    assert leg.flows[Flow("tcp", "10.244.2.3", 8080, "10.244.1.0", 3333)] is False


def test_conntrack_joins_what_no_packet_was_seen_with_both_names_of() -> None:
    """From a node: translated before the first tap sees it."""
    wire = Wire()
    inside = ethernet(ipv4("10.244.1.0", "10.244.2.3", 6, tcp(3333, 8080, 100, SYN)))
    wire.see("node1 flannel.1 >", inside)
    own = Flow("tcp", NODE, 40000, "10.96.0.9", 80)
    reply = Flow("tcp", "10.244.2.3", 8080, "10.244.1.0", 3333)
    given = {"place": "node1", "local": (NODE, 40000), "address": "10.96.0.9", "host": "10.96.0.9"}
    assert only(recording(wire.frames, **given)).transits == []
    (transit,) = only(
        recording(wire.frames, **given, translations=[Translation("node1", own, reply)])
    ).transits
    assert transit.forward and transit.first.interface == "flannel.1"


def test_an_echo_is_an_answer() -> None:
    """The same payload both ways, and no numbers: the first that is seen goes forward."""
    wire = Wire()
    there, back = (
        ethernet(ipv4(*ends, 17, udp(*ports, b"ping 1234"), number=0))
        for ends, ports in (((CLIENT, NODE), (40000, 7777)), ((NODE, CLIENT), (7777, 40000)))
    )
    wire.pass_by(OUT, there)
    wire.pass_by(BACK, back)
    leg = only(recording(wire.frames, protocol="udp", port=7777))
    assert [t.forward for t in leg.transits] == [True, False]
    assert [len(t.packets) for t in leg.transits] == [4, 4]


def test_an_echo_through_translation() -> None:
    wire = Wire()
    wire.pass_by(OUT, ethernet(ipv4(CLIENT, NODE, 17, udp(40000, 7777, b"ping"), number=0)))
    wire.see("node1 veth1 >", ethernet(ipv4(NODE, POD, 17, udp(3333, 7777, b"ping"), number=0)))
    wire.see("node1 veth1 <", ethernet(ipv4(POD, NODE, 17, udp(7777, 3333, b"ping"), number=0)))
    wire.pass_by(BACK, ethernet(ipv4(NODE, CLIENT, 17, udp(7777, 40000, b"ping"), number=0)))
    leg = only(recording(wire.frames, protocol="udp", port=7777))
    assert [(t.forward, len(t.packets)) for t in leg.transits] == [(True, 5), (False, 5)]


def datagram6(source: str, destination: str, *ports: int, ttl: int = 64) -> bytes:
    return ethernet(ipv6(source, destination, 17, udp(*ports, b"ping"), ttl=ttl), 0x86DD)


def test_what_a_proxy_passes_on_is_another_datagram() -> None:
    """The same bytes over IPv6, which has no identification: a proxy sends anew, a router passes on with a hop less."""
    client, proxy, node, pod = "2001:db8:1::2", "fd00:10::9600", "fd00:10::b", "fd00:244:0:1::2"
    wire = Wire()
    wire.see("client eth0 >", datagram6(client, proxy, 40000, 7777))
    wire.see("router internet <", datagram6(client, proxy, 40000, 7777))
    wire.see("router vpc >", datagram6(client, proxy, 40000, 7777, ttl=63))
    wire.see("lb eth0 <", datagram6(client, proxy, 40000, 7777, ttl=63))
    wire.see("lb eth0 >", datagram6(proxy, node, 5555, 30080))
    wire.see("node1 eth0 <", datagram6(proxy, node, 5555, 30080))
    wire.see("node1 veth1 >", datagram6(node, pod, 3333, 7777, ttl=63))
    wire.see("pod eth0 <", datagram6(node, pod, 3333, 7777, ttl=63))
    wire.see("pod eth0 >", datagram6(pod, node, 7777, 3333))
    wire.see("node1 veth1 <", datagram6(pod, node, 7777, 3333))
    wire.see("node1 eth0 >", datagram6(node, proxy, 30080, 5555, ttl=63))
    wire.see("lb eth0 <", datagram6(node, proxy, 30080, 5555, ttl=63))
    wire.see("lb eth0 >", datagram6(proxy, client, 7777, 40000))
    wire.see("client eth0 <", datagram6(proxy, client, 7777, 40000))
    given = {"address": proxy, "host": proxy, "port": 7777, "local": (client, 40000), "protocol": "udp"}
    leg = only(recording(wire.frames, **given))
    assert [(t.forward, len(t.packets)) for t in leg.transits] == [(True, 4), (False, 2)]
    given |= {"place": "lb", "address": node, "host": node, "port": 30080, "local": (proxy, 5555)}
    leg = only(recording(wire.frames, **given))
    assert [(t.forward, len(t.packets)) for t in leg.transits] == [(True, 4), (False, 4)]


def test_strangers_with_the_same_ports_elsewhere() -> None:
    wire = Wire()
    for n, (source, destination) in enumerate(
        [("198.51.100.9", NODE), (CLIENT, "10.0.0.12"), (NODE, CLIENT)]
    ):
        other = ethernet(ipv4(source, destination, 6, tcp(40000, 80, 5000 + n, SYN)))
        wire.pass_by(("router internet <", "router vpc >", "node1 eth0 <"), other)
    wire.pass_by(OUT, segment(SYN, 100))
    (transit,) = only(recording(wire.frames)).transits
    assert [p.flow for p in transit.packets] == [Flow("tcp", CLIENT, 40000, NODE, 80)] * 4


def test_an_icmp_error_belongs_to_what_it_is_about() -> None:
    wire = Wire()
    wire.pass_by(OUT, segment(SYN, 100))
    about = ipv4(CLIENT, NODE, 6, tcp(40000, 80, 100, SYN))
    wire.pass_by(BACK, ethernet(ipv4(NODE, CLIENT, 1, icmp(3, 3, about), number=55)))
    wire.see(
        "node1 eth0 >", ethernet(ipv4(NODE, CLIENT, 1, icmp(3, 3, ipv4(CLIENT, NODE, 17, udp(1, 2, b"")))))
    )
    (error,) = only(recording(wire.frames)).errors
    assert (error.forward, len(error.packets)) == (False, 4)


# --- proxies ------------------------------------------------------------------------------------------------

PROXY = ("10.0.0.10", 80)


def told(event: str, after: int, client: str, **fields: Any) -> ServerRecord:
    """A record of the proxy; `after` in microseconds since the start."""
    local = {"local": f"{PROXY[0]}:80"} if "local" not in fields else {}
    return ServerRecord(
        START + after * 1000, "proxy", "proxy", {"event": event, "client": client, **local, **fields}
    )


def use(after: int, client: str, *, reused: bool = True, port: int = 5555) -> ServerRecord:
    upstream = {"upstream_source": f"10.0.0.10:{port}", "upstream": f"{POD}:8080", "reused": reused}
    return told("proxy-connect", after, client, **upstream)


class Pool:
    """A proxy with one open connection to the pod, over which one request goes after the other."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.records: list[ServerRecord] = []
        self.number = 0

    def now(self) -> int:
        return (self.wire.clock - START) // 1000

    def exchange(self, client: str, path: str) -> None:
        """A request of a client, 10 µs of work at each end, and its answer."""
        self.number += 1
        seq = 1000 * self.number
        self.records.append(use(self.now() + 6, client))
        there = tcp(5555, 8080, seq, PSH | ACK, f"GET {path} HTTP/1.1\r\n\r\n".encode(), seq)
        data = ethernet(ipv4(PROXY[0], POD, 6, there, number=self.number))
        self.wire.see("proxy eth0 >", data, after=5000)
        self.wire.see("pod eth0 <", data)
        back = tcp(8080, 5555, seq, PSH | ACK, b"HTTP/1.1 200 OK\r\n\r\n", seq + 50)
        data = ethernet(ipv4(POD, PROXY[0], 6, back, number=100 + self.number))
        self.wire.see("pod eth0 >", data, after=10_000)
        ask = {"client": "10.0.0.10:5555", "local": f"{POD}:8080", "path": path, "duration_us": 9.0}
        told_late = START + (self.now() + 15) * 1000
        self.records.append(ServerRecord(told_late, "stand-ins", "pod", {"event": "request", **ask}))
        self.wire.see("proxy eth0 <", data)
        data = ethernet(
            ipv4(PROXY[0], POD, 6, tcp(5555, 8080, seq + 50, ACK, b"", seq + 20), number=50 + self.number)
        )
        self.wire.see("proxy eth0 >", data)
        self.wire.see("pod eth0 <", data)
        self.records.append(told("request", self.now() + 3, client))
        self.wire.clock += 10_000

    def ours(self) -> None:
        data = ethernet(
            ipv4(CLIENT, PROXY[0], 6, tcp(40000, 80, 100, PSH | ACK, b"GET /ours HTTP/1.1\r\n\r\n"))
        )
        self.wire.pass_by(("client eth0 >", "proxy eth0 <"), data)
        self.records.append(told("proxy-accept", self.now(), f"{CLIENT}:40000"))
        self.exchange(f"{CLIENT}:40000", "/ours")

    def legs(self, records: Sequence[ServerRecord] | None = None) -> list[Leg]:
        given = {"address": PROXY[0], "host": PROXY[0]}
        return join(recording(self.wire.frames, **given, records=records or self.records)).chain()


def payloads(leg: Leg) -> list[bytes]:
    return [t.first.payload.split(b"\r")[0] for t in leg.transits if t.first.size]


def test_of_a_pooled_connection_our_use_alone() -> None:
    pool = Pool()
    pool.exchange("198.51.100.9:1111", "/before")
    pool.ours()
    pool.exchange("198.51.100.8:2222", "/after")
    first, second = pool.legs()
    assert payloads(first) == [b"GET /ours HTTP/1.1"]
    assert payloads(second) == [b"GET /ours HTTP/1.1", b"HTTP/1.1 200 OK"]
    assert [r.fields["path"] for r in second.records] == ["/ours"]
    assert second.connect is not None and second.connect.fields["client"] == f"{CLIENT}:40000"


def test_a_use_before_the_recording_told_nothing_of_itself() -> None:
    """Only its end was seen: its answer and the acknowledgement."""
    pool = Pool()
    pool.exchange("198.51.100.9:1111", "/before")
    pool.ours()
    kept = [r for r in pool.records if r.fields["client"] != "198.51.100.9:1111"]
    _, second = pool.legs(kept)
    assert payloads(second) == [b"GET /ours HTTP/1.1", b"HTTP/1.1 200 OK"]
    assert [r.fields["path"] for r in second.records] == ["/ours"]


def test_the_order_in_which_servers_tell_does_not_matter() -> None:
    pool = Pool()
    pool.exchange("198.51.100.9:1111", "/before")
    pool.ours()
    pool.exchange("198.51.100.8:2222", "/after")
    _, second = pool.legs(sorted(pool.records, key=lambda r: (r.server, -r.time)))
    assert payloads(second) == [b"GET /ours HTTP/1.1", b"HTTP/1.1 200 OK"]


def test_one_source_port_to_two_servers() -> None:
    """What another server tells of the same client address and port is about another connection."""
    pool = Pool()
    pool.ours()
    fields = {"event": "request", "client": "10.0.0.10:5555", "local": "10.244.1.7:8080", "path": "/other"}
    pool.records.append(ServerRecord(pool.records[-1].time - 5000, "stand-ins", "other", fields))
    _, second = pool.legs()
    assert [r.fields["path"] for r in second.records] == ["/ours"]


def test_a_connection_of_its_own_is_ours_from_its_first_packet_to_its_last() -> None:
    pool = Pool()
    pool.ours()
    data = ethernet(ipv4(PROXY[0], POD, 6, tcp(5555, 8080, 9999, FIN | ACK, b"", 1), number=99))
    pool.wire.see("proxy eth0 >", data)
    fresh = [
        r if not r.fields.get("reused") else use((r.time - START) // 1000, f"{CLIENT}:40000", reused=False)
        for r in pool.records
    ]
    _, second = pool.legs(fresh)
    assert second.transits[-1].first.flags & FIN


# --- names --------------------------------------------------------------------------------------------------


def question(n: int = 0) -> bytes:
    return b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01"[:-1] + bytes([n])


def test_a_name_server_that_asks_another_one() -> None:
    wire = Wire()
    asked = ethernet(ipv4(CLIENT, "198.51.100.53", 17, udp(30000, 53, question()), number=1))
    wire.pass_by(("client eth0 >", "resolver eth0 <"), asked)
    passed_on = ethernet(ipv4("198.51.100.53", "198.51.100.54", 17, udp(30001, 53, question(1)), number=2))
    wire.pass_by(("resolver eth0 >", "dns eth0 <"), passed_on)
    client = f"{CLIENT}:30000"
    forward = {"source": "198.51.100.53:30001", "upstream": "198.51.100.54:53", "for": [client]}
    records = [
        ServerRecord(START + 2500, "resolver", "resolver", {"event": "dns-query", "client": client}),
        ServerRecord(START + 2600, "resolver", "resolver", {"event": "dns-forward", **forward}),
        ServerRecord(START + 9000, "resolver", "resolver", {"event": "dns-forwarded", **forward}),
    ]
    given = {"address": "", "local": None, "name_ports": (30000,), "records": records}
    legs = join(recording(wire.frames, **given)).legs
    assert [leg.number for leg in legs] == [NAME_RESOLUTION] * 2
    assert [leg.transits[0].last.place for leg in legs] == ["resolver", "dns"]


def test_who_asks_what_is_being_asked_already_shares_the_answer() -> None:
    """The question was somebody else's and sent before ours; its answer is what ours waited for."""
    wire = Wire()
    forwarded = ethernet(ipv4("198.51.100.53", "198.51.100.54", 17, udp(30001, 53, question(1)), number=2))
    wire.pass_by(("resolver eth0 >", "dns eth0 <"), forwarded)
    asked = ethernet(ipv4(CLIENT, "198.51.100.53", 17, udp(30000, 53, question()), number=1))
    wire.pass_by(("client eth0 >", "resolver eth0 <"), asked)
    answered = ethernet(ipv4("198.51.100.54", "198.51.100.53", 17, udp(53, 30001, question(2)), number=3))
    wire.pass_by(("dns eth0 >", "resolver eth0 <"), answered)
    client = f"{CLIENT}:30000"
    ends = {"source": "198.51.100.53:30001", "upstream": "198.51.100.54:53"}
    records = [
        ServerRecord(
            START + 900, "resolver", "resolver", {"event": "dns-forward", **ends, "for": ["198.51.100.9:1"]}
        ),
        ServerRecord(START + 4500, "resolver", "resolver", {"event": "dns-query", "client": client}),
        ServerRecord(
            START + 9000,
            "resolver",
            "resolver",
            {"event": "dns-forwarded", **ends, "for": ["198.51.100.9:1", client]},
        ),
    ]
    given = {"address": "", "local": None, "name_ports": (30000,), "records": records}
    own, shared = join(recording(wire.frames, **given)).legs
    assert [(t.forward, t.last.place) for t in own.transits] == [(True, "resolver")]
    assert [(t.forward, t.last.place) for t in shared.transits] == [(False, "resolver")]


def test_questions_to_somebody_else_from_the_same_port_elsewhere() -> None:
    wire = Wire()
    other = ethernet(ipv4("10.0.0.11", "198.51.100.53", 17, udp(30000, 53, question()), number=1))
    wire.pass_by(("node1 eth0 >", "resolver eth0 <"), other)
    assert join(recording(wire.frames, address="", local=None, name_ports=(30000,))).legs == []
