"""What filters are in nginx.conf: the directives of a location for each kind. Pure.

A kind that isn't here is one that this engine can't do (`unable`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from emulab.servers.engines.nginx import access
from emulab.servers.engines.nginx.annotated import ANNOTATED
from emulab.servers.engines.nginx.text import ConfLines, directive, pattern, quoted
from emulab.servers.l7.config import (
    AccessControl,
    ClientLimits,
    Filter,
    Match,
    PathChange,
    Refusal,
    ReplaceFullPath,
    RequestHeaderModifier,
    RequestRedirect,
    ResponseHeaderModifier,
    URLRewrite,
)

Directives = Callable[[Any, Match], ConfLines]


def _request_headers(one: RequestHeaderModifier, _match: Match) -> ConfLines:
    gone = [directive("proxy_set_header", quoted(name), '""') for name in one.remove]
    return gone + [
        directive("proxy_set_header", quoted(f.name), quoted(f.value)) for f in (*one.set, *one.add)
    ]


def _response_headers(one: ResponseHeaderModifier, _match: Match) -> ConfLines:
    gone = [
        directive("proxy_hide_header", quoted(name)) for name in (*one.remove, *(f.name for f in one.set))
    ]
    new = [directive("add_header", quoted(f.name), quoted(f.value), "always") for f in (*one.set, *one.add)]
    return gone + new


def _new_path(change: PathChange, match: Match) -> tuple[str, str]:
    """The expression that takes a request's path, and what becomes of it."""
    if isinstance(change, ReplaceFullPath):
        return "^", quoted(change.path)
    prefix = match.path.rstrip("/")
    return f"^{re.escape(prefix)}/?(.*)$", quoted(f"{change.prefix.rstrip('/')}/") + "$1"


def _rewrite(one: URLRewrite, match: Match) -> ConfLines:
    lines = [directive("proxy_set_header", "Host", quoted(one.hostname))] if one.hostname else []
    if one.path is not None:
        expression, target = _new_path(one.path, match)
        lines.append(directive("rewrite", pattern(expression), target, "break"))
    return lines


def _redirect(one: RequestRedirect, match: Match) -> ConfLines:
    scheme = one.scheme or "$scheme"
    host = quoted(one.hostname) if one.hostname else "$host"
    port = f":{one.port}" if one.port else ""
    if one.path is None:
        return [directive("return", one.status, f"{scheme}://{host}{port}$request_uri")]
    expression, target = _new_path(one.path, match)
    return [
        directive("rewrite", pattern(expression), target),
        directive("return", one.status, f"{scheme}://{host}{port}$uri$is_args$args"),
    ]


DIRECTIVES: Mapping[type[Filter], Directives] = {
    RequestHeaderModifier: _request_headers,
    ResponseHeaderModifier: _response_headers,
    URLRewrite: _rewrite,
    RequestRedirect: _redirect,
    Refusal: access.refusal,
    ClientLimits: access.client_limits,
    AccessControl: access.access_control,
    **ANNOTATED,
}
