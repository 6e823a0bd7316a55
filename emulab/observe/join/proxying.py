"""Which connections proxies started for a request, by what they told and by what was seen. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from emulab.model.addresses import is_address, parse_socket_name, socket_name
from emulab.observe.events import Flow, Recording, ServerRecord
from emulab.observe.join.packets import Packet
from emulab.observe.join.sightings import Sightings

if TYPE_CHECKING:
    from emulab.observe.join.flows import Leg


def started(sightings: Sightings, record: ServerRecord) -> list[Flow]:
    """The connection that a proxy-connect record tells of, as it left the proxy."""
    source = parse_socket_name(str(record.fields.get("upstream_source", "")))
    upstream = parse_socket_name(str(record.fields.get("upstream", "")))
    if source is None:
        return []
    protocol = "udp" if record.fields.get("protocol") == "udp" else "tcp"
    if upstream is not None and is_address(upstream[0]):
        return [Flow(protocol, *source, *upstream)]
    # An upstream by name: whatever address it turned out to have.
    return [f for f in sightings.from_port(protocol, source[1]) if f.source == source[0]][:1]


_SLACK = 2_000_000
"""Nanoseconds by which a program's own clock may be behind: nginx tells milliseconds."""


def during(record: ServerRecord) -> tuple[int, int]:
    """When the request was under way of which a record tells at its end."""
    return record.time - int(float(record.fields.get("duration_us") or 0) * 1000) - _SLACK, record.time


def seen_started(sightings: Sightings, record: ServerRecord, during: tuple[int, int]) -> list[Flow]:
    """The connection of a proxy that doesn't know its own end of it, if there is but one that it can have been.

    That is one to where the proxy says it asked, which it sent something over while the request was under way.
    """
    upstream = parse_socket_name(str(record.fields.get("upstream", "")))
    if upstream is None or not is_address(upstream[0]):
        return []
    found = [
        flow
        for flow in sightings.towards("tcp", *upstream)
        if any(
            packet.place == record.place
            and packet.outgoing
            and packet.size
            and during[0] <= packet.time <= during[1]
            for packet in sightings.of(flow)
        )
    ]
    return found if len(found) == 1 else []


def tried(recording: Recording, sightings: Sightings, record: ServerRecord) -> list[Flow]:
    """The connection that a proxy-try record tells of, if nothing came of it: the next SYN to there."""
    upstream = parse_socket_name(str(record.fields.get("upstream", "")))
    if upstream is None or not is_address(upstream[0]):
        return []
    connects = [
        r.fields
        for r in recording.records
        if r.place == record.place and r.fields.get("event") == "proxy-connect"
    ]
    if any(
        all(c.get(k) == record.fields.get(k) for k in ("client", "upstream", "attempt")) for c in connects
    ):
        return []
    connected = {str(c.get("upstream_source")) for c in connects}
    protocol = "udp" if record.fields.get("protocol") == "udp" else "tcp"
    first: Packet | None = None
    for flow in sightings.towards(protocol, *upstream):
        packet = sightings.of(flow)[0]
        if packet.place != record.place or not packet.outgoing or packet.time < record.time:
            continue
        if socket_name(flow.source, flow.source_port) not in connected and (
            first is None or packet.time < first.time
        ):
            first = packet
    return [first.flow] if first is not None else []


def use_of(records: Sequence[ServerRecord], connect: ServerRecord, leg: Leg) -> tuple[int, int] | None:
    """When a connection that serves one request after the other served that of `leg`; None: always.

    A proxy tells `request` when an answer is through, and only then uses the connection again. Who used it before
    the recording began told nothing of it; but the proxy can't pass on what it has not got yet.
    """
    uses = [
        r
        for r in records
        if r.place == connect.place
        and r.fields.get("event") == "proxy-connect"
        and all(r.fields.get(key) == connect.fields.get(key) for key in ("upstream_source", "upstream"))
    ]
    uses.sort(key=lambda r: r.time)
    at = uses.index(connect)
    reused = bool(connect.fields.get("reused"))
    if not reused and len(uses) == 1:
        return None
    start, end = 0, 1 << 63
    if at > 0:
        start = _done(records, uses[at - 1]) or uses[at - 1].time
    if reused:
        asked = (t.last.time for t in leg.transits if t.forward and t.first.size)
        start = max(start, next(asked, 0))
    if at + 1 < len(uses):
        end = _done(records, connect) or uses[at + 1].time
    return start, end


def _done(records: Sequence[ServerRecord], connect: ServerRecord) -> int | None:
    """When the request was through that a proxy-connect record tells of."""
    told = (
        r.time
        for r in records
        if r.place == connect.place
        and r.time >= connect.time
        and r.fields.get("event") == "request"
        and r.fields.get("client") == connect.fields.get("client")
    )
    return min(told, default=None)
