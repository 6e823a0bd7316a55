"""Failures that a proxy tells of by itself: who may not in, no target, its own answers. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from emulab.model.addresses import is_address, parse_socket_name
from emulab.observe.events import ServerRecord
from emulab.observe.explain.case import Case, Diagnosis, Expert, to
from emulab.observe.explain.progress import ended, reset, stopped, was_kept, what
from emulab.observe.explain.refusals import no_endpoints, refused, ruled_out, shut_out
from emulab.observe.explain.unreached import icmp, silence
from emulab.observe.join.flows import Leg
from emulab.observe.path import Failure
from emulab.plan.owner import Owner

_CONNECTING: tuple[Expert, ...] = (ruled_out, refused, icmp, silence)


def balancer(case: Case) -> Diagnosis | None:
    """A balancer let the client not in, or had nobody to pass it on to."""
    record = case.record("drop")
    if record is None:
        return None
    leg = next(leg for leg in case.chain if record in leg.records)
    flow, fields, place = case.flow(leg), record.fields, record.place
    owner = case.owner(flow)
    name = f"{owner.kind} {owner.namespace}/{owner.name}".replace(" /", " ") if owner else place
    packet = leg.arrived
    client = parse_socket_name(str(fields.get("client")))
    if fields.get("acl") and client is not None:
        return Diagnosis(shut_out(case, place, client[0], name, fields["acl"]), packet, record.time)
    said = f"{place} took the connection and had nobody to pass it on to ({fields.get('reason')})"
    behind = _behind(owner)
    if behind is not None:
        found = no_endpoints(behind, said, place)
        if found is not None:
            return Diagnosis(replace(found, reason="no-target"), packet, record.time)
        beyond = _tried_last(case, place)
        if beyond is not None:
            closed = f"{beyond.failure.text}; so {place}, which had taken the connection, closed it"
            return replace(beyond, failure=replace(beyond.failure, text=closed))
        said += f", though {behind.text} has {behind.details.get('endpoints')} endpoints"
    off = [node for node, kind in case.kinds.items() if kind == "node" and case.switched_off(node)]
    remedy = "see whether nodes and pods are Ready: emulab get nodes,pods -A -o wide"
    if off:
        why, remedy = case.switched_off(off[0]) or ("", remedy)
        said += f": {why}"
    return Diagnosis(Failure(place, "no-target", said, remedy, name), packet, record.time)


def _behind(owner: Owner | None) -> Owner | None:
    """The Service port that a balancer's port leads to."""
    if owner is None:
        return None
    if "endpoints" in owner.details:
        return owner
    behind: Any = owner.details.get("behind")
    return Owner(**behind) if behind else None


def ingress(case: Case) -> Diagnosis | None:
    """A failure that the ingress answered by itself."""
    record = case.record("request")
    if record is None or record.fields.get("answered_by") != "ingress":
        return None
    fields, place = record.fields, record.place
    status, why = int(fields.get("status") or 0), str(fields.get("reason") or "")
    if status < 400:
        return None
    said = f"{case.named(place)} answered {status} by itself ({why})"
    beyond = _beyond(case, record)
    if beyond is not None:
        return replace(beyond, failure=replace(beyond.failure, text=f"{beyond.failure.text}; so {said}"))
    if fields.get("refused_by"):
        return Diagnosis(_refused(record, said))
    if not fields.get("rule"):
        return Diagnosis(_no_rule(case, record, said))
    service = case.fact("upstream", str(fields.get("upstream_name") or ""))
    rule = f"{fields['rule']}"
    if service is not None:
        found = no_endpoints(service, f"so {said}", place)
        if found is not None:
            return Diagnosis(found)
        external = service.details.get("external_name")
        if external:
            text = f"the ingress couldn't reach {external}, for which {service.text} stands (externalName); so {said}"
            remedy = f"correct spec.externalName of {service.text}, or publish {external} in a Zone"
            return Diagnosis(Failure(place, "upstream-name", text, remedy, service.text))
    remedy = f"see what {rule} says of it: emulab get ingress -A -o yaml"
    if service is not None and status == 503:  # there are endpoints, of which it spares itself or them
        remedy = f"see what a DestinationRule says of {service.text}: emulab get destinationrules -A -o yaml"
    return Diagnosis(Failure(place, f"http-{status}", f"{said}, for {rule}", remedy, rule))


def _refused(record: ServerRecord, said: str) -> Failure:
    """Somebody wished that the client may not in: an annotation, or a key of the controller's ConfigMap."""
    fields = record.fields
    rule, source = str(fields.get("rule") or ""), str(fields["refused_by"])
    whose = f" of {rule}" if rule and "ConfigMap" not in source else ""
    remedy = f"see {source}{whose}: emulab get ingress -A -o yaml"
    if fields.get("address"):
        remedy += f"; {fields['address']} is who asks, as those in front say it"
    return Failure(record.place, "not-allowed", f"{said}{f', for {rule}' if rule else ''}", remedy, rule)


def proxy_header(case: Case) -> Diagnosis | None:
    """The ingress speaks the PROXY protocol, and whoever came didn't."""
    record = case.record("proxy-header")
    if record is None:
        return None
    text = (
        f"{case.named(record.place)} speaks the PROXY protocol (use-proxy-protocol) and closed the connection"
    )
    remedy = 'ask through a balancer that speaks it, or set use-proxy-protocol: "false" in the controller\'s ConfigMap'
    leg = next(leg for leg in case.chain if record in leg.records)
    failure = Failure(record.place, "no-proxy-header", f"{text}: {record.fields.get('reason')}", remedy)
    return Diagnosis(failure, leg.arrived, record.time)


def _no_rule(case: Case, record: ServerRecord, said: str) -> Failure:
    """A 404: no Ingress has the host, or none the path."""
    fields = record.fields
    host, path = str(fields.get("host") or ""), str(fields.get("path") or "/")
    named = parse_socket_name(host)
    owner = case.fact("host", named[0] if named else host.strip("[]"))
    if owner is None:
        text = f"no Ingress has the host {host or '(none given)'}; so {said}"
        remedy = f"add the host {host} to an Ingress, or ask for one that exists: emulab get ingress -A"
        return Failure(record.place, "no-ingress-rule", text, remedy, host)
    if owner.details.get("unserved"):
        text = f"{owner.text} has the host {host}, but {owner.details['unserved']}; so {said}"
        remedy = (
            f"set spec.ingressClassName of {owner.text} to one that is served: {owner.details['classes']}"
        )
        if owner.details["class"]:
            remedy += (
                ", or have the lab's ingress take the class over:"
                f" Cluster spec.ingress.classes: [{owner.details['class']}]"
            )
        return Failure(record.place, "no-ingress-class", text, remedy, owner.text)
    if owner.details.get("no_rule"):
        text = f"{owner.text} has the host {host} in spec.tls and no rule for it; so {said}"
        return Failure(
            record.place, "no-ingress-rule", text, f"add a rule for {host} to {owner.text}", owner.text
        )
    paths = ", ".join(owner.details.get("paths") or ()) or "none"
    text = f"{owner.text} has the host {host} and no path for {path}; so {said}"
    remedy = f"add a path for {path} to {owner.text}, or ask for one of its paths: {paths}"
    return Failure(record.place, "no-ingress-rule", text, remedy, owner.text)


def _beyond(case: Case, record: ServerRecord) -> Diagnosis | None:
    """What went wrong with the connection that the ingress tried last."""
    if not any(r.fields["event"] == "upstream-error" for leg in case.chain for r in leg.records):
        return None
    return _tried_last(case, record.place, cut_off, waiting)


def _tried_last(case: Case, place: str, *more: Expert) -> Diagnosis | None:
    """What went wrong with the connection that a proxy tried last."""
    last = case.last
    if last is None or last.connect is None or last.connect.place != place:
        return None
    return next((found for expert in (*_CONNECTING, *more) if (found := expert(case))), None)


def cut_off(case: Case) -> Diagnosis | None:
    """A connection that was open, and that the far side ended before it had answered in full."""
    leg = case.last
    if leg is None or leg.arrived is None:
        return None
    stop = stopped(case, leg)
    if stop is None or not stop.open or stop.lost:
        return None
    end = reset(leg)
    if end is None and not (ended(leg) and _unfinished(case, leg)):
        return None
    # A reset from somewhere in the middle is a rule's, or a proxy's that came back to life.
    place = end.first.place if end else leg.arrived.place
    who = case.named(place)
    after = f"after {stop.said} bytes of its answer" if stop.said else "without an answer"
    how = "reset the connection" if end else "closed the connection"
    remedy = f"see why its program did: {_logs(case, place)}"
    if was_kept(leg) and not stop.said:
        after = f"that was kept from an earlier request, {after}"
        remedy = (
            f"have {who} keep idle connections for longer than who asks it does (of ingress-nginx:"
            " upstream-keepalive-timeout, 60 s)"
        )
    text = f"{who} {how} to {to(case.flow(leg))} {after}"
    return Diagnosis(Failure(place, "reset" if end else "cut-off", text, remedy, who))


def _unfinished(case: Case, leg: Leg) -> bool:
    """Whether somebody told that the answer wasn't whole: the sender, or the proxy before."""
    if case.sending.error == "protocol":
        return True
    return any(r.fields["event"] == "upstream-error" for other in case.chain for r in other.records)


def waiting(case: Case) -> Diagnosis | None:
    """Everything arrived, and somebody who has the word doesn't speak."""
    leg = case.last
    stop = stopped(case, leg) if leg is not None else None
    if leg is None or stop is None or stop.lost:
        return None
    packet, place = stop.packet, stop.packet.place
    if not stop.forward:
        return _not_taken(case, leg, place) if not stop.open and packet.flow.protocol == "tcp" else None
    who, begun = case.named(place), what(stop)
    tried = _tried(case, leg)
    if tried is not None:
        return tried
    if packet.flow.protocol == "tcp" and not stop.taken:
        drop = case.some_drop(packet.time)
        text = f"{begun} to {to(packet.flow)} came to {who}, whose kernel never acknowledged it"
        back = case.route(place, packet.flow.source)
        if back is not None and back.error:
            text = (
                f"{begun} to {to(packet.flow)} came to {who}, which has no route back to {packet.flow.source}"
            )
            off = case.switched_off(place)
            remedy = off[1] if off else case.wanted_route(place, packet.flow.source)
            return Diagnosis(Failure(place, "no-route", text, remedy, who))
        look = (case.inside(place, command) for command in ("nft list ruleset", "ss -tlnp"))
        remedy = f"see its rules and sockets: {', '.join(look)}"
        failure = Failure(place, "unanswered", text, remedy, who)
        return Diagnosis(case.with_drop(failure, drop, {}), packet, drop.time) if drop else Diagnosis(failure)
    limit = case.sending.reason.removeprefix("no answer within ") if case.sending.error == "timeout" else ""
    within = f" within {limit}" if limit else ""
    some = f"only {stop.said} bytes of an answer" if stop.said else "no answer"
    text = f"{begun} to {to(packet.flow)} was delivered to {who}, and {some} came{within}"
    text += ": the way is open, its program is slow or silent"
    remedy = f"see what its program does: {_logs(case, place)}; or wait longer: --timeout 30s"
    return Diagnosis(Failure(place, "no-answer", text, remedy, who))


def _not_taken(case: Case, leg: Leg, place: str) -> Diagnosis:
    """The answer to a SYN came back, and the kernel of who sent it didn't take it."""
    who = case.named(place)
    text = f"the SYN-ACK of {to(case.target(leg))} came back to {who}, whose kernel didn't take it"
    back = [t.last for t in leg.transits if not t.forward and t.last.place == place]
    drop = case.some_drop(back[0].time) if back else None
    failure = Failure(
        place, "unanswered", text, f"see its rules: {case.inside(place, 'nft list ruleset')}", who
    )
    return Diagnosis(case.with_drop(failure, drop, {}), back[0], drop.time) if drop else Diagnosis(failure)


def _tried(case: Case, leg: Leg) -> Diagnosis | None:
    """A proxy that has the request, and tries to connect to somebody with no packet of it seen."""
    tries = [r for r in leg.records if r.fields["event"] in ("proxy-try", "upstream-error", "proxy-connect")]
    if leg.accept is None or not tries:
        return None
    fields, place = tries[-1].fields, tries[-1].place
    upstream = str(fields.get("upstream") or "")
    name = str(fields.get("upstream_name") or fields.get("target") or upstream)
    owner = case.fact("upstream", name)
    text = f"{case.named(place)} has the request, and is still connecting to {owner.text if owner else name}"
    end = parse_socket_name(upstream)
    if end is not None and not is_address(end[0]):
        text += f", whose name {end[0]} it is resolving"
        remedy = f"see whether it resolves: {case.inside(place, f'getent hosts {end[0]}')}"
        return Diagnosis(Failure(place, "upstream-name", text, remedy, owner.text if owner else name))
    return Diagnosis(
        Failure(
            place, "no-answer", text, f"see: {case.inside(place, 'ss -tn')}", owner.text if owner else name
        )
    )


def _logs(case: Case, place: str) -> str:
    if case.kinds.get(place) != "pod":
        return case.inside(place, "ss -tnp")
    namespace, _, name = place.partition(".")
    return f"emulab logs {name} -n {namespace}"
