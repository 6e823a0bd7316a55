"""What the time of a request went to. Pure.

The time between any two neighbouring sightings, of whatever packets of the request, goes to what the later one
ended: a link that a packet crossed, a place that forwarded it, or the program that sent it. So the
parts add up to the whole; where two things went on at once, the one that ended first counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from emulab.observe.events import Recording
from emulab.observe.join.flows import NAME_RESOLUTION, Joined, Transit
from emulab.observe.join.packets import Packet

LINK, FORWARDING, NAT = "link", "forwarding", "nat"
ENCAPSULATION, DECAPSULATION = "encapsulation", "decapsulation"
_SERVERS = frozenset({"balancer", "resolver", "dns"})
_FIRST_TTL = 64
"""What kernels send with at least (ip_default_ttl). A packet that is first seen with less has come from elsewhere: a
link with a rate makes segments of a large one."""
_STEPS = frozenset({"proxy-accept", "dns-query", "dns-answer", "drop"})
"""What servers tell that lies on the request's way. The rest they tell when they get to it, and nobody waits for it."""


def time_totals(recording: Recording, joined: Joined, start: int, end: int) -> dict[str, Any]:
    """Microseconds between `start` and `end` (nanoseconds) by what they went to; see `Path.totals`."""
    kinds = {tap.place: tap.kind for tap in recording.taps}
    servers = {r.place for r in recording.records if r.fields.get("event") == "proxy-accept"}
    moments: list[tuple[int, str, str]] = []
    for leg in joined.legs:
        for transit in (*leg.transits, *leg.errors):
            for time, group, name in _moments(transit, recording.sending.place, kinds, servers):
                moments.append((time, "dns", "") if leg.number == NAME_RESOLUTION else (time, group, name))
        told = [r for r in leg.records if r.fields["event"] in _STEPS]
        if leg.connect is not None and not leg.begun:
            told.append(leg.connect)
        for record in told:
            name_server = leg.number == NAME_RESOLUTION
            group, name = _program(record.place, recording.sending.place, kinds, servers, 1)
            moments.append((record.time, "dns" if name_server else group, name))
    moments.sort(key=lambda m: m[0])
    spent: dict[tuple[str, str], int] = defaultdict(int)
    before = start
    for time, group, name in moments:
        if start <= time <= end:
            spent[group, name if group != "dns" else ""] += time - before
            before = time
    if before < end:  # nobody saw anything more, but the sender: that it failed
        spent["client", ""] += end - before
    return _shown(spent)


def _moments(
    transit: Transit, source: str, kinds: Mapping[str, str], servers: set[str]
) -> list[tuple[int, str, str]]:
    found = []
    before: Packet | None = None
    for packet in transit.packets:
        if before is None:
            size = packet.size if packet.ttl >= _FIRST_TTL else 0
            found.append((packet.time, *_program(packet.place, source, kinds, servers, size)))
        elif before.place != packet.place:
            found.append((packet.time, "kernel", LINK))
        else:
            found.append((packet.time, "kernel", _inside(before, packet)))
        before = packet
    return found


def _program(
    place: str, source: str, kinds: Mapping[str, str], servers: set[str], size: int = 0
) -> tuple[str, str]:
    if place == source:
        return "client", ""
    if place in servers or kinds.get(place) in _SERVERS:
        return "server", place
    if kinds.get(place) == "pod" or size:  # a container may be in its node's network
        return "container", place
    return "kernel", FORWARDING  # a node or router that answers by itself: a refusal


def _inside(before: Packet, packet: Packet) -> str:
    if packet.encapsulation and not before.encapsulation:
        return ENCAPSULATION
    if before.encapsulation and not packet.encapsulation:
        return DECAPSULATION
    return NAT if before.flow != packet.flow else FORWARDING


def _shown(spent: Mapping[tuple[str, str], int]) -> dict[str, Any]:
    def of(group: str) -> dict[str, float]:
        return {name: round(t / 1000, 1) for (g, name), t in sorted(spent.items()) if g == group}

    return {
        "dns_us": round(spent.get(("dns", ""), 0) / 1000, 1),
        "client_us": round(spent.get(("client", ""), 0) / 1000, 1),
        "kernel_us": of("kernel"),
        "servers_us": of("server"),
        "container_us": of("container"),
    }
