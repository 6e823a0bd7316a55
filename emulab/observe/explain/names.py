"""Names that didn't resolve: who was asked for what, and what came of it. Pure."""

from __future__ import annotations

from dataclasses import replace

from emulab.model.addresses import is_address
from emulab.observe.explain.case import Case, Diagnosis, Expert
from emulab.observe.explain.refusals import refused, ruled_out
from emulab.observe.explain.unreached import icmp, silence
from emulab.observe.join.dissect import describe_dns
from emulab.observe.join.flows import Leg
from emulab.observe.path import Failure

_ASKING: tuple[Expert, ...] = (ruled_out, refused, icmp, silence)


def unresolved(case: Case) -> Diagnosis | None:
    """A failure because the name didn't resolve."""
    if case.sending.error != "name":
        return None
    asked = [leg for leg in case.names if leg.begun and leg.begun.first.place == case.sending.place]
    if not asked:
        return _not_asked(case)
    answers = [(leg, _answer(leg)) for leg in asked]
    for leg, answer in reversed(answers):
        if not answer:
            return _unanswered(case, leg, "")
        if "SERVFAIL" in answer:
            return _server_failed(case, leg)
    return _no_address(case, [(leg, answer) for leg, answer in answers if answer])


def _answer(leg: Leg) -> str:
    """What a name server said: `DNS A name: NXDOMAIN`; "" when it said nothing."""
    back = [t.first for t in leg.transits if not t.forward]
    if leg.begun is None or not any(
        p.place == leg.begun.first.place for t in leg.transits if not t.forward for p in t.packets
    ):
        return ""
    return next((said for p in back if (said := describe_dns(p.payload))), "")


def _not_asked(case: Case) -> Diagnosis:
    """A failure because no question left the sender."""
    sending, place = case.sending, case.sending.place
    text = f"{sending.host} was not resolved: {sending.reason}; no question left {case.named(place)}"
    off = case.switched_off(place)
    if off is not None:
        return Diagnosis(Failure(place, "link-down", f"{text}: {off[0]}", off[1], case.down_name(place)))
    server = next(filter(is_address, sending.reason.replace(",", " ").split()), None)
    if server is not None and "unreachable" in sending.reason:
        return Diagnosis(
            Failure(place, "no-route", text, case.wanted_route(place, server), case.named(place))
        )
    remedy = (
        f"see whom it asks, and whether there is a way to it: {case.inside(place, 'cat /etc/resolv.conf')}"
    )
    return Diagnosis(Failure(place, "no-name-server", text, remedy, case.named(place)))


def _unanswered(case: Case, leg: Leg, before: str) -> Diagnosis:
    """A question without an answer fails as any other packet does."""
    sending = case.sending
    beyond = case.about(leg)
    for expert in _ASKING:
        found = expert(beyond)
        if found is not None:
            text = f"{sending.host} was not resolved: {before}{found.failure.text}"
            return replace(found, failure=replace(found.failure, text=text))
    server = _server(case, leg)
    text = f"{sending.host} was not resolved: {before}{server} got the question and didn't answer it"
    place = leg.arrived.place if leg.arrived else sending.place
    remedy = f"see whether a name server runs there: {case.inside(place, 'ss -lun')}"
    return Diagnosis(Failure(place, "no-name-answer", text, remedy, server))


def _server_failed(case: Case, leg: Leg) -> Diagnosis:
    """A name server that said it couldn't find out: whom it asked in vain says why."""
    server = _server(case, leg)
    said = f"{server} answered SERVFAIL, because "
    beyond = [other for other in case.names if other.begun and other.begun.first.place != case.sending.place]
    for other in reversed(beyond):
        if not _answer(other):
            return _unanswered(case, other, said)
    text = f"{case.sending.host} was not resolved: {server} answered SERVFAIL"
    place = leg.arrived.place if leg.arrived else case.sending.place
    remedy = f"see whom it asks: {case.inside(place, 'cat /etc/resolv.conf')}"
    return Diagnosis(Failure(place, "servfail", text, remedy, server))


def _no_address(case: Case, answers: list[tuple[Leg, str]]) -> Diagnosis:
    """A failure because the name servers answered, and not with an address."""
    sending = case.sending
    leg, last = answers[-1]
    words = [a.split(" ", 2) for _, a in answers]  # DNS, type, `NAME: ANSWER`
    types = dict.fromkeys(kind for _, kind, _ in words)
    said = [rest.rpartition(": ") for *_, rest in words]
    tried = list(dict.fromkeys(name for name, _, _ in said if name))
    codes = {code for _, _, code in said}
    place = leg.arrived.place if leg.arrived else sending.place
    server = _server(case, leg)
    if codes == {"NXDOMAIN"}:
        reason, what = "nxdomain", "there is no such name (NXDOMAIN)"
    elif "no such record" in codes:
        reason, what = "no-address", f"the name exists, but has no address (no {' or '.join(types)} record)"
    else:
        reason, what = "name", f"no address ({last.rpartition(': ')[2]})"
    text = f"{sending.host}: {what}; asked {server} for {', '.join(tried)}"
    like = case.fact("like", sending.host)
    details = like.details if like else {}
    inside = case.kinds.get(sending.place) in ("pod", "node")
    if details.get("service") and case.kinds.get(sending.place) != "pod":
        text += f"; it is a name of {details['service']}, which only the cluster's DNS has"
        remedy = (
            f"ask from a pod (--from pod/NAME), or ask for what {details['service']} has outside: a node port, a"
            " balancer's address or an Ingress host"
        )
        return Diagnosis(Failure(place, reason, text, remedy, sending.host))
    if details.get("near"):
        text += f"; much like it: {', '.join(details['near'])}"
    if inside:
        remedy = (
            "names in the cluster are SERVICE, SERVICE.NAMESPACE and Ingress hosts: emulab get svc,ingress -A"
        )
    else:
        remedy = "a name exists for each Ingress host, and in Zones: emulab get ingress,zones -A"
    return Diagnosis(Failure(place, reason, text, remedy, sending.host))


def _server(case: Case, leg: Leg) -> str:
    """The name server that a question came to, in words; whom it was addressed to when it came nowhere."""
    target, came = case.target(leg), leg.arrived
    owner = case.owner(target)
    if came is not None and owner is not None and owner.kind == "Service":
        return f"{owner.text} ({case.named(came.place)})"
    return case.named(came.place) if came else case.named_address(target.destination)
