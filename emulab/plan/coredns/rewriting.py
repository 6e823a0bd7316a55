"""`rewrite` of a Corefile. Pure."""

from __future__ import annotations

import re

from emulab.plan.coredns.arguments import wrong
from emulab.plan.coredns.drafting import BlockDraft, absolute, checked
from emulab.plan.coredns.lines import CorefileError, is_number
from emulab.plan.coredns.syntax import Directive
from emulab.servers.dns.config import ASKED_TYPES, RCODES, AnswerRule, RewriteRule
from emulab.servers.dns.expressions import expression

_MATCHING = ("exact", "prefix", "suffix", "substring", "regex")
_FIELDS = ("name", "type", "class", "edns0", "ttl", "cname", "rcode")
_GROUPS = re.compile(r"\{(?:100|\d\d?)\}")
_LONGEST_TTL = (1 << 31) - 1


def rewrite(draft: BlockDraft, told: Directive) -> None:
    """`rewrite [continue|stop] FIELD …`, on one line or in braces with the answers on lines of their own."""
    words = told.words
    mode = words[0].lower() if words and words[0].lower() in ("continue", "stop") else ""
    words = words[1:] if mode else words
    for option in told.inside:
        words += (option.name, *option.words)
    if not words:
        raise CorefileError(told.line, "rewrite: what of a question?")
    field, words = words[0].lower(), words[1:]
    if field not in _FIELDS:
        raise wrong(told, f"invalid rule type {field!r}: {', '.join(_FIELDS)} are")
    if field in ("class", "edns0", "cname"):
        draft.warn(told.line, f"rewrite {field} is not followed: name, type, ttl and rcode are")
        return
    rule = {"name": _name, "type": _type, "ttl": _ttl, "rcode": _rcode}[field](told, words)
    rules = (*draft.block.get("rewrites", ()), rule._replace(goes_on=mode == "continue"))
    draft.block["rewrites"] = rules


def _name(told: Directive, words: tuple[str, ...]) -> RewriteRule:
    matching = words[0].lower() if len(words) > 2 else ""
    words = words[1:] if matching else words
    if matching and matching not in _MATCHING:
        raise CorefileError(told.line, f"rewrite name: {matching} is none of {', '.join(_MATCHING)}")
    if len(words) < 2:
        raise CorefileError(told.line, "rewrite name: two names are needed")
    old, new, *answers = words
    matching = matching or "exact"
    if matching == "regex":
        checked(told, expression, old)
        _check_groups(told, old, new)
    else:
        old = absolute(old)  # of a prefix and a part, too: they end with a label
    return _answers(told, answers, RewriteRule(matching, old, absolute(new)))


def _answers(told: Directive, words: list[str], rule: RewriteRule) -> RewriteRule:
    """`answer (auto | (name|value FROM TO))`, and more of these, before which `answer` may be left out."""
    if words and words[0] != "answer":
        raise CorefileError(told.line, f"rewrite name: {words[0]} stands where answer is expected")
    while words:
        match words[1:] if words[0] == "answer" else words:
            case ["auto", *rest]:
                rule, words = rule._replace(auto=True), rest
            case ["name" | "value" as of, old, new, *rest]:
                checked(told, expression, old)
                _check_groups(told, old, new)
                made = AnswerRule(of, old, absolute(new))
                rule, words = rule._replace(answers=(*rule.answers, made)), rest
            case _:
                said = " ".join(words)
                raise CorefileError(told.line, f"rewrite name: {said}: answer auto, or name or value FROM TO")
    if rule.auto and any(answer.of == "name" for answer in rule.answers):
        raise CorefileError(told.line, "rewrite name: answer auto cannot be combined with answer name")
    return rule


def _check_groups(told: Directive, old: str, new: str) -> None:
    """What a name becomes has no more groups than what finds it (`isValidRegexPattern`). Raises CorefileError."""
    if len({*_GROUPS.findall(new)}) > expression(old).groups:
        raise CorefileError(told.line, f"rewrite: {new} has more groups than {old}")


def _type(told: Directive, words: tuple[str, ...]) -> RewriteRule:
    """`type FROM TO`."""
    if len(words) != 2:
        raise wrong(told, "type rules must have exactly two arguments")
    for word in words:
        if word.upper() not in ASKED_TYPES:
            raise wrong(told, f"invalid type {word!r}")
    return RewriteRule("exact", words[0].upper(), words[1].upper(), field="type")


def _ttl(told: Directive, words: tuple[str, ...]) -> RewriteRule:
    """`ttl [exact|prefix|suffix|substring|regex] STRING [SECONDS|MIN-MAX]`."""
    rule, rest = _matched(told, words, "ttl", 1)
    low, dash, high = rest[0].partition("-")
    bounds = [(low or "0"), (high or f"{_LONGEST_TTL}") if dash else low]
    if rest[0] == "-" or not all(is_number(text) and len(text) < 11 for text in bounds):
        raise wrong(told, f"invalid TTL {rest[0]!r} for a ttl rule")
    least, most = (min(int(text), _LONGEST_TTL) for text in bounds)
    if least > most:
        raise wrong(told, f"invalid TTL {rest[0]!r} for a ttl rule")
    return rule._replace(low=least, high=most)


def _rcode(told: Directive, words: tuple[str, ...]) -> RewriteRule:
    """`rcode [exact|prefix|suffix|substring|regex] STRING FROM TO`."""
    rule, rest = _matched(told, words, "rcode", 2)
    codes = {**RCODES, **{f"{number}": number for number in range(max(RCODES.values()) + 1)}}
    for word in rest:
        if word.upper() not in codes:
            raise wrong(told, f"{word} is none of {', '.join(RCODES)}")
    low, high = (codes[word.upper()] for word in rest)
    return rule._replace(low=low, high=high)


def _matched(
    told: Directive, words: tuple[str, ...], field: str, more: int
) -> tuple[RewriteRule, tuple[str, ...]]:
    """A rule of names, and the words behind them."""
    matching = words[0].lower() if len(words) == more + 2 else "exact"
    words = words[1:] if len(words) == more + 2 else words
    if len(words) != more + 1 or matching not in _MATCHING:
        raise wrong(
            told, f"{field} rules have a name, of which the way of matching may be told, and {more} more"
        )
    old = words[0]
    if matching == "regex":
        checked(told, expression, old)
    else:
        old = absolute(old)
    return RewriteRule(matching, old, old, field=field), words[1:]
