"""What an L7 proxy is told. Times are in seconds, sizes in bytes; the defaults are ingress-nginx's.

A `RequestRoute` says which requests it takes, who gets them, what is changed on their way, and by what policy they are
served. The words of `path_type` and what they mean are the personality's (see `personalities`).

* `whole`: the configuration, its routes and options. `matching`: what a route takes. `upstreams`: who gets it;
  `balance`: which of its servers; `resilience`: what an upstream is spared.
* `servers`: what is decided of a host before.
* `policy`: by which sizes, times and tries. `reaching`: in which protocol.
* `filters`: what is done besides, a dataclass for each kind.
* `variables`: texts that name what is known of a request; `patterns`: regular expressions as nginx has them.
"""

from __future__ import annotations

from emulab.servers.l7.config.balance import (
    Balance,
    CookieAffinity,
    DrawnServer,
    HashBy,
    InTurn,
    LeastRequest,
    PeakEwma,
)
from emulab.servers.l7.config.filters import Filter
from emulab.servers.l7.config.filters.access import (
    AccessControl,
    BasicAuthentication,
    ClientLimits,
    ConnectionLimit,
    ExternalAuthentication,
    Refusal,
    RequestLimit,
    SourceRanges,
)
from emulab.servers.l7.config.filters.answers import CORS, DirectResponse, HostRedirect, RootRedirect
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
from emulab.servers.l7.config.filters.requests import Mirror, RegexRewrite, UpstreamFields
from emulab.servers.l7.config.filters.responses import (
    AnswerFields,
    CookieDomain,
    CookiePath,
    ErrorPages,
    Gzip,
    HiddenFields,
    LocationChange,
)
from emulab.servers.l7.config.matching import EXACT, REGULAR_EXPRESSION, FieldMatch, Match
from emulab.servers.l7.config.patterns import as_python
from emulab.servers.l7.config.policy import Policy
from emulab.servers.l7.config.reaching import AUTO_HTTP, GRPC, GRPCS, HTTP, HTTPS, Reach, UpstreamTLS
from emulab.servers.l7.config.resilience import ConnectionLimits, OutlierDetection
from emulab.servers.l7.config.servers import ClientVerification
from emulab.servers.l7.config.upstreams import Canary, Upstream, WeightedUpstream
from emulab.servers.l7.config.variables import FAMILIES, VARIABLES, pieces, unknown_variables
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
    "CORS",
    "EXACT",
    "FAMILIES",
    "GRPC",
    "GRPCS",
    "HTTP",
    "HTTPS",
    "REGULAR_EXPRESSION",
    "VARIABLES",
    "AccessControl",
    "AnswerFields",
    "Balance",
    "BasicAuthentication",
    "Canary",
    "Certificate",
    "ClientLimits",
    "ClientVerification",
    "ConnectionLimit",
    "ConnectionLimits",
    "CookieAffinity",
    "CookieDomain",
    "CookiePath",
    "DirectResponse",
    "DrawnServer",
    "ErrorPages",
    "ExternalAuthentication",
    "Field",
    "FieldMatch",
    "Filter",
    "Gzip",
    "HashBy",
    "HeaderModifier",
    "HiddenFields",
    "HostRedirect",
    "InTurn",
    "L7Config",
    "LeastRequest",
    "LocationChange",
    "Match",
    "MeasuredAs",
    "Mirror",
    "Notice",
    "Options",
    "OutlierDetection",
    "PathChange",
    "PeakEwma",
    "Policy",
    "Reach",
    "Refusal",
    "RegexRewrite",
    "ReplaceFullPath",
    "ReplacePrefixMatch",
    "RequestHeaderModifier",
    "RequestLimit",
    "RequestRedirect",
    "RequestRoute",
    "ResponseHeaderModifier",
    "RootRedirect",
    "SourceRanges",
    "URLRewrite",
    "Upstream",
    "UpstreamFields",
    "UpstreamTLS",
    "WeightedUpstream",
    "as_python",
    "pieces",
    "unknown_variables",
]
