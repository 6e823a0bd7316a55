"""What was decided about a packet at a place: translations, refusals, routes, with their evidence. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from emulab.dataclass import dataclass
from emulab.observe.events import Flow, Recording, RouteAnswer, RuleTrace, Translation
from emulab.observe.join.dissect import end_name, ends
from emulab.observe.join.packets import Packet
from emulab.plan.owner import Owner
from emulab.plan.rules.meaning import DNAT, REJECT, SNAT, TRACE_TABLE

_COMMENT = re.compile(r'--comment [^"\s]\S*|comment "(?:[^"\\]|\\.)*"')


@dataclass(frozen=True, slots=True)
class Decision:
    """A hop that is no packet: `event` is dnat, snat or drop, `before` the flow that it was made about."""

    event: str
    place: str
    before: Flow
    detail: str
    object: str = ""
    rule: str = ""
    conntrack: dict[str, str] | None = None
    step: RuleTrace | None = None  # of a drop: the rule at work
    came: Flow | None = None  # of a drop: the flow as it came, before it was translated there


class Evidence:
    """The kernel's decisions of a recording, by place, and whose addresses are whose."""

    def __init__(self, recording: Recording) -> None:
        self._owners = recording.owners
        self._balancers = {tap.place for tap in recording.taps if tap.kind == "balancer"}
        self._rules: dict[str, list[list[RuleTrace]]] = defaultdict(list)  # the steps of each packet
        for packet in _packets(recording.rules):
            self._rules[packet[0].place].append(packet)
        self._translations: dict[str, list[Translation]] = defaultdict(list)
        for found in recording.translations:
            self._translations[found.place].append(found)
        self._virtual_servers = {
            (s.place, s.protocol, s.address, s.port): s.text for s in recording.virtual_servers
        }
        self._routes: dict[tuple[str, str], RouteAnswer] = {
            (r.place, r.destination): r for r in recording.routes
        }

    def owner(self, protocol: str, address: str, port: int) -> Owner | None:
        """Whose address and port this is: a Service's, else whoever has the address."""
        return self._owners.get((protocol, address, port)) or self._owners.get(("", address, 0))

    def text(self, protocol: str, address: str, port: int) -> str:
        """An owner in words, with the address where there is none."""
        found = self.owner(protocol, address, port)
        return found.text if found else end_name(address, port)

    def route(self, place: str, destination: str) -> RouteAnswer | None:
        return self._routes.get((place, destination))

    def route_taken(self, place: str, destination: str, after: Packet | None) -> str:
        """The route by which a packet left, in words, "" where none is known.

        What is asked for is the way of packets without a mark. One that was seen at another balancer than that leads to
        went by a mark of its connection (`plan.balancing.returning`), of which is told what was seen.
        """
        route = self.route(place, destination)
        if route is None or after is None or after.place not in self._balancers:
            return route.text if route else ""
        owner = self.owner("", route.gateway or destination, 0)
        if owner is None or owner.name == after.place or owner.kind in ("LoadBalancer", "Service"):
            return route.text
        return f"by its connection's mark, to {after.place}"

    def translation(self, place: str, flow: Flow) -> Translation | None:
        """The conntrack entry of a flow as it comes to a place or as it leaves it."""
        for found in self._translations[place]:
            if flow in (found.original, found.translated):
                return found
        return None

    def origin(self, place: str, flow: Flow) -> Translation | None:
        """What a flow was at a place before it became what it is."""
        found = (one for one in self._translations[place] if one.translated == flow != one.original)
        return next(found, None)

    def steps(self, place: str, flows: Iterable[Flow], sequence: int | None) -> list[RuleTrace]:
        """The rules that a packet met at a place, also after it was translated; with `sequence`, one TCP packet's."""
        return [step for _, packet in self._met(place, flows, sequence) for step in packet]

    def _met(
        self, place: str, flows: Iterable[Flow], sequence: int | None
    ) -> Iterator[tuple[Flow, list[RuleTrace]]]:
        """The packets that rules were told about, each with that of the flows that it had."""
        wanted = set(flows)
        for packet in self._rules[place]:
            for s in packet:
                if s.flow in wanted and (
                    sequence is None or s.flow.protocol != "tcp" or s.sequence == sequence
                ):
                    yield s.flow, packet
                    break

    def translations_between(self, before: Flow, flow: Flow, packet: Packet) -> list[Decision]:
        """The decisions that turned a flow into another one at the place where the packet was seen."""
        place = packet.place
        sequence = packet.sequence if flow.protocol == "tcp" else None
        steps = self.steps(place, (before, flow, half(before, flow)), sequence)
        begun = (one for one in self._translations[place] if one.original == before)
        entry = next(begun, None) or self.translation(place, before) or self.translation(place, flow)
        conntrack = _shown(entry) if entry else None
        decisions = []
        if (before.destination, before.destination_port) != (flow.destination, flow.destination_port):
            old = end_name(before.destination, before.destination_port)
            new = end_name(flow.destination, flow.destination_port)
            stands_for = (
                f"{self.text(flow.protocol, before.destination, before.destination_port)} → "
                f"{self.text(flow.protocol, flow.destination, flow.destination_port)}"
            )
            named = (place, before.protocol, before.destination, before.destination_port)
            rule = _rule(steps, DNAT) or self._virtual_servers.get(named, "")
            detail = f"destination {old} → {new}"
            decisions.append(Decision("dnat", place, before, detail, stands_for, rule, conntrack))
        if (before.source, before.source_port) != (flow.source, flow.source_port):
            old = end_name(before.source, before.source_port)
            new = end_name(flow.source, flow.source_port)
            rule = _rule(steps, SNAT)
            stands_for = f"{self.text('', before.source, 0)} → {self.text('', flow.source, 0)}"
            detail = f"source {old} → {new}"
            decisions.append(Decision("snat", place, before, detail, stands_for, rule, conntrack))
        return decisions

    def refusal(self, place: str, flows: Iterable[Flow], sequence: int | None) -> Decision | None:
        """The rule that refused a packet at a place, if one did."""
        for flow, step in ((f, s) for f, packet in self._met(place, flows, sequence) for s in packet):
            if step.flow is None or (step.verdict != "drop" and not is_rejection(step)):
                continue
            word = "rejected" if is_rejection(step) else "dropped"
            stands_for = self.text(step.flow.protocol, step.flow.destination, step.flow.destination_port)
            where = f"chain {step.chain} of table {step.family} {step.table}"
            detail = f"{word} by {'the policy of ' if step.kind == 'policy' else ''}{where}"
            return Decision(
                "drop", place, step.flow, detail, stands_for, rule_text(step), step=step, came=flow
            )
        return None

    def way(self, place: str, flows: Iterable[Flow]) -> list[str]:
        """The chains that a packet went through at a place, in order, each once."""
        steps = (s for s in self.steps(place, flows, None) if not s.table.startswith(TRACE_TABLE))
        return list(dict.fromkeys(s.chain for s in steps))


def _packets(steps: Iterable[RuleTrace]) -> list[list[RuleTrace]]:
    """The steps of rules, packet by packet. A packet's number is used again, and its addresses change on its way."""
    found: list[list[RuleTrace]] = []
    open_: dict[tuple[str, int], list[RuleTrace]] = {}
    for step in steps:
        packet = open_.get((step.place, step.trace_id))
        if packet is None or not _is_same(packet[-1], step):
            packet = open_[step.place, step.trace_id] = []
            found.append(packet)
        packet.append(step)
    return found


def _is_same(before: RuleTrace, after: RuleTrace) -> bool:
    """Whether two steps with one number can be those of one packet: one end of it is translated at a time."""
    one, other = before.flow, after.flow
    if one is None or other is None or one.protocol != other.protocol or before.sequence != after.sequence:
        return one == other
    return one[1:3] == other[1:3] or one[3:5] == other[3:5]


def untold(decisions: Iterable[Decision], told: set[tuple[str, str]]) -> list[Decision]:
    """The decisions that weren't told yet of a connection; they count as told from now on."""
    fresh = [d for d in decisions if (d.event, d.place) not in told]
    told.update((d.event, d.place) for d in fresh)
    return fresh


def rule_text(step: RuleTrace) -> str:
    """A step's rule with where it stands: `ip kube-proxy cluster-tcp-3: dnat ip to …`."""
    where = f"{step.family} {step.table} {step.chain}"
    return f"{where}: {step.rule or f'policy {step.verdict}'}"


def is_rejection(step: RuleTrace) -> bool:
    """Whether a rule refuses packets and says so to their sender."""
    return step.final and does(step, REJECT)


_STATEMENTS = {DNAT: ("dnat", "redirect"), SNAT: ("masquerade", "snat"), REJECT: ("reject",)}
"""What somebody else's rules do, by the statements that say it in nft's words or, in capitals, in iptables'."""


def does(step: RuleTrace, what: str) -> bool:
    """Whether a rule does this to packets: as it was planned to, or, of somebody else's, as its text has it."""
    if step.meaning is not None:
        return step.meaning.does == what
    rule = _COMMENT.sub("", step.rule)  # names of Services are in them
    return any(word in rule or word.upper() in rule for word in _STATEMENTS[what])


def _rule(steps: list[RuleTrace], what: str) -> str:
    return next((rule_text(s) for s in steps if s.final and does(s, what)), "")


def half(before: Flow, after: Flow) -> Flow:
    """The flow after the destination was translated and before the source is."""
    return before.towards(after)


def _shown(entry: Translation) -> dict[str, str]:
    return {"before": ends(entry.original), "after": ends(entry.translated), "answers": ends(entry.reply)}
