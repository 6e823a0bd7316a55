"""How a name resolved that did: by an answer that its owner has changed since, or with many questions. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from emulab.observe.explain.case import Case, Diagnosis
from emulab.observe.join.dissect import describe_dns
from emulab.observe.path import Failure

STALE, SEARCHED = "stale-name", "searched"

_USUAL = 5
"""Names that are tried for one in any cluster: the namespace's, all Services', the cluster's own, one of the node, and
the name itself."""


class Remark(NamedTuple):
    """What is odd about how a name resolved: `reason` is a fixed word, `place` whom it is about."""

    reason: str
    place: str
    text: str
    remedy: str


def stale(case: Case) -> Remark | None:
    """Whether somebody answered from a cache with an address that the name hasn't any more."""
    sending, known = case.sending, case.fact("published", case.sending.host)
    now = known.details["addresses"] if known is not None else ()
    if not now or not sending.address or sending.address in now:
        return None
    askers = {leg.begun.first.place for leg in case.names if leg.begun is not None}
    asked = (leg.arrived.place for leg in reversed(case.names) if leg.arrived is not None)
    keeper = next((place for place in asked if place not in askers), "")
    if not keeper or case.kinds.get(keeper) == "dns":
        return None
    text = (
        f"{case.named(keeper)} answered {sending.host} with {sending.address} from its cache, and by now its owner says"
        f" {', '.join(now)}"
    )
    return Remark(STALE, keeper, text, f"emulab dns flush {sending.host}, or wait until the TTL is over")


def with_stale(case: Case, found: Diagnosis) -> Diagnosis:
    """A failure of a request that went where its name doesn't lead any more."""
    remark = stale(case)
    if remark is None:
        return found
    text = f"{remark.text}; so it was sent there: {found.failure.text}"
    failure = Failure(remark.place, remark.reason, text, remark.remedy, case.sending.host)
    return replace(found, failure=failure)


def searched(case: Case) -> Remark | None:
    """Whether many names were asked for where one was meant."""
    sending = case.sending
    asked = [
        said
        for leg in case.names
        for transit in leg.transits
        if transit.forward and transit.first.place == sending.place
        if (said := describe_dns(transit.first.payload)).partition("? ")[1]
    ]
    names = {said.partition("? ")[2] for said in asked}
    if len(names) <= _USUAL:
        return None
    text = (
        f"{sending.host} cost {len(set(asked))} questions: {case.named(sending.place)} asked in {len(names) - 1} search"
        " domains first (ndots:5)"
    )
    remedy = f"ask for {sending.host}. with a dot at its end, or set ndots in the pod's dnsConfig"
    return Remark(SEARCHED, sending.place, text, remedy)
