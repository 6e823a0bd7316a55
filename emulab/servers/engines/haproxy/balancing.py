"""How a backend picks among its servers, and how a cookie keeps a client with one. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any

from emulab.servers.engines.haproxy.text import CfgLines, quoted
from emulab.servers.engines.haproxy.variables import noted
from emulab.servers.engines.shared import OLD_BROWSERS, server_mark
from emulab.servers.l7.config import (
    Balance,
    CookieAffinity,
    DrawnServer,
    HashBy,
    InTurn,
    LeastRequest,
    Policy,
    Upstream,
)


def _hash(one: HashBy) -> CfgLines:
    return [
        *noted("hash", one.key),
        "balance hash var(txn.hash)",
        "hash-type consistent",
    ]


BALANCES: Mapping[type[Balance], Callable[[Any], CfgLines]] = {
    InTurn: lambda _: ["balance roundrobin"],
    DrawnServer: lambda _: ["balance random(1)"],
    LeastRequest: lambda _: ["balance random(2)"],
    HashBy: _hash,
    CookieAffinity: lambda _: ["balance random(1)"],
}
"""By the type of what a configuration says."""


def balanced(balance: Balance) -> CfgLines:
    """The directives; round robin for what isn't done."""
    return BALANCES.get(type(balance), BALANCES[InTurn])(balance)


_POINTS = 10
"""The weight of servers of a hash: it has 16 points a unit on its ring, nginx 160 for each server."""


def alone(balance: Balance) -> int:
    """The weight of servers that share with no other upstream."""
    return _POINTS if isinstance(balance, HashBy) else 1


def server_numbers(upstreams: Iterable[Upstream]) -> Mapping[tuple[int, int], int]:
    """The numbers of servers that a hash leads to, by which their points on its ring are placed: of the address of
    each, so that keys stay where they are when others come and go. Their places in the list would move with those.

    By the place of the upstream, and of the server in it.
    """
    numbers: dict[tuple[int, int], int] = {}
    taken: set[int] = set()
    for place, upstream in enumerate(upstreams):
        for index, server in enumerate(upstream.servers if isinstance(upstream.balance, HashBy) else ()):
            number = int(sha256(server.encode()).hexdigest()[:7], 16) + 1
            while number in taken:
                number += 1
            numbers[place, index] = number
            taken.add(number)
    return numbers


def server_name(upstream: Upstream, number: int, index: int) -> str:
    """A server's name; with affinity it is what the cookie says, so that it stays when others come and go."""
    if isinstance(upstream.balance, CookieAffinity):
        return server_mark(upstream.servers[index])
    return f"s{number}-{index}"


def sticky(upstream: Upstream, policy: Policy, path: str) -> CfgLines:
    """Clients stay with the server that their cookie names; who brings none gets one where the policy has it set."""
    one = upstream.balance
    if not isinstance(one, CookieAffinity):
        return []
    names = [server_name(upstream, 0, index) for index in range(len(upstream.servers))]
    lines = [
        *(f"use-server {name} if {{ req.cook({one.cookie}) -m str {name} }}" for name in names),
        "option redispatch 1" if one.change_on_failure else "no option redispatch",
    ]
    return lines + _cookie(one, path) if policy.affinity_cookie else lines


def owned(upstream: Upstream) -> str:
    """A condition: the client's cookie names one of the upstream's servers; "" where none can."""
    one = upstream.balance
    if not isinstance(one, CookieAffinity) or not upstream.servers:
        return ""
    names = (server_name(upstream, 0, index) for index in range(len(upstream.servers)))
    return f"req.cook({one.cookie}) -m str {' '.join(names)}"


def _cookie(one: CookieAffinity, path: str) -> CfgLines:
    """The attributes are in the order of lua-resty-cookie."""
    lines = [f"http-request set-var(txn.stuck) req.cook({one.cookie})"]
    parts = [f"{one.cookie}=%[srv_name]"]
    if one.expires is not None:
        shape = "%a, %d-%b-%y %H:%M:%S GMT"
        lines.append(f"http-request set-var(txn.expires) 'date({one.expires}),utime(\"{shape}\")'")
        parts.append("Expires=%[var(txn.expires)]")
    if one.max_age is not None:
        parts.append(f"Max-Age={one.max_age}")
    if one.domain:
        parts.append(f"Domain={one.domain}")
    parts.append(f"Path={one.path_of(path).replace('%', '%%')}")
    text = "; ".join(parts)
    if one.secure:
        text += "; Secure"
    else:
        lines.append('http-request set-var-fmt(txn.secure) "; Secure" if { var(txn.scheme) -m str https }')
        text += "%[var(txn.secure)]"
    text += "; HttpOnly"
    if one.same_site == "None" and one.unless_incompatible:
        lines.append(
            'http-request set-var-fmt(txn.samesite) "; SameSite=None" '
            f"unless {{ req.fhdr(user-agent) -m reg {quoted(OLD_BROWSERS)} }}"
        )
        text += "%[var(txn.samesite)]"
    elif one.same_site:
        text += f"; SameSite={one.same_site}"
    written = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return [
        *lines,
        f'http-response add-header Set-Cookie "{written}" unless {{ srv_name,strcmp(txn.stuck) eq 0 }}',
    ]
