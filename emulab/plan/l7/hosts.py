"""What a host's routes are together: regular expressions, its root, its other names, `www.`. Pure.

As ingress-nginx decides it for a server (internal/ingress/controller/location.go and template.go): if one of its
locations is rewritten or asks for `use-regex`, all of them are expressions, the longest first. A `Prefix` path is two
locations, with the slash and without, which then are two expressions, unless it is one of those that ask for it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

from emulab.plan.l7.annotations.buffering import request_buffer
from emulab.plan.l7.annotations.errors import error_pages
from emulab.plan.l7.annotations.redirects import is_on
from emulab.plan.l7.annotations.rewriting import wrong_expression
from emulab.plan.l7.annotations.table import RouteDraft
from emulab.servers.l7.config import (
    REGULAR_EXPRESSION,
    DirectResponse,
    Filter,
    HostRedirect,
    Match,
    Mirror,
    Policy,
    Refusal,
    ReplaceFullPath,
    RequestRedirect,
    RequestRoute,
    RootRedirect,
)


class ForAll(NamedTuple):
    """What the controller's ConfigMap asks of all routes."""

    before: tuple[Filter, ...] = ()  # filters that come before those of an Ingress
    after: tuple[Filter, ...] = ()
    plain_paths: tuple[str, ...] = ("/.well-known/acme-challenge",)
    """How paths begin of which plain HTTP isn't sent to HTTPS (`no-tls-redirect-locations`)."""


def _by_host(drafts: Iterable[RouteDraft]) -> dict[str, list[RouteDraft]]:
    hosts: dict[str, list[RouteDraft]] = {}
    for draft in drafts:
        hosts.setdefault(draft.match.host, []).append(draft)
    return hosts


def other_names(drafts: Iterable[RouteDraft]) -> dict[str, list[str]]:
    """The names by which hosts are asked for besides, or which lead to them."""
    hosts = _by_host(drafts)
    found: dict[str, list[str]] = {}
    for host, own in hosts.items():
        names = [*next((draft.aliases for draft in own if draft.aliases), ())]
        if any(draft.is_www for draft in own):
            names.append(www_of(host))
        if names:
            found[host] = [name for name in names if name not in hosts]
    return found


def arranged(
    drafts: Iterable[RouteDraft], every: ForAll, default: str | None, secured: Collection[str] = ()
) -> Iterator[RequestRoute]:
    """The routes of all hosts; `default` is the upstream of what no route takes.

    `secured` are other names of hosts that have certificates; of those that have none nobody is sent to TLS.
    """
    hosts = _by_host(drafts)
    taken = set(hosts)
    for own in hosts.values():
        routes = [_finished(draft, every, default) for draft in own]
        if any(draft.is_regular for draft in own):
            routes = list(_regular(routes, own))
        else:
            served = [route for route, draft in zip(routes, own, strict=True) if not _is_denied(draft)]
            routes += [*_without_slash(routes, served)]
        routes = [*_root(own), *routes]
        yield from routes
        aliases = next((draft.aliases for draft in own if draft.aliases), ())
        for alias in chain.from_iterable(map(_names, aliases)):
            if alias not in taken:
                taken.add(alias)
                yield from (_named(route, alias, alias in secured) for route in routes)
    yield from _www(hosts)


def _named(route: RequestRoute, host: str, secured: bool) -> RequestRoute:
    """A route for another name of its host."""
    policy = route.policy if secured else replace(route.policy, ssl_redirect=False)
    return replace(route, match=replace(route.match, host=host), policy=policy)


def _finished(draft: RouteDraft, every: ForAll, default: str | None) -> RequestRoute:
    """A route with what all routes have."""
    route = draft.route()
    pages = error_pages(draft, default)
    filters = (*every.before, *_own(draft), *((pages,) if pages is not None else ()), *every.after)
    mirrors = any(isinstance(one, Mirror) and one.body for one in filters)
    policy, buffer = draft.policy, request_buffer(draft.policy) if draft.gathers or mirrors else 0
    if buffer != policy.request_buffer:
        policy = replace(policy, request_buffer=buffer)
    if any(draft.match.path.startswith(path) for path in every.plain_paths):
        policy = replace(policy, ssl_redirect=False, force_ssl_redirect=False)
    if policy.limit_rate and not policy.response_buffer:
        # nginx knows no rate for what it doesn't buffer (ngx_http_upstream_send_response).
        policy = replace(policy, limit_rate=0, limit_rate_after=0)
    return replace(route, filters=filters, policy=policy)


def _own(draft: RouteDraft) -> Iterable[Filter]:
    """The filters of a route; where all are denied, nothing else is said (`isLocationAllowed` in nginx.tmpl)."""
    refusals = [one for one in draft.filters if isinstance(one, Refusal)]
    return refusals or ((DirectResponse(503, why=draft.denied),) if draft.denied else draft.filters)


def _regular(routes: Sequence[RequestRoute], drafts: Sequence[RouteDraft]) -> Iterator[RequestRoute]:
    """Routes whose paths are expressions; one that is none isn't served, which `up` warns of."""
    exact = {draft.match.path for draft in drafts if draft.match.path_type == "Exact"}
    seen: set[tuple[str, str]] = set()
    pairs = sorted(zip(routes, drafts, strict=True), key=lambda pair: pair[1].match.path, reverse=True)
    for route, draft in sorted(pairs, key=lambda pair: len(pair[1].match.path), reverse=True):
        path, kind = draft.match.path, draft.match.path_type
        if (path, kind) in seen or wrong_expression(path):
            continue
        seen.add((path, kind))
        paths = [path]
        if kind == "Prefix" and path != "/" and not draft.is_regular:
            paths = [path.rstrip("/") + "/", *([path] if path not in exact else [])]
        for one in dict.fromkeys(paths):
            yield replace(route, match=replace(route.match, path=one, path_type=REGULAR_EXPRESSION))


def _is_denied(draft: RouteDraft) -> bool:
    """Whether a location says nothing but that it is (`isLocationAllowed` in nginx.tmpl)."""
    return bool(draft.denied) or any(isinstance(one, Refusal) for one in draft.filters)


def _without_slash(routes: Sequence[RequestRoute], served: Iterable[RequestRoute]) -> Iterator[RequestRoute]:
    """Where paths lead that lack the slash of an Exact one, unless they are somebody's (nginx: `auto_redirect`, which
    is of locations that pass requests on, also to nobody)."""
    taken = {
        path
        for route in routes
        for path in (route.match.path, route.match.path.rstrip("/"))
        if path == route.match.path or route.match.path_type != "Exact"
    }
    for route in served:
        path, bare = route.match.path, route.match.path[:-1]
        if route.match.path_type == "Exact" and path.endswith("/") and bare and bare not in taken:
            to = RequestRedirect(path=ReplaceFullPath(path), status=301)
            match = replace(route.match, path=bare)
            yield replace(route, match=match, backends=(), filters=(to,), policy=Policy(), canary=None)


def _root(drafts: Sequence[RouteDraft]) -> Iterator[RequestRoute]:
    """Where `/` of a host leads, if it is one of its Ingresses that says so. It comes before all else, as in nginx."""
    asking = [draft for draft in drafts if draft.root]
    if asking:
        draft = max(asking, key=lambda one: root_order((one.match.path, one.match.path_type)))
        match = Match(draft.match.host, "/", "Exact")
        yield replace(draft.route(), match=match, filters=(RootRedirect(draft.root),), policy=Policy())


def root_order(place: tuple[str, str]) -> tuple[int, str]:
    """The location that comes first, by its path and type, is that with the longest path, as nginx.conf has it."""
    path, kind = place
    written = path.rstrip("/") + "/" if kind == "Prefix" else path
    return len(written), written


def _names(alias: str) -> tuple[str, ...]:
    """A name as nginx reads it (`server_name`), whose wildcards stand for any number of labels."""
    if alias.startswith("."):
        return alias[1:], f"~^.+{re.escape(alias)}$"
    if alias.startswith("*."):
        return (f"~^.+{re.escape(alias[1:])}$",)
    return (f"~^{re.escape(alias[:-1])}.+$",) if alias.endswith(".*") and alias[0] != "~" else (alias,)


def _www(hosts: dict[str, list[RouteDraft]]) -> Iterator[RequestRoute]:
    """Names with or without `www.` that lead to a host; one that has rules of its own keeps them."""
    for host, own in hosts.items():
        asking = next((draft for draft in own if draft.is_www), None)
        other = www_of(host)
        if asking is not None and host and not host.startswith("*") and other not in hosts:
            trusts_front = is_on(asking.world.settings, "use-forwarded-headers")
            to = HostRedirect(host, asking.policy.redirect_status, trusts_front)
            yield replace(asking.route(), match=Match(other, "/", "Prefix"), filters=(to,), policy=Policy())


def www_of(host: str) -> str:
    """The host with `www.` before it, or without it."""
    return host.removeprefix("www.") if host.startswith("www.") else f"www.{host}"
