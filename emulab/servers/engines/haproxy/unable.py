"""What of a configuration HAProxy can't do here, whoever wished it. Pure.

What it can't do of an annotation, or of a key of the controller's ConfigMap, that one's line says.
"""

from __future__ import annotations

from collections.abc import Iterator

from emulab.servers.engines.haproxy.maps import in_map
from emulab.servers.l7.config import L7Config, RequestRoute, Upstream


def unable(route: RequestRoute, _config: L7Config) -> Iterator[str]:
    """What of a route of the configuration, and how requests are served then."""
    match = route.match
    if match.methods or match.headers or match.query:
        yield "haproxy's maps are asked for host and path alone: requests are served as without it"
    if not in_map(match):
        yield "haproxy's maps have no path with a tab or a line's end: nobody is led there"


def balance(upstream: Upstream) -> Iterator[tuple[str, str]]:
    """What of an upstream, each with the field of a DestinationRule's policy that asks for it."""
    if upstream.limits is not None:
        yield "connectionPool", "its limits of connections and requests aren't heeded by haproxy"
    if upstream.outliers is not None:
        yield "outlierDetection", "haproxy leaves nobody out as outlierDetection asks for it"
