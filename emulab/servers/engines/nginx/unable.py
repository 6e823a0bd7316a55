"""What of a configuration nginx can't do here. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from emulab.servers.engines.nginx.filters import DIRECTIVES
from emulab.servers.l7.config import InTurn, RequestRoute, Upstream


def unable(route: RequestRoute) -> Iterator[str]:
    """What of a route, a few words each; requests are served as without it."""
    for one in route.filters:
        if type(one) not in DIRECTIVES:
            yield f"{type(one).__name__} isn't done by nginx"
    match = route.match
    if route.canary is not None:
        yield "its canary gets nothing: nginx by itself knows none"
    if match.methods or match.headers or match.query:
        yield "nginx's locations ask for the path alone"


def balance(upstream: Upstream) -> Iterator[str]:
    """What of an upstream."""
    if not isinstance(upstream.balance, InTurn):
        yield f"{type(upstream.balance).__name__} isn't done by nginx"
    if upstream.limits is not None:
        yield "its limits of connections and requests aren't heeded by nginx"
    if upstream.outliers is not None:
        yield "nginx leaves nobody out as outlierDetection asks for it"
