"""Packets that had no way, or a wrong one. Pure."""

from __future__ import annotations

import errno
import os

from emulab.observe.events import Flow, RouteAnswer
from emulab.observe.explain.case import Case, Diagnosis, iproute, last_at, thrown_away, to
from emulab.observe.explain.refusals import no_such_port
from emulab.observe.join.dissect import end_name
from emulab.observe.join.flows import Leg
from emulab.observe.join.packets import Packet
from emulab.observe.path import Failure

NO_ROUTE = frozenset({"IP_INNOROUTES", "IP_OUTNOROUTES"})
NOT_FORWARDED = NO_ROUTE | {"IP_INADDRERRORS"}
"""Also what a kernel says of a packet that isn't for it, where it sends nothing on (`ip_error`)."""
RP_FILTER = frozenset({"IP_RPFILTER"})
TOO_OLD = frozenset({"IP_INHDR"})
_NO_WAY = {
    errno.ENETUNREACH: "has no route to",
    errno.EHOSTUNREACH: "can't reach",
    errno.EACCES: "may not send to",
    errno.EADDRNOTAVAIL: "has no address of its own to send from to",
}
_FORBIDDING = frozenset({errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL})
_TABLE = {
    errno.ENETUNREACH: "has no route to",
    errno.EHOSTUNREACH: "has a route that says `unreachable` to",
    errno.EACCES: "has a route that says `prohibit` to",
    errno.EINVAL: "has a route that says `blackhole` to",
}


def unroutable(case: Case) -> Diagnosis | None:
    """A failure because the sender's kernel knew no way."""
    sending, leg = case.sending, case.last
    if sending.error != "connect" or sending.errno not in _NO_WAY or leg is None or leg.transits:
        return None
    place = sending.place
    route = case.route(place, sending.address)
    if sending.errno == errno.EHOSTUNREACH and (route is None or not route.error):
        return None  # there is a way, but nobody at its end
    words = _NO_WAY[sending.errno]
    text = (
        f"{case.named(place)} {words} {end_name(sending.address, sending.port)}: {os.strerror(sending.errno)}"
    )
    off = case.switched_off(place)
    if off is not None:
        return Diagnosis(Failure(place, "link-down", f"{text}; {off[0]}", off[1], case.down_name(place)))
    remedy = case.wanted_route(place, sending.address)
    return Diagnosis(Failure(place, "no-route", text, remedy, case.named(place)))


def no_route(case: Case, leg: Leg, place: str, about: Flow | None, origin: Packet | None) -> Diagnosis:
    """A place whose routing table has nothing for the packet, or forbids it."""
    destination = about.destination if about else case.flow(leg).destination
    route = case.route(place, destination)
    if route is not None and route.error == errno.EHOSTUNREACH and case.stopped(place):
        return not_forwarded(case, leg, place, destination, origin.time if origin else 0)
    if route is not None and route.error == errno.EXDEV:
        return _another_way_back(case, leg, place, about or case.flow(leg), route, origin)
    words = _TABLE.get(route.error if route else errno.ENETUNREACH, "has no route to")
    text = f"{place} {words} {destination}"
    packet = last_at(leg, place)
    remedy = case.wanted_route(place, destination)
    owner = case.owner(about or case.flow(leg))
    unknown = no_such_port(owner, f"no rule took the packet, and {text}", place) if owner else None
    if unknown is not None:
        return thrown_away(case, leg, unknown, packet, NO_ROUTE, origin.time if origin else 0)
    if route is not None and route.error in _FORBIDDING:
        shown = case.inside(place, f"{iproute(destination)} route show match {destination}")
        remedy = f"find that route and take it away: {shown}, then {iproute(destination)} route del"
    elif case.whose(destination) is None:
        text += ": nobody in the lab has that address"
    before = _by_default(case, leg, destination, place)
    if before is not None:
        text = f"{text}; {before[0]}"
        remedy = before[1]
    failure = Failure(place, "no-route", text, remedy, place)
    return thrown_away(case, leg, failure, packet, NO_ROUTE, origin.time if origin else 0)


def _another_way_back(
    case: Case, leg: Leg, place: str, about: Flow, route: RouteAnswer, origin: Packet | None
) -> Diagnosis:
    """A place that filters reverse paths, and would answer over another link than the packet came by."""
    text = f"{place} dropped the packet to {to(about)} (rp_filter is 1): it came from {about.source} on {route.text}"
    link = route.text.partition(",")[0]
    loose = case.inside(place, f"sysctl -w net.ipv4.conf.{link}.rp_filter=2")
    back = case.inside(place, f"ip route get {about.source}")
    remedy = f"lead the way back over {link}: {back}; or filter loosely: {loose}"
    failure = Failure(place, "reverse-path", text, remedy, f"rp_filter of {place}")
    return thrown_away(case, leg, failure, last_at(leg, place), RP_FILTER, origin.time if origin else 0)


def not_forwarded(case: Case, leg: Leg, place: str, destination: str, time: int = 0) -> Diagnosis:
    """A place that is to send packets on and is set not to. The kernel answers it as it does a missing neighbour."""
    setting = case.stopped(place)
    text = f"{place} sends no packets on, so what is for {destination} stays there: {setting} is 0"
    failure = Failure(place, "no-forwarding", text, case.inside(place, f"sysctl -w {setting}=1"), place)
    return thrown_away(case, leg, failure, last_at(leg, place), NOT_FORWARDED, time)


def _by_default(case: Case, leg: Leg, destination: str, end: str) -> tuple[str, str] | None:
    """That a node sent a packet for a pod out of the cluster, for want of a better route, and how to mend it."""
    for transit in leg.transits:
        if not transit.forward or transit.last.place != end:
            continue
        passed = dict.fromkeys(p.place for p in transit.packets if case.kinds.get(p.place) == "node")
        for place in reversed(passed):
            route = case.route(place, destination)
            if route is None or route.prefix != "default":
                continue
            sent = f"{place} had sent the packet there by its default route (`{route.text}`)"
            owner, where = case.whose(destination), case.fact("pods", destination)
            if owner is not None and owner.kind == "Pod":
                node = owner.details.get("node") or "its node"
                return f"{sent}, as it has no route to {owner.text} on {node}", case.wanted_route(
                    place, destination
                )
            if where is not None:
                return (
                    f"{sent}, as no pod has it; it is one of the addresses of {where.text}",
                    case.wanted_address(destination),
                )
    return None


def loop(case: Case, leg: Leg, origin: Packet, about: Flow | None) -> Diagnosis:
    """A failure because the time to live ran out."""
    rounds = max((t for t in leg.transits if t.forward), key=lambda t: len(t.packets))
    places = [p.place for p in rounds.packets if not p.outgoing]
    circle = list(dict.fromkeys(p for p in places if places.count(p) > 1))
    if about is None or not circle:
        text = f"the packet to {to(about)} had no time to live left when it came to {origin.place}"
        remedy = f"see: {case.inside(origin.place, f'{iproute(origin.flow.source)} route')}"
        return thrown_away(
            case,
            leg,
            Failure(origin.place, "loop", text, remedy, origin.place),
            rounds.last,
            TOO_OLD,
            origin.time,
        )
    ways = []
    for place in circle:
        route = case.route(place, about.destination)
        ways.append(f"{place} sends it by `{route.text}`" if route else f"{place} sends it on")
    text = (
        f"the packet to {to(about)} went round in a circle, {' → '.join([*circle, circle[0]])}, until"
        f" {origin.place} discarded it (TTL exceeded): {', '.join(ways)}"
    )
    wrong = next(
        (r for p in circle if (r := case.route(p, about.destination)) and r.prefix != "default"), None
    )
    ip = iproute(about.destination)
    remedy = f"correct the routes: {case.inside(origin.place, f'{ip} route')}"
    if wrong is not None:
        remedy = f"take the wrong route away: {case.inside(wrong.place, f'{ip} route del {wrong.prefix}')}"
    failure = Failure(origin.place, "loop", text, remedy, " → ".join(circle))
    return thrown_away(case, leg, failure, rounds.last, TOO_OLD, origin.time)
