"""Refusals that a rule, a Service or a closed port stands for. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from emulab.kinds.installed import API_NAMESPACE, API_SERVICE
from emulab.model.addresses import parse_address, socket_name
from emulab.model.families import family_of
from emulab.observe.events import Flow, RuleTrace, is_loopback
from emulab.observe.explain.case import Case, Diagnosis, to
from emulab.observe.explain.progress import arrived, reset, was_kept
from emulab.observe.join.decisions import Decision, is_rejection
from emulab.observe.join.flows import Leg
from emulab.observe.join.packets import SYN, Packet
from emulab.observe.path import Failure
from emulab.plan.owner import Owner
from emulab.plan.proxy.meanings import CLUSTER_IP, KUBE_PROXY, SOURCE_RANGES

_NODE_PORTS = range(30000, 32768)
_ELSEWHERE = "ask the node's own address, or another node's: emulab get nodes -o wide"
_FIREWALL = frozenset({"NETFILTER_DROP"})
_COUNTED = re.compile(r" packets \d+ bytes \d+")
_CLOSED = frozenset({"NO_SOCKET"})


def ruled_out(case: Case) -> Diagnosis | None:
    """A failure because a rule refused a packet."""
    leg = case.last
    if leg is None:
        return None
    sender = leg.connect.place if leg.connect else case.sending.place
    for place in dict.fromkeys([*(p.place for t in leg.transits for p in t.packets), sender]):
        refusal = case.refusal(place, leg)
        if refusal is None:
            continue
        packet = _refused_packet(leg, place, refusal)
        drop = case.drop(packet.time, _FIREWALL) if packet else None
        failure = (
            _by_service(case, place, refusal)
            or _by_asking(case, place, refusal)
            or _by_rule(case, leg, place, refusal)
        )
        failure = case.with_drop(failure, drop) if drop else failure
        time = packet.time if packet else max((t.last.time for t in leg.transits), default=case.sending.begun)
        forward = _forward(leg, refusal)
        return Diagnosis(failure, packet, time, refusal.before, leg.number, forward, refusal.rule)
    return None


def _refused_packet(leg: Leg, place: str, refusal: Decision) -> Packet | None:
    """The last sighting of a packet that a rule refused."""
    forward = _forward(leg, refusal)
    ends = [
        t.last for t in leg.transits if t.forward == forward and t.last.place == place and not t.last.outgoing
    ]
    return ends[0] if ends else None


def _forward(leg: Leg, refusal: Decision) -> bool:
    """Whether what a rule refused was on its way there, and not back."""
    return leg.flows.get(refusal.came or refusal.before, True)


def _by_service(case: Case, place: str, refusal: Decision) -> Failure | None:
    """A refusal of kube-proxy's, which stands for a Service that can't serve, or won't."""
    step = refusal.step
    if step is None or step.meaning is None or step.meaning.component != KUBE_PROXY:
        return None
    flow = refusal.before
    owner = case.owner(flow)
    then = f"{place} {'refused' if is_rejection(step) else 'dropped'} it"
    if is_loopback(flow.destination):
        text = f"Services aren't served at {to(flow)}: node ports aren't open on loopback; {then}"
        return Failure(place, "closed-port", text, _ELSEWHERE, case.named(place))
    if owner is not None and owner.kind == "Service":
        if step.meaning.field == SOURCE_RANGES and owner.details.get("source_ranges"):
            name = f"Service {owner.namespace}/{owner.name}"
            return shut_out(case, place, flow.source, name, owner.details["source_ranges"])
        return no_endpoints(owner, then, place) or _no_local(owner, then, place)
    if owner is None and step.meaning.field == CLUSTER_IP:
        text = f"no Service has the address {flow.destination}; {place} dropped the packet"
        remedy = "see which there are: emulab get svc -A"
        return Failure(place, "no-such-service", text, remedy, flow.destination)
    return None


def _by_asking(case: Case, place: str, refusal: Decision) -> Failure | None:
    """A refusal by a rule that says which field of which object asks for it, or how it is mended."""
    step, flow = refusal.step, refusal.before
    if step is None or step.meaning is None or step.meaning.component == KUBE_PROXY:
        return None
    component, _, field, owner, remedy = step.meaning
    if not owner or not (field or remedy):
        return None
    did = "rejected" if is_rejection(step) else "dropped"
    why = f"{field} of {owner} asks for it" if field else remedy
    who, whom = case.named_address(flow.source), _end(case, flow)
    text = f"the {component} {place} {did} the packet from {who} to {whom}: {why}"
    reason = "acl" if field.endswith("sourceRanges") else "rule"
    change = f"change {field} of {owner}" if field else f"see why: emulab describe {owner}"
    return Failure(place, reason, text, remedy if field and remedy else change, owner)


def shut_out(case: Case, place: str, client: str, name: str, ranges: Iterable[object]) -> Failure:
    """A client that the source ranges of a LoadBalancer, or of a Service of that type, don't let in."""
    field = "spec.sourceRanges" if name.startswith("LoadBalancer") else "spec.loadBalancerSourceRanges"
    allowed = ", ".join(map(str, ranges))
    text = f"{place} refused {case.named_address(client)}: {field} of {name} allows {allowed} alone"
    own = family_of(parse_address(client)).host(parse_address(client))
    return Failure(place, "acl", text, f"add {own} to {field} of {name}", name)


def _no_local(service: Owner, then: str, place: str) -> Failure | None:
    """A Service that has endpoints, and none on the node that its policy binds it to."""
    policy, nodes = service.details.get("local_policy"), service.details.get("local_nodes") or ()
    if not policy or place in nodes:
        return None
    name, others = f"Service {service.namespace}/{service.name}", ", ".join(nodes)
    text = f"{service.text} has no endpoint on {place}, and its {policy} is Local; {then}"
    other = f"ask a node that has one ({others})" if policy.startswith("ext") else f"ask from {others}"
    remedy = f"{other}, run a pod of it on {place} too, or set spec.{policy} of {name} to Cluster"
    return Failure(place, "no-local-endpoints", text, remedy, service.text)


def _by_rule(case: Case, leg: Leg, place: str, refusal: Decision) -> Failure:
    """A refusal of anybody's rule."""
    step, flow = refusal.step, refusal.before
    assert step is not None
    rule = _COUNTED.sub("", step.rule)
    by = (
        f"the policy of chain {step.chain}"
        if step.kind == "policy"
        else f"the rule `{rule}` in chain {step.chain}"
    )
    packet = "the packet" if _forward(leg, refusal) else "the answer"
    did = "rejected" if is_rejection(step) else "dropped"
    text = (
        f"{by} of table {step.family} {step.table} in {case.named(place)} {did}"
        f" {packet} from {case.named_address(flow.source)} to {_end(case, flow)}"
    )
    return Failure(place, "rule", text, f"take it away: {case.inside(place, _undo(step))}", refusal.object)


def _end(case: Case, flow: Flow) -> str:
    """Where a flow leads, with whose that is."""
    owner = case.owner(flow)
    return f"{to(flow)} ({owner.text})" if owner else to(flow)


def _undo(step: RuleTrace) -> str:
    chain = f"{step.family} {step.table} {step.chain}"
    if step.kind == "policy":
        return f"nft 'chain {chain} {{ policy accept; }}'"
    return f"nft delete rule {chain} handle {step.handle}"


def no_endpoints(service: Owner, then: str, place: str) -> Failure | None:
    """What a Service lacks, if it does; `then` is what that led to, at `place`."""
    details, name = service.details, f"{service.namespace}/{service.name}"
    after = f"; {then}" if then else ""
    if details.get("missing"):
        text, remedy = (
            f"there is no {service.text}{after}",
            f"apply a Service {name}, or name one that exists: emulab get svc -A",
        )
        return Failure(place, "no-such-service", text, remedy, service.text)
    if details.get("unknown_port"):
        return no_such_port(service, then, place)
    if details.get("endpoints") or "endpoints" not in details:
        return None
    why, remedy = _lacking(service, name)
    return Failure(
        place, "no-endpoints", f"{service.text} has no endpoints: {why}{after}", remedy, service.text
    )


def no_such_port(service: Owner, then: str, place: str) -> Failure | None:
    """A Service that hasn't the port that was asked for; `then` is what that led to, at `place`."""
    details, name = service.details, f"Service {service.namespace}/{service.name}"
    if not details.get("unknown_port"):
        return None
    ports = ", ".join(map(str, details.get("ports") or ())) or "none"
    text = f"{name} has no port {details['unknown_port']}" + (f"; {then}" if then else "")
    remedy = f"use one of its ports ({ports}), or add it to spec.ports of {name}"
    return Failure(place, "no-such-port", text, remedy, service.text)


def _lacking(service: Owner, name: str) -> tuple[str, str]:
    """Why a Service has no endpoints, and how it gets some."""
    details, space = service.details, f"-n {service.namespace}"
    selector = details.get("selector") or {}
    shown = ",".join(f"{k}={v}" for k, v in selector.items())
    pods, ready = int(details.get("pods") or 0), int(details.get("ready") or 0)
    names = details.get("names") or [""]
    if not selector:
        return (
            "it has no selector, and no EndpointSlice is for it",
            f"apply an EndpointSlice for Service {name}",
        )
    if details.get("idle"):
        kind, _, workload = str(details["idle"]).partition("/")
        remedy = f"emulab scale {kind.lower()}/{workload} --replicas 1 {space}"
        return f"{kind} {service.namespace}/{workload}, whose pods it selects, has 0 replicas", remedy
    if not pods:
        remedy = f"give pods these labels, or correct spec.selector of Service {name}"
        remedy += f": emulab get pods {space} -o yaml"
        return f"0 pods match its selector {shown}", remedy
    match = f"{pods} pod{'s match' if pods > 1 else ' matches'} its selector {shown}"
    if not ready:
        none = "and it isn't" if pods == 1 else "and none is"
        remedy = f"see why: emulab describe pod {names[0]} {space}"
        return f"{match}, {none} Ready ({', '.join(names[:3])})", remedy
    has = ", ".join(details.get("pod_ports") or ()) or "none"
    remedy = f"correct spec.ports[{details.get('index', 0)}].targetPort of Service {name}: the pods' ports are {has}"
    lacks = f"but none has its targetPort {details.get('target_port')}"
    return f"{match} and {ready} {'is' if ready == 1 else 'are'} Ready, {lacks}", remedy


def refused(case: Case) -> Diagnosis | None:
    """A reset or a port unreachable from where the packet was meant for: nobody listens there."""
    leg = case.last
    if leg is None:
        return None
    if was_kept(leg) or any(not t.forward and t.first.flags & SYN for t in leg.transits):
        return None  # it was open once; this is another story
    answer = reset(leg) or next((t for t in leg.errors if t.first.icmp == (3, 3)), None)
    meant = next((t for t in leg.transits if t.forward and arrived(case, leg, t)), None)
    if answer is None or (meant is not None and meant.last.place != answer.first.place):
        return None
    origin, flow = answer.first, case.flow(leg)
    if meant is None:
        said = "a reset" if answer.first.icmp is None else "ICMP port unreachable"
        text = f"{case.named(origin.place)} answered with {said} for {to(flow)} and didn't pass the packet on"
        remedy = f"see its rules: {case.inside(origin.place, 'nft list ruleset')}"
        return Diagnosis(Failure(origin.place, "refused", text, remedy, case.named(origin.place)))
    packet = meant.last
    if case.drop(packet.time, _FIREWALL) and not case.drop(packet.time, _CLOSED):
        text = f"a rule of the firewall in {case.named(origin.place)} rejected the packet to {to(flow)}"
        remedy = f"see its rules: {case.inside(origin.place, 'nft list ruleset')}"
        failure = Failure(origin.place, "rule", text, remedy, case.named(origin.place), "NETFILTER_DROP")
        return Diagnosis(failure, packet, packet.time)
    text, remedy, stands_for = _closed(case, leg, packet, flow)
    drop = case.drop(packet.time, _CLOSED)
    failure = Failure(origin.place, "closed-port", text, remedy, stands_for)
    return Diagnosis(
        case.with_drop(failure, drop) if drop else failure, packet, drop.time if drop else origin.time
    )


def _closed(case: Case, leg: Leg, packet: Packet, flow: Flow) -> tuple[str, str, str]:
    """Text, remedy and object of a port on which nobody listens."""
    place, owner = packet.place, case.whose(flow.destination)
    listing = case.inside(place, "ss -ltn" if flow.protocol == "tcp" else "ss -lun")
    stands_for = owner.text if owner else case.named(place)
    text = f"nothing listens on {flow.protocol} {to(flow)} in {stands_for}"
    if hidden := case.hidden_listener(place, flow):
        text = f"{text}, but a program does on {socket_name(hidden, flow.destination_port)} alone"
        everywhere = family_of(parse_address(flow.destination)).any
        remedy = (
            f"have it listen on {everywhere}, which is every address: what is on loopback nobody else reaches"
        )
        return text, remedy, stands_for
    service = case.service(leg)
    if owner is not None and owner.kind == "LoadBalancer":
        ports = list(map(str, owner.details.get("ports") or ()))
        if {str(flow.destination_port), f"{flow.destination_port}/{flow.protocol.upper()}"} & {*ports}:
            family = family_of(parse_address(flow.destination))
            return (
                f"{text} in {family}, of which the Service behind it has no address",
                "ask by its other address, or give that Service ipFamilyPolicy: PreferDualStack",
                owner.text,
            )
        return (
            f"{text}: its ports are {', '.join(ports)}",
            f"add {flow.destination_port} to spec.ports of LoadBalancer {owner.name}",
            owner.text,
        )
    if service is not None and (service.namespace, service.name) == (API_NAMESPACE, API_SERVICE):
        remedy = "programs that need the API do without it here; `emulab get` and `emulab apply` know a lab's objects"
        return f"{text}: a lab has no Kubernetes API server", remedy, service.text
    if case.kinds.get(place) == "node" and flow.destination_port in _NODE_PORTS:
        if is_loopback(flow.destination):
            return f"{text}, as node ports aren't open on loopback", _ELSEWHERE, stands_for
        text += f", and no Service has the node port {flow.destination_port}/{flow.protocol.upper()}"
        return text, "see which there are: emulab get svc -A", stands_for
    if service is not None and case.kinds.get(place) == "pod":
        text += f", to which {service.text} leads"
        remedy = (
            f"correct spec.ports[{service.details.get('index', 0)}].targetPort of Service"
            f" {service.namespace}/{service.name}, or make the pod listen there: {listing}"
        )
        return text, remedy, stands_for
    return text, f"see what listens there: {listing}", stands_for
