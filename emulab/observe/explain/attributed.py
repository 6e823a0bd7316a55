"""What was broken on purpose, beside what a trace has found out by itself. Pure."""

from __future__ import annotations

import re
from dataclasses import replace

from emulab.observe.explain.case import Case, Diagnosis
from emulab.observe.path import Failure


def attributed(case: Case, found: Diagnosis) -> Diagnosis:
    """A diagnosis, with the Fault that is behind it: one at a place that it is about, of which such failures come.

    The evidence stays as it is. A Fault that is hidden isn't told of, so an exercise has to be found out.
    """
    known = case.fact("faults", "")
    failure = found.failure
    passed = {packet.place for leg in case.joined.legs for t in leg.transits for packet in t.packets}
    for fault in known.details["faults"] if known else ():
        met = any(_is_about(failure, place) for place in fault["places"])
        if fault["decides"]:
            met = met or not passed.isdisjoint(fault["places"])
        if met and failure.reason in fault["reasons"]:
            text = f"{failure.text}; fault {fault['name']}: {fault['says']}"
            mended = replace(failure, text=text, remedy=f"emulab fault mend {fault['name']}")
            return replace(found, failure=mended)
    return found


def _is_about(failure: Failure, place: str) -> bool:
    words = " ".join((failure.place, failure.object, failure.text))
    return re.search(rf"(?<![\w.-]){re.escape(place)}(?![\w-])", words) is not None
