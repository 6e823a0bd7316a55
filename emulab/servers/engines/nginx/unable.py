"""What of a configuration nginx can't do here. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from emulab.servers.engines.nginx.balancing import BALANCES
from emulab.servers.engines.nginx.filters import DIRECTIVES
from emulab.servers.l7.config import AccessControl, HashBy, RequestRoute, Upstream


def unable(route: RequestRoute) -> Iterator[str]:
    """What of a route, a few words each; requests are served as without it, unless they say it."""
    for one in route.filters:
        if type(one) not in DIRECTIVES:
            yield f"{type(one).__name__} isn't done by nginx"
        external = one.external if isinstance(one, AccessControl) else None
        if external is not None and external.cache_key:
            yield "auth-cache-key isn't followed by nginx: a service is asked about each request"
        if external is not None and external.signin:
            yield "the way back from auth-signin isn't escaped by nginx: it is as the client wrote it"
    match = route.match
    if route.canary is not None:
        yield "its canary gets nothing: nginx by itself knows none"
    if match.methods or match.headers or match.query:
        yield "nginx's locations ask for the path alone"


def balance(upstream: Upstream) -> Iterator[str]:
    """What of an upstream."""
    if type(upstream.balance) not in BALANCES:
        yield f"{type(upstream.balance).__name__} isn't done by nginx"
    elif isinstance(upstream.balance, HashBy) and upstream.balance.subset:
        yield "nginx hashes to one server, not to a subset"
    if upstream.limits is not None:
        yield "its limits of connections and requests aren't heeded by nginx"
    if upstream.outliers is not None:
        yield "nginx leaves nobody out as outlierDetection asks for it"
