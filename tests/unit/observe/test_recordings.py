"""What is told of real requests, recorded once: EMULAB_UPDATE_GOLDEN=1 writes the golden copies anew."""

from __future__ import annotations

import json
import os
import random
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import recorded
from handmade import crowd

from emulab.observe.join import sightings
from emulab.observe.join.flows import NAME_RESOLUTION, join
from emulab.observe.join.needs import needs
from emulab.observe.join.sightings import Sightings
from emulab.observe.path import EVENTS
from emulab.observe.path import Path as Trace
from emulab.observe.story import tell

GOLDEN = Path(__file__).parent / "golden"
NAMES = recorded.names()
every = pytest.mark.parametrize("name", NAMES)
INGRESS = "ingress-nginx.ingress-nginx-controller"


def story(name: str, every_packet: bool = False) -> Trace:
    return tell(recorded.load(name), every_packet)


def places(path: Trace) -> list[str]:
    """The places, generated names cut off."""
    return [INGRESS if place.startswith(INGRESS) else place for place in path.places]


@every
def test_golden_copy(name: str) -> None:
    text = recorded.told(story(name))
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("EMULAB_UPDATE_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        golden.write_text(text)
    assert golden.exists(), f"no golden copy of {name}; run with EMULAB_UPDATE_GOLDEN=1"
    assert text == golden.read_text()


def test_there_is_a_recording_for_every_golden_copy() -> None:
    assert NAMES and {p.stem for p in GOLDEN.glob("*.txt")} == set(NAMES)


@every
def test_a_recording_survives_being_written(name: str) -> None:
    recording = recorded.load(name)
    assert recorded.decode(json.loads(json.dumps(recorded.encode(recording)))) == recording


# --- what holds of every story ------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("every_packet", [False, True])
def test_hops_are_in_order_and_their_deltas_add_up(name: str, every_packet: bool) -> None:
    path = story(name, every_packet)
    assert [hop.index for hop in path.hops] == list(range(len(path.hops)))
    assert all(hop.delta >= 0 and hop.event in EVENTS for hop in path.hops)
    assert sum(hop.delta for hop in path.hops) == pytest.approx(path.duration)
    assert path.hops[-1].time == path.duration


@every
def test_totals_add_up_to_the_duration(name: str) -> None:
    path = story(name)
    groups = [v if isinstance(v, dict) else {"": v} for v in path.totals.values()]
    parts = [part for group in groups for part in group.values()]
    assert all(part >= 0 for part in parts)
    assert sum(parts) == pytest.approx(path.duration, abs=0.1 * len(parts))


@every
def test_no_packet_is_told_twice_and_none_is_made_up(name: str) -> None:
    recording = recorded.load(name)
    for every_packet in (False, True):
        path = tell(recording, every_packet)
        crossings = [hop for hop in path.hops if hop.packets]
        frames = [n for hop in crossings for n in hop.frames]
        assert len(frames) == len(set(frames)) == sum(hop.packets for hop in crossings)
        for hop in crossings:
            for number in hop.frames:
                frame = recording.frames[number]
                assert (frame.place, frame.interface) == (hop.place, hop.interface)
        assert {n for hop in path.hops for n in hop.frames} == set(frames)


@every
def test_a_packet_never_runs_backwards(name: str) -> None:
    for leg in join(recorded.load(name)).legs:
        for transit in (*leg.transits, *leg.errors):
            times = [packet.time for packet in transit.packets]
            assert times == sorted(times)
            assert len({p.identity for p in transit.packets}) == 1


@every
def test_the_same_frames_in_any_order_tell_the_same(name: str) -> None:
    recording = recorded.load(name)
    frames = list(recording.frames)
    random.Random(1).shuffle(frames)
    assert recorded.told(tell(replace(recording, frames=frames))) == recorded.told(tell(recording))


@every
def test_nothing_more_is_needed(name: str) -> None:
    """All ways that a whole recording raises as questions were asked for, and all that decided in it are its own."""
    recording = recorded.load(name)
    wanted = needs(recording, Sightings(recording.frames))
    answered = {(r.place, r.destination) for r in recording.routes}
    assert {(place, destination) for place, destination, _, _ in wanted.routes} <= answered
    flows = {flow for leg in join(recording).legs for flow in leg.flows}
    decided = (s for s in recording.rules if s.rule and s.final and s.flow in flows)
    named = {(s.place, s.family, s.table, s.chain) for s in decided}
    assert named <= wanted.chains


@every
def test_needs_grow_to_a_fixpoint(name: str) -> None:
    """From the frames alone, with the answers of the recording given as they are asked for."""
    whole = recorded.load(name)
    recording = replace(whole, translations=[], routes=[], owners={}, links=[])
    sightings = Sightings(recording.frames)
    rounds = []
    for _ in range(5):
        wanted = needs(recording, sightings)
        rounds.append(wanted)
        asked = {(place, f) for place, flow in wanted.translations for f in (flow, flow.reverse)}
        ways = {(place, destination) for place, destination, _, _ in wanted.routes}
        recording = replace(
            recording,
            translations=[
                t for t in whole.translations if any((t.place, f) in asked for f in (t.original, t.reply))
            ],
            routes=[r for r in whole.routes if (r.place, r.destination) in ways],
            owners={k: o for k, o in whole.owners.items() if k in wanted.owners},
            links=[x for x in whole.links if x.place in wanted.links],
        )
    assert not rounds[-1].without(rounds[-2])
    assert recorded.told(tell(recording)) == recorded.told(tell(whole))


# --- what the stories are about -----------------------------------------------------------------------------


def test_shop() -> None:
    path = story("shop")
    assert path.status == 200 and path.failure is None
    assert [p for p in places(path) if not p.startswith("node")] == [
        "client",
        "router",
        "public-lb",
        INGRESS,
        "default.web",
    ]
    assert [c.number for c in path.connections] == [0, 1, 2, 3]
    overlaid = path.first(event="encapsulate")
    assert overlaid.encapsulation is not None
    out = next(h for h in path.hops if h.event == "decapsulate" and h.flight == overlaid.flight)
    assert out.time > overlaid.time and out.place != overlaid.place and out.encapsulation is None
    picked = path.first(event="proxy-connect", connection=2)
    assert "roundrobin" in picked.detail
    service = path.first(event="dnat", connection=3)
    assert service.object == "Service default/web port 80 → pod default/web"
    assert "dnat ip to" in service.rule and service.conntrack is not None


def test_reused_connection_shows_our_use_alone() -> None:
    recording = recorded.load("reused")
    joined = join(recording)
    last = joined.chain()[-1]
    flow = next(iter(last.flows))
    sightings = Sightings(recording.frames)
    others = [p for f in last.flows for p in sightings.of(f)]
    assert len(others) > sum(len(t.packets) for t in last.transits)  # somebody else's were recorded, too
    path = tell(recording)
    assert [h.detail for h in path.hops if h.connection == 3 and h.event == "send"] == [
        "GET /cart",
        "HTTP 200 OK",
    ]
    assert [r.fields["path"] for r in last.records if r.fields["event"] == "request"] == ["/cart"]
    assert flow.destination == "10.96.7.7"
    assert path.connections[-1].title.endswith("(an open connection, used again)")


def test_https() -> None:
    path = story("https")
    assert path.status == 200 and path.tls is not None and path.tls["version"] == "TLS 1.3"
    details = [hop.detail for hop in path.hops]
    assert any(d.startswith("TLS ClientHello, SNI secure.example.com") for d in details)
    assert any(d.startswith("TLS ServerHello, TLS 1.3") for d in details)
    accepted = [h.detail for h in path.hops if h.event == "proxy-accept" and h.connection == 2]
    assert "SNI secure.example.com" in accepted[0]


def test_hairpin() -> None:
    """Out of a pod and back into it: translated both ways, or the answer would take a short cut."""
    path = story("hairpin")
    assert path.places == ["default.web", "node2", "default.web"] and path.status == 200
    assert {(h.event, h.place) for h in path.hops if h.event in ("dnat", "snat")} == {
        ("dnat", "node2"),
        ("snat", "node2"),
    }


def test_node_as_the_source() -> None:
    """Translated before anybody sees it: conntrack tells what was asked for."""
    path = story("node")
    assert path.places == ["node1", "node2", "default.web"] and path.status == 200
    dnat = path.first(event="dnat")
    assert dnat.place == "node1" and dnat.destination == "10.96.7.7:80"
    assert path.first(event="snat").place == "node1"
    assert path.first(event="encapsulate").place == "node1"


def test_search_domains() -> None:
    path = story("search")
    answers = [h.detail for h in path.hops if h.event == "dns-answer"]
    assert [a.split(" ")[0] for a in answers] == [
        "web.default.svc.default.svc.cluster.local.",
        "web.default.svc.svc.cluster.local.",
        "web.default.svc.cluster.local.",
    ]
    assert ["NXDOMAIN" in a for a in answers] == [True, True, False]
    assert path.status == 200


def test_egress_is_translated_twice() -> None:
    path = story("egress")
    assert [h.place for h in path.hops if h.event == "snat"] == ["node1", "router"]
    assert path.places == ["default.caller", "node1", "router", "outside"]
    assert "203.0.113.1:" in path.all(event="snat")[1].detail
    back = [h for h in path.hops if "translated back" in h.detail and h.connection == 1]
    assert {h.place for h in back} == {"router", "node1"}


def test_udp_echo() -> None:
    """The answer has the question's bytes, and is an answer nevertheless."""
    path = story("udp")
    assert path.failure is None
    assert (
        places(path) == ["client", "router", "lb-default-game", *places(path)[3:]]
        and path.places[-1] == "default.game"
    )
    directions: dict[int, list[str]] = defaultdict(list)
    for hop in path.hops:
        if hop.event == "send" and hop.connection:
            directions[hop.connection].append(hop.direction)
    assert directions == {1: ["request", "response"], 2: ["request", "response"]}


def test_no_endpoints() -> None:
    path = story("empty")
    drop = path.first(event="drop")
    assert drop.place == "node1" and "reject" in drop.rule and drop.object == "Service default/empty port 80"
    assert path.failure is not None and path.failure.reason == "no-endpoints"
    assert path.status is None


@pytest.mark.parametrize("change", ["others", "none"])
@every
def test_strangers_change_nothing(name: str, change: str) -> None:
    """Neither without them nor with two thousand more."""
    recording = recorded.load(name)
    mine = {n for hop in tell(recording, True).hops for n in hop.frames}
    mine |= {a.frame for a in Sightings(recording.frames).discoveries}
    other = (
        crowd(recording, 2000)
        if change == "others"
        else replace(recording, frames=[f for n, f in enumerate(recording.frames) if n in mine])
    )
    if name == "reused" and change == "none":
        return  # whose use of a connection is whose is told by its records
    assert recorded.told(tell(other)) == recorded.told(tell(recording))


def test_names_are_resolved_by_legs_of_their_own() -> None:
    joined = join(recorded.load("search"))
    assert [leg.number for leg in joined.legs] == [NAME_RESOLUTION] * 3 + [1]


def test_a_crowd_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred thousand frames of strangers, many at ports of ours: each is glanced at once, and most that is all."""
    recording = crowd(recorded.load("shop"), 100_000)
    count: Counter[str] = Counter()

    def counted(name: str) -> None:
        real = getattr(sightings, name)

        def call(*arguments: Any) -> Any:
            count[name] += 1
            return real(*arguments)

        monkeypatch.setattr(sightings, name, call)

    counted("glance")
    counted("decode")
    seen = Sightings(recording.frames)
    for _ in range(4):
        needs(recording, seen)
    path = tell(recording, False, seen)
    assert path.status == 200
    assert count["glance"] == len(recording.frames)
    assert count["decode"] < len(recording.frames) / 2
