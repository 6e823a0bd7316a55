"""From legs to hops: flights, folding, decisions, times and totals; in worlds made by hand."""

from __future__ import annotations

from typing import Any

import pytest
from handmade import ACK, FIN, PSH, START, SYN, Wire, ethernet, icmp, ipv4, recording, tcp, vxlan

from emulab.observe.events import (
    Flow,
    LinkState,
    Recording,
    RouteAnswer,
    RuleTrace,
    ServerRecord,
    Tap,
    Translation,
    Unheard,
    VirtualAddress,
)
from emulab.observe.join.decisions import Evidence
from emulab.observe.path import Hop, Path
from emulab.observe.story import tell
from emulab.plan.owner import Owner

CLIENT, NODE, POD = "198.51.100.2", "10.0.0.11", "10.244.1.2"
FRONT = ("client eth0 >", "node1 eth0 <")
BEHIND = ("node1 veth1 >", "pod eth0 <")
ASKED = Flow("tcp", CLIENT, 40000, NODE, 80)
GIVEN = Flow("tcp", NODE, 3333, POD, 8080)
ENTRY = Translation("node1", ASKED, GIVEN.reverse)


def ask(wire: Wire, flags: int, seq: int, payload: bytes = b"", number: int = 7) -> None:
    """A packet from the client through the node's translation to the pod."""
    wire.pass_by(FRONT, ethernet(ipv4(CLIENT, NODE, 6, tcp(40000, 80, seq, flags, payload), number=number)))
    inside = ethernet(ipv4(NODE, POD, 6, tcp(3333, 8080, seq, flags, payload), number=number, ttl=63))
    wire.pass_by(BEHIND, inside)


def reply(wire: Wire, flags: int, seq: int, payload: bytes = b"", number: int = 70) -> None:
    inside = ethernet(ipv4(POD, NODE, 6, tcp(8080, 3333, seq, flags, payload, 5), number=number))
    wire.pass_by(("pod eth0 >", "node1 veth1 <"), inside)
    outside = ethernet(ipv4(NODE, CLIENT, 6, tcp(80, 40000, seq, flags, payload, 5), number=number, ttl=63))
    wire.pass_by(("node1 eth0 >", "client eth0 <"), outside)


def conversation() -> Wire:
    wire = Wire()
    ask(wire, SYN, 100, number=1)
    reply(wire, SYN | ACK, 900, number=0)
    ask(wire, ACK, 101, number=2)
    ask(wire, PSH | ACK, 101, b"GET / HTTP/1.1\r\n\r\n", number=3)
    reply(wire, ACK, 901, number=71)
    reply(wire, PSH | ACK, 901, b"HTTP/1.1 200 OK\r\n" + b"x" * 83, number=72)
    reply(wire, PSH | ACK, 1001, b"y" * 100, number=73)
    ask(wire, FIN | ACK, 119, number=4)
    reply(wire, FIN | ACK, 1101, number=74)
    return wire


def events(path: Path, **wanted: Any) -> list[str]:
    return [f"{h.event} {h.place}" for h in path.all(**wanted)]


def sends(path: Path) -> list[str]:
    return [h.detail for h in path.hops if h.event == "send"]


def steps(flow: Flow, *chains: tuple[str, str, str], sequence: int = 100, trace: int = 1) -> list[RuleTrace]:
    """Rules that a packet met, as (chain, verdict, rule)."""
    return [
        RuleTrace(
            "node1",
            trace,
            "ip",
            "kube-proxy",
            chain,
            "rule" if rule else "policy",
            verdict,
            n,
            rule,
            flow,
            sequence,
        )
        for n, (chain, verdict, rule) in enumerate(chains)
    ]


def whole(**given: Any) -> Recording:
    return recording(conversation().frames, translations=[ENTRY], **given)


def test_flights() -> None:
    """What one side says until the other has something to say is one; so are its acknowledgements."""
    assert sends(tell(whole())) == [
        "TCP SYN",
        "TCP SYN-ACK",
        "GET /",
        "HTTP 200 OK, 200 bytes in 2 packets",
        "TCP FIN",
        "TCP FIN",
    ]
    packets = [h.packets for h in tell(whole()).hops if h.event == "send"]
    assert packets == [2, 2, 1, 2, 1, 1]


def test_what_is_said_after_a_pause_is_something_else() -> None:
    """But for what is said once more."""
    wire = Wire()
    ask(wire, PSH | ACK, 101, b"GET / HTTP/1.1\r\n\r\n", number=3)
    wire.clock += 300_000_000
    ask(wire, PSH | ACK, 101, b"GET / HTTP/1.1\r\n\r\n", number=4)
    wire.clock += 1_000_000_000
    ask(wire, FIN | ACK, 119, number=5)
    path = tell(recording(wire.frames, translations=[ENTRY]))
    assert sends(path) == ["GET /, sent 2 times", "TCP FIN"]
    assert [h.packets for h in path.hops if h.event == "send"] == [2, 1]


def test_every_packet() -> None:
    path = tell(whole(), every_packet=True)
    assert sends(path).count("TCP ACK") == 2 and len(sends(path)) == 9
    assert {h.packets for h in path.hops if h.event in ("send", "deliver", "forward")} == {1}


def test_events_on_the_way() -> None:
    path = tell(whole())
    assert events(path, flight=1) == [
        "send client",
        "receive node1",
        "dnat node1",
        "snat node1",
        "forward node1",
        "deliver pod",
    ]
    assert path.places == ["client", "node1", "pod"]


def test_translations_are_told_once_and_undone_in_words() -> None:
    path = tell(whole())
    assert [h.event for h in path.hops if h.event in ("dnat", "snat")] == ["dnat", "snat"]
    back = [h.detail for h in path.hops if "translated back" in h.detail]
    assert len(back) == 3 and f"{POD}:8080 → {NODE}:3333 ⇒ {NODE}:80 → {CLIENT}:40000" in back[0]


def test_times_and_deltas() -> None:
    path = tell(whole())
    assert path.hops[0].time == 0 and path.duration == path.hops[-1].time
    assert sum(h.delta for h in path.hops) == pytest.approx(path.duration)
    assert all(h.delta >= 0 for h in path.hops)
    # A decision has the time at which the packet came to where it was made.
    came = path.first(event="receive", place="node1")
    assert path.first(event="dnat").time == came.time


def test_sent_again_and_lost_on_the_way() -> None:
    wire = Wire()
    wire.see("client eth0 >", ethernet(ipv4(CLIENT, NODE, 6, tcp(40000, 80, 100, SYN), number=1)))
    wire.clock += 1_000_000_000
    ask(wire, SYN, 100, number=2)
    path = tell(recording(wire.frames, translations=[ENTRY]))
    first, *others = [h for h in path.hops if h.packets]
    assert (first.event, first.packets, first.frames) == ("send", 2, (0, 1))
    assert first.detail == "TCP SYN, sent 2 times"
    assert others[0].delta > 1_000_000 and [h.packets for h in others] == [1, 1, 1]


def test_encapsulation() -> None:
    wire = Wire()
    inner = ethernet(ipv4(CLIENT, POD, 6, tcp(40000, 80, 100, SYN)))
    wire.pass_by(FRONT, inner)
    wire.see("node1 flannel.1 >", inner)
    wire.pass_by(("node1 eth0 >", "node2 eth0 <"), vxlan(inner, NODE, "10.0.0.12", vni=3))
    wire.pass_by(("node2 flannel.1 <", "node2 veth1 >", "pod eth0 <"), inner)
    path = tell(recording(wire.frames, address=POD, host=POD))
    assert events(path) == [
        *("send client", "receive node1", "forward node1", "encapsulate node1"),
        *("receive node2", "decapsulate node2", "forward node2", "deliver pod"),
    ]
    outer = path.first(event="encapsulate").encapsulation
    assert outer is not None
    assert outer.to_json() == {
        "type": "vxlan",
        "vni": 3,
        "outer_source": NODE,
        "outer_destination": "10.0.0.12",
    }
    assert path.first(event="encapsulate").to_json()["encapsulation"] == outer.to_json()


@pytest.mark.parametrize(("header", "told"), [(bytes(12), False), (b"\x02" * 12, True)])
def test_a_header_that_a_capture_has_made_up_leads_nobody_astray(header: bytes, told: bool) -> None:
    """As of a device of IP in IP, which has none."""
    wire = Wire()
    ask(wire, SYN, 100)
    lost = ethernet(ipv4(CLIENT, NODE, 6, tcp(40000, 80, 100, SYN)))
    wire.frames = [wire.frames[0]._replace(data=header + lost[12:])]
    failure = tell(
        recording(
            wire.frames,
            status=None,
            error="timeout",
            owners={("", NODE, 0): Owner("Node", "", "node1", "node1")},
            links=[LinkState("node1", "eth0", True, True, 1500, "02:00:00:00:00:01")],
        )
    ).failure
    assert failure is not None and failure.reason == "lost"
    assert ("was sent to the MAC address" in failure.text) is told


def test_an_icmp_error_is_a_response() -> None:
    wire = Wire()
    ask(wire, SYN, 100)
    about = ipv4(CLIENT, NODE, 6, tcp(40000, 80, 100, SYN))
    error = ethernet(ipv4(NODE, CLIENT, 1, icmp(3, 1, about), number=9))
    wire.pass_by(("node1 eth0 >", "client eth0 <"), error)
    path = tell(recording(wire.frames, status=None, error="connect", errno=113, translations=[ENTRY]))
    hop = next(h for h in path.hops if h.protocol == "icmp")
    assert (hop.direction, hop.event, hop.place) == ("response", "send", "node1")
    assert hop.detail == f"ICMP host unreachable, about {CLIENT}:40000 → {NODE}:80"


def test_a_refused_packet_is_received_and_not_delivered() -> None:
    wire = Wire()
    data = ethernet(ipv4(CLIENT, NODE, 6, tcp(40000, 80, 100, SYN)))
    wire.pass_by(FRONT, data)
    rules = steps(
        ASKED, ("filter-input", "continue", "x"), ("refuse", "drop", "meta l4proto tcp reject with tcp reset")
    )
    path = tell(recording(wire.frames, rules=rules, status=None, error="timeout"))
    assert events(path) == ["send client", "receive node1", "drop node1"]
    drop = path.first(event="drop")
    assert drop.rule == "ip kube-proxy refuse: meta l4proto tcp reject with tcp reset"
    assert drop.detail == "rejected by chain refuse of table ip kube-proxy" and drop.frames


def test_what_a_node_keeps_for_itself_is_translated_too() -> None:
    """A port of a node's own program, reached by another one."""
    wire = Wire()
    wire.pass_by(FRONT, ethernet(ipv4(CLIENT, NODE, 6, tcp(40000, 80, 100, SYN))))
    kept = Translation("node1", ASKED, Flow("tcp", NODE, 9090, CLIENT, 40000))
    path = tell(recording(wire.frames, translations=[kept]))
    assert events(path) == ["send client", "receive node1", "dnat node1"]
    assert path.first(event="dnat").detail == f"destination {NODE}:80 → {NODE}:9090"


def test_nothing_seen_at_all() -> None:
    path = tell(recording([], status=None, error="connect", errno=101, reason="Network is unreachable"))
    assert path.hops == [] and path.failure is not None and path.totals == {} and path.places == ["client"]


def test_a_tap_that_lost_packets_says_so() -> None:
    taps = (Tap("client", "client", (CLIENT,), {2: "eth0"}, lost=3),)
    unheard = [Unheard("public-lb", 7), Unheard("ingress", 0)]
    notes = tell(whole(taps=taps, untold=["node1"], unheard=unheard)).notes
    assert len(notes) == 4 and "client: 3 packets" in notes[0] and "node1" in notes[1]
    assert "public-lb: 7 of its records" in notes[2] and "ingress: it didn't answer in time" in notes[3]


def test_routes() -> None:
    way = RouteAnswer("client", NODE, "eth0", "198.51.100.1", "default", "default via 198.51.100.1 dev eth0")
    path = tell(whole(routes=[way]))
    assert path.first(event="send", place="client").route == way.text
    assert path.first(event="deliver").route == ""


# --- totals -------------------------------------------------------------------------------------------------


def parts(path: Path) -> list[float]:
    return [p for v in path.totals.values() for p in (v.values() if isinstance(v, dict) else [v])]


def test_totals_add_up() -> None:
    path = tell(whole())
    assert sum(parts(path)) == pytest.approx(path.duration, abs=1)
    assert set(path.totals["kernel_us"]) == {"link", "nat"} and set(path.totals["container_us"]) == {"pod"}


def test_segments_that_a_link_makes_are_nobodys_programs() -> None:
    """They are first seen at the node's link, with a hop behind them."""
    for ttl in (63, 64):
        wire = Wire()
        ask(wire, SYN, 1)
        frame = ethernet(ipv4(CLIENT, NODE, 6, tcp(40000, 80, 2, PSH | ACK, b"x" * 9), number=9, ttl=ttl))
        wire.see("node1 eth0 >", frame)
        path = tell(recording(wire.frames))
        assert ("node1" in path.totals["container_us"]) is (ttl == 64)


def test_what_a_server_tells_afterwards_is_no_time_of_its_own() -> None:
    late = START + 40_500
    fields = {"event": "request", "client": f"{NODE}:3333", "local": f"{POD}:8080"}
    plain, told = tell(whole()), tell(whole(records=[ServerRecord(late, "stand-ins", "pod", fields)]))
    assert plain.totals == told.totals


def test_totals_of_a_request_that_only_the_sender_saw_fail() -> None:
    wire = Wire()
    wire.see("client eth0 >", ethernet(ipv4(CLIENT, NODE, 6, tcp(40000, 80, 100, SYN))))
    refused = steps(ASKED, ("output", "drop", "drop"))
    refused = [
        RuleTrace("client", *[getattr(s, n) for n in list(s.__dataclass_fields__)[1:]]) for s in refused
    ]
    path = tell(recording(wire.frames, rules=refused, status=None, error="timeout"))
    assert sum(parts(path)) == pytest.approx(path.duration, abs=1)


def test_a_proxy_that_drops_a_connection_after_its_sender_has_listened() -> None:
    """The kernel accepts a connection before the balancer's process knows of it, however late that is."""
    fields = {
        "event": "drop",
        "client": f"{CLIENT}:40000",
        "local": f"{NODE}:80",
        "reason": "no healthy target",
    }
    bare = {"protocol": "tcp", "target": f"{NODE}:80", "status": None}
    assert tell(whole(**bare)).failure is None
    failure = tell(whole(**bare, records=[ServerRecord(START + 40_500, "lb", "node1", fields)])).failure
    assert failure is not None and (failure.place, failure.reason) == ("node1", "no-target")
    assert "nobody to pass it on to (no healthy target)" in failure.text


# --- decisions ----------------------------------------------------------------------------------------------

OWNERS = {
    ("tcp", NODE, 80): Owner("Service", "app", "web", "Service app/web port 80"),
    ("", POD, 0): Owner("Pod", "app", "web-1", "pod app/web-1"),
    ("", NODE, 0): Owner("Node", "", "node1", "node node1"),
}


def decided(*rules: RuleTrace, **given: Any) -> list[Hop]:
    path = tell(whole(rules=rules, owners=OWNERS, **given))
    return [h for h in path.hops if h.event in ("dnat", "snat")]


def test_decisions_with_their_rules_and_objects() -> None:
    half = Flow("tcp", CLIENT, 40000, POD, 8080)
    rules = [
        *steps(ASKED, ("services", "goto one", "goto one"), ("one", "accept", "dnat ip to 10.244.1.2:8080")),
        *steps(
            half, ("forward", "accept", ""), ("postrouting", "accept", "masquerade fully-random"), trace=2
        ),
    ]
    dnat, snat = decided(*rules)
    assert dnat.object == "Service app/web port 80 → pod app/web-1"
    assert dnat.rule == "ip kube-proxy one: dnat ip to 10.244.1.2:8080"
    assert snat.object == f"{CLIENT} → node node1"
    assert snat.rule == "ip kube-proxy postrouting: masquerade fully-random"
    assert (
        dnat.conntrack
        == snat.conntrack
        == {
            "before": f"{CLIENT}:40000 → {NODE}:80",
            "after": f"{NODE}:3333 → {POD}:8080",
            "answers": f"{POD}:8080 → {NODE}:3333",
        }
    )


def test_rules_of_another_packet_decided_nothing_here() -> None:
    other = steps(ASKED, ("one", "accept", "dnat ip to 10.9.9.9"), sequence=999)
    strange = steps(ASKED._replace(source_port=40001), ("one", "accept", "dnat ip to 10.9.9.9"))
    dnat, _ = decided(*other, *strange)
    assert dnat.rule == ""


def test_where_no_rule_translated_the_virtual_server_is_named() -> None:
    asked = VirtualAddress("node1", "tcp", NODE, 80, f"IPVS TCP {NODE}:80 rr")
    others = [
        VirtualAddress("node2", "tcp", NODE, 80, "another node's"),
        VirtualAddress("node1", "udp", NODE, 80, "another protocol's"),
    ]
    dnat, snat = decided(virtual_servers=[*others, asked])
    assert dnat.rule == f"IPVS TCP {NODE}:80 rr" and snat.rule == ""
    assert dnat.detail == f"destination {NODE}:80 → {POD}:8080"
    assert decided(virtual_servers=others)[0].rule == ""
    rules = steps(ASKED, ("one", "accept", "dnat ip to 10.244.1.2:8080"))
    assert decided(*rules, virtual_servers=[asked])[0].rule.startswith("ip kube-proxy one: dnat")


def test_refusals() -> None:
    def refused(*rules: RuleTrace) -> str:
        found = Evidence(whole(rules=rules)).refusal("node1", [ASKED], 100)
        return found.detail if found else ""

    assert refused(*steps(ASKED, ("a", "accept", "accept"))) == ""
    assert refused(*steps(ASKED, ("a", "drop", "drop"))) == "dropped by chain a of table ip kube-proxy"
    assert (
        refused(*steps(ASKED, ("a", "drop", ""))) == "dropped by the policy of chain a of table ip kube-proxy"
    )
    assert refused(*steps(ASKED, ("a", "drop", "reject"))) == "rejected by chain a of table ip kube-proxy"
    assert refused(*steps(ASKED, ("a", "drop", "drop"), sequence=5)) == ""
    # A Service may be called anything, and its name is in comments.
    named = ("-m comment --comment default/reject:http -m tcp -j DROP", 'drop comment "reject \\" reject"')
    for rule in (*named, '-m comment --comment "default/reject has no local endpoints" -j DROP'):
        assert refused(*steps(ASKED, ("a", "drop", rule))) == "dropped by chain a of table ip kube-proxy"
    iptables = '-m comment --comment "x" -j REJECT --reject-with icmp-port-unreachable'
    assert refused(*steps(ASKED, ("a", "drop", iptables))) == "rejected by chain a of table ip kube-proxy"
    assert refused(*steps(ASKED, ("a", "jump reject-all", "jump reject-all"))) == "", "it only leads there"
    assert Evidence(whole()).way("node1", [ASKED]) == []
