"""What of a configuration HAProxy can't do here. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from emulab.servers.engines.haproxy.filters import CFG_DIRECTIVES, addresses_alone, locked
from emulab.servers.engines.haproxy.reaching import not_done
from emulab.servers.l7.config import (
    AccessControl,
    Balance,
    DrawnServer,
    InTurn,
    L7Config,
    LeastRequest,
    RequestRoute,
    Upstream,
)

BALANCES: Mapping[type[Balance], str] = {
    InTurn: "roundrobin",
    DrawnServer: "random(1)",
    LeastRequest: "random(2)",
}
"""How a backend picks, by the type of what a configuration says."""


def unable(route: RequestRoute) -> Iterator[str]:
    """What of a route, a few words each; requests are served as without it, unless they say it."""
    for one in route.filters:
        if type(one) not in CFG_DIRECTIVES:
            yield f"{type(one).__name__} isn't done by haproxy"
        if isinstance(one, AccessControl) and not addresses_alone(one):
            yield "passwords and other services aren't asked by haproxy: everybody is answered 503"
    if route.canary is not None:
        yield "its canary gets nothing: haproxy is told of none"
    yield from not_done(route.policy)
    match = route.match
    if " " in match.path:
        yield "haproxy's maps know no spaces in paths"
    if match.methods or match.headers or match.query:
        yield "haproxy's maps are asked for host and path alone"


def certificates(config: L7Config, route: RequestRoute) -> Iterator[str]:
    """What of a route's host."""
    if route.match.host.lower() in locked(config):
        yield "certificates of clients aren't looked at by haproxy: everybody is answered 403"


def balance(upstream: Upstream) -> Iterator[str]:
    """What of an upstream."""
    if type(upstream.balance) not in BALANCES:
        yield f"{type(upstream.balance).__name__} isn't done by haproxy"
    if upstream.limits is not None:
        yield "its limits of connections and requests aren't heeded by haproxy"
    if upstream.outliers is not None:
        yield "haproxy leaves nobody out as outlierDetection asks for it"
