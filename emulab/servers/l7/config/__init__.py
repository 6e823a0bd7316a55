"""What an L7 proxy is told. Times are in seconds, sizes in bytes; the defaults are ingress-nginx's.

A `RequestRoute` says which requests it takes, who gets them, what is changed on their way, and by what policy they are
served. The words of `path_type` and what they mean are the personality's (see `personalities`).

* `whole`: the configuration, its routes and options. `matching`: what a route takes. `upstreams`: who gets it.
* `policy`: by which sizes, times and tries. `reaching`: in which protocol.
* `filters`: what is done besides, a dataclass for each kind.
"""

from __future__ import annotations

from emulab.servers.l7.config.filters import Filter
from emulab.servers.l7.config.filters.gateway import (
    Field,
    HeaderModifier,
    PathChange,
    ReplaceFullPath,
    ReplacePrefixMatch,
    RequestHeaderModifier,
    RequestRedirect,
    ResponseHeaderModifier,
    URLRewrite,
)
from emulab.servers.l7.config.matching import EXACT, REGULAR_EXPRESSION, FieldMatch, Match
from emulab.servers.l7.config.policy import Policy
from emulab.servers.l7.config.reaching import AUTO_HTTP, GRPC, GRPCS, HTTP, HTTPS, Reach, UpstreamTLS
from emulab.servers.l7.config.upstreams import Upstream, WeightedUpstream
from emulab.servers.l7.config.whole import (
    ANY_HOST,
    Certificate,
    L7Config,
    MeasuredAs,
    Notice,
    Options,
    RequestRoute,
)

__all__ = [
    "ANY_HOST",
    "AUTO_HTTP",
    "EXACT",
    "GRPC",
    "GRPCS",
    "HTTP",
    "HTTPS",
    "REGULAR_EXPRESSION",
    "Certificate",
    "Field",
    "FieldMatch",
    "Filter",
    "HeaderModifier",
    "L7Config",
    "Match",
    "MeasuredAs",
    "Notice",
    "Options",
    "PathChange",
    "Policy",
    "Reach",
    "ReplaceFullPath",
    "ReplacePrefixMatch",
    "RequestHeaderModifier",
    "RequestRedirect",
    "RequestRoute",
    "ResponseHeaderModifier",
    "URLRewrite",
    "Upstream",
    "UpstreamTLS",
    "WeightedUpstream",
]
