"""Packets that came nowhere: no route, nobody who answers, too big, or silence. Pure."""

from __future__ import annotations

from dataclasses import replace

from emulab.model.addresses import parse_address
from emulab.model.families import family_of
from emulab.observe.events import Flow, KernelDrop, LinkState, RouteAnswer
from emulab.observe.explain.astray import NOT_FORWARDED, loop, no_route, not_forwarded
from emulab.observe.explain.case import Case, Diagnosis, iproute, last_at, thrown_away, to
from emulab.observe.explain.progress import Stop, stopped, what
from emulab.observe.join.decisions import does, rule_text
from emulab.observe.join.flows import Leg
from emulab.observe.join.packets import Packet
from emulab.observe.path import Failure
from emulab.plan.rules.meaning import SNAT, TRACE_TABLE

NO_NEIGHBOUR = frozenset({"NEIGH_FAILED", "NEIGH_CREATEFAIL", "NEIGH_QUEUEFULL", "NEIGH_DEAD"})
NO_LINK = frozenset({"QDISC_DROP", "DEV_READY"})
TOO_BIG = frozenset({"PKT_TOO_BIG"})

_CHECKSUMS = frozenset({"IP_CSUM", "TCP_CSUM", "UDP_CSUM"})
_MEANINGS = {
    "NETFILTER_DROP": "a rule of its firewall dropped it",
    "IP_RPFILTER": "the way back to its source leads over another interface (rp_filter)",
    "IP_CSUM": "its checksum is wrong",
    "TCP_CSUM": "its checksum is wrong",
    "UDP_CSUM": "its checksum is wrong",
    "SOCKET_RCVBUFF": "the program that it is for doesn't read: its socket is full",
    "TCP_OVERFLOW": "the program that it is for doesn't accept: its queue is full",
    "TCP_LISTEN_OVERFLOW": "the program that it is for doesn't accept: its queue is full",
}
"""The kernel's reasons in words, where they say something to somebody who doesn't read its code."""

_BETWEEN = {**_MEANINGS, "NETFILTER_DROP": "something on the way between them dropped it"}
"""The kernel's reasons in words, for a packet that has left one place and not come to the next."""


def icmp(case: Case) -> Diagnosis | None:
    """A failure that an ICMP error tells of."""
    leg = case.last
    if leg is None or _healed(case, leg):
        return None
    for transit in leg.errors:
        origin = transit.first
        # What a place tells of a packet that it had translated, it tells of the packet as it had come.
        kind, about = origin.icmp, case.beyond(origin.place, origin.about) if origin.about else None
        if kind == (3, 4):
            return _too_big(case, leg, origin, about)
        if kind == (3, 0):
            return no_route(case, leg, origin.place, about, origin)
        if kind == (3, 1):
            return _unreachable_host(case, leg, origin, about)
        if kind == (11, 0):
            return loop(case, leg, origin, about)
        route = case.route(origin.place, about.destination) if about else None
        if kind == (3, 13) and route is not None and route.error:
            return no_route(case, leg, origin.place, about, origin)
        if kind and kind[0] == 3 and kind[1] != 3:
            text = f"{origin.place} refused the packet to {to(about)} (ICMP type 3 code {kind[1]})"
            remedy = f"see its rules: {case.inside(origin.place, 'nft list ruleset')}"
            failure = Failure(origin.place, "prohibited", text, remedy, origin.place)
            return Diagnosis(failure, last_at(leg, origin.place), origin.time)
    return None


def silence(case: Case) -> Diagnosis | None:
    """Packets that nobody answered: where the last one was seen says most."""
    leg = case.last
    if leg is None:
        return None
    stop = stopped(case, leg)
    if stop is None:
        return None if leg.transits else _never_sent(case, leg)
    if not stop.lost:
        return None
    if stop.packet.outgoing:
        return _vanished(case, leg, stop)
    return _swallowed(case, leg, stop)


def _healed(case: Case, leg: Leg) -> bool:
    """Whether everything arrived in spite of an error: path MTU discovery lives by them."""
    stop = stopped(case, leg)
    return stop is not None and not stop.lost


def _unreachable_host(case: Case, leg: Leg, origin: Packet, about: Flow | None) -> Diagnosis:
    """ICMP "host unreachable": no answer from a neighbour, a link without a far end, or a route that says so."""
    place = origin.place
    route = case.route(place, about.destination) if about else None
    if route is not None and route.error:
        return no_route(case, leg, place, about, origin)
    return _next_hop(case, leg, place, about, last_at(leg, place), origin.time)


def _next_hop(
    case: Case, leg: Leg, place: str, flow: Flow | None, packet: Packet | None, time: int = 0
) -> Diagnosis:
    """A place that has a way, and can't hand the packet over to whoever is next on it."""
    destination = flow.destination if flow else case.flow(leg).destination
    route = case.route(place, destination)
    hop = (route.gateway or destination) if route else destination
    who = case.named_address(hop)
    next_ = f"{who}, the next hop to {to(flow)}," if hop != destination else f"{who},"
    asked = next((d for d in case.undiscovered(place) if d.target == hop), None)
    dead = _dead(case, place, hop, route)
    who_asks = case.named(place)
    if asked is not None:
        how = family_of(parse_address(hop)).discovery
        text = f"{who_asks} asked by {how} on {asked.interface} for {next_} and nobody answered"
    elif dead is not None:
        text = f"{who_asks} couldn't hand the packet to {to(flow)} over to {next_[:-1]}"
    else:
        text = f"{who_asks} couldn't reach {next_[:-1]} (ICMP host unreachable)"
    if dead is not None:
        reason, why, remedy = dead
        failure = Failure(place, reason, f"{text}: {why}", remedy, who)
    else:
        nobody = "" if case.whose(hop) else ": nobody in the lab has that address"
        failure = Failure(place, "arp", f"{text}{nobody}", _look_for(case, place, hop), who)
    return thrown_away(case, leg, failure, packet, NO_NEIGHBOUR | NO_LINK, time, flow)


def _look_for(case: Case, place: str, address: str) -> str:
    owner = case.whose(address)
    if owner is None:
        return case.wanted_address(address)
    at = case.place_of(owner)
    look = case.inside(at, "ip address") if at else case.inside(place, f"ping -c1 {address}")
    return f"see whether {owner.text} has that address: {look}"


def _dead(case: Case, place: str, hop: str, route: RouteAnswer | None) -> tuple[str, str, str] | None:
    """Reason, words and mend where the next hop's link, or the one to it, is switched off."""
    owner = case.whose(hop)
    other = case.place_of(owner)
    reason = "dead-node" if owner is not None and owner.kind == "Node" else "link-down"
    if other and other != place:
        off = case.switched_off(other)
        if off is not None:
            return reason, *off
    mine = case.switched_off(place, route.interface if route else "")
    return ("link-down", *mine) if mine is not None else None


def _too_big(case: Case, leg: Leg, origin: Packet, about: Flow | None) -> Diagnosis:
    """A router said that the packet is too big for its next link."""
    stuck = last_at(leg, origin.place)
    wide = _width(case, stuck)
    size = f" of {min(stuck.length, wide)} bytes" if stuck else ""
    route = case.route(origin.place, about.destination) if about else None
    link = (
        f"{route.interface} of {origin.place}"
        if route and route.interface
        else f"the next link of {origin.place}"
    )
    text = f"a packet{size} to {to(about)} that must not be fragmented is too big for {link},"
    text += f" which takes {origin.next_mtu}"
    told = [t for t in leg.errors if t.first.icmp == (3, 4)]
    said = max(told, key=lambda t: len(t.packets))
    sender = stuck and next((t.first.place for t in leg.transits if t.last is stuck), "")
    if sender and said.last.place != sender:
        text += (
            f"; {origin.place} said so (ICMP fragmentation needed), but that was last seen at {said.last.place}"
            f" and never came back to {sender}, which goes on sending packets as big"
        )
        remedy = (
            f"let ICMP through at {said.last.place}: {case.inside(said.last.place, 'nft list ruleset')}; or"
        )
    elif sender and len(told) > 1:
        text += (
            f"; {origin.place} told {sender} so {len(told)} times (ICMP fragmentation needed), and {sender} goes on"
            " sending packets as big: it doesn't take the message"
        )
        remedy = f"let ICMP in at {sender}: {case.inside(sender, 'nft list ruleset')}; or"
    else:
        remedy = ""
    name = route.interface if route else "LINK"
    remedy = f"{remedy} make the link as wide: {case.inside(origin.place, f'ip link set {name} mtu {wide}')}".strip()
    return thrown_away(
        case, leg, Failure(origin.place, "mtu", text, remedy, link), stuck, TOO_BIG, origin.time
    )


def _width(case: Case, packet: Packet | None) -> int:
    """What the link takes that a packet came by. A packet may look larger: the card cuts it up, or would."""
    link = case.link(packet.place, packet.interface) if packet else None
    return link.mtu if link else 1500


def _never_sent(case: Case, leg: Leg) -> Diagnosis | None:
    """No packet of a connection was seen at all."""
    place = leg.connect.place if leg.connect else case.sending.place
    flow = case.beyond(place, next(iter(leg.flows)))
    route = case.route(place, flow.destination)
    hop = (route.gateway or flow.destination) if route else flow.destination
    asked = case.undiscovered(place)
    if any(d.target == hop for d in asked) or _dead(case, place, hop, route) is not None:
        return _next_hop(case, leg, place, flow, None)
    if asked:
        return _next_hop(case, leg, place, Flow(flow.protocol, "", 0, asked[0].target, 0), None)
    why = f": {case.sending.reason}" if case.sending.reason and place == case.sending.place else ""
    text = f"no packet to {to(flow)} left {case.named(place)}{why}"
    remedy = f"see: {case.inside(place, f'{iproute(flow.destination)} route get {flow.destination}')}"
    return Diagnosis(Failure(place, "not-sent", text, remedy, case.named(place)))


def _vanished(case: Case, leg: Leg, stop: Stop) -> Diagnosis:
    """A failure because a packet left a place and arrived nowhere."""
    last = stop.packet
    hop = last.encapsulation.outer_destination if last.encapsulation else last.flow.destination
    route = case.route(last.place, hop)
    following = (route.gateway or hop) if route else hop
    who = case.named_address(following)
    inside = f" inside {last.encapsulation.type.upper()}" if last.encapsulation else ""
    text = f"{what(stop)} to {to(last.flow)} left {last.place} on {last.interface}{inside} and never came to {who}"
    dead = _dead(case, last.place, following, route)
    if dead is not None:
        reason, why, remedy = dead
        return thrown_away(
            case, leg, Failure(last.place, reason, f"{text}: {why}", remedy, who), last, NO_LINK
        )
    if (wrong := _nobodys(case, last, following)) is not None:
        forget = f"ip neigh del {following} dev {last.interface}"
        text = f"{text}: it was sent to the MAC address {wrong}, which {who} doesn't have"
        remedy = f"forget the neighbour entry of {last.place}: {case.inside(last.place, forget)}"
        return Diagnosis(Failure(last.place, "lost", text, remedy, f"neighbour entry of {last.place}"))
    drop = case.some_drop(last.time)
    remedy = f"see whether {who} is up: {case.inside(last.place, f'ping -c1 {following}')}"
    failure = Failure(last.place, "lost", text, remedy, who)
    if drop is None:
        return Diagnosis(failure)
    return Diagnosis(case.with_drop(failure, drop, _BETWEEN), last, drop.time)


def _nobodys(case: Case, packet: Packet, following: str) -> str | None:
    """The MAC address that a packet was sent to, where the place it was for was looked at and has none such."""
    at = case.place_of(case.whose(following))
    known = {link.mac for link in case.recording.links if at and link.place == at}
    octets = case.recording.frames[packet.frame].data[:6]
    to_mac = octets.hex(":")
    to_one = (
        any(octets) and not octets[0] & 1
    )  # all zero: of a link without headers, which a capture makes up
    return to_mac if to_one and any(known) and to_mac not in known else None


def _sender(leg: Leg, packet: Packet) -> str:
    """The place that a packet came from."""
    return next((t.first.place for t in leg.transits if t.last is packet), "its sender")


def _misled(case: Case, stop: Stop) -> Diagnosis | None:
    """A packet that an overlay brought to another node than the one it is for, or whose pod it is for."""
    last = stop.packet
    whose = case.whose(last.flow.destination) if last.encapsulation else None
    if last.encapsulation is None or whose is None or whose.kind not in ("Pod", "Node"):
        return None
    node = whose.details.get("node") if whose.kind == "Pod" else whose.name
    if node in (None, last.place):
        return None
    sender = case.named_address(last.encapsulation.outer_source)
    at = case.place_of(case.whose(last.encapsulation.outer_source)) or last.place
    kind = last.encapsulation.type
    entry, name, command = _ENTRIES[kind]
    text = (
        f"{what(stop)} to {to(last.flow)} ({whose.text}) was sent to {last.place} inside {kind.upper()}, and not to"
        f" {node}: the {entry} of {sender} for {node} is wrong; {last.place} dropped it"
    )
    look = case.inside(at, command)
    remedy = f"lead the entry of {node} to {node}'s own address: {look}"
    return Diagnosis(Failure(at, "misled", text, remedy, f"{name} of {at}"), last)


_ENTRIES = {
    "vxlan": ("forwarding entry (FDB)", "FDB", "bridge fdb show"),
    "ipip": ("route", "routes", "ip route show dev tunl0"),
}
"""What leads packets to a node, by what they are in: in words, for short, and the command that shows it."""


def _no_port(case: Case, packet: Packet, came: str) -> Failure | None:
    """A failure because a rule was to translate the source, which drops what it finds no free port for."""
    steps = case.evidence.steps(packet.place, [packet.flow], None)
    last = next((step for step in reversed(steps) if not step.table.startswith(TRACE_TABLE)), None)
    if last is None or not does(last, SNAT):
        return None
    text = f"{came} and didn't leave it: it was to get another source (`{rule_text(last)}`), and no port was free"
    look = case.inside(packet.place, f"conntrack -L -d {packet.flow.destination}")
    remedy = f"have more ports or addresses to translate to; see who has them: {look}"
    return Failure(packet.place, "no-port", text, remedy, packet.place)


def _swallowed(case: Case, leg: Leg, stop: Stop) -> Diagnosis:
    """A failure because a packet came to a place that was to forward it and didn't."""
    if (misled := _misled(case, stop)) is not None:
        return misled
    last = stop.packet
    flow = case.beyond(last.place, last.flow)
    route = case.route(last.place, flow.destination)
    hop = (route.gateway or flow.destination) if route else flow.destination
    if any(d.target == hop for d in case.undiscovered(last.place)) or _dead(case, last.place, hop, None):
        return _next_hop(case, leg, last.place, flow, last)
    if route is not None and route.error:
        return no_route(case, leg, last.place, flow, None)
    drop = case.some_drop(last.time)
    if case.stopped(last.place) and (drop is None or drop.reason in NOT_FORWARDED):
        return not_forwarded(case, leg, last.place, flow.destination)
    came = f"{what(stop)} to {to(last.flow)} came to {last.place} on {last.interface}"
    off = case.switched_off(last.place, route.interface) if route else None
    if off is not None:
        text = f"{came}, and {off[0]}, which is on its way to {flow.destination}"
        return thrown_away(
            case,
            leg,
            Failure(last.place, "link-down", text, off[1], case.down_name(last.place)),
            last,
            NO_LINK,
        )
    way = case.link(last.place, route.interface) if route else None
    if way is not None and way.up and not way.carrier:
        return _next_hop(case, leg, last.place, flow, last)
    if way is not None and last.length > way.mtu and not last.fragmentable:
        return _too_big_untold(case, leg, last, way, came)
    if (
        drop is not None
        and drop.reason == "NETFILTER_DROP"
        and (full := _no_port(case, last, came)) is not None
    ):
        return Diagnosis(case.with_drop(full, drop), last, drop.time)
    return _dropped(case, leg, last, came, drop)


def _too_big_untold(case: Case, leg: Leg, last: Packet, way: LinkState, came: str) -> Diagnosis:
    """A failure because a packet that may not be fragmented is larger than the next link, and its sender isn't told."""
    wide = _width(case, last)
    size = min(last.length, wide)
    text = (
        f"{came} with {size} bytes that must not be fragmented, too big for {way.name}, which takes"
        f" {way.mtu}; no ICMP message about it was seen on any link, so that {_sender(leg, last)} goes on"
        " sending packets as big"
    )
    wider = case.inside(last.place, f"ip link set {way.name} mtu {wide}")
    rules = case.inside(last.place, "nft list ruleset")
    remedy = f"let ICMP out of {last.place}: {rules}; or make the link as wide: {wider}"
    failure = Failure(last.place, "mtu", text, remedy, f"{way.name} of {last.place}")
    return thrown_away(case, leg, failure, last, TOO_BIG)


def _dropped(case: Case, leg: Leg, last: Packet, came: str, drop: KernelDrop | None) -> Diagnosis:
    """A failure because a packet was dropped by something that only the kernel may have told of."""
    chains = ", ".join(case.evidence.way(last.place, [last.flow]))
    text = f"{came} and didn't leave it" + (f"; it went through the chains {chains}" if chains else "")
    rules = case.inside(last.place, "nft list ruleset")
    failure = Failure(last.place, "dropped", text, f"see its rules: {rules}", last.place)
    if drop is None:
        return Diagnosis(failure)
    if drop.reason in _CHECKSUMS:
        before = next(
            (p for t in leg.transits if t.last is last for p in t.packets[::-1] if p.outgoing), last
        )
        mend = case.inside(before.place, f"ethtool -K {before.interface} tx off")
        failure = replace(
            failure, remedy=f"have the sender work checksums out itself: {mend}; or see the wire"
        )
    return Diagnosis(case.with_drop(failure, drop, _MEANINGS), last, drop.time)
