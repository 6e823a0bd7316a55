"""Plug-ins of a Corefile that say how it is served, told of and watched. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from emulab.plan.coredns import arguments
from emulab.plan.coredns.arguments import port_of, within
from emulab.plan.coredns.drafting import BlockDraft, duration, number, unfollowed, zones_of
from emulab.plan.coredns.lines import CorefileError
from emulab.plan.coredns.syntax import Directive
from emulab.servers.dns.config import COMMON_LOG, LogRule

_BUFFER = 1232  # what no link of 1280 octets must fragment

_RELOAD = (30.0, 15.0)
_LEAST_INTERVAL, _LEAST_JITTER = 2.0, 1.0

Followed = Callable[[BlockDraft, Directive], None]


def log(draft: BlockDraft, told: Directive) -> None:
    words, form = [*told.words], ""
    if len(words) > 1 and "{" in words[-1]:
        *words, form = words
        form = form.replace("{common}", COMMON_LOG).replace("{combined}", f'{COMMON_LOG} "{{>opcode}}"')
    zones = [word for word in words if "{" not in word and " " not in word]
    if len(zones) != len(words):
        draft.warn(
            told.line, "log: a format without a name before it is a name, of which no query is: log . FORMAT"
        )
    if "{local}" in form:
        draft.warn(told.line, "log: {local} is not followed")
    classes: tuple[str, ...] = ()
    for option in told.inside:
        if (
            option.name != "class"
            or not option.words
            or not {*option.words} <= {"all", "success", "denial", "error"}
        ):
            raise CorefileError(option.line, "log: class is all, success, denial or error")
        classes += option.words
    if zones or not words:
        rule = LogRule(zones_of(told, zones) or draft.zones, classes or ("all",), form)
        draft.block["logs"] = (*draft.block.get("logs", ()), rule)


def errors(draft: BlockDraft, told: Directive) -> None:
    if told.words not in ((), ("stdout",)):
        raise CorefileError(told.line, f"errors: {' '.join(told.words)}: it writes to stdout alone")
    within(told, arguments.ERRORS)
    for option in told.inside:
        if option.name != "stacktrace":
            unfollowed(draft, "errors", option)
    draft.block["errors"] = True


def reload(_draft: BlockDraft, told: Directive) -> None:
    """Changes are seen at once."""
    arguments.count(0, 2)(told)
    within(told, {})
    interval, jitter = (*(duration(told, word) for word in told.words), *_RELOAD[len(told.words) :])
    if interval < _LEAST_INTERVAL:
        raise arguments.wrong(told, f"an interval is {_LEAST_INTERVAL:g} seconds at least")
    if 0 < jitter < _LEAST_JITTER:
        raise arguments.wrong(told, f"a jitter is 0, or {_LEAST_JITTER:g} second at least")


def loop(_draft: BlockDraft, told: Directive) -> None:
    """Forwarding in a ring ends by itself."""
    arguments.none(told)
    within(told, {})


def loadbalance(draft: BlockDraft, told: Directive) -> None:
    """Addresses take turns."""
    within(told, arguments.LOADBALANCE)
    if told.words[:1] == ("weighted",):
        arguments.count(2, 2)(told)
        draft.warn(told.line, "loadbalance: weighted is not followed: addresses take turns")
    elif told.words not in ((), ("round_robin",)):
        raise CorefileError(told.line, f"loadbalance: unknown policy: {' '.join(told.words)}")
    for option in told.inside:
        unfollowed(draft, "loadbalance", option)


def bufsize(draft: BlockDraft, told: Directive) -> None:
    if told.words:
        arguments.between(512, 4096)(told)
    draft.block["size"] = number(told, told.words[0]) if told.words else _BUFFER


def bind(draft: BlockDraft, told: Directive) -> None:
    """The pods have one address each."""
    arguments.some(told)
    within(told, arguments.BIND)


def page(what: str, port: int, rules: Mapping[str, arguments.ArgumentRule]) -> Followed:
    """A plug-in that tells something over HTTP."""

    def follow(draft: BlockDraft, told: Directive) -> None:
        within(told, rules)
        draft.pages[str(port_of(told, port))] = what
        for option in told.inside:
            if option.name == "lameduck":
                draft.lameduck = duration(option, option.words[0])

    return follow


def minimal(draft: BlockDraft, told: Directive) -> None:
    """Answers have no records beside them."""
    arguments.none(told)
    draft.block["minimal"] = True


def local(draft: BlockDraft, told: Directive) -> None:
    """localhost and its kin are answered on the spot."""
    arguments.none(told)
    within(told, arguments.LOCAL)
    draft.block["local"] = True
    for option in told.inside:
        draft.block["localhost_prefix"] = option.words == ("on",)


def any_type(draft: BlockDraft, told: Directive) -> None:
    """ANY is answered with a record that says that it isn't (RFC 8482)."""
    arguments.none(told)
    draft.block["any"] = True
