"""Where a request stopped, why, and how to mend it. Pure.

`explain` asks a list of experts in the order of their certainty: who knows best (a server's record, a rule that
was seen at work) comes first, who concludes from silence comes last. Each looks at the evidence and either
knows or passes.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace

from emulab.observe.case import Case, Expert
from emulab.observe.decisions import Evidence
from emulab.observe.dissect import dns, endpoints
from emulab.observe.events import Record, Recording
from emulab.observe.flows import NAME_RESOLUTION, Joined, Leg
from emulab.observe.path import Failure
from emulab.observe.refusals import no_endpoints, refused, ruled_out
from emulab.observe.unreached import icmp, silence, unroutable


def explain(recording: Recording, joined: Joined, evidence: Evidence) -> Failure | None:
    """Why the request failed; None when it was answered by what it was meant for."""
    case = Case(recording, joined, evidence)
    sending = recording.sending
    if sending.error or _answered_on_the_way(case):
        for expert in EXPERTS:
            found = expert(case)
            if found is not None:
                return found
    return None


def _answered_on_the_way(case: Case) -> bool:
    """Whether a proxy answered by itself, so that the request never reached a container."""
    record = case.record("request")
    return (
        record is not None
        and record.fields.get("answered_by") == "ingress"
        and (int(record.fields.get("status") or 0) >= 400)
    )


def _name(case: Case) -> Failure | None:
    """The name didn't resolve."""
    sending = case.sending
    if sending.error != "name":
        return None
    legs = [leg for leg in case.joined.legs if leg.number == NAME_RESOLUTION]
    unanswered = [leg for leg in legs if all(t.forward for t in leg.transits)]
    if not legs:
        text = f"{sending.host}: {sending.reason}; {sending.place} asked nobody"
        remedy = f"look at: emulab exec {sending.place} -- cat /etc/resolv.conf"
        return Failure(sending.place, "no-name-server", text, remedy, sending.place)
    if unanswered:
        return _name_server_silent(case, unanswered[-1])
    said = [dns(t.first.payload) for leg in legs for t in leg.transits if not t.forward]
    server = next((leg.arrived.place for leg in legs if leg.arrived), sending.place)
    nxdomain = any("NXDOMAIN" in s for s in said)
    tried = list(dict.fromkeys(s.split(": ")[0].removeprefix("DNS A ") for s in said if s))
    what = "there is no such name (NXDOMAIN)" if nxdomain else f"no address ({said[-1] if said else '?'})"
    text = f"{sending.host}: {what}; asked {server} for {', '.join(tried) or sending.host}"
    remedy = (
        "the names that exist are those of Ingress hosts, LoadBalancer Services and Zones"
        " (emulab get ingress,svc,zone -A), and inside pods SERVICE.NAMESPACE"
    )
    return Failure(server, "nxdomain" if nxdomain else "name", text, remedy, sending.host)


def _name_server_silent(case: Case, leg: Leg) -> Failure | None:
    """A question without an answer fails as any other packet does."""
    beyond = case.about(leg)
    for expert in (ruled_out, refused, icmp, silence):
        found = expert(beyond)
        if found is not None:
            return replace(found, text=f"{case.sending.host} was not resolved: {found.text}")
    return None


def _acl(case: Case) -> Failure | None:
    """A balancer let the client not in, or had no target."""
    record = case.record("drop")
    if record is None:
        return None
    leg = next(leg for leg in case.chain if record in leg.records)
    flow, fields = case.flow(leg), record.fields
    owner = case.owner(flow)
    name = f"{owner.kind} {owner.namespace}/{owner.name}".replace(" /", " ") if owner else record.place
    if "not allowed" in str(fields.get("reason")):
        ranges = ", ".join(map(str, fields.get("acl") or ()))
        text = f"{record.place} refused {fields.get('client')}: its address is not in sourceRanges {ranges}"
        where = "spec.sourceRanges" if owner and owner.kind == "LoadBalancer" else "loadBalancerSourceRanges"
        return Failure(record.place, "acl", text, f"add the address to {where} of {name}", name)
    text = f"{record.place} took the connection and found nobody to pass it on to: {fields.get('reason')}"
    remedy = "see whether the pods behind it are Ready: emulab get pods -A -o wide"
    return Failure(record.place, "no-target", text, remedy, name)


def _certificate(case: Case) -> Failure | None:
    """The certificate was not one that a client takes."""
    sending = case.sending
    if sending.error != "tls":
        return None
    tls, last = sending.tls, case.last
    place = case.chain[0].arrived.place if case.chain and case.chain[0].arrived else sending.place
    ender = [leg for leg in case.chain if any(r.fields["event"] == "tls" for r in leg.records)]
    if ender and ender[0].arrived:
        place = ender[0].arrived.place
    elif last is not None and last.arrived:
        place = last.arrived.place
    host = case.evidence.owner("host", sending.host, 0)
    secret = str(host.details.get("secret") or "") if host else ""
    stands_for = secret or (host.text if host else place)
    if tls.get("not_after") and sending.reason.startswith("certificate expired"):
        until = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(float(tls["not_after"])))
        text = f"the certificate for {sending.host} that {place} presented expired on {until}"
        remedy = f"put a new certificate into {secret or 'the Secret that the Ingress names'}"
        return Failure(place, "certificate-expired", text, remedy, stands_for)
    text = f"TLS with {place}: {sending.reason}"
    if "not for" in sending.reason and not secret:
        remedy = f"no Ingress names a Secret for {sending.host}: add it to spec.tls, or trace with --insecure"
    else:
        remedy = f"put a right certificate into {secret or 'the Secret'}, or trace with --insecure"
    return Failure(place, "certificate", text, remedy, stands_for)


def _ingress(case: Case) -> Failure | None:
    """The ingress answered by itself."""
    record = case.record("request")
    if record is None or record.fields.get("answered_by") != "ingress":
        return None
    fields = record.fields
    status, reason = fields.get("status"), str(fields.get("reason") or "")
    if int(status or 0) < 400:
        return None
    beyond = _beyond_ingress(case, record)
    host = f"{fields.get('host')}{fields.get('path')}"
    said = (
        f"{record.place} answered {status} by itself ({reason})"
        if reason
        else (f"{record.place} answered {status} by itself")
    )
    if beyond is not None:
        return Failure(
            beyond.place, beyond.reason, f"{beyond.text}; so {said}", *(beyond.remedy, beyond.object),
            beyond.kernel_reason,
        )  # fmt: skip
    if not fields.get("rule"):
        remedy = f"add an Ingress rule for {host}: emulab get ingress -A shows those that exist"
        return Failure(record.place, "no-ingress-rule", f"{said}: no Ingress rule is for {host}", remedy)
    name = str(fields.get("upstream_name") or "")
    service = case.evidence.owner("upstream", name, 0)
    if service is not None:
        found = no_endpoints("", service)
        if found is not None:
            text = f"{said}: {found.text}"
            return Failure(record.place, found.reason, text, found.remedy, found.object)
    return Failure(
        record.place, f"http-{status}", said, f"look at: emulab logs {record.place}", str(fields["rule"])
    )


def _beyond_ingress(case: Case, record: Record) -> Failure | None:
    """What went wrong with the connection that the ingress tried."""
    errors = [r for leg in case.chain for r in leg.records if r.fields["event"] == "upstream-error"]
    if not errors or case.last is None:
        return None
    if case.last.connect is None or case.last.connect.place != record.place:
        return None
    for expert in (ruled_out, refused, icmp, silence):
        found = expert(case)
        if found is not None:
            return found
    return None


def _anything(case: Case) -> Failure | None:
    """What is left: the sender's own words."""
    sending = case.sending
    words = sending.reason or os.strerror(sending.errno) if sending.errno or sending.reason else "failed"
    to = endpoints(sending.address, sending.port)
    place = case.last.arrived.place if case.last and case.last.arrived else sending.place
    text = f"{sending.target} from {sending.place} ({to}): {words}"
    return Failure(place, sending.error or "failed", text, "the hops above show how far it came")


EXPERTS: tuple[Expert, ...] = (
    _name,
    _acl,
    _certificate,
    _ingress,
    ruled_out,
    unroutable,
    refused,
    icmp,
    silence,
    _anything,
)
"""Who is asked, in this order."""
