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
    said: dict[str, list[str]] = {_TYPE: [], _NET: []}
    for section, words in _sections(option):
        said[section] += words
    types, networks = (_chosen(said[section]) for section in (_TYPE, _NET))
    if wrong := next((word for word in types if word not in ASKED_TYPES), None):
        raise _wrong(option, f"unexpected token {wrong!r}; expect legal QTYPE")
    if wrong := next((word for word in networks if not _is_network(word)), None):
        raise _wrong(option, f"illegal CIDR notation {wrong!r}")
    return AccessPolicy(action, types, networks)


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


def _chosen(words: Sequence[str]) -> tuple[str, ...]:
    """What is said of types or of networks; nothing where all are meant, whatever else is said."""
    return () if _EVERY in words else tuple(words)


def _is_network(word: str) -> bool:
    """An address, or a network with the length of its prefix (`net.ParseCIDR` of Go: no mask, no scope)."""
    try:
        ip_network(word, strict=False)
    except ValueError:
        return False
    _, slash, length = word.partition("/")
    return "%" not in word and (not slash or length.isdecimal())


def _wrong(option: Directive, why: str) -> CorefileError:
    return CorefileError(option.line, f"acl: {why}")
