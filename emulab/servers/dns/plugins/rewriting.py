"""Questions that stand for others, and answers in other words (plugin/rewrite of CoreDNS). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from emulab.servers.dns import names, rdata
from emulab.servers.dns.config import RewriteRule
from emulab.servers.dns.expressions import Expression, expression
from emulab.servers.dns.names import Name, lower

NameChange = Callable[[str], str]
_GROUP = re.compile(r"\{(\d+)\}")


class Rewriting(NamedTuple):
    """What is looked up, and by which steps an answer becomes one to what was asked for: of owners, of names that
    records lead to, of TTLs and of response codes."""

    name: Name
    rtype: int
    owners: tuple[NameChange, ...] = ()
    values: tuple[NameChange, ...] = ()
    ttls: tuple[tuple[int, int], ...] = ()
    rcodes: tuple[tuple[int, int], ...] = ()

    def owner(self, text: str) -> str:
        for step in self.owners:
            text = step(text)
        return text

    def value(self, text: str) -> str:
        for step in self.values:
            text = step(text)
        return text

    def ttl(self, seconds: int) -> int:
        for low, high in self.ttls:
            seconds = min(max(seconds, low), high)
        return seconds

    def rcode(self, rcode: int) -> int:
        for old, new in self.rcodes:
            rcode = new if rcode == old else rcode
        return rcode


class RewriteStep(NamedTuple):
    """One rule. `apply` is None for names that it doesn't concern; `back` is for one name and what it became, and makes
    what is done to owners ("name") or to what records lead to ("value") in this order."""

    rule: RewriteRule
    apply: Callable[[str], str | None]
    back: Callable[[str, str, str], list[NameChange]]


def rewritten(steps: Iterable[RewriteStep], before: str, rtype: int) -> Rewriting | None:
    """What becomes of a question, by rules in this order and back in the other; None where none concerns it.

    Raises ValueError.
    """
    text, concerned = before, False
    owners: list[NameChange] = []
    values: list[NameChange] = []
    ttls: list[tuple[int, int]] = []
    rcodes: list[tuple[int, int]] = []
    for step in steps:
        rule, new = step.rule, step.apply(text)
        if rule.field == "type":
            if rtype != rdata.type_number(rule.old):
                continue
            rtype = rdata.type_number(rule.new)
        elif new is None:
            continue
        elif rule.field == "name":
            owners = [*step.back("name", text, new), *owners]
            values = [*step.back("value", text, new), *values]
            text = new
        else:
            (ttls if rule.field == "ttl" else rcodes).insert(0, (rule.low, rule.high))
        concerned = True
        if not rule.goes_on:
            break
    if not concerned:
        return None
    changed = text != before or any(step.rule.answers for step in steps)
    name = lower(names.from_text(text))
    made = (tuple(owners), tuple(values)) if changed else ((), ())
    return Rewriting(name, rtype, *made, tuple(ttls), tuple(rcodes))


def compiled(rule: RewriteRule) -> RewriteStep:
    """A rule as it is followed. Names have their last dot throughout. Raises ValueError."""
    matching, old, new = rule.matching, rule.old, rule.new

    def replaced(text: str) -> str | None:
        match matching:
            case "exact":
                return new if text == old else None
            case "prefix":
                return new + text.removeprefix(old) if text.startswith(old) else None
            case "suffix":
                return text.removesuffix(old) + new if text.endswith(old) else None
            case "substring":
                return text.replace(old, new) if old in text else None
            case _:
                return _by_groups(pattern, new, text)

    pattern = expression(old if matching == "regex" else "")
    # Each undoes what those before it did (`rewriteResourceRecord` of reverter.go), so the last is the first.
    told = [(answer.of, expression(answer.old), answer.new) for answer in reversed(rule.answers)]

    def back(of: str, before: str, after: str) -> list[NameChange]:
        steps = [_replacing(found, becomes) for what, found, becomes in told if what == of]
        if matching == "suffix" and rule.auto:
            steps.append(lambda text: text.removesuffix(new) + old if text.endswith(new) else text)
        elif rule.auto or matching == "exact":
            steps.append(_remapped(after, before))
        return steps

    return RewriteStep(rule, replaced, back)


def _replacing(pattern: Expression, new: str) -> NameChange:
    return lambda text: _by_groups(pattern, new, text) or text


def _by_groups(pattern: Expression, new: str, text: str) -> str | None:
    found = pattern.search(text)
    if found is None:
        return None
    groups = (found.group(0), *(group or "" for group in found.groups()))
    return _GROUP.sub(lambda m: groups[int(m[1])] if int(m[1]) < len(groups) else m[0], new)


def _remapped(old: str, new: str) -> NameChange:
    """The name itself, and names below it (`remapStringRewriter`)."""

    def remap(text: str) -> str:
        return text.removesuffix(old) + new if text == old or text.endswith(f".{old}") else text

    return remap
