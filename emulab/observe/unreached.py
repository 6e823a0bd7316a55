"""Packets that came nowhere: no route, nobody who answers, too big, or silence. Pure."""

from __future__ import annotations

import errno
import os

from emulab.observe.case import Case
from emulab.observe.dissect import endpoints
from emulab.observe.events import Flow, Owner
from emulab.observe.flows import Leg
from emulab.observe.packets import SYN, Packet
from emulab.observe.path import Failure

_NO_WAY = {
    errno.ENETUNREACH: "has no route to",
    errno.EHOSTUNREACH: "can't reach",
    errno.EACCES: "may not send to",
    errno.EPERM: "was kept by its own rules from sending to",
    errno.EADDRNOTAVAIL: "has no address to reach",
}


def unroutable(case: Case) -> Failure | None:
    """The sender's kernel knew no way."""
    sending = case.sending
    if sending.error != "connect" or sending.errno not in _NO_WAY or case.last is None:
        return None
    if case.last.transits or sending.errno == errno.EHOSTUNREACH:
        return None
    to = endpoints(sending.address, sending.port)
    text = f"{sending.place} {_NO_WAY[sending.errno]} {to}: {os.strerror(sending.errno)}"
    remedy = f"see: emulab exec {sending.place} -- ip route get {sending.address}"
    return Failure(sending.place, "no-route", text, remedy, sending.place)


def icmp(case: Case) -> Failure | None:
    """An ICMP error says it."""
    leg = case.last
    if leg is None:
        return None
    for transit in leg.errors:
        origin, kind = transit.first, transit.first.icmp
        about = origin.about
        to = endpoints(about.destination, about.destination_port) if about else "?"
        if kind == (3, 4):
            return _too_big(case, leg, origin)
        if kind == (3, 0):
            text = f"{origin.place} has no route to {to}: {_route_words(case, origin.place, about)}"
            remedy = f"see: emulab exec {origin.place} -- ip route"
            return Failure(
                origin.place, "no-route", text, remedy, origin.place, case.reason_at(leg, origin.place)
            )
        if kind == (3, 1):
            return _no_neighbour(case, origin.place, about, to)
        if kind == (11, 0):
            text = f"the packet to {to} went round in a circle until {origin.place} discarded it"
            return Failure(
                origin.place, "loop", text, f"see: emulab exec {origin.place} -- ip route", origin.place
            )
        if kind and kind[0] == 3:
            text = f"{origin.place} refused the packet to {to} (ICMP type 3 code {kind[1]})"
            return Failure(
                origin.place, "prohibited", text, f"see: emulab exec {origin.place} -- nft list ruleset"
            )
    return None


def _route_words(case: Case, place: str, about: Flow | None) -> str:
    route = case.evidence.route(place, about.destination) if about else None
    return route.text if route else "network unreachable"


def _no_neighbour(case: Case, place: str, about: Flow | None, to: str) -> Failure:
    """Nobody answered ARP."""
    asked = [a for a in case.joined.arps if a.place == place and a.outgoing and not a.is_reply]
    answered = {a.sender for a in case.joined.arps if a.place == place and a.is_reply and not a.outgoing}
    open_ = list(dict.fromkeys((a.target, a.interface) for a in asked if a.target not in answered))
    route = case.evidence.route(place, about.destination) if about else None
    hop = (route.gateway or route.destination) if route else (about.destination if about else "")
    chosen = next((o for o in open_ if o[0] == hop), open_[0] if open_ else (hop, ""))
    owner = case.evidence.owner("", chosen[0], 0)
    who = f"{owner.text} ({chosen[0]})" if owner else chosen[0]
    on = f" on {chosen[1]}" if chosen[1] else ""
    text = f"{place} asked{on} who has {chosen[0]}, the next hop to {to}, and nobody answered (ARP)"
    dead = case.dead_link(owner.name) if owner else None
    remedy = dead or f"see whether {who} is up and has that address"
    return Failure(place, "arp", text, remedy, who)


def _too_big(case: Case, leg: Leg, origin: Packet) -> Failure:
    sizes = [p.length for t in leg.transits for p in t.packets if p.place == origin.place]
    largest = max(sizes, default=0)
    route = case.evidence.route(origin.place, origin.about.destination) if origin.about else None
    link = f" ({route.interface})" if route and route.interface else ""
    text = (
        f"a packet of {largest or 'too many'} bytes that must not be fragmented is too big for the next link of"
        f" {origin.place}{link}, which takes {origin.next_mtu}"
    )
    remedy = "make the MTU of the links before it as small, or let the ICMP message back to the sender"
    return Failure(origin.place, "mtu", text, remedy, link.strip(" ()") or origin.place, "PKT_TOO_BIG")


def silence(case: Case) -> Failure | None:
    """Packets that nobody answered: where the last one was seen says most."""
    leg = case.last
    if leg is None:
        return None
    forward = [t for t in leg.transits if t.forward]
    if not forward:
        return _never_sent(case, leg)
    answered = any(not t.forward for t in leg.transits)
    lost = [t for t in forward if not answered or t.first.size]
    transit = (lost or forward)[-1]
    if answered and not any(t.first.size for t in forward):
        transit = forward[0]
    last, flow = transit.last, transit.last.flow
    to = endpoints(flow.destination, flow.destination_port)
    what = "a SYN" if last.flags & SYN else "a packet" if flow.protocol == "tcp" else "a datagram"
    tries = sum(1 for t in forward if t.first.identity == transit.first.identity)
    sent = f"{what} to {to}" + (f", sent {tries} times," if tries > 1 else "")
    kernel = case.kernel_reason(last.time)
    if last.outgoing:
        return _vanished(case, last, sent, kernel)
    addresses = {t.place: t.addresses for t in case.recording.taps}
    if flow.destination in addresses.get(last.place, ()):
        owner = case.evidence.owner("", flow.destination, 0)
        who = owner.text if owner else last.place
        text = f"{sent} was delivered to {who} and never answered"
        look = "nft list ruleset" if kernel == "NETFILTER_DROP" else "ss -tnlpu"
        remedy = f"see what it does there: emulab exec {_target(owner, last.place)} -- {look}"
        return Failure(last.place, "unanswered", text, remedy, who, kernel)
    return _swallowed(case, last, sent, kernel)


def _target(owner: Owner | None, place: str) -> str:
    if owner is not None and owner.kind == "Pod":
        return f"-n {owner.namespace} pod/{owner.name}"
    return place


def _never_sent(case: Case, leg: Leg) -> Failure | None:
    place = leg.connect.place if leg.connect else case.sending.place
    flow = next(iter(leg.flows))
    asked = [a for a in case.joined.arps if a.place == place and a.outgoing and not a.is_reply]
    to = endpoints(flow.destination, flow.destination_port)
    if asked:
        return _no_neighbour(case, place, flow, to)
    dead = case.dead_link(place)
    text = f"no packet to {to} left {place}" + (f": {case.sending.reason}" if case.sending.reason else "")
    return Failure(
        place, "not-sent", text, dead or f"see: emulab exec {place} -- ip route get {flow.destination}"
    )


def _vanished(case: Case, last: Packet, sent: str, kernel: str) -> Failure:
    """Left a place and arrived nowhere."""
    hop = last.encapsulation.outer_destination if last.encapsulation else last.flow.destination
    route = case.evidence.route(last.place, hop)
    following = (route.gateway or hop) if route else hop
    owner = case.evidence.owner("", following, 0)
    who = f"{owner.text} ({following})" if owner else following
    inside = " inside VXLAN" if last.encapsulation else ""
    text = f"{sent} left {last.place} on {last.interface}{inside} and never came to {who}"
    dead = case.dead_link(owner.name) if owner else None
    dead = dead or case.dead_link(last.place)
    kind = "dead-node" if owner is not None and owner.kind == "Node" else "unanswered"
    if dead:
        text += f": {dead.split(': ')[0]}"
    remedy = (
        dead.split(": ", 1)[1]
        if dead
        else f"see whether {who} is up: emulab exec {last.place} -- ping -c1 {following}"
    )
    return Failure(last.place, kind, text, remedy, who, kernel)


def _swallowed(case: Case, last: Packet, sent: str, kernel: str) -> Failure:
    """Came to a place that was to forward it and didn't."""
    flow = last.flow
    route = case.evidence.route(last.place, flow.destination)
    hop = (route.gateway or flow.destination) if route else flow.destination
    unanswered = [a for a in case.joined.arps if a.place == last.place and a.outgoing and not a.is_reply]
    answers = {a.sender for a in case.joined.arps if a.place == last.place and a.is_reply}
    if any(a.target == hop and a.target not in answers for a in unanswered):
        return _no_neighbour(case, last.place, flow, endpoints(flow.destination, flow.destination_port))
    if route is not None and route.error:
        text = f"{sent} came to {last.place}, which has no route to {flow.destination}: {route.text}"
        remedy = f"see: emulab exec {last.place} -- ip route"
        return Failure(last.place, "no-route", text, remedy, last.place, kernel)
    links = {x.name: x for x in case.recording.links if x.place == last.place}
    way = links.get(route.interface) if route else None
    if way is not None and not (way.up and way.carrier):
        text = f"{sent} came to {last.place}, whose {way.name} on the way to {flow.destination} is down"
        return Failure(
            last.place,
            "link-down",
            text,
            f"emulab exec {last.place} -- ip link set {way.name} up",
            way.name,
            kernel,
        )
    if way is not None and last.length > way.mtu and not last.fragmentable:
        size = f"{last.length} bytes came to {last.place}"
        text = f"{sent} of {size} and is too big for {way.name}, which takes {way.mtu}"
        remedy = "make the MTU of the links before it as small"
        return Failure(last.place, "mtu", text, remedy, way.name, kernel or "PKT_TOO_BIG")
    chains = ", ".join(case.evidence.way(last.place, [flow]))
    through = f" after the chains {chains}" if chains else ""
    why = f"; the kernel's reason is {kernel}" if kernel else ""
    text = f"{sent} came to {last.place} on {last.interface} and didn't leave it{through}{why}"
    remedy = f"see: emulab exec {last.place} -- nft list ruleset, and ip route get {flow.destination}"
    return Failure(last.place, "dropped", text, remedy, last.place, kernel)
