"""What a rule is for, said by who plans it: nobody has to recognise a rule by its text.

A rule is its text with a `Meaning`; a text alone is a rule of which nobody needs to know more, as those are that only
lead on to others. Rules that somebody else wrote have none: what they do is all that can be told of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

DNAT, SNAT, REJECT, DROP = "dnat", "snat", "reject", "drop"
"""What rules do to a packet."""


TRACE_TABLE = "emulab-trace-"
"""What the name of every trace's table begins with. Its rules are for whoever watches, and decide nothing."""


class Meaning(NamedTuple):
    """What a rule is for. `field` is what decides it in an object, "" where no object does."""

    component: str  # whose rule it is in a cluster: kube-proxy, …
    does: str  # DNAT | SNAT | REJECT | DROP; of a look-up that may do either of the latter, DROP
    field: str = ""  # of a Service: spec.loadBalancerSourceRanges; "" for what it has no endpoints for
    object: str = ""  # that the rule was made from, in words, where it is one object's alone
    remedy: str = ""  # what mends a refusal, where that isn't known from the object


class MeantRule(str):
    """The text of a rule, and what it is for."""

    __slots__ = ("meaning",)

    meaning: Meaning


def meant(text: str, meaning: Meaning) -> MeantRule:
    """A rule with its meaning."""
    made = MeantRule(text)
    made.meaning = meaning
    return made


def to_json(text: str) -> dict[str, Any] | None:
    """A rule's meaning as plain data; None where it has none."""
    return text.meaning._asdict() if isinstance(text, MeantRule) else None


def from_json(data: Mapping[str, Any] | None) -> Meaning | None:
    return Meaning(**data) if data else None
