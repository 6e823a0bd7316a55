"""Refusals that a rule, a Service or a closed port stands for. Pure."""

from __future__ import annotations

from emulab.observe.case import Case
from emulab.observe.dissect import endpoints
from emulab.observe.events import Flow, Owner
from emulab.observe.flows import Leg
from emulab.observe.packets import ACK, RST, SYN
from emulab.observe.path import Failure


def ruled_out(case: Case) -> Failure | None:
    """A rule of nftables refused a packet."""
    for leg in reversed(case.chain):
        flows = [f for f, forward in leg.flows.items() if forward]
        for place in dict.fromkeys([*(p.place for t in leg.transits for p in t.packets), case.sending.place]):
            refusal = case.evidence.refusal(place, flows, None)
            if refusal is None:
                continue
            owner = case.owner(refusal.before)
            if owner is not None and owner.kind == "Service":
                found = no_endpoints(place, owner, refusal.rule)
                if found is not None:
                    return found
            to = endpoints(refusal.before.destination, refusal.before.destination_port)
            text = f"{place} {refusal.detail}: packets to {to}"
            remedy = f"the rule is: {refusal.rule}"
            return Failure(place, "rule", text, remedy, refusal.object, case.reason_at(leg, place))
    return None


def no_endpoints(place: str, service: Owner, rule: str = "") -> Failure | None:
    """A Service with nobody behind it."""
    details = service.details
    if details.get("endpoints"):
        return None
    name = f"{service.namespace}/{service.name}"
    if details.get("unknown_port"):
        ports = ", ".join(map(str, details.get("ports") or ())) or "none"
        text = f"{place} refused it: Service {name} has no port {details['unknown_port']}"
        return Failure(place, "no-such-port", text, f"its ports are {ports}", service.text)
    selector = details.get("selector") or {}
    shown = ",".join(f"{k}={v}" for k, v in selector.items())
    pods, ready = int(details.get("pods") or 0), int(details.get("ready") or 0)
    if not selector:
        why, remedy = "it has no selector and no EndpointSlice", f"apply an EndpointSlice for Service {name}"
    elif not pods:
        why = f"no pod has the labels {shown}"
        remedy = (
            f"compare: emulab get pods -n {service.namespace} --show-labels, and scale the workload"
            " if there are none"
        )
    elif not ready:
        why = f"{'none' if pods > 1 else 'the one'} of the {pods} pods with labels {shown} is Ready"
        remedy = f"see why: emulab describe pod -n {service.namespace} {(details.get('names') or [''])[0]}".rstrip()
    else:
        why, remedy = (
            "no Ready pod has its target port",
            "compare spec.ports[].targetPort with the pods' ports",
        )
    text = f"{service.text} has no endpoints: {why}" + (f"; {place} refused the connection" if place else "")
    return Failure(place, "no-endpoints", text, remedy, service.text)


def refused(case: Case) -> Failure | None:
    """A reset or a port unreachable from where the packet was meant for: nobody listens there."""
    leg = case.last
    if leg is None or leg.begun is None:
        return None
    resets = [t for t in leg.transits if not t.forward and t.first.flags & RST and t.first.flags & ACK]
    closed = [t for t in leg.errors if t.first.icmp == (3, 3)]
    for transit in (*resets, *closed):
        origin = transit.first
        if any(not t.forward and t.first.flags & SYN for t in leg.transits):
            continue  # it was open once; this is another story
        flow = case.flow(leg)
        pod = case.evidence.owner("", flow.destination, 0)
        stands_for = pod.text if pod else origin.place
        to = endpoints(flow.destination, flow.destination_port)
        text = f"nothing listens on {flow.protocol} {to} in {stands_for}"
        remedy = _listening(case, leg, flow, pod)
        reason = case.kernel_reason(leg.arrived.time) if leg.arrived else ""
        return Failure(origin.place, "closed-port", text, remedy, stands_for, reason)
    return None


def _listening(case: Case, leg: Leg, flow: Flow, pod: Owner | None) -> str:
    service = case.owner(case.target(leg))
    if pod is not None and pod.kind == "Pod":
        see = f"emulab exec -n {pod.namespace} pod/{pod.name} -- ss -ltnu"
        if service is not None and service.kind == "Service":
            name = f"{service.namespace}/{service.name}"
            return f"compare targetPort of Service {name} with what the pod listens on: {see}"
        return f"see what it listens on: {see}"
    return f"see what listens there: emulab exec {leg.arrived.place if leg.arrived else ''} -- ss -ltnu"
