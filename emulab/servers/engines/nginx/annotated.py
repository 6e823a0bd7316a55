"""What filters of ingress-nginx are in nginx.conf: its own directives, or what comes to the same without Lua. Pure.

What is of nginx's rewrite phase (`EARLY`) stands before the redirect to TLS, as ingress-nginx looks at the scheme at
the end of that phase. nginx as Debian builds it sets no field for all answers; a field that the upstream may have is
hidden, and added anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from emulab.servers.engines.nginx.crossorigin import cors
from emulab.servers.engines.nginx.text import ConfLines, block, directive, on, pattern, quoted
from emulab.servers.l7.config import (
    CORS,
    AnswerFields,
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
    RequestRoute,
    RootRedirect,
    Upstream,
    UpstreamFields,
    pieces,
)

EARLY: frozenset[type[Filter]] = frozenset(
    {CORS, DirectResponse, HostRedirect, Refusal, RegexRewrite, RootRedirect}
)


def spoken(text: str) -> str:
    """A text that may name variables, as one parameter."""
    parts = []
    for before, name in pieces(text):
        parts.append(before.replace("\\", "\\\\").replace('"', '\\"').replace("$", "${literal_dollar}"))
        if name:
            parts.append(f"${name}" if name.isdigit() else f"${{{name}}}")
    return f'"{"".join(parts)}"'


def _direct(one: DirectResponse, _match: Match) -> ConfLines:
    text = one.location or one.body
    return [directive("return", one.status, *([quoted(text)] if text else []))]


def _root(one: RootRedirect, _match: Match) -> ConfLines:
    return [directive("return", 302, f"$scheme://$http_host{quoted(one.path)}")]


def _other_host(one: HostRedirect, _match: Match) -> ConfLines:
    return [directive("return", one.status, f"$forwarded_scheme://{quoted(one.host)}:$pass_port$bare_uri")]


def _regular(one: RegexRewrite, _match: Match) -> ConfLines:
    lines = [directive("rewrite", pattern(f"(?i){one.expression}"), spoken(one.target), "break")]
    return lines + (
        [directive("proxy_set_header", "X-Forwarded-Prefix", spoken(one.prefix))] if one.prefix else []
    )


def _asked(one: UpstreamFields, _match: Match) -> ConfLines:
    return [directive("proxy_set_header", quoted(field.name), spoken(field.value)) for field in one.set]


def _answered(one: AnswerFields, _match: Match) -> ConfLines:
    """Its own name it says by itself."""
    told = [field for field in one.set if field.name.lower() != "server"]
    hidden = [directive("proxy_hide_header", quoted(field.name)) for field in told]
    return hidden + [
        directive(
            "add_header",
            quoted(field.name),
            spoken(field.value) if one.spoken else quoted(field.value),
            "always",
        )
        for field in told
    ]


def _replaced(name: str, one: CookieDomain | CookiePath | LocationChange) -> ConfLines:
    old = pattern(one.old) if one.old.startswith("~") else quoted(one.old)
    return [directive(name, old, spoken(one.new))]


_TYPE_MAX = 46
"""The longest type that there is room for in nginx's tables, whose size is fixed."""


def _gzip(one: Gzip, _match: Match) -> ConfLines:
    known = [kind for kind in one.types if len(kind.encode()) <= _TYPE_MAX]
    return [
        directive("gzip", "on"),
        directive("gzip_comp_level", one.level),
        directive("gzip_min_length", one.min_length),
        *([directive("gzip_types", *map(quoted, known))] if known else []),
        directive("gzip_proxied", "any"),
        directive("gzip_vary", "on"),
        *([directive("gzip_disable", pattern(one.disable))] if one.disable else []),
    ]


ANNOTATED: Mapping[type[Filter], Callable[[Any, Match], ConfLines]] = {
    DirectResponse: _direct,
    RootRedirect: _root,
    HostRedirect: _other_host,
    CORS: cors,
    RegexRewrite: _regular,
    UpstreamFields: _asked,
    AnswerFields: _answered,
    HiddenFields: lambda one, _: [directive("proxy_hide_header", quoted(name)) for name in one.names],
    CookieDomain: lambda one, _: _replaced("proxy_cookie_domain", one),
    CookiePath: lambda one, _: _replaced("proxy_cookie_path", one),
    LocationChange: lambda one, _: _replaced("proxy_redirect", one),
    Gzip: _gzip,
    # These have locations of their own, which `beside` writes.
    Mirror: lambda _one, _match: [],
    ErrorPages: lambda _one, _match: [],
}


def beside(
    number: int, route: RequestRoute, upstreams: Mapping[str, Upstream], identity: ConfLines | None = None
) -> tuple[ConfLines, ConfLines]:
    """What a route's location says of mirrors and of the pages of errors, and the locations that these are; `identity`
    is what those of mirrors say for the log."""
    own: ConfLines = []
    others: ConfLines = []
    everywhere = [
        line
        for one in route.filters
        if isinstance(one, AnswerFields) and one.spoken
        for line in _answered(one, route.match)
    ]
    for one in route.filters:
        if isinstance(one, Mirror):
            own += [directive("mirror", f"/_mirror_{number}"), directive("mirror_request_body", on(one.body))]
            others += block(f"location = /_mirror_{number}", [*(identity or []), *_mirrored(one)])
        if isinstance(one, ErrorPages):
            own.append(directive("proxy_intercept_errors", on(one.intercept)))
            for status in one.statuses:
                name = f"@errors_{number}_{status}"
                own.append(directive("error_page", status, "=", name))
                others += block(f"location {name}", [*everywhere, *_error(one, status, upstreams)])
    return own, others


def _mirrored(one: Mirror) -> ConfLines:
    """The target is a variable, as nginx wouldn't start with a name that nobody has."""
    target = one.target
    if re.fullmatch(r"https?://[^/$]+", target):
        target += one.path
    query = "" if len(list(pieces(target))) > 1 else "$is_args$args"
    bodiless = [
        directive("proxy_pass_request_body", "off"),
        directive("proxy_set_header", "Content-Length", '""'),
    ]
    return [
        "internal;",
        directive("access_log", "off"),
        directive("set", "$mirror_target", spoken(target)[:-1] + f'{query}"'),
        *([] if one.body else bodiless),
        directive("proxy_set_header", "Host", quoted(one.host)),
        directive("proxy_pass", "$mirror_target"),
    ]


def _error(one: ErrorPages, status: int, upstreams: Mapping[str, Upstream]) -> ConfLines:
    if not one.upstream:
        return [directive("return", 404)]
    if not upstreams.get(one.upstream, Upstream()).servers:
        return [directive("return", 503)]
    return [
        directive("proxy_intercept_errors", "off"),
        directive("proxy_set_header", "X-Code", status),
        *(directive("proxy_set_header", quoted(field.name), spoken(field.value)) for field in one.fields),
        directive("proxy_set_header", "X-Forwarded-For", "$remote_addr"),
        directive("proxy_set_header", "Host", "$best_http_host"),
        directive("rewrite", "(.*)", "/", "break"),
        directive("proxy_pass", f"http://{one.upstream.replace('/', '-')}"),
    ]
