"""Where a request stopped, why, and how to mend it. Pure.

`explain` asks a list of experts in the order of their certainty: who knows best (a server's record, a rule that
was seen at work) comes first, who concludes from silence comes last. Each looks at the evidence and either
knows or passes. Of several connections, one after the other, the last one is where the request got stuck; when all
is well there, the one before it.
"""

from __future__ import annotations

import os
from dataclasses import replace
from ipaddress import ip_address

from emulab.model.families import family_of
from emulab.observe.events import Recording
from emulab.observe.explain.astray import unroutable
from emulab.observe.explain.attributed import attributed, met, noted
from emulab.observe.explain.case import Case, Diagnosis, Expert, to
from emulab.observe.explain.certificates import tls
from emulab.observe.explain.names import unresolved
from emulab.observe.explain.proxied import balancer, cut_off, ingress, proxy_header, waiting
from emulab.observe.explain.refusals import refused, ruled_out
from emulab.observe.explain.resolving import searched, stale, with_stale
from emulab.observe.explain.unreached import icmp, silence
from emulab.observe.join.decisions import Evidence
from emulab.observe.join.dissect import end_name
from emulab.observe.join.flows import Joined
from emulab.observe.path import Failure

TOLD: tuple[Expert, ...] = (unresolved, balancer, proxy_header, tls, ingress)
"""Who goes by what programs told, asked about the request as a whole, in this order."""

SEEN: tuple[Expert, ...] = (ruled_out, unroutable, refused, icmp, silence, cut_off, waiting)
"""Who goes by packets, asked about one connection after the other, in this order."""


def explain(recording: Recording, joined: Joined, evidence: Evidence) -> Diagnosis | None:
    """Why the request failed; None when it was answered by what it was meant for."""
    case = Case(recording, joined, evidence)
    if not (recording.sending.error or _answered_on_the_way(case) or _dropped_later(case)):
        return None
    return attributed(case, with_stale(case, _found(case)))


def _found(case: Case) -> Diagnosis:
    for expert in TOLD:
        found = expert(case)
        if found is not None:
            return found
    for leg in reversed(case.chain):
        for expert in SEEN:
            found = expert(case.about(leg))
            if found is not None:
                return found
    return _anything(case)


def passed_over(recording: Recording, joined: Joined, evidence: Evidence) -> list[str]:
    """What became of connections that were tried beside the request's own, each explained as if it were the request."""
    found, sending = list[str](), recording.sending
    taken = family_of(ip_address(sending.address)) if sending.attempts else None
    for leg in joined.connections():
        if (attempt := leg.attempt) is None:
            continue
        family = family_of(ip_address(attempt.address))
        who = f"{end_name(attempt.address, sending.port)} ({family})"
        if not attempt.first:
            found.append(f"{who} was tried, too, as {taken} took its time: {attempt.reason} (RFC 8305)")
            continue
        vain = replace(
            sending,
            address=attempt.address,
            local=attempt.local,
            status=None,
            error=attempt.error,
            errno=attempt.errno,
            reason=attempt.reason,
            attempts=(),
        )
        alone = Joined([replace(leg, attempt=None)], joined.discoveries)
        diagnosis = explain(replace(recording, sending=vain), alone, evidence)
        why = diagnosis.failure.text if diagnosis is not None else attempt.reason
        found.append(f"{who} was tried first: {attempt.reason} ({why}); then {taken} (RFC 8305)")
    return found


def oddities(recording: Recording, joined: Joined, evidence: Evidence) -> list[str]:
    """What was odd about a request that succeeded."""
    case = Case(recording, joined, evidence)
    remarks = [noted(case, remark) for remark in (stale(case), searched(case)) if remark is not None]
    # Of a fault that is told of already nothing more is said.
    found = [note for note in met(case) if not any(note.partition("fault ")[2] in told for told in remarks)]
    for leg in case.chain:
        for transit in leg.errors:
            origin = transit.first
            if origin.icmp == (3, 4):
                found.append(
                    f"a packet to {to(origin.about)} was too big for the next link of {origin.place}, which takes"
                    f" {origin.next_mtu} bytes; it was sent again, smaller (path MTU discovery)"
                )
    return list(dict.fromkeys([*found, *remarks]))


def _answered_on_the_way(case: Case) -> bool:
    """Whether a proxy answered by itself, so that the request never reached a container."""
    record = case.record("request")
    return (
        record is not None
        and record.fields.get("answered_by") == "ingress"
        and int(record.fields.get("status") or 0) >= 400
    )


def _dropped_later(case: Case) -> bool:
    """Whether a proxy had nobody for a bare connection, and said so when its sender didn't listen any more."""
    return case.sending.protocol == "tcp" and case.record("drop") is not None


def _anything(case: Case) -> Diagnosis:
    """The failure in the sender's own words, where no expert knows more."""
    sending = case.sending
    words = sending.reason or (os.strerror(sending.errno) if sending.errno else "failed")
    place = case.last.arrived.place if case.last and case.last.arrived else sending.place
    text = f"{sending.target} from {sending.place} ({end_name(sending.address, sending.port)}): {words}"
    return Diagnosis(Failure(place, sending.error or "failed", text, "the hops above show how far it came"))
