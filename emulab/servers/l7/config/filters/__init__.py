"""What is changed on a request's way, and what is answered without an upstream: a dataclass for each kind of filter.

A kind is one class of a module here, a member of `Filter`, and a line of the table in `engine.filters`.

* `gateway`: as the Gateway API has them. `answers`, `requests`, `responses`: as nginx does it.
"""

from __future__ import annotations

from emulab.servers.l7.config.filters.access import AccessControl, ClientLimits, Refusal
from emulab.servers.l7.config.filters.answers import CORS, DirectResponse, HostRedirect, RootRedirect
from emulab.servers.l7.config.filters.gateway import (
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

Filter = (
    RequestHeaderModifier
    | ResponseHeaderModifier
    | URLRewrite
    | RequestRedirect
    | Refusal
    | ClientLimits
    | AccessControl
    | DirectResponse
    | RootRedirect
    | HostRedirect
    | CORS
    | RegexRewrite
    | UpstreamFields
    | Mirror
    | AnswerFields
    | HiddenFields
    | CookieDomain
    | CookiePath
    | LocationChange
    | ErrorPages
    | Gzip
)
