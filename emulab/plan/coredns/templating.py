"""`template` of a Corefile. Pure."""

from __future__ import annotations

import re
from typing import Any

from emulab.plan.coredns import arguments
from emulab.plan.coredns.arguments import within, wrong
from emulab.plan.coredns.drafting import BlockDraft, checked, through, unfollowed, zones_of
from emulab.plan.coredns.lines import CorefileError
from emulab.plan.coredns.syntax import Directive
from emulab.servers.dns.config import ASKED_TYPES, RCODES, TemplateConfig, check_template
from emulab.servers.dns.expressions import expression

_CLASSES = ("IN", "ANY", "CH", "CS", "HS", "NONE")
_SECTIONS = {"answer": "answers", "authority": "authority", "additional": "additional"}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ACTION = re.compile(r"\{\{-?(.*?)-?\}\}", re.DOTALL)
_TEXT = re.compile(r"/\*.*?\*/|\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|`[^`]*`", re.DOTALL)
_WORD = re.compile(r"(?<![\w.$])[A-Za-z_]\w*")
_NAMES = """
if else end range break continue with block define template nil true false
and call eq ge gt html index js le len lt ne not or print printf println slice urlquery parseInt
"""
_KNOWN = frozenset(_NAMES.split())
"""Keywords and functions of Go's text/template, and what CoreDNS adds to them."""


def _unknown_functions(text: str) -> list[str]:
    """What a template calls that isn't there."""
    actions = (_TEXT.sub(" ", action[1]) for action in _ACTION.finditer(text))
    return [word for action in actions for word in _WORD.findall(action) if word not in _KNOWN]


def template(draft: BlockDraft, told: Directive) -> None:
    """`template CLASS TYPE [ZONE…]`; what Go's templates can say beyond what is followed leaves it out."""
    if len(told.words) < 2:
        raise CorefileError(told.line, "template: a class and a type are needed")
    rclass, rtype, *zones = told.words
    within(told, arguments.TEMPLATE)
    if rclass not in _CLASSES:
        raise CorefileError(told.line, f"template: invalid query class {rclass}")
    if rtype not in ASKED_TYPES:
        raise CorefileError(told.line, f"template: {rtype} is no type that can be asked for")
    if rclass not in ("IN", "ANY"):
        draft.warn(told.line, f"template: class {rclass} is not followed: IN alone is")
        return
    found: dict[str, Any] = {}
    own = zones_of(told, zones) or draft.zones
    followed = [_take(draft, option, found) for option in told.inside]  # each of which may be wrong
    if all(followed):
        made = TemplateConfig(own, rtype, **found)
        draft.block["templates"] = (*draft.block.get("templates", ()), made)


def _take(draft: BlockDraft, option: Directive, found: dict[str, Any]) -> bool:
    """Takes in an option; False where the template can't be followed for it. Raises CorefileError."""
    said = option.words
    if option.name == "match":
        checked(option, expression, *said)
        found["matches"] = (*found.get("matches", ()), *said)
    elif option.name in _SECTIONS:
        for word in said:
            if word.count("{{") != word.count("}}"):
                raise wrong(option, f"could not compile template: {word}")
            if unknown := _unknown_functions(word):
                raise wrong(option, f"could not compile template: function {unknown[0]!r} not defined")
            try:
                check_template(word)
            except ValueError as error:
                draft.warn(option.line, f"template: {error}; the template is left out")
                return False
        section = _SECTIONS[option.name]
        found[section] = (*found.get(section, ()), *said)
    elif option.name == "rcode":
        if said[0] not in RCODES:
            raise CorefileError(option.line, f"template: rcode {said[0]} is none of {', '.join(RCODES)}")
        found["rcode"] = said[0]
    elif option.name == "fallthrough":
        found["fallthrough"] = through(option)
    elif option.name in ("var", "expr"):
        if option.name == "var" and not _VARIABLE.fullmatch(said[0]):
            raise wrong(option, f"invalid variable name {said[0]!r}")
        draft.warn(option.line, f"template: {option.name} is not followed; the template is left out")
        return False
    elif option.name != "upstream":
        unfollowed(draft, "template", option)
    return True
