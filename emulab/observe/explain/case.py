"""One failed request, as the experts look at it: its evidence, and the questions that several of them ask. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from copy import copy
from dataclasses import replace
from ipaddress import ip_address, ip_network

from emulab.dataclass import dataclass
from emulab.model.addresses import parse_address
from emulab.model.families import family_of
from emulab.observe.events import (
    Flow,
    KernelDrop,
    LinkState,
    Recording,
    RouteAnswer,
    ServerRecord,
    is_loopback,
)
from emulab.observe.join.decisions import Decision, Evidence
from emulab.observe.join.dissect import end_name
from emulab.observe.join.flows import NAME_RESOLUTION, Joined, Leg
from emulab.observe.join.packets import Discovery, Packet
from emulab.observe.path import Failure
from emulab.plan.owner import Owner

_SOON, _AT_ONCE = 20_000_000, 2_000_000
"""Nanoseconds: what the kernel drops it has dropped by then. The tracepoint is the whole machine's, so a reason that
nothing else speaks for must come at once, lest strangers be blamed."""

_BEFORE = 5_000_000  # nanoseconds: an ICMP error is sent about when the packet is freed

_SILENT = frozenset({"OTHERHOST", "NOT_SPECIFIED", "CONSUMED", "NOT_DROPPED_YET"})
"""A bridge's flooding, and what says nothing."""

_ALWAYS = frozenset({"TCP_OLD_DATA", "TCP_OLD_SEQUENCE", "TCP_RESET", "SOCKET_FILTER", "IP_OUTNOROUTES"})
"""What goes on wherever there is traffic: no reason for a packet of which nothing else is known."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What an expert found: the failure, and the packet that was thrown away, if that is certain.

    One that was thrown away before it was seen is known by its flow, in one direction of a connection.
    """

    failure: Failure
    packet: Packet | None = None
    time: int = 0  # when it was thrown away, or when that was told
    flow: Flow | None = None
    connection: int = 0
    forward: bool = True
    rule: str = ""  # of nftables, that threw it away


class Case:
    """One request and its evidence, with the questions that several experts ask."""

    def __init__(self, recording: Recording, joined: Joined, evidence: Evidence) -> None:
        self.recording = recording
        self.sending = recording.sending
        self.joined = joined
        self.evidence = evidence
        self.chain = joined.chain()
        self.names = [leg for leg in joined.legs if leg.number == NAME_RESOLUTION]
        self.last: Leg | None = self.chain[-1] if self.chain else None
        self.kinds = {tap.place: tap.kind for tap in recording.taps}
        self.addresses = {tap.place: frozenset(tap.addresses) for tap in recording.taps}

    def about(self, leg: Leg) -> Case:
        """The case of one connection alone, with the same evidence."""
        case = copy(self)
        case.chain, case.last = [leg], leg
        return case

    # --- who and what -------------------------------------------------------------------------------------

    def flow(self, leg: Leg) -> Flow:
        """The leg's flow where it came farthest, else as its sender knows it."""
        return leg.arrived.flow if leg.arrived else next(iter(leg.flows))

    def target(self, leg: Leg) -> Flow:
        """The leg's flow as it was sent."""
        return leg.begun.first.flow if leg.begun else next(iter(leg.flows))

    def owner(self, flow: Flow) -> Owner | None:
        return self.evidence.owner(flow.protocol, flow.destination, flow.destination_port)

    def service(self, leg: Leg) -> Owner | None:
        """The Service that a connection was meant for, also where a node's proxy process stands in between."""
        owner = self.owner(self.target(leg))
        if owner is not None and owner.kind == "Service":
            return owner
        if leg.connect is None or self.kinds.get(leg.connect.place) != "node":
            return None
        before = (other for other in self.joined.chain() if other is not leg and leg.connect in other.records)
        return next((found for other in before if (found := self.service(other))), None)

    def whose(self, address: str) -> Owner | None:
        """The object that has an address."""
        return self.evidence.owner("", address, 0)

    def named(self, place: str) -> str:
        """A place in words: `pod app/web-1`, `node1`."""
        if self.kinds.get(place) == "pod":
            return f"pod {place.replace('.', '/', 1)}"
        return place

    def named_address(self, address: str) -> str:
        """`pod app/web-1 (10.244.1.2)`, or the address alone."""
        owner = self.whose(address)
        return f"{owner.text} ({address})" if owner else address

    def place_of(self, owner: Owner | None) -> str:
        """The place that an owner of an address is; "" for none that was watched."""
        if owner is None or owner.kind in ("Service", "Ingress"):
            return ""
        name = f"{owner.namespace}.{owner.name}" if owner.kind == "Pod" else owner.name
        return name if name in self.kinds else ""

    def inside(self, place: str, command: str) -> str:
        """The command line that runs a command in a place: of a pod in its network, with the rights to change it."""
        return f"emulab exec {place} -- {command}"

    # --- what the servers and the kernel told -------------------------------------------------------------

    def record(self, *events: str) -> ServerRecord | None:
        """The last record of one of these kinds about any of the connections."""
        found = [r for leg in self.chain for r in leg.records if r.fields["event"] in events]
        return max(found, key=lambda r: r.time, default=None)

    def hidden_listener(self, place: str, flow: Flow) -> str:
        """The loopback address that a program of a place listens on at a flow's port; "" where none does."""
        found = (
            one.address
            for one in self.recording.listeners
            if (one.place, one.protocol, one.port) == (place, flow.protocol, flow.destination_port)
        )
        return next((address for address in found if is_loopback(address)), "")

    def drop(self, time: int, reasons: Collection[str]) -> KernelDrop | None:
        """The first drop for one of these reasons right after a time, if the kernel told of one."""
        near = [d for d in self.recording.drops if time <= d.time <= time + _SOON and d.reason in reasons]
        return near[0] if near else None

    def some_drop(self, time: int) -> KernelDrop | None:
        """The drop right after a time, whatever the reason; None as well when there are several reasons."""
        near = [
            d
            for d in self.recording.drops
            if time <= d.time <= time + _AT_ONCE and d.reason not in _SILENT and d.reason not in _ALWAYS
        ]
        return near[0] if len({d.reason for d in near}) == 1 else None

    def with_drop(
        self, failure: Failure, drop: KernelDrop, meanings: Mapping[str, str] | None = None
    ) -> Failure:
        """A failure with the kernel's reason; in words where the reason says more than the failure does."""
        if meanings is None:
            return replace(failure, kernel_reason=drop.reason)
        said = meanings.get(drop.reason, "the kernel dropped it")
        at = f" in {drop.location}" if drop.location else ""
        text = f"{failure.text}: {said} (the kernel's reason: {drop.reason}{at})"
        return replace(failure, text=text, kernel_reason=drop.reason)

    def refusal(self, place: str, leg: Leg) -> Decision | None:
        """The rule that refused a packet of a connection at a place, on its way there or back."""
        return self.evidence.refusal(place, leg.flows, None)

    def fact(self, kind: str, name: str) -> Owner | None:
        """The lab's answer to a question that isn't about an address; see `plan.owners`."""
        return self.recording.owners.get((kind, name, 0))

    def beyond(self, place: str, flow: Flow) -> Flow:
        """A flow as it leaves a place, which may translate it."""
        entry = self.evidence.translation(place, flow)
        return entry.translated if entry is not None and entry.original == flow else flow

    def route(self, place: str, destination: str) -> RouteAnswer | None:
        return self.evidence.route(place, destination)

    def stopped(self, place: str) -> str:
        """The setting of a place by which it sends nothing on that comes to it; "" where it does."""
        return next((r.stopped for r in self.recording.routes if r.place == place and r.stopped), "")

    def undiscovered(self, place: str) -> list[Discovery]:
        """The neighbours that a place asked for, and nobody told it."""
        own = [d for d in self.joined.discoveries if d.place == place]
        answered = {d.sender for d in own if not d.outgoing}
        asked = [d for d in own if d.outgoing and not d.is_reply and d.target not in answered]
        return list({(d.target, d.interface): d for d in asked}.values())

    # --- links --------------------------------------------------------------------------------------------

    def link(self, place: str, name: str) -> LinkState | None:
        return next((x for x in self.recording.links if (x.place, x.name) == (place, name)), None)

    def down(self, place: str, name: str = "") -> LinkState | None:
        """A link of a place that is switched off: the one of this name, or any."""
        return next(
            (
                x
                for x in self.recording.links
                if x.place == place and x.name != "lo" and not x.up and name in ("", x.name)
            ),
            None,
        )

    def down_name(self, place: str) -> str:
        """`LINK of PLACE` for the link that is switched off there."""
        link = self.down(place)
        return f"{link.name} of {self.named(place)}" if link else self.named(place)

    def wanted_route(self, place: str, destination: str) -> str:
        """How to give a place a route to an address: the one that the lab was built with, if there is one."""
        planned = self.fact("place", place)
        routes = planned.details["routes"] if planned else ()
        fitting = [(prefix, c) for prefix, c in routes if ip_address(destination) in ip_network(prefix)]
        best, command = max(fitting, key=lambda f: ip_network(f[0]).prefixlen, default=("", ""))
        learned = [ip_network(n) for n in planned.details.get("learned", ())] if planned else []
        if any(
            ip_address(destination) in n and (not best or ip_network(best).prefixlen < n.prefixlen)
            for n in learned
        ):
            return f"it learns that by BGP; see which session isn't up: {self.inside(place, 'birdc show protocols')}"
        if fitting:
            return f"give it back its route: {self.inside(place, command)}"
        if self.whose(destination) is None and self.fact("pods", destination) is None:
            return self.wanted_address(destination)
        return f"add a route: {self.inside(place, f'{iproute(destination)} route add {destination} via GATEWAY')}"

    def wanted_address(self, address: str) -> str:
        """What to do about an address that nobody has."""
        return f"check the address {address}: emulab get pods,svc,nodes -A -o wide shows those that exist"

    def switched_off(self, place: str, name: str = "") -> tuple[str, str] | None:
        """That a link of a place is switched off, and how to mend it; what went with it included."""
        link = self.down(place, name)
        if link is None:
            return None
        commands = [f"ip link set {link.name} up"]
        planned = self.fact("place", place)
        commands += planned.details["restore"].get(link.name, ()) if planned else ()
        line = commands[0] if len(commands) == 1 else f"sh -c '{' && '.join(commands)}'"
        return f"{link.name} of {self.named(place)} is down", self.inside(place, line)


def iproute(address: str) -> str:
    """The program that shows the routes of an address's family."""
    return family_of(parse_address(address)).iproute


def to(flow: Flow | None) -> str:
    """The end that a flow leads to, as `ADDRESS:PORT`."""
    return end_name(flow.destination, flow.destination_port) if flow else "?"


def last_at(leg: Leg, place: str) -> Packet | None:
    """The last packet that came to a place and didn't leave it."""
    ends = [t.last for t in leg.transits if t.last.place == place]
    return ends[-1] if ends else None


def thrown_away(
    case: Case,
    leg: Leg,
    failure: Failure,
    packet: Packet | None,
    reasons: frozenset[str],
    time: int = 0,
    flow: Flow | None = None,
) -> Diagnosis:
    """A failure at which a packet was thrown away, with the kernel's reason if it is one of these.

    `time` is an ICMP error's, which is proof enough; `flow` is the packet's if it wasn't seen.
    """
    drop = case.drop(packet.time, reasons) if packet is not None else None
    if drop is None and time:
        drop = case.drop(time - _BEFORE, reasons)
    if drop is None:
        return Diagnosis(failure, packet if time else None, time)
    return Diagnosis(case.with_drop(failure, drop), packet, drop.time, flow, leg.number)


Expert = Callable[[Case], Diagnosis | None]
"""Knows why a request failed, or passes."""
