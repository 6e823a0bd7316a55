"""`acl` of a Corefile. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network

from emulab.plan.coredns.drafting import BlockDraft, zones_of
from emulab.plan.coredns.lines import CorefileError
from emulab.plan.coredns.syntax import Directive
from emulab.servers.dns.config import ASKED_TYPES, AccessPolicy, AccessRule

_ACTIONS = ("allow", "block", "filter", "drop")
_TYPE, _NET = "type", "net"
_EVERY = "*"


def acl(draft: BlockDraft, told: Directive) -> None:
    """`acl [ZONE…] { ACTION [type QTYPE…] [net SOURCE…] }`."""
    policies = tuple(_policy(option) for option in told.inside)
    rule = AccessRule(zones_of(told, told.words) or draft.zones, policies)
    draft.block["access"] = (*draft.block.get("access", ()), rule)


def _policy(option: Directive) -> AccessPolicy:
    action = option.name.lower()
    if action not in _ACTIONS:
        raise CorefileError(
            option.line, f"acl: unexpected token {option.name!r}; expect {', '.join(_ACTIONS)}"
        )
    types: Sequence[str] = ()
    networks: Sequence[str] = ()
    for section, words in _sections(option):
        if section == _TYPE:
            types = (*types, *_types(option, words))
        else:
            networks = (*networks, *_networks(option, words))
    return AccessPolicy(action, tuple(types), tuple(networks))


def _sections(option: Directive) -> list[tuple[str, list[str]]]:
    """What follows `type` and `net`."""
    found: list[tuple[str, list[str]]] = []
    for word in option.words:
        if word.lower() in (_TYPE, _NET):
            found.append((word.lower(), []))
        elif not found:
            raise _wrong(option, f"unexpected token {word!r}; expect 'type | net'")
        else:
            found[-1][1].append(word)
    if empty := next((section for section, words in found if not words), ""):
        raise _wrong(option, f"no token specified in {empty!r} section")
    return found


def _types(option: Directive, words: Sequence[str]) -> Sequence[str]:
    if _EVERY in words:
        return ()
    for word in words:
        if word not in ASKED_TYPES:
            raise _wrong(option, f"unexpected token {word!r}; expect legal QTYPE")
    return words


def _networks(option: Directive, words: Sequence[str]) -> Sequence[str]:
    if _EVERY in words:
        return ()
    for word in words:
        try:
            ip_network(word, strict=False)
        except ValueError:
            raise _wrong(option, f"illegal CIDR notation {word!r}") from None
    return words


def _wrong(option: Directive, why: str) -> CorefileError:
    return CorefileError(option.line, f"acl: {why}")
