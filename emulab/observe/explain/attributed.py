"""What was broken on purpose, beside what a trace has found out by itself. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from emulab.observe.explain.case import Case, Diagnosis
from emulab.observe.path import Failure


def attributed(case: Case, found: Diagnosis) -> Diagnosis:
    """A diagnosis, with the Fault that is behind it: one at a place that it is about, of which such failures come.

    The evidence stays as it is. A Fault that is hidden isn't told of, so an exercise has to be found out.
    """
    failure, passed = found.failure, _passed(case)
    for fault in _at_work(case):
        met = any(_is_about(failure, place) for place in fault["places"])
        if fault["decides"]:
            met = met or not passed.isdisjoint(fault["places"])
        if met and failure.reason in fault["reasons"]:
            text = f"{failure.text}; fault {fault['name']}: {fault['says']}"
            mended = replace(failure, text=text, remedy=f"emulab fault mend {fault['name']}")
            return replace(found, failure=mended)
    return found


def met(case: Case) -> Iterator[str]:
    """What was broken on purpose where a request came by that succeeded all the same, slower maybe."""
    passed = _passed(case)
    for fault in _at_work(case):
        if not passed.isdisjoint(fault["places"]):
            name = fault["name"]
            yield f"the request came by fault {name}: {fault['says']}; mend it: emulab fault mend {name}"


def _at_work(case: Case) -> Sequence[Mapping[str, Any]]:
    known = case.fact("faults", "")
    found: Sequence[Mapping[str, Any]] = known.details["faults"] if known else ()
    return found


def _passed(case: Case) -> set[str]:
    """The places that saw packets of the request."""
    return {packet.place for leg in case.joined.legs for t in leg.transits for packet in t.packets}


def _is_about(failure: Failure, place: str) -> bool:
    words = " ".join((failure.place, failure.object, failure.text))
    return re.search(rf"(?<![\w.-]){re.escape(place)}(?![\w-])", words) is not None
