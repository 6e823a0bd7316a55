"""One failed request, as the experts look at it: its evidence, and the questions that several of them ask. Pure."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy

from emulab.observe.decisions import Evidence
from emulab.observe.events import Flow, Owner, Record, Recording
from emulab.observe.flows import Joined, Leg
from emulab.observe.path import Failure

_DROP_WINDOW = 500_000  # ns after a packet's last sighting in which the kernel dropped it, if it did
_NOT_OURS = frozenset({"OTHERHOST", "NOT_SPECIFIED"})  # a bridge's flooding; and what says nothing


class Case:
    """One request and its evidence, with the questions that several experts ask."""

    def __init__(self, recording: Recording, joined: Joined, evidence: Evidence) -> None:
        self.recording = recording
        self.sending = recording.sending
        self.joined = joined
        self.evidence = evidence
        self.chain = joined.chain()
        self.last: Leg | None = self.chain[-1] if self.chain else None

    def about(self, leg: Leg) -> Case:
        """The same evidence, looked at for one connection alone."""
        case = copy(self)
        case.chain, case.last = [leg], leg
        return case

    def flow(self, leg: Leg) -> Flow:
        """The leg's flow where it came farthest, else as its sender knows it."""
        return leg.arrived.flow if leg.arrived else next(iter(leg.flows))

    def target(self, leg: Leg) -> Flow:
        """The leg's flow as it was sent."""
        return leg.begun.first.flow if leg.begun else next(iter(leg.flows))

    def owner(self, flow: Flow) -> Owner | None:
        return self.evidence.owner(flow.protocol, flow.destination, flow.destination_port)

    def text(self, flow: Flow) -> str:
        return self.evidence.text(flow.protocol, flow.destination, flow.destination_port)

    def record(self, *events: str) -> Record | None:
        """The last record of one of these kinds about any of the connections."""
        found = [r for leg in self.chain for r in leg.records if r.fields["event"] in events]
        return found[-1] if found else None

    def kernel_reason(self, after: int) -> str:
        """The kernel's reason for a drop right after this time; "" when it told none."""
        near = [
            d
            for d in self.recording.drops
            if after <= d.time <= after + _DROP_WINDOW and d.reason not in _NOT_OURS
        ]
        return near[0].reason if near else ""

    def reason_at(self, leg: Leg, place: str) -> str:
        """The kernel's reason for a drop right after a leg's first packet came to a place."""
        times = [p.time for t in leg.transits for p in t.packets if p.place == place]
        return self.kernel_reason(times[0]) if times else ""

    def dead_link(self, place: str) -> str | None:
        """`LINK of PLACE is down: how to mend it`, if one is."""
        down = [
            x
            for x in self.recording.links
            if x.place == place and x.name != "lo" and not (x.up and x.carrier)
        ]
        if not down:
            return None
        link = down[0]
        how = f"emulab exec {place} -- ip link set {link.name} up"
        return f"{link.name} of {place} is {'down' if not link.up else 'without carrier'}: {how}"


Expert = Callable[[Case], Failure | None]
"""Knows why a request failed, or passes."""
