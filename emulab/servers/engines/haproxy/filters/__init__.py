"""What filters are in haproxy.cfg: the directives of a backend for each kind. Pure.

A kind that isn't here is one that this engine can't do: the line of its annotation says so (`plan.l7.annotations`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from emulab.servers.engines.haproxy.filters import access, answers, requests, responses
from emulab.servers.engines.haproxy.text import CfgLines
from emulab.servers.l7.config import (
    CORS,
    AccessControl,
    AnswerFields,
    ClientLimits,
    CookieDomain,
    CookiePath,
    DirectResponse,
    ErrorPages,
    Filter,
    Gzip,
    HiddenFields,
    HostRedirect,
    LocationChange,
    Match,
    Mirror,
    Refusal,
    RegexRewrite,
    RequestHeaderModifier,
    RequestRedirect,
    ResponseHeaderModifier,
    RootRedirect,
    UpstreamFields,
    URLRewrite,
)

CfgDirectives = Callable[[Any, Match], CfgLines]

CFG_DIRECTIVES: Mapping[type[Filter], CfgDirectives] = {
    RequestHeaderModifier: requests.request_headers,
    ResponseHeaderModifier: responses.response_headers,
    URLRewrite: requests.rewrite,
    RequestRedirect: requests.redirect,
    Refusal: access.refusal,
    ClientLimits: access.client_limits,
    AccessControl: access.access_control,
    DirectResponse: answers.direct,
    RootRedirect: answers.root,
    HostRedirect: answers.other_host,
    CORS: answers.cors,
    RegexRewrite: requests.regular,
    UpstreamFields: requests.upstream_fields,
    Mirror: requests.mirror,
    AnswerFields: responses.answer_fields,
    HiddenFields: responses.hidden_fields,
    CookieDomain: responses.cookie_domain,
    CookiePath: responses.cookie_path,
    LocationChange: responses.location_change,
    Gzip: responses.gzip,
    ErrorPages: lambda _one, _match: [],  # which `erring` does with the whole backend
}

_EARLY: frozenset[type[Filter]] = frozenset({CORS, DirectResponse, HostRedirect, Refusal, RootRedirect})


_GATES: Mapping[type[Filter], int] = {ClientLimits: 0, AccessControl: 1, Mirror: 2}
"""Who comes next, before a request is changed."""


def in_phases(filters: Sequence[Filter]) -> tuple[Sequence[Filter], Sequence[Filter]]:
    """What stands before the redirect to TLS, as in nginx's rewrite phase, and what stands after it."""
    early = [one for one in filters if _is_early(one)]
    late = sorted((one for one in filters if not _is_early(one)), key=lambda one: _GATES.get(type(one), 3))
    return early, late


def _is_early(one: Filter) -> bool:
    """What all answers say is known before any of these is given."""
    if isinstance(one, AnswerFields):
        return one.spoken
    return type(one) in _EARLY or (isinstance(one, RegexRewrite) and answers.elsewhere(one))
