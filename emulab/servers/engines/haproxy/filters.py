"""What filters are in haproxy.cfg: the directives of a backend for each kind. Pure.

A kind that isn't here is one that this engine can't do (`unable`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from emulab.servers.engines.haproxy.text import CfgLines, in_format, quoted
from emulab.servers.l7.config import (
    AccessControl,
    Filter,
    L7Config,
    Match,
    PathChange,
    Refusal,
    ReplaceFullPath,
    RequestHeaderModifier,
    RequestRedirect,
    ResponseHeaderModifier,
    URLRewrite,
)

CfgDirectives = Callable[[Any, Match], CfgLines]


def _request_headers(one: RequestHeaderModifier, _match: Match) -> CfgLines:
    return [
        *(f"http-request del-header {quoted(name)}" for name in one.remove),
        *(f"http-request set-header {quoted(f.name)} {in_format(f.value)}" for f in one.set),
        *(f"http-request add-header {quoted(f.name)} {in_format(f.value)}" for f in one.add),
    ]


def _response_headers(one: ResponseHeaderModifier, _match: Match) -> CfgLines:
    return [
        *(f"http-response del-header {quoted(name)}" for name in one.remove),
        *(f"http-response set-header {quoted(f.name)} {in_format(f.value)}" for f in one.set),
        *(f"http-response add-header {quoted(f.name)} {in_format(f.value)}" for f in one.add),
    ]


def _new_path(change: PathChange, match: Match) -> str:
    if isinstance(change, ReplaceFullPath):
        return f"http-request set-path {in_format(change.path)}"
    prefix, new = re.escape(match.path.rstrip("/")), change.prefix.rstrip("/").replace("\\", "\\\\")
    return f"http-request replace-path {quoted(f'^{prefix}/?(.*)$')} {in_format(new + '/')}" + r"\1"


def _rewrite(one: URLRewrite, match: Match) -> CfgLines:
    lines = [f"http-request set-header Host {in_format(one.hostname)}"] if one.hostname else []
    return [*lines, _new_path(one.path, match)] if one.path is not None else lines


def _redirect(one: RequestRedirect, match: Match) -> CfgLines:
    scheme = one.scheme or "%[var(txn.scheme)]"
    host = in_format(one.hostname) if one.hostname else "%[var(txn.name)]"
    port = f":{one.port}" if one.port else ""
    lines = [_new_path(one.path, match)] if one.path is not None else []
    return [*lines, f"http-request redirect location {scheme}://{host}{port}%[pathq] code {one.status}"]


def _refusal(one: Refusal, _match: Match) -> CfgLines:
    return [f"http-request deny deny_status {one.status}"]


def addresses_alone(one: AccessControl) -> bool:
    """Whether nothing but addresses decides who may in, which is all that is done here."""
    return one.basic is None and one.external is None


def locked(config: L7Config) -> frozenset[str]:
    """The hosts that look at certificates of clients, which isn't done here: nobody may in."""
    wishes = [one for one in config.verifications if one.verify != "off" or one.error or one.match]
    return frozenset(host for one in wishes for host in one.hosts)


def _access(one: AccessControl, _match: Match) -> CfgLines:
    """What isn't done locks: a lock that isn't there is no lesser service."""
    if not addresses_alone(one):
        return ["http-request deny deny_status 503"]
    lines = []
    if one.deny is not None:
        lines.append(f"http-request deny deny_status 403 if {{ src {' '.join(one.deny.cidrs)} }}")
    if one.allow is not None:
        lines.append(f"http-request deny deny_status 403 unless {{ src {' '.join(one.allow.cidrs)} }}")
    return lines


CFG_DIRECTIVES: Mapping[type[Filter], CfgDirectives] = {
    RequestHeaderModifier: _request_headers,
    ResponseHeaderModifier: _response_headers,
    URLRewrite: _rewrite,
    RequestRedirect: _redirect,
    Refusal: _refusal,
    AccessControl: _access,
}
