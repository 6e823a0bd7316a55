"""What was broken on purpose, beside what a trace has found out by itself. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from emulab.observe.explain.case import Case, Diagnosis
from emulab.observe.explain.resolving import Remark


def attributed(case: Case, found: Diagnosis) -> Diagnosis:
    """A diagnosis, with the Fault that is behind it: one at a place that it is about, of which such failures come.

    The evidence stays as it is. A Fault that is hidden isn't told of, so an exercise has to be found out.
    """
    failure = found.failure
    about = " ".join((failure.place, failure.object, failure.text))
    fault = _behind(case, failure.reason, about)
    if fault is None:
        return _on_a_link(case, found, about)
    text = f"{failure.text}; fault {fault['name']}: {fault['says']}"
    return replace(found, failure=replace(failure, text=text, remedy=_mend(fault)))


_LOST = frozenset({"lost", "arp"})
"""What comes of lost packets, questions for a neighbour among them; what was delivered and isn't answered is none."""


def _on_a_link(case: Case, found: Diagnosis, about: str) -> Diagnosis:
    """A diagnosis, with the link between zones that loses packets, where it is about nodes at both of its ends."""
    failure = found.failure
    for which, says in _lossy(case, about) if failure.reason in _LOST else ():
        text, remedy = f"{failure.text}; {which}: {says}", f"correct {which}"
        return replace(found, failure=replace(failure, text=text, remedy=remedy))
    return found


def _lossy(case: Case, about: str = "") -> Iterator[tuple[str, str]]:
    """The links between zones that lose packets, and what they say, of which nodes at both ends were passed or are in
    a text."""
    known, passed = case.fact("links", ""), _passed(case)
    for link in known.details["links"] if known else ():
        if all(any(node in passed or _says(about, node) for node in end) for end in link["ends"]):
            assert known is not None
            yield f"{known.text} {link['field']}", link["says"]


def noted(case: Case, remark: Remark) -> str:
    """A remark in words, with the Fault that is behind it."""
    fault = _behind(case, remark.reason, f"{remark.place} {_node(case, remark.place)}")
    if fault is None:
        return f"{remark.text}; {remark.remedy}"
    return f"{remark.text}; fault {fault['name']}: {fault['says']}; mend it: {_mend(fault)}"


def met(case: Case) -> Iterator[str]:
    """What was broken on purpose where a request came by that succeeded all the same, slower maybe."""
    passed = _passed(case)
    for fault in _at_work(case):
        if not passed.isdisjoint(fault["places"]):
            yield f"the request came by fault {fault['name']}: {fault['says']}; mend it: {_mend(fault)}"
    for which, says in _lossy(case):
        yield f"the request came by {which}: {says}"


def _at_work(case: Case) -> Sequence[Mapping[str, Any]]:
    known = case.fact("faults", "")
    found: Sequence[Mapping[str, Any]] = known.details["faults"] if known else ()
    return found


def _passed(case: Case) -> set[str]:
    """The places that saw packets of the request."""
    return {packet.place for leg in case.joined.legs for t in leg.transits for packet in t.packets}


def _mend(fault: Mapping[str, Any]) -> str:
    return f"emulab fault mend {fault['name']}"


def _behind(case: Case, reason: str, about: str) -> Mapping[str, Any] | None:
    """The first Fault of which this comes, and that it is about."""
    passed, services = _passed(case), _services(case)
    for fault in _at_work(case):
        met = any(_says(about, place) for place in fault["places"]) or fault["service"] in services
        if fault["decides"]:
            met = met or not passed.isdisjoint(fault["places"])
        if met and reason in fault["reasons"]:
            return fault
    return None


def _services(case: Case) -> set[str]:
    """The Services that the request's connections were meant for, as NAMESPACE/NAME."""
    meant = [case.service(leg) for leg in case.joined.chain()]
    records = (record for leg in case.joined.legs for record in leg.records)
    names = {str(record.fields.get("upstream_name") or "") for record in records}
    meant += [case.fact("upstream", name) for name in names if name]
    return {f"{owner.namespace}/{owner.name}" for owner in meant if owner is not None}


def _node(case: Case, place: str) -> str:
    """The node of a pod; "" of whatever isn't one."""
    addresses = case.addresses.get(place, ()) if case.kinds.get(place) == "pod" else ()
    owners = filter(None, map(case.whose, addresses))
    return next((str(owner.details.get("node") or "") for owner in owners if owner.details), "")


def _says(about: str, place: str) -> bool:
    return re.search(rf"(?<![\w.-]){re.escape(place)}(?![\w-])", about) is not None
