"""The backends: one for each route, or several, and one for what no route takes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from emulab.servers.engines.haproxy.balancing import (
    alone,
    balanced,
    server_name,
    server_numbers,
    sticky,
)
from emulab.servers.engines.haproxy.erring import with_pages
from emulab.servers.engines.haproxy.filters import CFG_DIRECTIVES, in_phases
from emulab.servers.engines.haproxy.filters.answers import LOCATED, sent_to
from emulab.servers.engines.haproxy.frontend import DEFAULT
from emulab.servers.engines.haproxy.pages import returned
from emulab.servers.engines.haproxy.places import CERTIFICATES, UNREACHABLE
from emulab.servers.engines.haproxy.reaching import parameters
from emulab.servers.engines.haproxy.text import CfgLines, milliseconds
from emulab.servers.engines.haproxy.variants import variants
from emulab.servers.engines.haproxy.verifying import verification_of, verified
from emulab.servers.engines.shared import KnownName, answers_for_host, bounded, is_named, may_keep
from emulab.servers.l7.config import (
    GRPC,
    GRPCS,
    Filter,
    L7Config,
    Match,
    Policy,
    RequestRoute,
    Upstream,
    WeightedUpstream,
)

Names = Mapping[str, KnownName]
"""What is known of names of servers."""


def route_backends(number: int, route: RequestRoute, config: L7Config, names: Names) -> list[CfgLines]:
    """The sections of one route."""
    return [
        [
            f"backend route-{number}{end}",
            *([f"# {_comment(route)}"] if route.origin else []),
            *with_pages(
                [
                    *_decided(route, config),
                    *_served(policy, _used(shares, config), config, names, route.match.path),
                ],
                route.filters,
                config.upstreams,
            ),
        ]
        for end, policy, shares in variants(route, config.upstreams)
    ]


def _used(shares: Sequence[WeightedUpstream], config: L7Config) -> list[tuple[Upstream, int]]:
    return [(config.upstreams.get(one.upstream, Upstream()), one.weight) for one in shares if one.weight > 0]


def _comment(route: RequestRoute) -> str:
    match = route.match
    return "".join(
        c if c.isprintable() else "?" for c in f"{route.origin}: {match.host} {match.path} {match.path_type}"
    )


def _decided(route: RequestRoute, config: L7Config) -> CfgLines:
    """What becomes of a request before a server is asked, in the order of nginx's phases."""
    policy, lines = route.policy, CfgLines()
    wish = verification_of(route.match.host.lower(), config.verifications)
    if wish is not None:
        lines += verified(wish)
    if not answers_for_host(route.filters):
        lines += _located(config)
    early, late = in_phases(route.filters)
    lines += _filtered(early, route.match)
    if policy.ssl_redirect or policy.force_ssl_redirect:
        port = f":{policy.redirect_port}" if policy.redirect_port else ""
        bare = "" if policy.keep_slash else ",regsub(/$,)"
        lines += [
            f"http-request set-var(txn.bare) var(txn.target){bare}",
            sent_to(
                policy.redirect_status,
                f'"https://%[var(txn.bare_host)]{port}%[var(txn.bare)]"',
                " if { var(txn.scheme) -m str http }",
            ),
        ]
    return lines + _filtered(late, route.match)


def _located(config: L7Config) -> CfgLines:
    """Who reads it says Strict-Transport-Security."""
    return [LOCATED] if config.options.hsts else []


def _filtered(filters: Iterable[Filter], match: Match) -> CfgLines:
    return [
        line
        for one in filters
        if type(one) in CFG_DIRECTIVES
        for line in CFG_DIRECTIVES[type(one)](one, match)
    ]


_MOST = (1 << 31) - 1
_RETRIES = 1 << 20
"""The most tries beyond the first, which nobody waits for."""
_RETRIED: Mapping[str, tuple[str, ...]] = {
    "error": ("conn-failure", "empty-response"),
    "timeout": ("conn-failure", "response-timeout"),
    "invalid_header": ("junk-response",),
    **{f"http_{status}": (str(status),) for status in (404, 500, 502, 503, 504)},
}
"""What nginx's conditions of another try are here, as far as they are."""


def _tries(policy: Policy, servers: int) -> CfgLines:
    said = dict.fromkeys(word for one in policy.next_upstream for word in _RETRIED.get(one, ()))
    if not said or "off" in policy.next_upstream:
        return ["retries 0"]
    lines = [f"retries {bounded((policy.tries or servers) - 1, _RETRIES)}", f"retry-on {' '.join(said)}"]
    if not policy.retry_non_idempotent and "non_idempotent" not in policy.next_upstream:
        lines.append("http-request disable-l7-retry if { method POST LOCK PATCH }")
    return lines


def _served(
    policy: Policy, shares: list[tuple[Upstream, int]], config: L7Config, names: Names, path: str
) -> CfgLines:
    options, servers = config.options, sum(len(upstream.servers) for upstream, _ in shares)
    lines = [
        f"timeout connect {milliseconds(policy.connect_timeout)}",
        f"timeout server {milliseconds(policy.read_timeout)}",
        *_tries(policy, servers),
        "option redispatch 1",
    ]
    if policy.limit_rate:
        lines.append(f"filter lua.limit-rate {bounded(policy.limit_rate)} {bounded(policy.limit_rate_after)}")
    if policy.body_max:
        lines.append(f"{returned(413)} if {{ req.hdr_val(content-length) gt {bounded(policy.body_max)} }}")
    if policy.reach.protocol not in (GRPC, GRPCS):
        lines.append("http-request del-header TE")
        # Of gRPC nginx waits for no body (`ngx_http_grpc_handler`): answers may come before its end. Of others it does
        # once it is known that they may in, which `option http-buffer-request` would wait before.
        if policy.request_buffer:
            lines.append(f"http-request wait-for-body time {milliseconds(policy.body_timeout)}")
    if policy.body_max:
        lines.append(f"{returned(413)} if {{ req.body_size gt {bounded(policy.body_max)} }}")
    if not servers:
        return [*lines, returned(503 if shares else 404)]
    # It says 503 whatever kept it from a server, which nginx says of having none alone.
    lines.append(f"errorfile 503 {UNREACHABLE}")
    lines += balanced(shares[0][0].balance)
    numbers = server_numbers(upstream for upstream, _ in shares)
    for number, (upstream, weight) in enumerate(shares):
        each = max(1, round(weight * 100 / max(1, len(upstream.servers))))
        said = [
            f"weight {min(256, each if len(shares) > 1 else alone(upstream.balance))}",
            f"pool-max-conn {bounded(options.upstream_keepalive, _MOST) if may_keep(upstream) else 0}",
            f"pool-purge-delay {milliseconds(options.upstream_keepalive_timeout)}",
            f"max-reuse {bounded(options.upstream_keepalive_requests, _MOST)}",
        ]
        for index, server in enumerate(upstream.servers):
            own = [f"id {numbers[number, index]}"] if (number, index) in numbers else []
            words = [server_name(upstream, number, index), _address(server, names), *own, *said]
            lines.append(f"server {' '.join(words)}{parameters(policy, CERTIFICATES)}")
    return lines + sticky(shares[0][0], policy, path)


def _address(server: str, names: Names) -> str:
    """Of a name it has its resolvers ask from then on; until they have answered for the first time it takes the address
    that was found beforehand."""
    if not is_named(server):
        return server.replace("[", "").replace("]", "") if server.startswith("[") else server
    host, _, port = server.rpartition(":")
    known = names.get(host, KnownName(host))
    return f"{known.full}:{port} resolvers cluster init-addr {known.address or 'none'}"


def default_backend(config: L7Config, names: Names) -> CfgLines:
    """The section of what no route takes."""
    name = config.default_upstream
    if name is None:
        return [f"backend {DEFAULT}", *_located(config), returned(404)]
    filters: Sequence[Filter] = config.default_filters
    served = _served(config.policy, [(config.upstreams.get(name, Upstream()), 1)], config, names, "/")
    lines = [*_located(config), *_filtered(filters, Match("", "/", "Prefix")), *served]
    return [f"backend {DEFAULT}", *with_pages(lines, filters, config.upstreams)]
