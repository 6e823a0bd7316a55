"""Backends of a route besides its own: of its canary, and of servers that are reached as the client came. Pure.

A variant is what is added to the backend's name; which one a request goes to the frontend decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from emulab.servers.engines.haproxy.balancing import owned
from emulab.servers.engines.haproxy.text import CfgLines, looked_for, quoted
from emulab.servers.l7.config import (
    AUTO_HTTP,
    HTTP,
    HTTPS,
    Canary,
    Policy,
    RequestRoute,
    Upstream,
    WeightedUpstream,
)
from emulab.servers.l7.engine.balance.canaries import LEAST_TOTAL

_CANARY, _SECURE = "-canary", "-https"


def _canary_of(route: RequestRoute, upstreams: Mapping[str, Upstream]) -> Canary | None:
    """The canary, if it has a server: without one it takes nobody."""
    there = route.canary is not None and upstreams.get(route.canary.upstream, Upstream()).servers
    return route.canary if there else None


def variants(
    route: RequestRoute, upstreams: Mapping[str, Upstream]
) -> Iterator[tuple[str, Policy, Sequence[WeightedUpstream]]]:
    """What is added to the name, by which policy it is served, and who gets it."""
    shares: list[tuple[str, Sequence[WeightedUpstream]]] = [("", route.backends)]
    if (canary := _canary_of(route, upstreams)) is not None:
        shares.append((_CANARY, (WeightedUpstream(canary.upstream),)))
    reach = route.policy.reach
    if reach.protocol != AUTO_HTTP:
        yield from ((end, route.policy, backends) for end, backends in shares)
        return
    for more, protocol in (("", HTTP), (_SECURE, HTTPS)):
        policy = replace(route.policy, reach=replace(reach, protocol=protocol))
        yield from ((end + more, policy, backends) for end, backends in shares)


def choices(routes: Sequence[RequestRoute], upstreams: Mapping[str, Upstream]) -> CfgLines:
    """What the frontend decides: the variable `txn.to` is what is added to the name."""
    lines: CfgLines = []
    for number, route in enumerate(routes):
        here = f"{{ var(txn.route) -m str {number} }}"
        if (canary := _canary_of(route, upstreams)) is not None:
            lines += _canary_lines(here, canary, route, upstreams)
        if route.policy.reach.protocol == AUTO_HTTP:
            lines.append(f'http-request set-var-fmt(txn.to) "%[var(txn.to)]{_SECURE}" if {here} {{ ssl_fc }}')
    return lines


def _canary_lines(
    here: str, canary: Canary, route: RequestRoute, upstreams: Mapping[str, Upstream]
) -> CfgLines:
    """Who was sent to either of the two before stays there; then the header, the cookie, the weight."""
    said: list[tuple[bool, str]] = []
    first = upstreams.get(route.backends[0].upstream, Upstream()) if route.backends else Upstream()
    for takes, upstream in ((False, first), (True, upstreams[canary.upstream])):
        if owner := owned(upstream):
            said.append((takes, f"{{ {owner} }}"))
    if canary.header:
        field = f"req.fhdr({canary.header.lower().replace('_', '-')})"
        if canary.header_value:
            said.append((True, f"{{ {field} -m str {looked_for(canary.header_value)} }}"))
        elif canary.header_pattern:
            said.append((True, f"{{ {field} -m reg {looked_for(canary.header_pattern)} }}"))
        else:
            said += [(True, f"{{ {field} -m str always }}"), (False, f"{{ {field} -m str never }}")]
    if canary.cookie:
        # nginx' variables know no case of names.
        found = rf"(^|[;,] *)(?i:{re.escape(canary.cookie)}) *= *"
        for takes, word in ((True, "always"), (False, "never")):
            said.append((takes, f"{{ req.fhdr(cookie) -m reg {quoted(f'{found}{word}(;|$)')} }}"))
    total = max(canary.weight_total, LEAST_TOTAL)
    if canary.weight > 0:
        said.append((True, f"{{ rand({total}) lt {canary.weight} }}"))
    return [
        f"http-request set-var(txn.to) str({_CANARY if takes else ''}) if {here} "
        f"!{{ var(txn.to) -m found }} {condition}"
        for takes, condition in said
    ]
