"""Names that stand for others (plugin/rewrite of CoreDNS, its field `name`). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from emulab.servers.dns.config import RewriteRule, expression
from emulab.servers.dns.names import Name

NameChange = Callable[[str], str]
_GROUP = re.compile(r"\{(\d+)\}")


class Rewriting(NamedTuple):
    """What is looked up, and by which steps names in the answer become again what was asked for."""

    name: Name
    steps: tuple[NameChange, ...]

    def back(self, text: str) -> str:
        for step in self.steps:
            text = step(text)
        return text


class RewriteStep(NamedTuple):
    """One rule. `apply` is None for names that it doesn't concern; `back` is for one name and what it became."""

    apply: Callable[[str], str | None]
    back: Callable[[str, str], NameChange]
    goes_on: bool


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
    answers = expression(rule.answer_old)

    def back(before: str, after: str) -> NameChange:
        if rule.answer_old:
            return lambda text: _by_groups(answers, rule.answer_new, text) or text
        if matching == "suffix" and rule.auto:
            return lambda text: text.removesuffix(new) + old if text.endswith(new) else text
        return _remapped(after, before) if rule.auto or matching == "exact" else lambda text: text

    return RewriteStep(replaced, back, rule.goes_on)


def _by_groups(pattern: re.Pattern[str], new: str, text: str) -> str | None:
    found = pattern.search(text)
    if found is None:
        return None
    groups = (found[0], *(group or "" for group in found.groups()))
    return _GROUP.sub(lambda m: groups[int(m[1])] if int(m[1]) < len(groups) else m[0], new)


def _remapped(old: str, new: str) -> NameChange:
    """The name itself, and names below it (`remapStringRewriter`)."""

    def remap(text: str) -> str:
        return text.removesuffix(old) + new if text == old or text.endswith(f".{old}") else text

    return remap
