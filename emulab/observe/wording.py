"""Flights of packets, and what they, and the records of servers, are in words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from emulab.observe.dissect import describe, endpoints
from emulab.observe.events import Flow
from emulab.observe.flows import Leg, Transit
from emulab.observe.packets import FIN


def assign_flights(leg: Leg, first: int, every_packet: bool) -> int:
    """Numbers the flights of a leg from `first` on, and returns the next free number."""
    number = first
    current: dict[bool, int] = {}
    speaking: bool | None = None
    for transit in leg.transits:
        significant = transit.first.significant
        fresh = every_packet or transit.forward not in current
        if significant and (fresh or speaking != transit.forward):
            fresh = True
        if fresh:
            current[transit.forward] = number
            number += 1
        if significant:
            speaking = transit.forward
        transit.flight = current[transit.forward]
    for transit in leg.errors:
        transit.flight = number
        number += 1
    return number


def flight_detail(transits: Iterable[Transit]) -> str:
    """What a flight says: its first significant packet, how many bytes, whether it ends the connection."""
    packets = [t.first for t in transits]
    speaking = [p for p in packets if p.significant] or packets
    text = describe(speaking[0])
    if len(speaking) == 1 or speaking[0].flow.protocol != "tcp":
        return text
    size = sum(p.size for p in speaking)
    if size and sum(1 for p in speaking if p.size) > 1:
        text += f", {size} bytes in {sum(1 for p in speaking if p.size)} packets"
    if speaking[-1].flags & FIN and not text.endswith("FIN"):
        text += ", FIN"
    return text


def ends(flow: Flow) -> str:
    return (
        f"{endpoints(flow.source, flow.source_port)} → {endpoints(flow.destination, flow.destination_port)}"
    )


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
    """Why a proxy connected there."""
    if fields.get("target"):
        return f"picked {fields['target']} ({fields.get('reason', '')})"
    name = fields.get("upstream_name") or fields.get("upstream")
    return f"upstream {name}" + (", over a connection kept open" if fields.get("reused") else "")


def accepted(leg: Leg) -> str:
    """What a proxy says of the connection it accepted."""
    found = next((r.fields for r in leg.records if r.fields["event"] == "tls"), None)
    if found is None:
        return "accepted"
    name = found.get("server_name") or "no server name"
    certificate = found.get("certificate")
    shown = ", ".join(map(str, certificate)) if isinstance(certificate, list | tuple) else str(certificate)
    return f"accepted, {found.get('version')}, SNI {name}, certificate for {shown}"


def name_answer(fields: Mapping[str, Any]) -> str:
    """A name server's own words on a question or its answer."""
    question = str(fields.get("question", ""))
    if fields["event"] == "dns-query":
        return f"asked for {question}"
    answers = ", ".join(map(str, fields.get("answers") or ())) or fields.get("rcode", "")
    cache = {"hit": ", from the cache", "miss": ", asked upstream"}.get(str(fields.get("cache")), "")
    ttl = f", TTL {fields['ttl']}" if fields.get("ttl") is not None else ""
    return f"{question}: {answers}{ttl}{cache}"
