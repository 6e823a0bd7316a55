"""Filters that change what servers are asked, in haproxy.cfg. Pure."""

from __future__ import annotations

import re

from emulab.servers.engines.haproxy.filters.answers import elsewhere, rewritten_away, sent_to
from emulab.servers.engines.haproxy.pages import returned
from emulab.servers.engines.haproxy.text import CfgLines, in_format, quoted
from emulab.servers.engines.haproxy.variables import noted, spoken
from emulab.servers.l7.config import (
    Field,
    Match,
    Mirror,
    PathChange,
    RegexRewrite,
    ReplaceFullPath,
    RequestHeaderModifier,
    RequestRedirect,
    UpstreamFields,
    URLRewrite,
    pieces,
)


def request_headers(one: RequestHeaderModifier, _match: Match) -> CfgLines:
    return [
        *(f"http-request del-header {quoted(name)}" for name in one.remove),
        *(f"http-request set-header {quoted(f.name)} {in_format(f.value)}" for f in one.set),
        *(f"http-request add-header {quoted(f.name)} {in_format(f.value)}" for f in one.add),
    ]


def _new_path(change: PathChange, match: Match) -> str:
    if isinstance(change, ReplaceFullPath):
        return f"http-request set-path {in_format(change.path)}"
    prefix, new = re.escape(match.path.rstrip("/")), change.prefix.rstrip("/").replace("\\", "\\\\")
    return f"http-request replace-path {quoted(f'^{prefix}/?(.*)$')} {in_format(new + '/')}" + r"\1"


def rewrite(one: URLRewrite, match: Match) -> CfgLines:
    lines = [f"http-request set-header Host {in_format(one.hostname)}"] if one.hostname else []
    return [*lines, _new_path(one.path, match)] if one.path is not None else lines


def redirect(one: RequestRedirect, match: Match) -> CfgLines:
    scheme = one.scheme or "%[var(txn.scheme)]"
    host = one.hostname or "%[var(txn.bare_host)]"
    port = f":{one.port}" if one.port else ""
    lines = [_new_path(one.path, match)] if one.path is not None else []
    return [*lines, sent_to(one.status, f'"{scheme}://{host}{port}%[pathq]"')]


def regular(one: RegexRewrite, match: Match) -> CfgLines:
    """The expression is looked for in the path as nginx has it, and what comes of it is escaped again."""
    if elsewhere(one):
        return rewritten_away(one, match)
    lines, target = spoken(one.target, groups=True)
    expression = quoted(f"(?i){one.expression}")
    if one.prefix:
        more, prefix = spoken(one.prefix, groups=True)
        lines += [
            *more,
            "http-request set-header X-Forwarded-Prefix %[var(txn.path)]",
            f"http-request replace-header X-Forwarded-Prefix {expression} {prefix}",
        ]
    return [
        *lines,
        *_READ,
        f"http-request replace-path {expression} {target}",
        returned(500) + " if { path -m len 0 }",
        "http-request set-path %[path,lua.escaped]",
        "http-request set-pathq %[path] if { pathq -m end ? } { query -m len 0 }",
    ]


_READ = (
    'http-request set-path "%[path,regsub(%2f,/,gi)]"',
    "http-request normalize-uri percent-decode-unreserved",
    "http-request normalize-uri path-strip-dot",
    "http-request normalize-uri path-strip-dotdot full",
    "http-request normalize-uri path-merge-slashes",
    "http-request set-path %[path,lua.unescaped]",
)
"""The path as nginx has it: decoded, but for what would end it."""


def upstream_fields(one: UpstreamFields, _match: Match) -> CfgLines:
    return [line for field in one.set for line in asked_field(field)]


def asked_field(field: Field) -> CfgLines:
    """A field whose value is empty isn't sent."""
    lines, value = spoken(field.value)
    name = quoted(field.name)
    if not lines:
        if not field.value:
            return [f"http-request del-header {name}"]
        return [f"http-request set-header {name} {value}"]
    return [
        *lines,
        f"http-request set-var-fmt(txn.field) {value}",
        *([] if field.name.lower() == "host" else [f"http-request del-header {name}"]),
        f"http-request set-header {name} %[var(txn.field)] if !{{ var(txn.field) -m len 0 }}",
    ]


def mirror(one: Mirror, _match: Match) -> CfgLines:
    """It is told what the client said, so before anything is changed (see `is_early`)."""
    target = one.target
    if re.fullmatch(r"https?://[^/$]+", target):
        target += one.path
    query = "" if len(list(pieces(target))) > 1 else "$is_args$args"
    return [
        *noted("mirror", target + query),
        *_found(target, one.host),
        *(["http-request wait-for-body time 60s"] if one.body else []),
        f"http-request lua.mirror {quoted(one.host)} {'on' if one.body else 'off'}",
    ]


def _found(target: str, host: str) -> CfgLines:
    """Finds the address of a mirror that is told another host than its own: HAProxy's client looks up what it tells."""
    name = re.match(r"https?://(\[[0-9A-Fa-f:.]+\]|[^/$:?]+)(?=[/$:?]|$)", target)
    if name is None or host.rpartition(":")[0 if host.rpartition(":")[2].isdigit() else 2] == name[1]:
        return []
    if re.fullmatch(r"\[.*\]|[0-9.]+", name[1]):
        return [f"http-request set-var(txn.mirror_address) str({name[1].strip('[]')})"]
    return [f"http-request do-resolve(txn.mirror_address,cluster) str({name[1]})"]
