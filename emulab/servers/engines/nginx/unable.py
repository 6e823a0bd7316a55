"""What of a configuration nginx can't do here, whoever wished it. Pure.

What it can't do of an annotation, or of a key of the controller's ConfigMap, that one's line says.
"""

from __future__ import annotations

from collections.abc import Iterator

from emulab.servers.engines.nginx.conf import http_lines
from emulab.servers.engines.nginx.lengths import has_place, is_long
from emulab.servers.l7.config import L7Config, RequestRoute, Upstream


def unable(route: RequestRoute, config: L7Config) -> Iterator[str]:
    """What of a route of the configuration, and how requests are served then."""
    match = route.match
    if match.methods or match.headers or match.query:
        yield "nginx's locations ask for the path alone: requests are served as without it"
    if not has_place(match):
        yield "nginx reads no host and no path of more than 4,000 octets: nobody is led there"
    elif is_long(route, config, http_lines):
        yield "nginx reads nothing of more than 4,000 octets, as an annotation is here: clients get 503"


def balance(upstream: Upstream) -> Iterator[tuple[str, str]]:
    """What of an upstream, each with the field of a DestinationRule's policy that asks for it."""
    if upstream.limits is not None:
        yield "connectionPool", "its limits of connections and requests aren't heeded by nginx"
    if upstream.outliers is not None:
        yield "outlierDetection", "nginx leaves nobody out as outlierDetection asks for it"
