"""What of a configuration HAProxy can't do here. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from emulab.servers.engines.haproxy.filters import CFG_DIRECTIVES
from emulab.servers.engines.haproxy.reaching import not_done
from emulab.servers.l7.config import RequestRoute, Upstream

BALANCES = {"roundrobin": "roundrobin"}
"""How a backend picks, by the name that a configuration has for it."""


def unable(route: RequestRoute) -> Iterator[str]:
    """What of a route, a few words each; requests are served as without it."""
    for one in route.filters:
        if type(one) not in CFG_DIRECTIVES:
            yield f"{type(one).__name__} isn't done by haproxy"
    yield from not_done(route.policy)
    match = route.match
    if " " in match.path:
        yield "haproxy's maps know no spaces in paths"
    if match.methods or match.headers or match.query:
        yield "haproxy's maps are asked for host and path alone"


def balance(upstream: Upstream) -> Iterator[str]:
    """What of an upstream."""
    if upstream.balance not in BALANCES:
        yield f"the balance {upstream.balance} isn't done by haproxy"
