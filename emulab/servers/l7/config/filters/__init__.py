"""What is changed on a request's way, and what is answered without an upstream: a dataclass for each kind of filter.

A kind is one class of a module here, a member of `Filter`, and a line of the table in `engine.filters`.
"""

from __future__ import annotations

from emulab.servers.l7.config.filters.access import AccessControl, ClientLimits, Refusal
from emulab.servers.l7.config.filters.gateway import (
    RequestHeaderModifier,
    RequestRedirect,
    ResponseHeaderModifier,
    URLRewrite,
)

Filter = (
    RequestHeaderModifier
    | ResponseHeaderModifier
    | URLRewrite
    | RequestRedirect
    | Refusal
    | ClientLimits
    | AccessControl
)
