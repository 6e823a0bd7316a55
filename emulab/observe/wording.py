"""Flights of packets, and what they, and the records of servers, are in words. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from emulab.observe.events import Recording
from emulab.observe.join.dissect import describe_packet
from emulab.observe.join.flows import Leg, Transit
from emulab.observe.join.packets import FIN, RST, SYN, Packet
from emulab.observe.join.proxyheaders import split_header

_PAUSE = 50_000_000  # ns after which what a side says is something else, unless it says the same again


def assign_flights(leg: Leg, first: int, every_packet: bool) -> int:
    """Numbers the flights of a leg from `first` on, and returns the next free number."""
    number = first
    current: dict[bool, int] = {}
    speaking: bool | None = None
    last: dict[bool, int] = {}
    said: set[tuple[object, ...]] = set()
    for transit in leg.transits:
        packet, forward = transit.first, transit.forward
        fresh = every_packet or forward not in current
        if packet.significant:
            words = (forward, *_words(packet))
            later = packet.time - last.get(forward, packet.time) > _PAUSE and words not in said
            fresh = fresh or later or speaking != forward
            speaking = forward
            last[forward] = packet.time
            said.add(words)
        if fresh:
            current[forward] = number
            number += 1
        transit.flight = current[forward]
    for transit in leg.errors:
        transit.flight = number
        number += 1
    return number


def flight_detail(transits: Iterable[Transit]) -> str:
    """What a flight says: its first significant packet, how many bytes, whether it ends the connection."""
    packets = [t.first for t in transits]
    speaking = [p for p in packets if p.significant] or packets
    told = Counter(_words(p) for p in speaking)
    text = describe_packet(speaking[0])
    header, rest = split_header(speaking[0].payload)
    if header and not rest and len(speaking) > 1:  # one that stands in a packet of its own
        text = f"{describe_packet(speaking[1])}, {header}"
    sizes = [size for _, _, size, _ in told if size]
    if len(sizes) > 1 and speaking[0].flow.protocol == "tcp":
        text += f", {sum(sizes)} bytes in {len(sizes)} packets"
    if speaking[-1].flags & FIN and not text.endswith("FIN"):
        text += ", FIN"
    times = max(told.values())
    return f"{text}, sent {times} times" if times > 1 and speaking[0].significant else text


def _words(packet: Packet) -> tuple[int, int, int, bytes]:
    """What makes a packet the same to say as one before it."""
    return packet.flags & (SYN | FIN | RST), packet.sequence, packet.size, packet.payload


def reused(leg: Leg) -> bool:
    return leg.connect is not None and bool(leg.connect.fields.get("reused"))


def proxy_rule(fields: Mapping[str, Any]) -> str:
    """The ingress rule of a record in words: `Ingress shop/web: shop.example.com /products Prefix`."""
    origin = str(fields.get("rule") or "")
    if not origin:
        return ""
    where = [str(fields.get(k) or "") for k in ("rule_host", "rule_path", "rule_type")]
    if any(where):
        where[0] = where[0] or "any host"
        return f"{origin}: {' '.join(w for w in where if w)}"
    return origin


def pick(fields: Mapping[str, Any]) -> str:
    """Why a proxy connected there; the request's id is what the access log and the upstream have, too."""
    if fields.get("target"):
        reason = fields.get("reason")
        return f"picked {fields['target']}" + (f" ({reason})" if reason else "")
    name = fields.get("upstream_name") or fields.get("upstream")
    said = f"upstream {name}" + (", over a connection kept open" if fields.get("reused") else "")
    return said + (f", request id {fields['request_id']}" if fields.get("request_id") else "")


def accepted(leg: Leg) -> str:
    """What a proxy says of the connection it accepted."""
    found = next((r.fields for r in leg.records if r.fields["event"] == "tls"), None)
    what = "accepted"
    if leg.accept is not None and "/" in leg.accept.server:
        pod = leg.accept.server.partition("/")[0]
        # One that shares its node's addresses is no place of its own.
        what += f" by pod {pod}" if pod != leg.accept.place else ""
    if found is None:
        return what
    name = found.get("server_name") or "no server name"
    certificate = found.get("certificate")
    shown = ", ".join(map(str, certificate)) if isinstance(certificate, list | tuple) else str(certificate)
    version = str(found.get("version")).replace("TLSv", "TLS ")  # OpenSSL's word, and everybody else's
    of_whom = "the fake certificate" if shown == "fake" else f"certificate for {shown}"
    return f"{what}, {version}, SNI {name}, {of_whom}"


_FROM = {"hit": ", from the cache", "miss": ", asked upstream", "stale": ", too old, from the cache"}
"""Where a name server has an answer from that isn't in its zones."""


def name_answer(fields: Mapping[str, Any]) -> str:
    """A name server's own words on a question or its answer."""
    question = str(fields.get("question", ""))
    if fields["event"] == "dns-query":
        return f"asked for {question}"
    answers = ", ".join(map(str, fields.get("answers") or ())) or fields.get("rcode", "")
    cache = _FROM.get(str(fields.get("cache")), "")
    ttl = f", TTL {fields['ttl']}" if fields.get("ttl") is not None else ""
    return f"{question}: {answers}{ttl}{cache}"


def missing_evidence(recording: Recording) -> list[str]:
    """What may be missing, and why."""
    notes = [
        f"{tap.place}: {tap.lost} packets found no room and were not looked at; what belongs there may be missing"
        for tap in recording.taps
        if tap.lost
    ]
    notes += [f"{place}: too many rules were told at once; some may be missing" for place in recording.untold]
    for who in recording.unheard:
        why = f"{who.lost} of its records found no room" if who.lost else "it didn't answer in time"
        notes.append(f"server {who.server}: {why}; what it did with the request may be missing")
    return notes
