"""The plug-ins of a Corefile that are followed: what each says, as configuration. Pure.

Each is told its line and those in its braces, adds to a `BlockDraft`, and says of what isn't followed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from emulab.model.addresses import is_address, parse_address, socket_name
from emulab.plan.coredns.drafting import (
    BlockDraft,
    absolute,
    checked,
    duration,
    number,
    sayable,
    through,
    unfollowed,
    zones_of,
)
from emulab.plan.coredns.searching import autopath
from emulab.plan.coredns.syntax import CorefileError, Directive
from emulab.servers.dns.config import (
    ASKED_TYPES,
    RCODES,
    CacheLimits,
    ForwardConfig,
    HostNames,
    HostsConfig,
    LogRule,
    RewriteRule,
    TemplateConfig,
    check_template,
    expression,
)

MIN_TTL, MAX_SUCCESS, MAX_DENIAL, CACHE_SIZE, STALE = 5, 3600, 1800, 9984, 3600
"""CoreDNS' own (plugin/cache/setup.go)."""


def hosts(draft: BlockDraft, told: Directive) -> None:
    file, zones = (told.words[0], told.words[1:]) if told.words else ("", ())
    text = draft.files.get(file.rpartition("/")[2], "")
    if file and not text and file != "/etc/hosts":
        draft.warn(
            told.line, f"hosts: there is no {file}: a key of that name in the ConfigMap is read for it"
        )
    lines = [line.partition("#")[0].split() for line in text.splitlines()]
    found: dict[str, Any] = {}
    for option in told.inside:
        if option.name == "fallthrough":
            found["fallthrough"] = through(option)
        elif option.name == "ttl":
            found["ttl"] = number(option, " ".join(option.words))
        elif option.name == "no_reverse":
            found["reverse"] = False
        elif is_address(option.name):
            lines.append([option.name, *option.words])
        elif option.name != "reload":
            unfollowed(draft, "hosts", option)
    entries = tuple(
        HostNames(line[0], tuple(filter(sayable, map(absolute, line[1:]))))
        for line in lines
        if line and is_address(line[0])
    )
    own = zones_of(told, zones) or draft.zones
    draft.block["hosts"] = HostsConfig(own, entries, **found)


def rewrite(draft: BlockDraft, told: Directive) -> None:
    """`rewrite [continue|stop] name …`, on one line or in braces with the answers on lines of their own."""
    words = told.words
    mode = words[0] if words and words[0] in ("continue", "stop") else ""
    words = words[1:] if mode else words
    for option in told.inside:
        words += (option.name, *option.words)
    if not words:
        raise CorefileError(told.line, "rewrite: what of a question?")
    if words[0] in ("type", "class", "edns0", "ttl", "cname", "rcode"):
        draft.warn(told.line, f"rewrite {words[0]} is not followed: rewrite name alone is")
        return
    words = words[1:] if words[0] == "name" else words
    matching = words[0] if words and words[0] in ("exact", "prefix", "suffix", "substring", "regex") else ""
    words = words[1:] if matching else words
    if len(words) < 2:
        raise CorefileError(told.line, "rewrite name: two names are needed")
    matching = matching or "exact"
    old, new, *answers = words
    if matching != "regex":
        whole = matching in ("exact", "suffix")
        old, new = (absolute(word) if whole else word.lower() for word in (old, new))
    else:
        new = absolute(new)
        checked(told, expression, old)
    auto, answer = _answers(draft, told, answers)
    checked(told, expression, answer[0])
    rules = (
        *draft.block.get("rewrites", ()),
        RewriteRule(matching, old, new, auto, *answer, mode == "continue"),
    )
    draft.block["rewrites"] = rules


def _answers(draft: BlockDraft, told: Directive, words: list[str]) -> tuple[bool, tuple[str, str]]:
    auto, answer = False, ("", "")
    while words:
        if words[0] == "answer":
            words = words[1:]
        match words:
            case ["auto", *rest] | ["name", "auto", *rest]:
                auto, words = True, rest
            case ["name", old, new, *rest]:
                answer, words = (old, absolute(new)), rest
            case ["value", _, _, *rest]:
                draft.warn(told.line, "rewrite name: answer value is not followed")
                words = rest
            case _:
                raise CorefileError(told.line, f"rewrite name: {' '.join(words) or 'answer'}: no answer rule")
    return auto, answer


def template(draft: BlockDraft, told: Directive) -> None:
    if len(told.words) < 2:
        raise CorefileError(told.line, "template: a class and a type are needed")
    rclass, rtype, *zones = told.words
    if rclass.upper() not in ("IN", "ANY"):
        draft.warn(told.line, f"template: class {rclass} is not followed: IN alone is")
        return
    if rtype.upper() not in ASKED_TYPES:
        raise CorefileError(told.line, f"template: {rtype} is no type that can be asked for")
    found: dict[str, Any] = {}
    sections = {"answer": "answers", "authority": "authority", "additional": "additional"}
    for option in told.inside:
        said = " ".join(option.words)
        if option.name == "match":
            checked(option, expression, *option.words)
            found["matches"] = (*found.get("matches", ()), *option.words)
        elif option.name in sections:
            checked(option, check_template, said)
            section = sections[option.name]
            found[section] = (*found.get(section, ()), said)
        elif option.name == "rcode":
            if said.upper() not in RCODES:
                raise CorefileError(option.line, f"template: rcode {said} is none of {', '.join(RCODES)}")
            found["rcode"] = said.upper()
        elif option.name == "fallthrough":
            found["fallthrough"] = through(option)
        elif option.name != "upstream":
            unfollowed(draft, "template", option)
    own = zones_of(told, zones) or draft.zones
    draft.block["templates"] = (
        *draft.block.get("templates", ()),
        TemplateConfig(own, rtype.upper(), **found),
    )


def forward(draft: BlockDraft, told: Directive) -> None:
    if len(told.words) < 2:
        raise CorefileError(told.line, "forward: a domain and a server are needed")
    origin, *servers = told.words
    addresses = [address for text in servers if (address := _server(draft, told, text))]
    apart: tuple[str, ...] = ()
    policy, stream = "random", False
    for option in told.inside:
        if option.name == "except":
            apart += zones_of(option, option.words)
        elif option.name == "policy":
            policy = " ".join(option.words)
        elif option.name == "force_tcp":
            stream = True
        elif option.name in ("tls", "tls_servername", "next", "next_on_nodata", "failover"):
            unfollowed(draft, "forward", option)
    (base,) = zones_of(told, [origin])
    made = ForwardConfig(base, tuple(addresses), apart, policy != "sequential", stream)
    draft.block["forward"] = (*draft.block.get("forward", ()), made)


def _server(draft: BlockDraft, told: Directive, text: str) -> str:
    address = text.removeprefix("dns://")
    if text.startswith("/"):
        return draft.default
    if is_address(address):
        return socket_name(parse_address(address), 53)
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit() and is_address(host.strip("[]")):
        return socket_name(parse_address(host.strip("[]")), int(port))
    draft.warn(told.line, f"forward: {text} is not asked: plain DNS to an address alone is followed")
    return ""


def cache(draft: BlockDraft, told: Directive) -> None:
    words = list(told.words)
    ttl = number(told, words.pop(0)) if words and words[0].isdigit() else None
    if words:
        draft.warn(told.line, f"cache: zones ({' '.join(words)}) are not followed: the whole block is cached")
    limits = CacheLimits(
        MAX_SUCCESS if ttl is None else ttl,
        MIN_TTL,
        MAX_DENIAL if ttl is None else ttl,
        CACHE_SIZE,
        stale_ttl=0,
    )
    limits = replace(limits, min_ttl=min(MIN_TTL, limits.max_ttl))
    for option in told.inside:
        values = option.words
        if option.name in ("success", "denial") and values:
            limits = replace(limits, size=max(number(option, values[0]), 1024))
            if len(values) > 1:
                bound = number(option, values[1])
                limits = (
                    replace(limits, max_ttl=bound)
                    if option.name == "success"
                    else replace(limits, negative_ttl=bound)
                )
            if len(values) > 2 and option.name == "success":
                limits = replace(limits, min_ttl=number(option, values[2]))
        elif option.name == "serve_stale":
            limits = _stale(limits, option)
        elif not (option.name == "disable" and len(values) > 1):  # of the cluster's names nothing is cached
            unfollowed(draft, "cache", option)
    draft.block["caches"], draft.block["limits"] = True, limits
    draft.limits = limits


def _stale(limits: CacheLimits, option: Directive) -> CacheLimits:
    words = list(option.words)
    seconds = int(duration(option, words.pop(0))) if words else STALE
    mode = words.pop(0) if words else "immediate"
    if mode not in ("immediate", "verify"):
        raise CorefileError(option.line, f"cache: serve_stale is immediate or verify, not {mode}")
    if mode == "verify" and words:
        words.pop(0)  # how long to wait for upstream, which has its own time-out
    answer = int(duration(option, words[0])) if words else 0
    return replace(limits, stale=seconds, stale_first=mode == "immediate", stale_ttl=answer)


def kubernetes(draft: BlockDraft, told: Directive) -> None:
    zones = zones_of(told, told.words) or draft.zones
    reverse = tuple(zone for zone in zones if zone.endswith(".arpa."))
    own = [zone for zone in zones if zone not in reverse]
    found: dict[str, Any] = {"reverse": reverse, "fallthrough": ()}
    if own:
        found["domain"] = own[0]
    for zone in own[1:]:
        draft.warn(told.line, f"kubernetes: {zone} is not answered: the first zone alone is")
    for option in told.inside:
        said = " ".join(option.words)
        match option.name:
            case "pods":
                found["pods"] = said != "disabled"
                draft.verified |= said == "verified"
            case "ttl":
                found["ttl"] = number(option, said)
            case "fallthrough":
                found["fallthrough"] = through(option)
            case "ignore" if said == "empty_service":
                found["ignore_empty"] = True
            case "namespaces":
                found["exposed"] = tuple(option.words)
            case "upstream" | "resyncperiod" | "startup_timeout" | "transfer":
                pass  # without bearing, some for years
            case _:
                unfollowed(draft, "kubernetes", option)
    found.setdefault("pods", False)
    draft.cluster |= found
    draft.block["cluster"] = True


def log(draft: BlockDraft, told: Directive) -> None:
    zones = [word for word in told.words if "{" not in word and " " not in word]
    if len(zones) != len(told.words):
        draft.warn(told.line, "log: a format is not followed: lines have the common one")
    classes: tuple[str, ...] = ()
    for option in told.inside:
        if option.name != "class" or not {*option.words} <= {"all", "success", "denial", "error"}:
            raise CorefileError(option.line, "log: class is all, success, denial or error")
        classes += option.words
    rule = LogRule(zones_of(told, zones) or draft.zones, classes or ("all",))
    draft.block["logs"] = (*draft.block.get("logs", ()), rule)


def errors(draft: BlockDraft, told: Directive) -> None:
    for option in told.inside:
        if option.name != "stacktrace":
            unfollowed(draft, "errors", option)
    draft.block["errors"] = True


def _nothing(draft: BlockDraft, told: Directive) -> None:
    """What is so here in any case, or has no bearing."""


Followed = Callable[[BlockDraft, Directive], None]

PLUGINS: Mapping[str, Followed] = {
    "hosts": hosts,
    "rewrite": rewrite,
    "autopath": autopath,
    "template": template,
    "forward": forward,
    "cache": cache,
    "kubernetes": kubernetes,
    # Forwarding in a ring ends by itself, addresses take turns, changes are seen at once.
    "loop": _nothing,
    "loadbalance": _nothing,
    "reload": _nothing,
    "errors": errors,
    "log": log,
    "health": _nothing,
    "ready": _nothing,
    "prometheus": _nothing,
    "bufsize": _nothing,
    "bind": _nothing,
}
"""Plug-in → what is made of it. Others are warned of."""
