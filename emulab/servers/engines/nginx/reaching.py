"""How backends are reached, in nginx's directives (`proxy_pass`, `grpc_pass`, `proxy_ssl_*`). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from emulab.servers.engines.backendfiles import file_of, own_pair
from emulab.servers.engines.nginx.text import ConfLines, directive, on, quoted, seconds
from emulab.servers.engines.shared import bounded
from emulab.servers.l7.config import L7Config, Policy
from emulab.servers.l7.config.reaching import AUTO_HTTP, GRPC, GRPCS, HTTP, HTTPS

_SCHEMES: Mapping[str, str] = {
    HTTP: "http",
    HTTPS: "https",
    AUTO_HTTP: "$scheme",
    GRPC: "grpc",
    GRPCS: "grpcs",
}


_GROUPS: Mapping[str, tuple[str, ...]] = {
    HTTP: ("",),
    HTTPS: ("-https",),
    AUTO_HTTP: ("-auto-http", "-auto-https"),
    GRPC: ("-grpc",),
    GRPCS: ("-grpcs",),
}


def groups(config: L7Config) -> Iterator[tuple[str, str]]:
    """The upstreams by their names, and what is added to the name for each way in which one is reached.

    nginx keeps connections by the servers' addresses alone, so that what is said on them has to have groups of its own.
    """
    used: dict[str, dict[str, None]] = {name: {} for name in config.upstreams}
    if config.default_upstream is not None:
        used.setdefault(config.default_upstream, {})[""] = None
    for route in config.routes:
        for one in route.backends:
            used.setdefault(one.upstream, {}).update(dict.fromkeys(_GROUPS[route.policy.reach.protocol]))
        if route.canary is not None:
            ends = dict.fromkeys(_GROUPS[route.policy.reach.protocol])
            used.setdefault(route.canary.upstream, {}).update(ends)
    for name in config.upstreams:
        for end in used[name] or ("",):
            yield name, end


def group(policy: Policy, name: str) -> str:
    """The group of an upstream for a route; `name`: the upstream's, or a variable with it."""
    protocol = policy.reach.protocol
    return f"{name}-auto-$scheme" if protocol == AUTO_HTTP else name + _GROUPS[protocol][0]


def speaks_grpc(policy: Policy) -> bool:
    """Whether backends are servers of gRPC."""
    return policy.reach.protocol in (GRPC, GRPCS)


def passed_on(policy: Policy, target: str) -> str:
    """The directive that passes requests on."""
    name = "grpc_pass" if speaks_grpc(policy) else "proxy_pass"
    return directive(name, f"{_SCHEMES[policy.reach.protocol]}://{target}")


def in_words_of(policy: Policy, lines: ConfLines) -> ConfLines:
    """Directives about what backends are told, as `grpc_pass` heeds them where that is used."""
    if not speaks_grpc(policy):
        return lines
    return [re.sub(r"\bproxy_(set|hide)_header ", r"grpc_\1_header ", line) for line in lines]


def reaching(policy: Policy, folder: str) -> ConfLines:
    """What a location says besides, where it isn't as nginx's own defaults have it."""
    lines: ConfLines = []
    if policy.http_version != "1.1":
        lines.append(directive("proxy_http_version", policy.http_version))
    if speaks_grpc(policy):
        for name, value in (
            ("connect_timeout", policy.connect_timeout),
            ("read_timeout", policy.read_timeout),
            ("send_timeout", policy.send_timeout),
        ):
            lines.append(directive(f"grpc_{name}", seconds(value)))
        return lines
    if policy.reach.protocol == HTTP:
        return lines
    tls = policy.reach.tls
    authorities, pair = tls.authorities, own_pair(tls)
    lines += [
        directive("proxy_ssl_ciphers", quoted(tls.ciphers)),
        directive("proxy_ssl_protocols", *tls.protocols),
        directive("proxy_ssl_name", quoted(tls.name)),
        directive("proxy_ssl_server_name", on(tls.server_name)),
    ]
    if authorities:
        lines += [
            directive("proxy_ssl_trusted_certificate", f"{folder}/{file_of(authorities)}"),
            directive("proxy_ssl_verify", on(tls.verify)),
            directive("proxy_ssl_verify_depth", bounded(tls.depth)),
        ]
    if pair:
        file = f"{folder}/{file_of(pair)}"
        lines += [directive("proxy_ssl_certificate", file), directive("proxy_ssl_certificate_key", file)]
    return lines
