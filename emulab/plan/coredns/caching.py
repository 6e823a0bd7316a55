"""`cache` of a Corefile. Pure."""

from __future__ import annotations

from dataclasses import replace

from emulab.plan.coredns import arguments
from emulab.plan.coredns.arguments import within, wrong
from emulab.plan.coredns.drafting import BlockDraft, duration, number, unfollowed, zones_of
from emulab.plan.coredns.lines import CorefileError, is_number
from emulab.plan.coredns.syntax import Directive
from emulab.servers.dns.config import CacheLimits

MIN_TTL, MAX_SUCCESS, MAX_DENIAL, MAX_FAILURE, CACHE_SIZE, STALE = 5, 3600, 1800, 300, 9984, 3600
"""CoreDNS' own (plugin/cache/setup.go)."""


def bounds(positive: int, negative: int) -> CacheLimits:
    """Those of a cache that is told the most seconds that answers and denials are kept."""
    return CacheLimits(
        positive,
        min(MIN_TTL, positive),
        negative,
        CACHE_SIZE,
        stale_ttl=0,
        negative_min=min(MIN_TTL, negative),
        failure_ttl=MIN_TTL,
    )


def cache(draft: BlockDraft, told: Directive) -> None:
    words = list(told.words)
    whole = bool(words) and is_number(words[0].lstrip("-"))
    ttl = _cached_seconds(told, words.pop(0)) if whole else None
    if words:
        draft.block["cached"] = zones_of(told, words)
    within(told, arguments.CACHE)
    _check_policy(told)
    limits = bounds(*(MAX_SUCCESS, MAX_DENIAL) if ttl is None else (ttl, ttl))
    for option in told.inside:
        values = option.words
        if option.name in ("success", "denial") and values:
            limits = replace(limits, size=max(number(option, values[0]), 1024))
            if len(values) > 1:
                bound = _cached_seconds(option, values[1])
                limits = (
                    replace(limits, max_ttl=bound)
                    if option.name == "success"
                    else replace(limits, negative_ttl=bound)
                )
            if len(values) > 2:
                least = number(option, values[2])
                limits = (
                    replace(limits, min_ttl=least)
                    if option.name == "success"
                    else replace(limits, negative_min=least)
                )
        elif option.name == "serve_stale":
            limits = _stale(limits, option)
        elif option.name == "servfail":
            if (kept := duration(option, values[0])) > MAX_FAILURE:
                raise wrong(option, "caching SERVFAIL responses over 5 minutes is not permitted")
            limits = replace(limits, failure_ttl=int(kept))
        elif option.name == "disable":
            draft.uncached.append(option)
        else:
            unfollowed(draft, "cache", option)
    draft.block["caches"], draft.block["limits"] = True, limits
    draft.limits = limits


def _cached_seconds(told: Directive, text: str) -> int:
    if text.startswith("-") or (seconds := number(told, text)) == 0:
        raise wrong(told, f"a TTL of {text} is not to be had: it is 1 at least")
    return seconds


def check_uncached(draft: BlockDraft) -> None:
    """`disable success|denial [ZONES]` of cache: of the cluster's names nothing is cached as it is, of others all."""
    zones = [] if not draft.block.get("cluster") else draft.own_names
    for option in draft.uncached:
        arguments.among("success", "denial")(option._replace(words=option.words[:1]))
        for zone in zones_of(option, option.words[1:]) or draft.zones:
            if not any(zone == own or zone.endswith(f".{own}") for own in zones):
                said = f"cache: disable {option.words[0]} is not followed for {zone}: its names are cached"
                draft.warn(option.line, said)


def _stale(limits: CacheLimits, option: Directive) -> CacheLimits:
    """`serve_stale [DURATION [immediate | verify [TIMEOUT]] [TTL [RECHECK]]]`."""
    words = list(option.words)
    seconds = int(duration(option, words.pop(0))) if words else STALE
    mode = words.pop(0).lower() if words else "immediate"
    if mode not in ("immediate", "verify"):
        raise CorefileError(option.line, f"cache: serve_stale is immediate or verify, not {mode}")
    if mode == "verify" and words:
        duration(option, words.pop(0))  # how long to wait for upstream, which has its own time-out
    answer = _whole_seconds(option, words.pop(0)) if words else 0
    if words and duration(option, words.pop(0)) > MAX_FAILURE:
        raise wrong(option, "failure recheck cannot exceed 5 minutes")
    if words:
        raise wrong(option, "wrong argument count or unexpected line ending")
    return replace(limits, stale=seconds, stale_first=mode == "immediate", stale_ttl=answer)


def _whole_seconds(option: Directive, text: str) -> int:
    seconds = duration(option, text)
    if seconds % 1 or seconds >= 1 << 32:
        raise wrong(option, f"a TTL of {text} is not to be had: it is whole seconds, below 2^32")
    return int(seconds)


def _check_policy(told: Directive) -> None:
    """`serve_stale_policy prefer_positive` stands beside serve_stale, once."""
    policies = [option for option in told.inside if option.name == "serve_stale_policy"]
    for option in policies:
        if option.words[0].lower() != "prefer_positive":
            raise wrong(option, f"{option.words[0]} is none of prefer_positive")
    if len(policies) > 1:
        raise wrong(policies[1], "can only be specified once")
    if policies and not any(option.name == "serve_stale" for option in told.inside):
        raise wrong(policies[0], "requires serve_stale")
